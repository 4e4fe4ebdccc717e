"""Sensirion SHT30, SHT31, SHT35 (data sheet of December 2022): single shots, high repeatability, no clock stretching.

Each of the two words has its own CRC, so one may be lost and the other good. Read too early, the sensor does not
acknowledge.
"""

from micropython import const
from time import sleep_ms

_ENODEV = const(19)
_HEATER_OFF = b"\x30\x66"
_MEASURE = b"\x24\x00"
_MEASURE_MS = const(16)


def crc8(data: "Any", start: int) -> int:
    """CRC of two bytes, polynomial 0x31 from 0xFF (section 4.12), against the third: 0 if they are good."""
    crc = 0xFF
    for i in range(start, start + 2):
        crc ^= data[i]
        for _ in range(8):
            crc = crc << 1 ^ (0x131 if crc & 0x80 else 0)
    return crc ^ data[start + 2]


def value(data: "Any", start: int, zero: int, span: int, least: int, most: int) -> "Any":
    """The number in three bytes, scaled from 0 to 65535 to `zero` to `zero + span`; or a word (section 4.13)."""
    if crc8(data, start):
        return "crc"
    number = zero + span * (data[start] << 8 | data[start + 1]) / 65535
    return number if least <= number <= most else "range"


class Sensor:
    fields = ("temp_c", "hum_pct")

    def __init__(self, options: dict) -> None:
        from app.sensors.options import i2c

        self._bus, self._address = i2c(options, 0x44, 0x45)
        self._data = bytearray(6)

    def start(self) -> int:
        self._bus.writeto(self._address, _HEATER_OFF)
        sleep_ms(1)  # between two commands
        self._bus.writeto(self._address, _MEASURE)
        return _MEASURE_MS

    def read(self) -> tuple:
        try:
            self._bus.readfrom_into(self._address, self._data)
        except OSError as error:
            if error.args[0] != _ENODEV:
                raise
            return "timeout", "timeout"
        return value(self._data, 0, -45, 175, -40, 125), value(self._data, 3, 0, 100, 0, 100)
