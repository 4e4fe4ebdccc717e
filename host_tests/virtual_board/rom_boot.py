"""What the ROM and the bootloader do at reset: find the application in flash, check it, or say why it can't run.

Owns the checks of the ESP image format (ESP-IDF "App Image Format") and of the partition table, as far as they decide
whether the board boots, and reads the firmware's banner. Must not know the VM that stands in for that firmware.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass

from scripts import partitions
from scripts.console import Problem

IMAGE_MAGIC = 0xE9
CHIP_ID = 5
_HEADER_BYTES = 24
_SEGMENT = struct.Struct("<II")
_VERSION = re.compile(rb"MicroPython (v(\d+\.\d+(?:\.\d+)?)[^;\0]{0,40})")
_CHIP = "ESP32C3 module with ESP32C3"


@dataclass(frozen=True)
class Firmware:
    """What the firmware in flash says of itself: `1.24.1`, `v1.24.1 on 2024-11-29`."""

    release: str
    version: str
    chip: str = _CHIP

    @property
    def banner(self) -> str:
        return f"MicroPython {self.version}; {self.chip}"


class NoBoot(Exception):
    """The chip can't start an application; the text is what its boot log says."""


def image_length(flash: bytes, start: int) -> int:
    """Bytes of the image at `start` up to its appended SHA-256. NoBoot when there is none that is whole."""
    header = flash[start : start + _HEADER_BYTES]
    if len(header) < _HEADER_BYTES or header[0] != IMAGE_MAGIC:
        raise NoBoot(f"invalid header: 0x{int.from_bytes(header[:4], 'little'):08x}")
    if int.from_bytes(header[12:14], "little") != CHIP_ID:
        raise NoBoot("image is for another chip")
    at = start + _HEADER_BYTES
    for _ in range(header[1]):
        _, size_bytes = _SEGMENT.unpack_from(flash, at)
        at += _SEGMENT.size + size_bytes
        if at >= len(flash):
            raise NoBoot("image is too long for the flash")
    return (at - start + 16) & ~15  # a checksum byte closes the last 16


def _check_hash(flash: bytes, start: int) -> bytes:
    """The whole image at `start`; NoBoot when its bytes do not fit the hash behind them."""
    length = image_length(flash, start)
    image = flash[start : start + length]
    if hashlib.sha256(image).digest() != flash[start + length : start + length + 32]:
        raise NoBoot("image hash failed - image is corrupt")
    return image


def find_firmware(flash: bytes) -> Firmware:
    """The firmware that a reset starts. NoBoot says why there is none."""
    image_length(flash, 0)
    table = flash[partitions.TABLE_OFFSET :][: partitions.TABLE_SIZE_BYTES]
    try:
        factory = partitions.named(partitions.from_bytes(table), "factory")
    except Problem:
        raise NoBoot("Failed to verify partition table") from None
    found = _VERSION.search(_check_hash(flash, factory.offset))
    if not found:
        raise NoBoot("the application is no MicroPython")
    version, release = (part.decode("latin-1") for part in found.groups())
    return Firmware(release, version)
