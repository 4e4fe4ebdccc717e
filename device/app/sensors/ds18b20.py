"""DS18B20, alone or several on one line; each wired to power, not fed by the data line (Maxim data sheet, rev. 6).

Several are told apart by ROM, from `ids` or, without it, as found at start. A field is then named after three bytes of
the ROM: first and fourth of the serial number and the CRC, which differ in genuine sensors and in copies.
85.0 is what the register holds after power-on. It is taken for a measurement only if byte 6, which is 0x0C then, has
changed: a conversion leaves 16 less the low four bits of the reading there.
"""

from binascii import hexlify, unhexlify

from machine import Pin
from micropython import const
from onewire import OneWire

_ENODEV = const(19)
_FAMILY = const(0x28)
_CONVERT = const(0x44)
_READ = const(0xBE)
_CONVERSION_MS = const(750)
_MOST_SENSORS = const(4)  # reading one takes 12 ms
_LEAST_16THS = const(-880)
_MOST_16THS = const(2000)
_POWER_ON_16THS = const(0x550)
_POWER_ON_MARK = const(0x0C)


def celsius(pad: bytearray, crc: int) -> "Any":
    """A scratchpad of 9 bytes, and the CRC over it: degrees Celsius, or a word for what is wrong with it."""
    if min(pad) == 0xFF:  # nobody spoke
        return "absent"
    if crc or pad[4] & 0x9F != 0x1F:  # nine zeros have a good CRC; the register of configuration is never 0
        return "crc"
    raw = pad[0] | pad[1] << 8
    if raw & 0x8000:
        raw -= 0x10000
    raw &= -1 << (3 - (pad[4] >> 5))  # below 12 bits of resolution the last ones are undefined
    if raw == _POWER_ON_16THS and pad[6] == _POWER_ON_MARK or not _LEAST_16THS <= raw <= _MOST_16THS:
        return "range"
    return raw / 16


class Sensor:
    def __init__(self, options: dict) -> None:
        from app.sensors.options import pin

        self._bus = OneWire(Pin(pin(options)))
        self._pad = bytearray(9)
        ids = options.pop("ids", "")
        roms = [self._rom(text) for text in ids.split(",")] if ids else self._found()
        if len(roms) > _MOST_SENSORS:
            raise ValueError("%d sensors are on the line, at most 4 can be read: name them in ids=" % len(roms))
        if ids or len(roms) > 1:
            self.fields = tuple(["temp_%s_c" % str(hexlify(bytes((r[1], r[4], r[7]))), "ascii") for r in roms])
        else:  # whichever it is, also one that is plugged in later
            self.fields = ("temp_c",)
            roms = [b""]
        self._roms = roms

    def _rom(self, text: str) -> bytes:
        try:
            rom = unhexlify(text)
        except ValueError:
            rom = b""
        if len(rom) != 8 or rom[0] != _FAMILY or self._bus.crc8(rom):
            raise ValueError("%s is not the id of a DS18B20: 16 hex digits from 28 to a check byte" % text)
        return rom

    def _found(self) -> list:
        bus = self._bus
        if not bus.reset() or not bus.readbit():  # on a line that is held low a search takes seconds
            return []
        return sorted([bytes(rom) for rom in bus.scan() if rom[0] == _FAMILY and not bus.crc8(rom)])

    def start(self) -> int:
        bus = self._bus
        if not bus.reset():
            raise OSError(_ENODEV)
        bus.writebyte(bus.SKIP_ROM)
        bus.writebyte(_CONVERT)
        return _CONVERSION_MS

    def read(self) -> tuple:
        if not self._bus.readbit():  # still converting, or the line is held low
            return ("timeout",) * len(self._roms)
        return tuple([self._read(rom) for rom in self._roms])

    def _read(self, rom: bytes) -> "Any":
        bus = self._bus
        if not bus.reset():
            return "absent"
        bus.writebyte(bus.MATCH_ROM if rom else bus.SKIP_ROM)
        bus.write(rom)
        bus.writebyte(_READ)
        bus.readinto(self._pad)
        return celsius(self._pad, bus.crc8(self._pad))
