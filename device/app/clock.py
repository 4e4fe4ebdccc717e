"""What time it is and how far to trust it. Owns the figures and the task that asks; must not know how a time is weighed
and set, which is app.timesync's.
"""

import asyncio

from app.board import clock_ms, unix_s
from app.site import evict
from micropython import const

_SYNCED = const(2)
_DAY_MS = const(86400000)
_UNIX_2000_S = const(946684800)


class Clock:
    """docs/time.md tells what each figure means; those that end in _ms and are no span are uptimes. app.timesync sets
    them; `on_sync(step_s)`, if given, is called each time the clock was set."""

    def __init__(self) -> None:
        self.quality = self.failures = self.steps = self.step_s = self.steps_s = self.base_s = 0
        self.synced_ms = self.shift_ms = self.due_ms = self.told_ms = 0
        self.source = ""  # ntp, http, browser; after boot kept or last
        self.ppm = self.on_sync = None
        self.doubt_ms = self.mark = None  # an offer that needs a second one; (uptime, base) where drift is counted from
        self.refused = {}  # uptime at which an NTP server asked not to be asked, by its name
        self.origin_ms = clock_ms() // 1000 * 1000  # whole, so that slots of a kept clock are whole uptimes as well

    def uptime_ms(self) -> int:
        """Since boot, whichever way the clock was set meanwhile."""
        return clock_ms() - self.origin_ms

    def stamp(self, at_ms: int = 0) -> int:
        """The moment when the chip's clock was at `at_ms`, or now, as the log keeps it: Unix seconds when synced, else
        seconds since boot."""
        at_ms = at_ms or clock_ms()
        return at_ms // 1000 + _UNIX_2000_S if self.quality == _SYNCED else (at_ms - self.origin_ms) // 1000

    def now(self) -> tuple:
        """(Unix seconds or, with quality 0, seconds since boot, quality)."""
        return unix_s() or self.uptime_ms() // 1000, self.quality

    def wants_http(self) -> bool:
        """Whether the Date of an HTTP answer is worth a look."""
        return self.quality < _SYNCED or self.uptime_ms() - self.synced_ms > _DAY_MS

    async def run(self, wifi: "Any", beat: "Any") -> None:
        """Ask NTP once there is a link, and again when app.ntpsync says so."""
        while True:
            beat()
            if not wifi.ip:
                if self.quality < _SYNCED:
                    self.due_ms = 0  # a new link is tried at once
            elif self.uptime_ms() >= self.due_ms:
                from app.ntpsync import sync

                self.due_ms = await sync(self, wifi, beat)
                del sync
                evict()
            await asyncio.sleep_ms(1000)
