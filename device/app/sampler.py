"""Takes a sample in every slot of the clock and hands it to the store. Owns the schedule; knows sensors by contract."""

import asyncio

from app import log
from app.board import clock_ms
from micropython import const

_MOST_SLEEP_MS = const(1000)  # woken this often, so that a clock that was set is noticed within a second


class Sampler:
    """`missed` counts slots that were slept through, `failed` readings that gave no value, for the last `reason`.
    `period_ms` set to 0 forgets the last slot, as when the clock got its first time: that jump is no missed slot."""

    def __init__(self, read: "Any", store: "Any", clock: "Any", settings: dict) -> None:
        self._read = read
        self._store = store
        self._clock = clock
        self._settings = settings
        self.period_ms = 0
        self.taken = self.missed = self.failed = 0
        self.reason = ""

    async def run(self, beat: "Any") -> None:
        """Sample once in every slot, for ever. Slots are whole multiples of the period of the chip's clock."""
        last = 0
        while True:
            beat()
            period_ms = self._settings["sample_period_s"] * 1000
            now_ms = clock_ms()
            slot = now_ms // period_ms
            if period_ms != self.period_ms:  # the first sample is taken at a slot's start, like all others
                self.period_ms = period_ms
                last = slot
            elif slot != last:
                if slot > last + 1:
                    self.missed += slot - last - 1
                    log.warning("sampler", "%d slots missed, the loop was held up", slot - last - 1)
                last = slot
                self._take()
            await asyncio.sleep_ms(min(period_ms - now_ms % period_ms, _MOST_SLEEP_MS))

    def _take(self) -> None:
        values, reason = self._read()
        if reason:
            self.failed += 1
        if reason != self.reason:
            self.reason = reason
            log.warning("sampler", "reading: %s", reason or "good again")
        self.taken += 1
        self._store.append(*self._clock.now(), values)
