"""ESP-IDF partition tables: from firmware/partitions.csv to the 0xC00 bytes at flash offset 0x8000, and back.

Format: ESP-IDF "Partition Tables", binary: 32-byte rows, magic AA 50, closed by a row EB EB with the MD5 of
all rows before it, padded with FF. Must not know what the partitions are used for.
"""

from __future__ import annotations

import csv
import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from scripts.console import ROOT, Problem

CSV_PATH = ROOT / "firmware" / "partitions.csv"
FLASH_BYTES = 4 * 1024 * 1024
"""What a board has at least; the table of partitions.csv fills it."""
TABLE_OFFSET = 0x8000
TABLE_SIZE_BYTES = 0xC00
_ROW = struct.Struct("<HBBII16sI")
_MAGIC = 0x50AA
_MD5_ROW_START = b"\xeb\xeb" + b"\xff" * 14
_TYPES = {"app": 0, "data": 1}
_SUBTYPES = {"factory": 0, "nvs": 2, "phy": 1, "fat": 0x81, "spiffs": 0x82}


@dataclass(frozen=True)
class Partition:
    """One row of the table; offset and size in bytes."""

    name: str
    type: int
    subtype: int
    offset: int
    size_bytes: int


def read_csv(path: Path = CSV_PATH) -> list[Partition]:
    """Rows of a partition CSV. Problem names the line that is wrong."""
    partitions = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = [f.strip() for f in next(csv.reader([line]), [])]
        if not fields or not fields[0] or fields[0].startswith("#"):
            continue
        try:
            name, type_name, subtype, offset, size = fields[:5]
            partitions.append(
                Partition(
                    name,
                    _TYPES.get(type_name, -1) if type_name in _TYPES else int(type_name, 0),
                    _SUBTYPES[subtype] if subtype in _SUBTYPES else int(subtype, 0),
                    int(offset, 0),
                    int(size, 0),
                )
            )
        except ValueError as error:
            raise Problem(f"{path}:{number}: not a partition row ({error}): {line}") from error
    _check(partitions, path)
    return partitions


def _check(partitions: list[Partition], path: Path) -> None:
    end = TABLE_OFFSET + 0x1000
    for p in sorted(partitions, key=lambda row: row.offset):
        if p.offset < end:
            raise Problem(f"{path}: partition {p.name} at {p.offset:#x} overlaps what ends at {end:#x}")
        end = p.offset + p.size_bytes


def to_bytes(partitions: list[Partition]) -> bytes:
    """The table as flashed: rows, MD5 row, padding."""
    rows = b"".join(
        _ROW.pack(_MAGIC, p.type, p.subtype, p.offset, p.size_bytes, p.name.encode(), 0) for p in partitions
    )
    table = rows + _MD5_ROW_START + hashlib.md5(rows).digest()
    return table.ljust(TABLE_SIZE_BYTES, b"\xff")


def from_bytes(table: bytes) -> list[Partition]:
    """Rows of a binary table. Problem when the MD5 row is missing or does not fit the rows before it."""
    partitions = []
    for at in range(0, len(table) - _ROW.size + 1, _ROW.size):
        row = table[at : at + _ROW.size]
        if row.startswith(_MD5_ROW_START):
            if row[16:] != hashlib.md5(table[:at]).digest():
                raise Problem("the partition table's MD5 row does not fit its rows: it is damaged")
            return partitions
        magic, type_, subtype, offset, size, name, _ = _ROW.unpack(row)
        if magic != _MAGIC:
            break
        partitions.append(Partition(name.rstrip(b"\0").decode("latin-1"), type_, subtype, offset, size))
    raise Problem("no partition table with an MD5 row at this place in flash")


def named(partitions: list[Partition], name: str) -> Partition:
    """The partition of that name, or a Problem that lists what there is."""
    for p in partitions:
        if p.name == name:
            return p
    raise Problem(f"no partition named {name!r}; the table has {', '.join(p.name for p in partitions)}")
