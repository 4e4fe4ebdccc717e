"""An image shaped like the stock MicroPython one, for tests and to try `make flash FIRMWARE=...` on a virtual board.

It holds no firmware: the virtual board runs the app on the VM and only reads banner and layout from it. Bootloader,
partition table and app lie where ESP32_GENERIC_C3-20241129-v1.24.1.bin has them, with FF between them, and both ESP
images have valid headers, checksums and hashes. The same arguments give the same bytes.

    python -m host_tests.virtual_board.stand_in PATH
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import sys
from pathlib import Path

from scripts import partitions
from scripts.console import EXIT_OK, EXIT_USAGE, Problem, run, shown
from scripts.partitions import Partition

APP_OFFSET = 0x10000
STOCK_TABLE = [
    Partition("nvs", 1, 2, 0x9000, 0x6000),
    Partition("phy_init", 1, 1, 0xF000, 0x1000),
    Partition("factory", 0, 0, APP_OFFSET, 0x1F0000),
    Partition("vfs", 1, 0x81, 0x200000, 0x200000),
]
DEFAULT_APP_BYTES = 4096

_CHIP_ID = 5
_DIO = 2
_4MB_80MHZ = 0x2F
_NO_WP_PIN = 0xEE
_MIN_REVISION, _MAX_REVISION = 3, 199
_CHECKSUM_SEED = 0xEF
_BOOTLOADER_BYTES = 2048
_IRAM, _DROM = 0x403CE000, 0x3C000020  # the second one's low 16 bits are its place in the image, as the MMU needs it
_APP_DESCRIPTION = struct.Struct("<II8x32s32s16s16s32s32s80x")
_APP_DESCRIPTION_MAGIC = 0xABCD5432


def _filler(name: str, size_bytes: int) -> bytes:
    """Bytes of every value, the same for the same name, that deflate can't make small."""
    return hashlib.shake_256(name.encode()).digest(size_bytes)


def _esp_image(address: int, segment: bytes) -> bytes:
    """An ESP image of one segment. Format: ESP-IDF, "App Image Format"."""
    header = struct.pack("<BBBBI", 0xE9, 1, _DIO, _4MB_80MHZ, _IRAM)
    pins = struct.pack("<B3x", _NO_WP_PIN)
    extended = struct.pack("<HBHH4xB", _CHIP_ID, _MIN_REVISION, _MIN_REVISION, _MAX_REVISION, 1)
    image = header + pins + extended + struct.pack("<II", address, len(segment)) + segment
    checksum = _CHECKSUM_SEED
    for byte in segment:
        checksum ^= byte
    image += b"\0" * (15 - len(image) % 16) + bytes((checksum,))
    return image + hashlib.sha256(image).digest()


def _app_segment(version: str, size_bytes: int) -> bytes:
    """`size_bytes` of an app's first segment: esp_app_desc, the banner, filler."""
    description = _APP_DESCRIPTION.pack(
        *(_APP_DESCRIPTION_MAGIC, 0),
        *(version.encode(), b"micropython", b"13:17:58", b"Nov 29 2024", b"v5.2.2", hashlib.sha256(b"no ELF").digest()),
    )
    banner = f"MicroPython {version} on 2024-11-29; ESP32C3 module with ESP32C3".encode()
    start = description + banner + b"\0"
    return start + _filler("app", size_bytes - len(start))


def stand_in_image(version: str = "v1.24.1", app_bytes: int = DEFAULT_APP_BYTES) -> bytes:
    """The image; `app_bytes`, at least 512 and a multiple of 4, is the size of the app's one segment."""
    bootloader = _esp_image(_IRAM, _filler("bootloader", _BOOTLOADER_BYTES))
    table = partitions.to_bytes(STOCK_TABLE)
    app = _esp_image(_DROM, _app_segment(version, app_bytes))
    return (bootloader.ljust(partitions.TABLE_OFFSET, b"\xff") + table).ljust(APP_OFFSET, b"\xff") + app


def write(path: Path) -> str:
    """Write the image; what `make flash` is to be given for it."""
    image = stand_in_image()
    path.write_bytes(image)
    return f"FIRMWARE={shown(path)} FIRMWARE_SHA256={hashlib.sha256(image).hexdigest()}"


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m host_tests.virtual_board.stand_in", description="Write the stand-in.")
    p.add_argument("path", type=Path)
    path = p.parse_args(argv).path

    def command() -> int:
        try:
            print(write(path))
        except OSError as error:
            raise Problem(f"{path} can't be written ({error.strerror}). Name another file.", EXIT_USAGE) from error
        return EXIT_OK

    return run(command)


if __name__ == "__main__":
    sys.exit(main())
