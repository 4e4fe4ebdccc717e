"""The NOR flash of a virtual board seen from the host: the same mapped file that the VM maps.

Owns what NOR does (programming clears bits, erasing sets whole sectors) and the cut of power in the middle of an
operation. Must not know partitions, the loader or the VM.
"""

from __future__ import annotations

import mmap
from pathlib import Path

SECTOR_BYTES = 4096
_ERASED = b"\xff"


class PowerCut(Exception):
    """The power went away while the flash was at work; half of the operation is done."""


class FlashFile:
    """Flash of `size_bytes` in a file, erased if there was none; a file that is there keeps its size.

    `operations` counts programs and erases since it was opened. The one with the number `cut_at` (from 1; 0 is never)
    does its first half and raises PowerCut.
    """

    def __init__(self, path: Path, size_bytes: int = 4 * 1024 * 1024) -> None:
        if not path.exists():
            path.write_bytes(_ERASED * size_bytes)
        with path.open("r+b") as file:
            self._bytes = mmap.mmap(file.fileno(), 0)
        self.size_bytes = len(self._bytes)
        self.operations = 0
        self.cut_at = 0

    def close(self) -> None:
        self._bytes.close()

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Raises ValueError outside the flash, as do `program` and `erase`."""
        self._check(offset, size_bytes)
        return self._bytes[offset : offset + size_bytes]

    def program(self, offset: int, data: bytes) -> None:
        """Write by clearing bits: what was 0 stays 0."""
        self._check(offset, len(data))
        done_bytes = self._begin(len(data))
        old = int.from_bytes(self._bytes[offset : offset + done_bytes])
        both = old & int.from_bytes(data[:done_bytes])
        self._bytes[offset : offset + done_bytes] = both.to_bytes(done_bytes)
        self._end()

    def erase(self, offset: int, size_bytes: int) -> None:
        """Set whole sectors to FF; ValueError if `offset` or `size_bytes` is not a multiple of SECTOR_BYTES."""
        self._check(offset, size_bytes)
        if offset % SECTOR_BYTES or size_bytes % SECTOR_BYTES:
            raise ValueError(f"0x{offset:x} + 0x{size_bytes:x} are not whole sectors")
        done_bytes = self._begin(size_bytes)
        self._bytes[offset : offset + done_bytes] = _ERASED * done_bytes
        self._end()

    def _check(self, offset: int, size_bytes: int) -> None:
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise ValueError(f"0x{offset:x} + 0x{size_bytes:x} is not within 0x{self.size_bytes:x} bytes of flash")

    def _begin(self, size_bytes: int) -> int:
        """Count an operation. Returns how many of its bytes get done."""
        self.operations += 1
        return size_bytes // 2 if self.operations == self.cut_at else size_bytes

    def _end(self) -> None:
        if self.operations == self.cut_at:
            raise PowerCut(f"power was cut in flash operation {self.operations}")
