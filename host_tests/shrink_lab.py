"""What the tests of scripts/shrink.py share: small modules on CPython, as they are and shrunk; the device's on the VM.

Owns no test and no rule of shrinking.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from host_tests.virtual_board.fakes import build_fakes
from host_tests.virtual_board.state import BoardState
from scripts import build, device_graph
from scripts.build import compile_text
from scripts.logging_source import logging_source
from scripts.shrink import apart, bundle
from scripts.vm import find_vm

Sources = list[tuple[str, str]]


def write_and_load(folder: Path, sources: Sources, use: str, way: str) -> None:
    """Write the files below an own folder, "plain", "apart" or "bundled"; then import the bundle from there."""
    files = {"use": use}
    if way == "bundled":
        files["tally"] = bundle(sources, [use])
    else:
        files |= apart(sources, [use]) if way == "apart" else dict(sources)
    (folder / "app").mkdir(parents=True)
    for name, text in files.items():
        path = folder / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    importlib.invalidate_caches()
    if way == "bundled":
        importlib.import_module("tally")


def same_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: Sources, use: str) -> object:
    """What `use` leaves in `result`: the same with the modules as they are, shortened apart, and bundled."""
    micropython = types.ModuleType("micropython")
    micropython.const = lambda value: value  # type: ignore[attr-defined]
    results = []
    for way in ("plain", "apart", "bundled"):
        folder = tmp_path / way
        before = set(sys.modules)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "micropython", micropython)
            patch.syspath_prepend(str(folder))
            write_and_load(folder, sources, use, way)
            results.append(importlib.import_module("use").result)
        for name in set(sys.modules) - before:
            del sys.modules[name]
    assert results[0] == results[1] == results[2]
    return results[0]


def resident() -> list[str]:
    return device_graph.resident(device_graph.modules())


def device_sources() -> tuple[Sources, list[str]]:
    """(name, text) of the resident modules, and the texts of all others."""
    found = device_graph.modules()
    inside = resident()
    others = [m.path.read_text() for n, m in found.items() if n not in inside]
    return [(n, found[n].path.read_text()) for n in inside], others


def make_tree(tree: Path, stride: int, is_short: bool = True) -> Path:
    """The device's modules compiled: bundled unless `stride` is 0; those on demand with short names if `is_short`."""
    (tree / "lib").mkdir(parents=True)
    (tree / "lib" / "logging.mpy").write_bytes(build.compile_mpy(logging_source(), "lib/logging.py"))
    modules = device_graph.modules()
    texts = {n: m.path.read_text() for n, m in modules.items() if n != "main"}
    if is_short:
        texts |= build.on_demand_sources(modules)
    for name in resident() if stride else ():
        del texts[name]
    for name, text in texts.items():
        path = modules[name].path.relative_to(device_graph.DEVICE_DIR)
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).with_suffix(".mpy").write_bytes(compile_text(text, path.as_posix()))
    if stride:
        (tree / "tally.mpy").write_bytes(compile_text(bundle(*device_sources(), stride), "tally.py"))
    return tree


def run_on_vm(folder: Path, tree: Path, program: str) -> str:
    """What `program` prints on the VM with the fakes, importing from `tree`; it must not fail."""
    state = BoardState(folder)
    preamble = (
        "import sys, errno, machine, network, esp32, ntptime, onewire, os, select, socket, time\n"
        f"sys.path[:] = ['.frozen', {str(tree)!r}, {str(tree / 'lib')!r}]\n"
    )
    environment = {
        **os.environ,
        "MICROPYPATH": str(build_fakes()),
        "TALLY_BOARD": str(state.board_path),
        "TALLY_FLASH": str(state.flash_path),
    }
    result = subprocess.run(
        [*find_vm().argv, "-X", "heapsize=512k", "-c", preamble + program],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    state.close()
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
