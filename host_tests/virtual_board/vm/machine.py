"""Fake `machine`: reset causes, watchdog, RTC clock and memory, as on the ESP32-C3. Pins and buses are in `_pins`, `_dht`, `_i2c`.

A reset ends this VM; the host starts the next one. Nothing here feeds the watchdog but `WDT.feed`.
"""

import _board
import registers as _r
import time as _time
import uctypes as _uctypes
from _board import words as _words
from _dht import disable_irq, enable_irq, time_pulse_us
from _i2c import SoftI2C
from _pins import ADC, Pin

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_cpu = {"hz": 160000000}


def _reset_with(cause, state):
    _words[_r.RESET_CAUSE] = cause
    _board.halt(state)


def reset():
    _reset_with(HARD_RESET, _r.STATE_RESET)


def soft_reset():
    _reset_with(SOFT_RESET, _r.STATE_RESET)


def deepsleep(time_ms=0):
    _words[_r.SLEEP_MS] = time_ms
    _reset_with(DEEPSLEEP_RESET, _r.STATE_SLEEP)


def lightsleep(time_ms=0):
    _board.idle(time_ms)


def idle():
    _board.idle(1)


def reset_cause():
    return _words[_r.RESET_CAUSE]


def unique_id():
    return bytes(_uctypes.bytearray_at(_r.UNIQUE_ID, 6))


def freq(hz=None):
    if hz is None:
        return _cpu["hz"]
    if hz not in (20000000, 40000000, 80000000, 160000000):
        raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz or 160MHz")
    _cpu["hz"] = hz


class WDT:
    """Making it again reconfigures the timeout and feeds, as esp32 v1.24.1 does; nothing stops it but a reset."""

    def __init__(self, *, id=0, timeout=5000):
        if id != 0:
            raise ValueError("WDT(%d) doesn't exist" % id)
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        self.feed()
        _words[_r.WDT_TIMEOUT_MS] = timeout

    def feed(self):
        _words[_r.WDT_FED_TICKS] = _board.ticks_ms()


class RTC:
    def __init__(self):
        pass  # without it, the VM would take arguments and ignore them

    def datetime(self, datetimetuple=None):
        """(year, month, day, weekday, hours, minutes, seconds, microseconds), read or set."""
        if datetimetuple is None:
            s = _board.clock_read(_r.RTC)
            t = _time.gmtime(s)
            us = _words[_r.RTC + 1] * 1000
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], us)
        y, mo, d, _, h, mi, s, us = datetimetuple
        _board.clock_set(_r.RTC, _time.mktime((y, mo, d, h, mi, s, 0, 0)), us // 1000)

    def memory(self, data=None):
        if data is None:
            return bytes(_uctypes.bytearray_at(_r.RTC_MEMORY, _words[_r.RTC_MEMORY_LEN]))
        if len(data) > _r.RTC_MEMORY_SIZE_BYTES:
            raise ValueError("buffer too long")
        _board.memmove(_r.RTC_MEMORY, data, len(data))
        _words[_r.RTC_MEMORY_LEN] = len(data)
