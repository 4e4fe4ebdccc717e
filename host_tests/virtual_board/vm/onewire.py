"""Fake `onewire`, which is frozen in the firmware, with DS18B20s on the line, told by sensor_world.py.

Owns bytes, not time slots. As on the wire: a read that nobody answers gives ones, sensors that answer together give the
AND of their bits, a line held low is a presence and zeros. Commands are those of the data sheet that a logger needs.
"""

import _board
import registers as _r
import uctypes as _uctypes
from _board import words as _words

_CONVERT = 0x44
_READ_SCRATCHPAD = 0xBE
_SEARCH_MS = 13
_CONVERSION_MS = 600  # typical for 12 bits; 750 is the most

_IDLE, _ROM, _MATCHING, _FUNCTION, _READING, _ASKING = range(6)
_state = {"at": _IDLE, "chosen": 0, "n": 0}
_sensors = _uctypes.bytearray_at(_r.ONEWIRE_SENSORS, _r.ONEWIRE_SENSOR_BYTES * _r.ONEWIRE_SENSORS_MOST)


class OneWireError(Exception):
    pass


class OneWire:
    SEARCH_ROM = 0xF0
    MATCH_ROM = 0x55
    SKIP_ROM = 0xCC

    def __init__(self, pin):
        self.pin = pin
        self.pin.init(pin.OPEN_DRAIN, pin.PULL_UP)

    def _held(self):
        own = _words[_r.ONEWIRE_PIN] == self.pin._id + 1
        return _words[_r.PINS_LOW] >> self.pin._id & 1 or (own and _words[_r.ONEWIRE_FAULT] == _r.FAULT_STUCK)

    def _present(self):
        """Bits of the sensors that hear what is written."""
        if _words[_r.ONEWIRE_PIN] != self.pin._id + 1 or _words[_r.ONEWIRE_FAULT] == _r.FAULT_ABSENT:
            return 0
        return _words[_r.ONEWIRE_PRESENT]

    def reset(self, required=False):
        _state["at"] = _ROM
        _state["chosen"] = 0
        there = bool(self._held() or self._present())
        if required and not there:
            raise OneWireError
        return there

    def readbit(self):
        """1, but while one of the chosen sensors converts."""
        if self._held():
            return 0
        _settle()
        busy = _words[_r.ONEWIRE_CONVERTING] & self._present() & _state["chosen"]
        return 0 if _state["at"] == _ASKING and busy else 1

    def readbyte(self):
        if self._held():
            return 0
        byte = 0xFF
        if _state["at"] == _READING and _state["n"] < 9:
            chosen = _state["chosen"] & self._present()
            for i in range(_r.ONEWIRE_SENSORS_MOST):
                if chosen >> i & 1:
                    byte &= _scratchpad(i, _state["n"])
            _state["n"] += 1
        return byte

    def readinto(self, buf):
        for i in range(len(buf)):
            buf[i] = self.readbyte()

    def writebit(self, value):
        raise ValueError("virtual board: only whole bytes are modelled")

    def writebyte(self, value):
        at = _state["at"]
        if at == _ROM:
            _state["n"] = 0
            _state["chosen"] = self._present()
            _state["at"] = {self.SKIP_ROM: _FUNCTION, self.MATCH_ROM: _MATCHING}.get(value, _IDLE)
        elif at == _MATCHING:
            for i in range(_r.ONEWIRE_SENSORS_MOST):
                if _sensors[i * _r.ONEWIRE_SENSOR_BYTES + _state["n"]] != value:
                    _state["chosen"] &= ~(1 << i)
            _state["n"] += 1
            if _state["n"] == 8:
                _state["at"] = _FUNCTION
        elif at == _FUNCTION:
            self._command(value)

    def _command(self, value):
        _state["at"] = _IDLE
        if value == _CONVERT:
            _words[_r.ONEWIRE_STARTED] = _board.ticks_ms()
            _words[_r.ONEWIRE_CONVERTING] = _state["chosen"]
            _state["at"] = _ASKING
        elif value == _READ_SCRATCHPAD:
            _settle()
            _state["at"] = _READING
            _state["n"] = 0

    def write(self, buf):
        for byte in buf:
            self.writebyte(byte)

    def select_rom(self, rom):
        self.reset()
        self.writebyte(self.MATCH_ROM)
        self.write(rom)

    def scan(self):
        if self._held():  # two zeros at every place: the search finds a sensor in each of its 255 rounds
            _board.idle(255 * _SEARCH_MS)
            return [bytearray(b"\xff" * 8)] * 255
        size = _r.ONEWIRE_SENSOR_BYTES
        there = self._present()
        return [_sensors[i * size : i * size + 8] for i in range(_r.ONEWIRE_SENSORS_MOST) if there >> i & 1]

    def crc8(self, data):
        crc = 0
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
        return crc


def _settle():
    """What the time since the last start has done."""
    converting = _words[_r.ONEWIRE_CONVERTING]
    restarted = _words[_r.ONEWIRE_FAULT] == _r.FAULT_RESTARTED
    late = _words[_r.ONEWIRE_FAULT] == _r.FAULT_LATE
    passed_ms = _board.ticks_diff(_board.ticks_ms(), _words[_r.ONEWIRE_STARTED])
    if converting and (restarted or (not late and passed_ms >= _CONVERSION_MS)):
        for i in range(_r.ONEWIRE_SENSORS_MOST):
            if converting >> i & 1:
                (_power_on if restarted else _measured)(i)
        _words[_r.ONEWIRE_CONVERTING] = 0


def _measured(i):
    at = i * _r.ONEWIRE_SENSOR_BYTES
    _sensors[at + 8] = _sensors[at + 16]
    _sensors[at + 9] = _sensors[at + 17]
    _sensors[at + 14] = 16 - (_sensors[at + 8] & 15)


_POWER_ON = b"\x50\x05\x4b\x46\x7f\xff\x0c\x10"


def _power_on(i):
    at = i * _r.ONEWIRE_SENSOR_BYTES + 8
    for n in range(8):
        _sensors[at + n] = _POWER_ON[n]


def _scratchpad(i, n):
    at = i * _r.ONEWIRE_SENSOR_BYTES + 8
    if n < 8:
        return _sensors[at + n]
    bad = 1 if _words[_r.ONEWIRE_FAULT] == _r.FAULT_CRC else 0
    return OneWire.crc8(None, _sensors[at : at + 8]) ^ bad
