"""NOR flash for the store's runs on the VM, outside the GC heap, and power cuts that leave it as real flash is left.

The cells are memory of the process, which a call of the C library moves: an append costs the heap nothing of this.
"""

import random

import ffi
import uctypes

_BASE = 0x30000000  # a small int on 32 bits, so that adding to it allocates nothing
_MOST_BYTES = 4 << 20
_ANONYMOUS_FIXED = 0x32

_libc = ffi.open("libc.so.6")
_copy_in = _libc.func("v", "memmove", "LPL")
_copy_out = _libc.func("v", "memmove", "PLL")
_fill = _libc.func("v", "memset", "LiL")
_differs = _libc.func("i", "memcmp", "LPL")
_ERASED = b"\xff" * 512

if _libc.func("p", "mmap", "LLiiil")(_BASE, _MOST_BYTES, 3, _ANONYMOUS_FIXED, -1, 0) != _BASE:
    raise MemoryError("mmap")


class PowerCut(Exception):
    pass


def room(offset, size_bytes):
    """Memory outside the heap, of zeros: behind the flash, which begins at 0."""
    return uctypes.bytearray_at(_BASE + offset, size_bytes)


class Flash:
    """The power goes in operation `cut_at`, counted down to it; or in the next erase, if `cut_erase`; or in operation
    `cut_header` from the next header on. 1 is the first."""

    sector_bytes = 4096

    def __init__(self, sectors):
        self.size_bytes = sectors * 4096
        self.cells = room(0, self.size_bytes)
        _fill(_BASE, 0xFF, self.size_bytes)
        self.wear = [0] * sectors
        self.reads = self.erases = self.torn = self.half_erased = 0
        self.power_on()

    def power_on(self):
        """No cut is due."""
        self.cut_at = 0
        self.cut_erase = False
        self.cut_header = 0

    def read(self, offset, buf):
        self.reads += 1
        if offset < 0 or offset + len(buf) > self.size_bytes:
            raise ValueError("read")
        _copy_out(buf, _BASE + offset, len(buf))

    def program(self, offset, buf):
        if offset < 0 or offset + len(buf) > self.size_bytes:
            raise ValueError("program")
        if offset % 4096 == 0 and self.cut_header:
            self.cut_at = self.cut_header
            self.cut_header = 0
        if self._is_cut():
            self._tear(offset, buf)
        if _differs(_BASE + offset, _ERASED, len(buf)):
            self._clear(offset, buf, len(buf))
        else:
            _copy_in(_BASE + offset, buf, len(buf))

    def erase(self, offset):
        if offset % 4096 or not 0 <= offset < self.size_bytes:
            raise ValueError("erase")
        self.erases += 1
        self.wear[offset // 4096] += 1
        if self._is_cut() or self.cut_erase:
            self._half_erase(offset)
        _fill(_BASE + offset, 0xFF, 4096)

    def _is_cut(self):
        self.cut_at -= 1
        return self.cut_at == 0

    def _clear(self, offset, buf, size):
        cells = self.cells
        for i in range(size):
            cells[offset + i] &= buf[i]

    def _tear(self, offset, buf):
        """A part has landed, up to a byte that got some of its zeros."""
        self.torn += 1
        n = random.randrange(len(buf) + 1)
        self._clear(offset, buf, n)
        if n < len(buf):
            self.cells[offset + n] &= buf[n] | random.getrandbits(8)
        raise PowerCut

    def _half_erase(self, offset):
        """Pieces of any length are as they were, erased, or noise."""
        self.half_erased += 1
        kept = random.randrange(5)
        noisy = kept + random.randrange(3)
        cells = self.cells
        end = offset + 4096
        while offset < end:
            n = min(end - offset, 1 + random.getrandbits(random.randrange(9)))
            share = random.randrange(5)
            if share >= noisy:
                _fill(_BASE + offset, 0xFF, n)
            elif share >= kept:
                for i in range(n):
                    cells[offset + i] = random.getrandbits(8)
            offset += n
        raise PowerCut
