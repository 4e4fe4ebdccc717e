"""What time it is and how far to trust it. Owns the quality flag and when to ask; times are Unix seconds."""

import asyncio

from app.board import clock_ms, unix_s
from micropython import const

_UNSET = const(0)  # the chip's clock was never set; seconds since power-on are all there is
_ESTIMATED = const(1)  # it ran on through a reset, or a reading was stamped after the fact; 2 is synced


class Clock:
    """`quality` of the time (0 unset, 1 estimated, 2 synced), `failures` to get it since it was got."""

    def __init__(self) -> None:
        self.quality = _ESTIMATED if unix_s() else _UNSET
        self.failures = 0

    def now(self) -> tuple:
        """(Unix seconds or, with quality 0, the chip's own count, quality)."""
        return unix_s() or clock_ms() // 1000, self.quality

    async def run(self, wifi: "Any", beat: "Any") -> None:
        """Ask for the time once there is a link, and again when app.web.ntp says so."""
        wait_s = 0
        while True:
            beat()
            wait_s -= 1
            if wait_s < 0 and wifi.ip:
                from app.web.ntp import ask

                wait_s = ask(self)
            await asyncio.sleep_ms(1000)
