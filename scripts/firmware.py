"""The stock MicroPython image: fetched once, checked at every use, and given Tally's partition table.

Owns firmware/versions.toml, the cached copy and what an image has to look like. Must not know how an image gets onto a
board. `python -m scripts.firmware` fetches and checks it.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import re
import struct
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts import console, partitions
from scripts.console import CACHE_DIR, EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE, ROOT, Problem

VERSIONS_PATH = ROOT / "firmware" / "versions.toml"
STORE_DIR = CACHE_DIR / "firmware"
FETCH_TIMEOUT_S = 30.0
FETCH_DEADLINE_S = 600.0
TABLE_SECTOR_BYTES = 0x1000
CHIP_ID = 5
"""The ESP32-C3's, at byte 12 of an ESP image (ESP-IDF, "App Image Format")."""
_IMAGE_MAGIC = 0xE9
_PIECE_BYTES = 64 * 1024
# What the stock image brings and its bootloader and app rely on.
_KEPT_ROWS = ("nvs", "phy_init", "factory")


@dataclass(frozen=True)
class ImagePin:
    """The [image] table of versions.toml."""

    name: str
    url: str
    size_bytes: int
    sha256: str
    chip: str
    flash_offset: int
    micropython: str


@dataclass(frozen=True)
class Versions:
    """versions.toml: the image, and the tools' versions by package name."""

    image: ImagePin
    tools: dict[str, str]


