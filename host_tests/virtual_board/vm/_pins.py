"""Fake `machine.Pin` and `machine.ADC`, as on the ESP32-C3: what is wired to them is in the words of sensor_world.py.

Owns levels, edges and voltages. A handler of edges runs where the program waits, as the firmware's scheduler does, but
its queue has no limit here. Must not know what hangs on a pin.
"""

import sys

import _board
import registers as _r
from _board import words as _words

_PINS = 22
_ADC_PINS = 5
_level = bytearray(_PINS)  # bit 0: as the program set it; bit 1: it drives the pin
_handlers = {}


def on_dht_line(level):
    """What the program does to the line of the DHT; replaced by its model, _dht.py."""


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, id, mode=None, pull=-1, *, value=None):
        self._id = id._id if isinstance(id, Pin) else id
        if not isinstance(self._id, int) or not (0 <= self._id <= 13 or 20 <= self._id < _PINS):
            raise ValueError("invalid pin")  # 14 to 17 are the flash's, 18 and 19 the USB's
        if mode is not None or value is not None:
            self.init(mode, pull, value=value)

    def init(self, mode=None, pull=-1, *, value=None):
        if value is not None:
            self.value(value)
        if mode is not None:
            if mode not in (Pin.IN, Pin.OUT, Pin.OPEN_DRAIN):
                raise ValueError("virtual board: no such mode")
            self._set(_level[self._id] & 1 | (mode != Pin.IN) << 1)

    def value(self, x=None):
        n = self._id
        if x is None:
            return 0 if _level[n] == 2 or _words[_r.PINS_LOW] >> n & 1 else 1
        self._set(_level[n] & 2 | (1 if x else 0))

    def _set(self, level):
        n = self._id
        before = _level[n]
        _level[n] = level
        if _words[_r.DHT_PIN] == n + 1 and (before == 2) != (level == 2):
            on_dht_line(level != 2)

    def __call__(self, x=None):
        return self.value(x)

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def irq(self, handler=None, trigger=IRQ_FALLING | IRQ_RISING):
        _words[_r.PULSES_SEEN] = _words[_r.PULSES]
        _handlers[self._id] = (handler, trigger, self) if handler else None
        _board.on_pulses = _deliver


def _deliver():
    """A pulse is an edge down and one up; those at a pin without a handler are nobody's."""
    found = _handlers.get(_words[_r.PULSES_PIN] - 1)
    while _words[_r.PULSES_SEEN] != _words[_r.PULSES]:
        _words[_r.PULSES_SEEN] = _words[_r.PULSES_SEEN] + 1 & 0xFFFFFFFF
        if found:
            handler, trigger, pin = found
            for edge in (Pin.IRQ_FALLING, Pin.IRQ_RISING):
                if trigger & edge:
                    _call(handler, pin)


def _call(handler, pin):
    try:
        handler(pin)
    except Exception as error:  # the firmware's scheduler prints it and goes on
        sys.print_exception(error)


class ADC:
    """Reads to whole millivolts, as the firmware's calibration does, and no higher than the attenuation lets it."""

    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3
    _MOST_MV = (950, 1250, 1750, 3100)

    def __init__(self, pin, *, atten=ATTN_0DB):
        self._id = Pin(pin)._id
        if self._id >= _ADC_PINS:
            raise ValueError("invalid pin")
        self.init(atten=atten)

    def init(self, *, atten):
        if atten not in (0, 1, 2, 3):
            raise ValueError("invalid atten")
        self._atten = atten

    def read_uv(self):
        return min(_words[_r.ADC_UV + self._id] // 1000, ADC._MOST_MV[self._atten]) * 1000

    def read_u16(self):
        return min(_words[_r.ADC_UV + self._id] // ADC._MOST_MV[self._atten] * 65535 // 1000, 65535)
