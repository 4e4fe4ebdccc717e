"""NOR flash for tests on CPython, with what real flash does when the power goes, cells die or the driver fails.

Owns the physics: programming only clears bits, erasing is by the sector, and either may happen in part. Must not know
what is stored in it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

EIO = 5


class PowerCut(Exception):
    """The power went in the middle of an operation: what ran on the board is gone, the cells are as they are."""


class Nor:
    """`reads`, `programs`, `erases` and `wear` (erases by sector) count since the start; an erase that power broke off
    wears the cells too. `failing` names operations ("read", "program", "erase") whose driver call fails. `stuck` has
    cells that stay 1, as a mask by offset."""

    def __init__(self, size_bytes: int = 16 * 4096, sector_bytes: int = 4096, seed: int = 0) -> None:
        self.size_bytes = size_bytes
        self.sector_bytes = sector_bytes
        self.cells = bytearray(b"\xff" * size_bytes)
        self.stuck: dict[int, int] = {}
        self.failing: set[str] = set()
        self.reads = self.programs = self.erases = 0
        self.wear = [0] * (size_bytes // sector_bytes)
        self._rng = random.Random(seed)
        self._left: int | None = None
        self._landed: int | None = None
        self._counts: Callable[[str], bool] = lambda _: True

    def cut_after(self, operations: int, landed: int | None = None, only: str = "") -> None:
        """Cut the power in the operation that follows `operations` more; count programs or erases only if `only` names
        one. `landed` bytes of a program get through, or as many as chance has it."""
        self._left = operations
        self._landed = landed
        self._counts = lambda what: not only or what == only

    def power_on(self) -> None:
        """No cut is due any more."""
        self._left = None

    def read(self, offset: int, buf: Any) -> None:
        self.reads += 1
        self._check("read", offset, len(buf))
        memoryview(buf)[:] = self.cells[offset : offset + len(buf)]

    def program(self, offset: int, buf: Any) -> None:
        data = bytes(buf)
        self._check("program", offset, len(data))
        self.programs += 1
        if not self._is_cut("program"):
            self._clear(offset, data)
            return
        n = self._rng.randrange(len(data) + 1) if self._landed is None else min(self._landed, len(data))
        self._clear(offset, data[:n])
        if n < len(data) and self._landed is None:
            self._clear(offset + n, bytes([data[n] | self._rng.randrange(256)]))
        raise PowerCut

    def erase(self, offset: int) -> None:
        self._check("erase", offset, self.sector_bytes)
        if offset % self.sector_bytes:
            raise ValueError(f"{offset} is no sector")
        self.erases += 1
        self.wear[offset // self.sector_bytes] += 1
        sector = slice(offset, offset + self.sector_bytes)
        if self._is_cut("erase"):
            self.cells[sector] = self._half_erased(self.cells[sector])
            raise PowerCut
        self.cells[sector] = b"\xff" * self.sector_bytes

    def damage(self, offset: int, size_bytes: int = 1) -> None:
        """Clear bits that nobody programmed; at least one, if any is left to clear."""
        for at in range(offset, offset + size_bytes):
            self.cells[at] &= self.cells[at] - 1 if self.cells[at] else 0

    def _check(self, what: str, offset: int, size_bytes: int) -> None:
        if offset < 0 or not size_bytes or offset + size_bytes > self.size_bytes:
            raise ValueError(f"{what} of {size_bytes} bytes at {offset} of {self.size_bytes}")
        if what in self.failing:
            raise OSError(EIO)

    def _is_cut(self, what: str) -> bool:
        if self._left is None or not self._counts(what):
            return False
        self._left -= 1
        return self._left < 0

    def _clear(self, offset: int, data: bytes) -> None:
        for at, byte in enumerate(data, offset):
            self.cells[at] &= byte | self.stuck.get(at, 0)

    def _half_erased(self, old: bytearray) -> bytes:
        """A mix of old bytes, erased ones and noise: of each a share that is different every time, none included."""
        kept, noisy = self._rng.choice([(1.0, 0.0), (0.0, 0.0), (0.95, 0.01), (0.5, 0.1), (0.1, 0.5), (0.0, 1.0)])
        pieces = bytearray()
        for byte in old:
            share = self._rng.random()
            pieces.append(byte if share < kept else self._rng.randrange(256) if share < kept + noisy else 0xFF)
        return bytes(pieces)