def read_versions() -> Versions:
    """firmware/versions.toml, or the file that TALLY_VERSIONS names. Problem when it is none."""
    path = Path(os.environ.get("TALLY_VERSIONS") or VERSIONS_PATH)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return Versions(ImagePin(**table["image"]), dict(table["tools"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "Restore firmware/versions.toml, or correct TALLY_VERSIONS."
        raise Problem(f"{path} is no list of versions ({error}). {fix}", EXIT_USAGE) from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two options of every command that uses an image; empty counts as not given, for the Makefile."""
    parser.add_argument("--firmware", metavar="PATH", help="FIRMWARE: a copy of the image, or one of your own")
    parser.add_argument("--firmware-sha256", metavar="H", help="FIRMWARE_SHA256: what FIRMWARE hashes to")


def find_image(named: str | None = None, sha256: str | None = None) -> bytes:
    """The image to flash, as published: the `named` file, else the cached one, else a download.

    `sha256` replaces the pinned hash of a `named` file. Problem when there is no image (EXIT_ENVIRONMENT) or when what
    was named is not the right one (EXIT_USAGE).
    """
    pin = read_versions().image
    if named:
        image, origin = _named(Path(named), sha256, pin), f"FIRMWARE={named}"
    elif sha256:
        raise Problem("FIRMWARE_SHA256 goes with an image of your own. Name that too: FIRMWARE=path.", EXIT_USAGE)
    else:
        image, origin = _cached(pin) or _fetched(pin), str(cached_path(pin))
    if fault := _fault(image, pin):
        fix = f"Use {pin.name}, or an image built like it."
        raise Problem(f"{origin} can't be used: {fault}. {fix}", EXIT_USAGE)
    return image


def patched(image: bytes) -> bytes:
    """`image` with the table of firmware/partitions.csv in place of its own; every byte outside of that one 4 KB sector
    as it was. Problem when the image is too long for that table."""
    ours = partitions.read_csv()
    if fault := _too_long(image, ours):
        raise Problem(f"this image can't get Tally's partition table: {fault}", EXIT_USAGE)
    start, end = partitions.TABLE_OFFSET, partitions.TABLE_OFFSET + TABLE_SECTOR_BYTES
    sector = partitions.to_bytes(ours).ljust(TABLE_SECTOR_BYTES, b"\xff")
    result = image[:start] + sector + image[end:]
    if len(result) != len(image) or partitions.from_bytes(result[start:end]) != ours:
        raise Problem("the patched partition table does not read back as firmware/partitions.csv. Nothing was done.")
    return result


# --- a file that was named ----------------------------------------------------------------------


def _named(path: Path, sha256: str | None, pin: ImagePin) -> bytes:
    wanted = (sha256 or pin.sha256).lower()
    if not re.fullmatch("[0-9a-f]{64}", wanted):
        raise Problem(f"FIRMWARE_SHA256={sha256} is not a SHA-256: that is 64 digits 0-9 a-f.", EXIT_USAGE)
    try:
        image = path.read_bytes()
    except OSError as error:
        fix = "Name a file, or leave FIRMWARE away to have the image fetched."
        raise Problem(f"FIRMWARE={path} can't be read ({error.strerror}). {fix}", EXIT_USAGE) from error
    if (found := sha256_of(image)) == wanted:
        return image
    if sha256:
        way_out = "Check which of the two is meant."
        raise Problem(f"FIRMWARE={path} has SHA-256 {found}, not the given {wanted}. {way_out}", EXIT_USAGE)
    way_out = f"Name that file; or, if this is an image of your own, add FIRMWARE_SHA256={found}."
    raise Problem(f"FIRMWARE={path} has SHA-256 {found}, but {pin.name} has {wanted}. {way_out}", EXIT_USAGE)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- the cache and the download -----------------------------------------------------------------


def cached_path(pin: ImagePin) -> Path:
    """Where a download is kept, and where a person may put one."""
    return STORE_DIR / pin.name


def _cached(pin: ImagePin) -> bytes | None:
    try:
        image = cached_path(pin).read_bytes()
    except OSError:
        return None
    return image if len(image) == pin.size_bytes and sha256_of(image) == pin.sha256 else None


def _fetched(pin: ImagePin) -> bytes:
    print(f"fetching {pin.url} ({pin.size_bytes:,} bytes, once)...", file=sys.stderr)
    try:
        image = _download(pin)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer as well, with its socket
        why = f"{pin.url} can't be fetched ({str(error).removeprefix('<urlopen error ').removesuffix('>')})"
        ways = f"put the file at {cached_path(pin)} or name a copy with FIRMWARE=path (SHA-256 {pin.sha256})"
        raise Problem(f"no firmware image: {why}. Go online, or {ways}.", EXIT_ENVIRONMENT) from error
    if fault := _download_fault(image, pin):
        raise Problem(f"the download of {pin.url} was not kept: {fault}", EXIT_ENVIRONMENT)
    _store(image, cached_path(pin))
    return image


def _download(pin: ImagePin) -> bytes:
    """What the server sends, cut off where it is longer than it should be. OSError when it takes too long."""
    deadline_s = time.monotonic() + FETCH_DEADLINE_S
    image = bytearray()
    with urllib.request.urlopen(pin.url, timeout=FETCH_TIMEOUT_S) as answer:
        while len(image) <= pin.size_bytes and (piece := answer.read1(_PIECE_BYTES)):
            image += piece
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{len(image):,} bytes after {FETCH_DEADLINE_S:.0f} s")
    return bytes(image)


def _download_fault(image: bytes, pin: ImagePin) -> str | None:
    if len(image) < pin.size_bytes:
        return f"it ended after {len(image):,} of {pin.size_bytes:,} bytes. Try again."
    if len(image) > pin.size_bytes:
        return f"it is longer than {pin.size_bytes:,} bytes, so it is another file. firmware/README.md says what to do."
    if (found := sha256_of(image)) != pin.sha256:
        return f"it has SHA-256 {found}, not the pinned {pin.sha256}. firmware/README.md says what to do."
    return None


def _store(image: bytes, path: Path) -> None:
    """Write to a temporary name beside `path`, then rename: no other command ever finds half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=path.parent) as scratch:
            (Path(scratch) / path.name).write_bytes(image)
            (Path(scratch) / path.name).replace(path)
    except OSError as error:
        fix = "Make room, or make the folder writable."
        raise Problem(f"the image can't be kept at {path} ({error.strerror}). {fix}", EXIT_ENVIRONMENT) from error


# --- what an image has to look like -------------------------------------------------------------


def _fault(image: bytes, pin: ImagePin) -> str | None:
    """Why `image` can't run Tally, None when it can. The bytes of bootloader and app are the hash's business."""
    ours = partitions.read_csv()
    app = partitions.named(ours, "factory")
    checks: list[Callable[[], str | None]] = [
        lambda: _esp_image_fault(image, 0, pin.chip),
        lambda: _esp_image_fault(image, app.offset, pin.chip),
        lambda: _table_fault(image, ours),
        lambda: _version_fault(image[app.offset :], pin.micropython),
        lambda: _too_long(image, ours),
    ]
    return next((fault for check in checks if (fault := check())), None)


def _esp_image_fault(image: bytes, offset: int, chip: str) -> str | None:
    header = image[offset : offset + 24]
    if len(header) < 24 or header[0] != _IMAGE_MAGIC:
        return f"no ESP image begins at {offset:#x}"
    (chip_id,) = struct.unpack_from("<H", header, 12)
    if chip_id != CHIP_ID:
        return f"what begins at {offset:#x} is for another chip (id {chip_id}, {chip} is {CHIP_ID})"
    return None


def _table_fault(image: bytes, ours: list[partitions.Partition]) -> str | None:
    try:
        rows = partitions.from_bytes(image[partitions.TABLE_OFFSET :][: partitions.TABLE_SIZE_BYTES])
    except Problem as problem:
        return f"at {partitions.TABLE_OFFSET:#x} {problem}"
    for name in _KEPT_ROWS:
        if partitions.named(ours, name) not in rows:
            return f"its partition table has no {name} row like that of firmware/partitions.csv"
    return None


def _version_fault(app: bytes, version: str) -> str | None:
    found = sorted({match.decode() for match in re.findall(rb"MicroPython v(\d[\w.+-]{1,32})", app)})
    if not found:
        return "its app is no MicroPython"
    # A build of one's own may be called v1.24.1-dirty.
    if not any(said == version or said.startswith(version + "-") for said in found):
        return f"it is MicroPython v{', v'.join(found)}, not v{version}"
    return None


def _too_long(image: bytes, ours: list[partitions.Partition]) -> str | None:
    vfs = partitions.named(ours, "vfs")
    if len(image) > vfs.offset:
        return f"it is {len(image):,} bytes long and would reach into the files at {vfs.offset:#x}"
    return None


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="make firmware", description="Fetch the stock image once and check it.")
    add_arguments(p)
    args = p.parse_args(argv)

    def command() -> int:
        image = find_image(args.firmware, args.firmware_sha256)
        pin = read_versions().image
        where = args.firmware or os.path.relpath(cached_path(pin), ROOT)
        print(f"firmware: {where}, {len(image):,} bytes, MicroPython v{pin.micropython}, SHA-256 {sha256_of(image)}")
        return EXIT_OK

    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
