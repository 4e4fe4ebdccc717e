"""Compiles the chip's fakes, vm/*.py, for the VM."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.build import compile_mpy
from scripts.console import BUILD_DIR

FAKES_DIR = Path(__file__).parent / "vm"
FAKES_BUILD_DIR = BUILD_DIR / "board"


def build_fakes() -> Path:
    """Compile the chip's fakes to build/board. Returns that folder."""
    FAKES_BUILD_DIR.mkdir(parents=True, exist_ok=True)
    for source in FAKES_DIR.glob("*.py"):
        target = FAKES_BUILD_DIR / (source.stem + ".mpy")
        if not target.exists() or target.stat().st_mtime <= source.stat().st_mtime:
            partial = target.with_suffix(f".{os.getpid()}")  # two test runs may build at the same time
            partial.write_bytes(compile_mpy(source, "virtual_board/" + source.name))
            partial.replace(target)
    return FAKES_BUILD_DIR
