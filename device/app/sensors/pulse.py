"""Counts pulses to low at a pin: meters, gauges, contacts to ground. The total goes on where it was before a restart.

What came between the last stored sample and the restart is lost, so the total may lag but never decreases. Handlers of
edges wait in a queue of 8 while the program is busy; more than that at once are lost too.
"""

from machine import Pin
from micropython import const
from time import ticks_diff, ticks_ms

_MOST = const(4294967279)


class Sensor:
    fields = ("pulse_total",)

    def __init__(self, options: dict) -> None:
        from app.sensors.options import pin, whole

        self._total = 0
        self._last_ms = -1
        self._debounce_ms = whole(options, "debounce_ms", 0, 0, 10000)
        line = Pin(pin(options), Pin.IN, Pin.PULL_UP)
        line.irq(self._edge, Pin.IRQ_FALLING)

    def restore(self, values: tuple) -> None:
        """Add the total that was last stored, None if there is none."""
        self._total += values[0] or 0

    def start(self) -> int:
        return 0

    def read(self) -> tuple:
        return (self._total if self._total <= _MOST else "range",)

    def _edge(self, line: "Any") -> None:
        now_ms = ticks_ms()
        # After 6 days without a pulse the difference of ticks is negative, which is no bounce either.
        if self._last_ms < 0 or not 0 <= ticks_diff(now_ms, self._last_ms) < self._debounce_ms:
            self._total += 1
            self._last_ms = now_ms
