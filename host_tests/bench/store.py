"""`python -m host_tests.bench.store`: power cuts and figures of the durable store, the compiled modules on the VM.

Owns what is run, what is to be reached and the committed figure of wear. Must not know what a record looks like: the
runs are in host_tests/vm_scripts/store_*.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tests.bench.report import TALLY, Row, missed, table
from scripts import console, shrink
from scripts.build import BUNDLE_STRIDE, DEVICE_DIR, compile_text
from scripts.console import BUILD_DIR, EXIT_FAULT, EXIT_OK, ROOT, Problem
from scripts.vm import Vm, find_vm

RECORDS = 100_000
CUTS = 2_000
WEAR_RECORDS = 43_200
SCAN_RECORDS = 10_000
HEAP = "64k"
SMALL_SECTORS, ALL_SECTORS = 16, 256
LARGE_SHARE = 0.6
"""Of the records and cuts: into a ring of 1 MB, which they lap. The rest goes into one of 64 KB."""
BASELINE = Path(__file__).with_name("store_baseline.json")
MOST_RISE = 1.05

STORE_DIR = BUILD_DIR / "bench" / "store"
SCRIPTS_DIR = ROOT / "host_tests" / "vm_scripts"
SCRIPTS = ("store_flash", "store_world", "store_cuts", "store_figures", "held_cuts")
RESIDENT = ("ring_log", "app.store")
ON_DEMAND = ("ring_open", "ring_ram", "app.store_open", "app.held", "app.restamp")
FAULTS = ("lost", "false", "repeated", "unusable", "wrong_counts")
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class FineRow(Row):
    """A figure with decimals, or a count that must be exact."""

    digits: int = 0

    def _show(self, figure: float | None) -> str:
        return "-" if figure is None else f"{figure:,.{self.digits}f}"


def build() -> Path:
    """The store's modules as `make build` makes them, resident ones in a bundle, and the scripts, compiled alike."""
    text = {name: (DEVICE_DIR / _path(name)).read_text() for name in (*RESIDENT, *ON_DEMAND)}
    text |= {name: (SCRIPTS_DIR / f"{name}.py").read_text() for name in SCRIPTS}
    others = [source for name, source in text.items() if name not in RESIDENT]
    text["tally"] = shrink.bundle([(name, text.pop(name)) for name in RESIDENT], others, BUNDLE_STRIDE)
    for name, source in text.items():
        target = STORE_DIR / name.replace(".", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")  # the tests and a bench may build at the same time
        fresh.write_bytes(compile_text(source, f"{name}.py"))
        os.replace(fresh, target.with_suffix(".mpy"))
    return STORE_DIR


def _path(module: str) -> str:
    return f"{module.replace('.', '/')}.py" if module.startswith("app.") else f"lib/{module}.py"


def on_vm(vm: Vm, call: str) -> dict[str, Any]:
    """Run `call`, a function of one of the scripts, in a heap like the board's; the JSON it prints last."""
    script = call.partition(".")[0]
    argv = [*vm.argv, "-X", f"heapsize={HEAP}", "-c", f"import tally, {script}; {call}"]
    result = subprocess.run(argv, cwd=STORE_DIR, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode:
        raise Problem(f"{call} failed on the VM:\n{(result.stdout + result.stderr).strip()}")
    return json.loads(result.stdout.splitlines()[-1])


def cut_runs(vm: Vm, records: int, cuts: int, seed: int = 1, large_sectors: int = ALL_SECTORS) -> list[dict[str, Any]]:
    """The same life in a small ring, which is lapped many times, and in a large one."""
    large = int(records * LARGE_SHARE)
    large_cuts = int(cuts * LARGE_SHARE)
    return [
        on_vm(vm, f"store_cuts.main({records - large}, {cuts - large_cuts}, {SMALL_SECTORS}, {seed})"),
        on_vm(vm, f"store_cuts.main({large}, {large_cuts}, {large_sectors}, {seed + 1})"),
    ]


def cut_rows(runs: Sequence[dict[str, Any]], records: int, cuts: int) -> list[Row]:
    def total(key: str) -> float:
        return sum(run[key] for run in runs)

    names = {
        "lost": "durable records lost",
        "false": "false records",
        "repeated": "sequence numbers repeated",
        "unusable": "samples refused after a cut",
        "wrong_counts": "boots with a wrong ledger",
    }
    return [
        Row("records taken", {TALLY: total("records")}, least=records),
        Row("power cuts", {TALLY: total("cuts")}, least=cuts),
        Row("  in a program, torn", {TALLY: total("torn")}),
        Row("  in an erase, half done", {TALLY: total("half_erased")}),
        *(Row(names[key], {TALLY: total(key)}, most=0) for key in FAULTS),
        Row("records in flight lost", {TALLY: total("missing")}, most=cuts),
        FineRow("hottest sector / mean, with cuts", {TALLY: runs[0]["hottest"]}, digits=2),
    ]


def figure_rows(vm: Vm) -> list[Row]:
    wear = on_vm(vm, f"store_figures.wear({WEAR_RECORDS})")
    opens = on_vm(vm, "store_figures.opens()")
    heap = on_vm(vm, f"store_figures.heap({SCAN_RECORDS})")
    if heap["count"] != SCAN_RECORDS:
        raise Problem(f"the scan found {heap['count']} of {SCAN_RECORDS} samples, so its figure means nothing")
    bits = vm.word_bits
    return [
        FineRow("sector erases per record, 4 values", {TALLY: wear["erases"]}, most=0.010, digits=5),
        FineRow(
            "  as a share of the committed figure", {TALLY: wear["erases"] / committed()}, most=MOST_RISE, digits=3
        ),
        FineRow("hottest sector / mean", {TALLY: wear["hottest"]}, most=1.5, digits=2),
        Row("appends that waited for an erase", {TALLY: wear["late"]}, most=0),
        Row("reads to open a full ring of 1 MB", {TALLY: opens["full"]}, most=300),
        Row("reads to open it in its first lap", {TALLY: opens["first lap"]}, most=300),
        Row("net bytes of a scan of 10,000 records", {TALLY: heap["scan"]}, most=2048, word_bits=bits),
        Row("bytes for an append, mean", {TALLY: heap["mean"]}, most=200, word_bits=bits),
        Row("bytes for an append, most", {TALLY: heap["most"]}, most=200, word_bits=bits),
        Row("bytes for one that begins a sector", {TALLY: heap["begun"]}),
    ]


def committed() -> float:
    """Sector erases per record as last written down."""
    return json.loads(BASELINE.read_text())["erases_per_record"]


def rows(vm: Vm, records: int = RECORDS, cuts: int = CUTS, seed: int = 1) -> list[Row]:
    build()
    return cut_rows(cut_runs(vm, records, cuts, seed), records, cuts) + figure_rows(vm)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m host_tests.bench.store", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--records", type=int, default=RECORDS, help=f"samples to take (default {RECORDS:,})")
    parser.add_argument("--cuts", type=int, default=CUTS, help=f"power cuts among them (default {CUTS:,})")
    parser.add_argument("--seed", type=int, default=1, help="other cuts, as many")
    options = parser.parse_args(arguments)

    def command() -> int:
        measured = rows(find_vm(), options.records, options.cuts, options.seed)
        print(table(measured))
        if names := missed(measured):
            print(f"error: {len(names)} not reached: {'; '.join(names)}", file=sys.stderr)
            return EXIT_FAULT
        return EXIT_OK

    console.stop_on_signals()
    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
