"""Fake `machine.SoftI2C` with a BME280 or BMP280 and an SHT3x on the bus, told by sensor_world.py.

Transfers are whole: no bits. As the firmware's: nobody at an address is OSError 19, a clock held low is OSError 116 after
the time-out, and data held low goes unnoticed: it looks like an answer of zeros. A sensor that is read too soon gives
what it gives then.
"""

import _board
import registers as _r
import uctypes as _uctypes
from _board import words as _words
from _pins import Pin as _Pin

_ENODEV = 19
_ETIMEDOUT = 116
_registers = _uctypes.bytearray_at(_r.BME_REGISTERS, 256)
_now = _uctypes.bytearray_at(_r.BME_NOW, 8)

_BME_MS = 8  # of a measurement without oversampling, typical
_SHT_MS = 13
_MEASURING = 1
_DONE = 2


class SoftI2C:
    def __init__(self, scl, sda, *, freq=400000, timeout=50000):
        self._scl = _Pin(scl, _Pin.OPEN_DRAIN)._id + 1
        self._sda = _Pin(sda, _Pin.OPEN_DRAIN)._id + 1
        self._timeout_ms = timeout // 1000

    def _device(self, addr):
        """(write, read) of the device at the address."""
        held = _words[_r.I2C_HELD]
        if held == _r.HELD_SCL:
            _board.idle(self._timeout_ms)
            raise OSError(_ETIMEDOUT)
        if held == _r.HELD_SDA:
            return _take_all, _read_zeros
        if self._scl == _words[_r.I2C_SCL] and self._sda == _words[_r.I2C_SDA]:
            if addr == _words[_r.BME_ADDRESS] and _words[_r.BME_FAULT] != _r.FAULT_ABSENT:
                return _bme_write, _bme_read
            if addr == _words[_r.SHT_ADDRESS] and _words[_r.SHT_FAULT] != _r.FAULT_ABSENT:
                return _sht_write, _sht_read
        raise OSError(_ENODEV)

    def scan(self):
        found = []
        for addr in range(0x08, 0x78):
            try:
                self._device(addr)
                found.append(addr)
            except OSError:
                pass
        return found

    def readfrom_into(self, addr, buf, stop=True):
        self._device(addr)[1](buf)

    def readfrom(self, addr, nbytes, stop=True):
        buf = bytearray(nbytes)
        self.readfrom_into(addr, buf, stop)
        return bytes(buf)

    def writeto(self, addr, buf, stop=True):
        """The number of bytes that were acknowledged: a refusal after the address raises nothing."""
        return self._device(addr)[0](buf)

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        self.writeto(addr, _memory(memaddr, addrsize), False)
        self.readfrom_into(addr, buf)

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        buf = bytearray(nbytes)
        self.readfrom_mem_into(addr, memaddr, buf, addrsize=addrsize)
        return bytes(buf)

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        self.writeto(addr, _memory(memaddr, addrsize) + bytes(buf))


def _memory(memaddr, addrsize):
    if addrsize != 8:
        raise ValueError("virtual board: only addresses of 8 bits are modelled")
    return bytes((memaddr,))


def _take_all(data):
    return len(data)


def _read_zeros(buf):
    for i in range(len(buf)):
        buf[i] = 0


def _passed(started, ms):
    return _board.ticks_diff(_board.ticks_ms(), _words[started]) >= ms


# --- BME280, BMP280: data sheets BST-BME280-DS002 and BST-BMP280-DS001, memory map ---------------


def _bme_write(data):
    """A register's number, then its value, then further pairs."""
    _bme_settle()
    if data:
        _words[_r.BME_POINTER] = data[0]
    for i in range(1, len(data), 2):
        _bme_set(data[i - 1], data[i])
    return len(data)


def _bme_set(register, value):
    if register == 0xE0 and value == 0xB6:
        bme_power_on()
    elif register in (0xF2, 0xF4, 0xF5):
        _registers[register] = value
        if register == 0xF4 and value & 3:
            if value & 3 == 3:
                raise ValueError("virtual board: normal mode is not modelled")
            _words[_r.BME_STARTED] = _board.ticks_ms()
            _words[_r.BME_STATE] = _MEASURING


def _bme_settle():
    fault = _words[_r.BME_FAULT]
    if fault == _r.FAULT_RESTARTED:
        bme_power_on()
        _words[_r.BME_FAULT] = 0
    elif _words[_r.BME_STATE] == _MEASURING and fault != _r.FAULT_LATE and _passed(_r.BME_STARTED, _BME_MS):
        _words[_r.BME_STATE] = _DONE
        _registers[0xF4] &= 0xFC
        settings = _registers[0xF4]
        for i in range(8):
            _registers[0xF7 + i] = _now[i]
        _skip(0xFA, settings >> 5, 3)
        _skip(0xF7, settings >> 2 & 7, 3)
        _skip(0xFD, _registers[0xF2] & 7 and _registers[0xD0] == 0x60, 2)


def _skip(register, measured, count):
    """A quantity that is not measured reads 0x80000, or 0x8000."""
    if not measured:
        for i in range(count):
            _registers[register + i] = 0 if i else 0x80


def bme_power_on():
    for register in (0xF2, 0xF4, 0xF5):
        _registers[register] = 0
    for register, count in ((0xF7, 3), (0xFA, 3), (0xFD, 2)):
        _skip(register, False, count)
    _words[_r.BME_STATE] = 0


def _bme_read(buf):
    _bme_settle()
    _registers[0xF3] = 8 if _words[_r.BME_STATE] == _MEASURING else 0
    at = _words[_r.BME_POINTER]
    for i in range(len(buf)):
        buf[i] = _registers[at + i & 255]


# --- SHT3x: data sheet of December 2022, sections 4.1 to 4.12 ------------------------------------


def _sht_write(data):
    """Commands of 16 bits; others than these are not acknowledged."""
    command = data[0] << 8 | data[1] if len(data) == 2 else 0
    if command == 0x2400:
        _words[_r.SHT_STARTED] = _board.ticks_ms()
        _words[_r.SHT_STATE] = _MEASURING
    elif command in (0x3066, 0x306D):
        _words[_r.SHT_HEATER] = command & 1
    elif len(data):
        return len(data) - 1
    return len(data)


def _sht_read(buf):
    ready = _words[_r.SHT_STATE] and _words[_r.SHT_FAULT] != _r.FAULT_LATE and _passed(_r.SHT_STARTED, _SHT_MS)
    if not ready:
        raise OSError(_ENODEV)
    _words[_r.SHT_STATE] = 0
    for i in range(min(len(buf), 6)):
        raw = _words[_r.SHT_RAW + i // 3]
        buf[i] = (raw >> 8, raw & 255, _sht_crc(raw))[i % 3]


def _sht_crc(raw):
    crc = 0xFF0000 ^ raw << 8  # the polynomial divided out, bit by bit
    for bit in range(23, 7, -1):
        if crc >> bit & 1:
            crc ^= 0x131 << bit - 8
    return crc & 255 ^ (1 if _words[_r.SHT_FAULT] == _r.FAULT_CRC else 0)
