"""Fake `time`: the device's integer clock, epoch 2000-01-01, UTC, 8-tuples, ticks that wrap at 2**30."""

import _board
import registers as _r
import utime as _u
from _board import words as _words

ticks_ms = _board.ticks_ms
ticks_diff = _u.ticks_diff
ticks_add = _u.ticks_add
ticks_cpu = _u.ticks_cpu

_EPOCH_2000_S = 946684800
_28_YEARS_S = 883612800


def ticks_us():
    return (_u.ticks_us() + _words[_r.TICKS_OFFSET] * 1000) & 0x3FFFFFFF


def time():
    return _board.clock_read(_r.RTC)


def time_ns():
    seconds = _board.clock_read(_r.RTC)
    return (seconds * 1000 + _words[_r.RTC + 1]) * 1000000


def gmtime(secs=None):
    if secs is None:
        secs = time()
    years = 0
    if _whole(secs) >= 1 << 31:
        raise OverflowError("overflow converting long int to machine word")
    while secs >= 1 << 30:  # the VM's 32-bit time ends in 2038, the device's in 2068
        years += 28  # after which the calendar repeats
        secs -= _28_YEARS_S
    t = _u.gmtime(secs + _EPOCH_2000_S)
    return (t[0] + years,) + t[1:8]


localtime = gmtime


def mktime(local_time):
    if not 8 <= len(local_time) <= 9:
        raise TypeError("mktime needs a tuple of length 8 or 9")
    y, mo, d, h, mi, s = [_whole(value) for value in local_time[:6]]
    mo -= 3  # months counted from March put the leap day at a year's end
    y += mo // 12
    mo %= 12
    days = y * 365 + y // 4 - y // 100 + y // 400 + (mo * 306 + 5) // 10 + d - 730426
    return days * 86400 + h * 3600 + mi * 60 + s


def _whole(value):
    if not isinstance(value, int):
        raise TypeError("can't convert float to int")
    return value


def sleep_ms(ms):
    _board.idle(max(0, _whole(ms)))


def sleep(seconds):
    _board.idle(max(0, int(seconds * 1000)))


def sleep_us(us):
    _u.sleep_us(_whole(us))
