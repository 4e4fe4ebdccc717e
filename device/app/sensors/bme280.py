"""Bosch BME280 and BMP280: forced measurements without oversampling or filter; which it is, its chip id says.

Compensation is the data sheets' own in integers (BST-BME280-DS002 4.2.3, BST-BMP280-DS001 3.11.3), 64 bits wide for
pressure: `>>` rounds down here as there, and the one division has no negative side that occurs. The calibration is
read again whenever the settings are found gone, as after another sensor was plugged in.
"""

from struct import unpack_from

from micropython import const

_ENODEV = const(19)
_BME = const(0x60)
_BMP = const(0x58)
_ID = const(0xD0)
_CALIBRATION = const(0x88)
_HUMIDITY_1 = const(0xA1)
_HUMIDITY_2 = const(0xE1)
_CONTROL_HUMIDITY = const(0xF2)
_STATUS = const(0xF3)
_CONTROL = const(0xF4)
_SETTINGS = const(0x24)  # temperature and pressure once, asleep
_FORCED = b"\x25"
_MEASURE_MS = const(10)  # 9.3 ms at most
_SKIPPED = const(0x80000)
_SKIPPED_HUMIDITY = const(0x8000)


def fine_temperature(raw: int, t: tuple) -> int:
    """t_fine of the data sheet: degrees Celsius x 5120."""
    coarse = ((raw >> 3) - (t[0] << 1)) * t[1] >> 11
    square = (raw >> 4) - t[0]
    return coarse + ((square * square >> 12) * t[2] >> 14)


def pressure_256ths(raw: int, fine: int, p: tuple) -> int:
    """Pascal x 256, or -1 where a calibration of zeros would divide by zero."""
    x = fine - 128000
    offset = x * x * p[5] + (x * p[4] << 17) + (p[3] << 35)
    slope = (1 << 47) + (x * x * p[2] >> 8) + (x * p[1] << 12)
    slope = slope * p[0] >> 33
    if slope <= 0:
        return -1
    pressure = ((1048576 - raw << 31) - offset) * 3125 // slope
    square = p[8] * (pressure >> 13) * (pressure >> 13) >> 25
    return (pressure + square + (p[7] * pressure >> 19) >> 8) + (p[6] << 4)


def humidity_1024ths(raw: int, fine: int, h: tuple) -> int:
    """Percent x 1024, 0 to 102400."""
    x = fine - 76800
    scale = ((x * h[5] >> 10) * ((x * h[2] >> 11) + 32768) >> 10) + 2097152
    humidity = ((raw << 14) - (h[3] << 20) - h[4] * x + 16384 >> 15) * (scale * h[1] + 8192 >> 14)
    humidity -= ((humidity >> 15) * (humidity >> 15) >> 7) * h[0] >> 4
    return min(max(humidity, 0), 419430400) >> 12


def humidity_calibration(first: int, rest: bytes) -> tuple:
    """H1 to H6 from 0xA1 and the 7 bytes from 0xE1 on; H4 and H5 are 12 bits and share a byte."""
    h2, h3, h4, shared, h5, h6 = unpack_from("<hBbBbb", rest)
    return first, h2, h3, h4 << 4 | shared & 15, h5 << 4 | shared >> 4, h6


class Sensor:
    def __init__(self, options: dict) -> None:
        from app.sensors.options import i2c

        self.fields = ("temp_c", "press_hpa", "hum_pct") if options["kind"] == "bme280" else ("temp_c", "press_hpa")
        self._bus, self._address = i2c(options, 0x76, 0x77)
        self._calibration = self._humidity = ()
        self._data = bytearray(12)

    def start(self) -> int:
        bus = self._bus
        address = self._address
        if not self._calibration or bus.readfrom_mem(address, _CONTROL, 1)[0] != _SETTINGS:
            self._calibrate()
        bus.writeto_mem(address, _CONTROL_HUMIDITY, b"\x01")  # holds from the next write on
        bus.writeto_mem(address, _CONTROL, _FORCED)
        return _MEASURE_MS

    def _calibrate(self) -> None:
        bus = self._bus
        address = self._address
        self._calibration = self._humidity = ()
        chip = bus.readfrom_mem(address, _ID, 1)[0]
        if chip not in (_BME, _BMP):
            raise OSError(_ENODEV)
        if chip == _BME:
            first = bus.readfrom_mem(address, _HUMIDITY_1, 1)[0]
            self._humidity = humidity_calibration(first, bus.readfrom_mem(address, _HUMIDITY_2, 7))
        self._calibration = unpack_from("<HhhHhhhhhhhh", bus.readfrom_mem(address, _CALIBRATION, 24))

    def read(self) -> tuple:
        data = self._data
        self._bus.readfrom_mem_into(self._address, _STATUS, data)
        if data[0] & 8 or data[1] & 3:
            return ("timeout",) * len(self.fields)
        if data[1] != _SETTINGS or not self._calibration:  # it has lost its power since start()
            return ("absent",) * len(self.fields)
        return self._values(data[4:])[: len(self.fields)]

    def _values(self, data: bytearray) -> tuple:
        pressure, raw = (data[i] << 12 | data[i + 1] << 4 | data[i + 2] >> 4 for i in (0, 3))
        humidity = data[6] << 8 | data[7]
        if raw == _SKIPPED:  # without a temperature the others can't be compensated
            return "range", "range", "range"
        fine = fine_temperature(raw, self._calibration[:3])
        celsius = fine * 5 + 128 >> 8
        if not -4000 <= celsius <= 8500:
            return "range", "range", "range"
        pascal = -1 if pressure == _SKIPPED else pressure_256ths(pressure, fine, self._calibration[3:])
        return (
            celsius / 100,
            pascal / 25600 if 30000 << 8 <= pascal <= 110000 << 8 else "range",
            self._percent(humidity, fine),
        )

    def _percent(self, raw: int, fine: int) -> "Any":
        if not self._humidity:  # it is a BMP280
            return "absent"
        return "range" if raw == _SKIPPED_HUMIDITY else humidity_1024ths(raw, fine, self._humidity) / 1024
