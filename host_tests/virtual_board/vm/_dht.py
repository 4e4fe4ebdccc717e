"""Model of a DHT11 or DHT22 on a pin, and `machine.time_pulse_us`, which is how a program hears it.

Asked by a low level of DHT_LOW_MS on its line, it answers with what it measured when it was last asked and measures
again; asked too soon, it stays silent, as the data sheets say. Must not know drivers.
"""

import _board
import _pins
import registers as _r
from _board import words as _words

_PULSES = 42  # low 80 us, high 80 us, 40 bits: high 26 us for 0, 70 us for 1
_CUT_OFF = 20  # what is left of an answer that breaks off

_state = {"low": 0, "next": _PULSES, "frame": 0, "check": 0}


def _line(level):
    now = _board.ticks_ms()
    if not level:
        _state["low"] = now
        return
    _state["next"] = _PULSES
    deaf = (
        _words[_r.DHT_FAULT] in (_r.FAULT_ABSENT, _r.FAULT_STUCK) or _words[_r.PINS_LOW] >> _words[_r.DHT_PIN] - 1 & 1
    )
    if deaf or _board.ticks_diff(now, _state["low"]) < _words[_r.DHT_LOW_MS]:
        return
    asked = _words[_r.DHT_ASKED]
    if asked and 0 <= _board.ticks_diff(now, asked) < _words[_r.DHT_INTERVAL_MS]:
        return
    frame = _words[_r.DHT_MEASURED]
    _words[_r.DHT_MEASURED] = _words[_r.DHT_NOW]
    _words[_r.DHT_ASKED] = now or 1
    _state["frame"] = frame
    _state["check"] = (frame >> 24) + (frame >> 16 & 255) + (frame >> 8 & 255) + (frame & 255) & 255
    if _words[_r.DHT_FAULT] == _r.FAULT_CRC:
        _state["check"] ^= 4
    _state["next"] = 0


_pins.on_dht_line = _line


def time_pulse_us(pin, pulse_level, timeout_us=1000000):
    """The length of the next pulse of that level; -2 when it did not come, -1 when it did not end."""
    own = _words[_r.DHT_PIN] == pin._id + 1
    if _words[_r.PINS_LOW] >> pin._id & 1 or (own and _words[_r.DHT_FAULT] == _r.FAULT_STUCK):
        return -2 if pulse_level else -1
    at = _state["next"]
    late = _words[_r.DHT_FAULT] == _r.FAULT_LATE and at >= _CUT_OFF
    if not own or at >= _PULSES or late or pulse_level != (at > 0):
        return -1 if pulse_level else -2  # the line is high and stays so
    _state["next"] = at + 1
    if at < 2:
        width_us = 80
    else:
        bit = at - 2
        one = _state["frame"] >> 31 - bit & 1 if bit < 32 else _state["check"] >> 39 - bit & 1
        width_us = 70 if one else 26
    return width_us if width_us < timeout_us else -1


def disable_irq():
    return True


def enable_irq(state=True):
    pass
