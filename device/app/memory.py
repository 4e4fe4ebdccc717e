"""The memory guard, first version: three figures, one level, with hysteresis. Owns the levels; others act on them.

Figures: GC bytes in use, free IDF bytes, largest IDF block. Never gc.mem_free() alone, which counts memory that
Wi-Fi and sockets live on.
"""

import gc

from app import log
from app.board import memory
from app.site import evict
from micropython import const

_HIGH = const(2)  # page modules are dropped at 1; at 2 new web requests get 503; sampling and telemetry go on

_HEAP_BYTES = const(65536)
_COLLECT_EVERY = const(15)  # looks
_HYSTERESIS_BYTES = const(2000)


def level(before: int, used: int, idf_free: int, idf_largest: int) -> int:
    """0 (ok), 1 (low) or 2 (high); to come down from `before` its limits must be cleared by _HYSTERESIS_BYTES."""
    margin = _HYSTERESIS_BYTES if before == _HIGH else 0
    if used + margin > 58000 or idf_free - margin < 30000 or idf_largest - margin < 8192:
        return _HIGH
    margin = _HYSTERESIS_BYTES if before else 0
    return used + margin > 54000 or idf_free - margin < 60000 or idf_largest - margin < 24576


class Guard:
    """`level` now; `settled` after the last collect and `peak`, the most seen, are bytes of the GC heap."""

    def __init__(self) -> None:
        self.level = self.settled = self.peak = self._looks = 0

    def look(self) -> None:
        """Read the figures and set the level; collect at every 15th look, or when they look bad."""
        self._looks += 1
        collect = self._looks % _COLLECT_EVERY == 1
        used, free, idf_free, idf_largest = memory()
        self.peak = max(self.peak, used)
        now = level(0, used, idf_free, idf_largest)
        if now or collect:
            evict()
            gc.collect()
            self.settled = used = gc.mem_alloc()
        now = int(level(self.level, used, idf_free, idf_largest))
        if now != self.level:
            self.level = now
            log.warning("memory", "level %d: gc=%d idf=%d/%d", now, used, idf_free, idf_largest)
        if used + free > _HEAP_BYTES and not collect:
            log.warning("memory", "the GC heap has grown to %d bytes", used + free)
