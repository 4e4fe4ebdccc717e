"""`make size`: what each module weighs, in flash (.mpy) and in the heap of the real VM, and the sums.

Owns the table and the budget. Resident is what stays loaded, as one bundle; on demand is what app.site.evict drops
again. The bundle's modules are also weighed one by one, to show where its bytes come from.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

from host_tests.virtual_board.fakes import build_fakes
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import _names
from scripts import console, device_graph
from scripts.build import BUNDLE_NAME, build, compile_mpy
from scripts.console import EXIT_FAULT, Problem
from scripts.vm import find_vm

RESIDENT_BUDGET_BYTES = 27 * 1024  # 24 KB before the log on flash and the clock came, 26 before all of telemetry
RESIDENT = ("asyncio", BUNDLE_NAME)


def weigh(tree: Path, names: list[str]) -> tuple[dict[str, int], list[int]]:
    """Heap bytes that importing each name adds, in this order, on the VM; and the count of names (qstrs) that the VM
    knows before the first and after each. Problem when one can't be imported."""
    with tempfile.TemporaryDirectory() as folder:
        state = BoardState(Path(folder))
        environment = {
            **os.environ,
            "MICROPYPATH": str(build_fakes()),
            "TALLY_BOARD": str(state.board_path),
            "TALLY_FLASH": str(state.flash_path),
            "TALLY_TREE": str(tree),
            "TALLY_MODULES": ",".join(names),
        }
        argv = [*find_vm().argv, "-X", "heapsize=512k", "-c", "import measure"]
        result = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
        state.close()
    sizes = dict(re.findall(r"^SIZE (\S+) (-?\d+)$", result.stdout, re.MULTILINE))
    if result.returncode or not set(names) <= set(sizes):
        raise Problem(f"a module can't be imported on the VM:\n{result.stdout}{result.stderr}")
    counts = [int(n) for n in re.findall(r"n_qstr=(\d+)", result.stdout)]
    return {name: int(size) for name, size in sizes.items()}, counts


def mpy_bytes(name: str, tree: Path) -> int:
    """Size of the module's .mpy in a tree, 0 for what has none."""
    relative = name.replace(".", "/") + ".mpy"
    for candidate in (tree / relative, tree / "lib" / relative):
        if candidate.exists():
            return candidate.stat().st_size
    return 0


def rows(title: str, sizes: dict[str, int], tree: Path) -> list[str]:
    """One group of the report, with its sum."""
    flash = {name: mpy_bytes(name, tree) for name in sizes}
    lines = [f"{title:<40}{'.mpy':>8}{'heap':>8}"]
    lines += [f"  {name:<38}{flash[name] or '-':>8}{size:>8}" for name, size in sizes.items()]
    return [*lines, f"  {'sum':<38}{sum(flash.values()):>8}{sum(sizes.values()):>8}", ""]


def weigh_one_by_one(names: list[str]) -> list[str]:
    """The bundle's modules as files of their own, which costs more than the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name, module in device_graph.modules().items():
            target = tree / (name.replace(".", "/") + ".mpy")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(compile_mpy(module.path, module.path.name))
        (tree / "logging.mpy").write_bytes((build()[0] / "lib" / "logging.mpy").read_bytes())
        sizes, _ = weigh(tree, ["asyncio", "logging", *names])
        return rows("in the bundle, each weighed by itself", {name: sizes[name] for name in names}, tree)


def report() -> tuple[list[str], int]:
    """Lines of the report and the resident sum in bytes."""
    tree, _ = build()
    modules = device_graph.modules()
    on_demand = [name for name in device_graph.load_order(modules) if device_graph.is_on_demand(name)] + ["logging"]
    sizes, counts = weigh(tree, [*RESIDENT, *on_demand])
    resident = {name: sizes[name] for name in (*RESIDENT, "constructors")}
    lines = rows("resident ('constructors' go at boot's end)", resident, tree)
    lines += rows("on demand, dropped again", {name: sizes[name] for name in on_demand}, tree)
    lines += weigh_one_by_one(device_graph.resident(modules))
    lines.append(
        f"names (qstrs): {counts[len(RESIDENT)] - counts[0]} resident, {counts[-1] - counts[0]} with all on demand. "
        f"The board's name pools take {_names.DEVICE_POOLS_BYTES:,} bytes more for up to {_names.DEVICE_NAMES}."
    )
    return lines, sum(resident.values())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make size", description=(__doc__ or "").splitlines()[0])
    parser.parse_args(argv)

    def command() -> int:
        lines, resident = report()
        print("\n".join(lines))
        left = RESIDENT_BUDGET_BYTES - resident
        print(f"resident {resident:,} of {RESIDENT_BUDGET_BYTES:,} bytes, {left:,} left")
        return console.EXIT_OK if left >= 0 else EXIT_FAULT

    return console.run(command)


if __name__ == "__main__":
    raise SystemExit(main())
