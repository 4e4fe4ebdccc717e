"""The log on flash, read back: from a copy of the partition to samples and marks in the order they were written.

Owns the layout of format 2 and the rules by which a sample gets its time: a second implementation of docs/storage.md,
which shows that the page says what is needed. Must not know the device's code, files or how rows are printed.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from scripts.console import EXIT_USAGE, Problem

VERSION = 2
SECTOR_BYTES = 4096
MAGIC = b"Tlog"
SAMPLE, CURSOR, TIME_SYNC, BOOT, CONFIGURATION = 1, 2, 3, 4, 5
MARKS = {CURSOR: "cursor", TIME_SYNC: "time_sync", BOOT: "boot", CONFIGURATION: "configuration"}
REASONS = {1: "absent", 2: "crc", 3: "range", 4: "timeout", 5: "error"}
UNKNOWN_REASON = "unknown"
"""For a value that format 2 does not have: an infinity, or a NaN without a reason."""
UNSET, ESTIMATED, SYNCED = 0, 1, 2
EARLIEST_UNIX_S = 1704067200
"""2024-01-01: an earlier time is none."""
RECORD_SIZES = range(23, 64, 4)
_HEADER = struct.Struct("<4sBBHIIIIIIIIIi")
_RECORD = struct.Struct("<IIBH")
DIGITS = 7
"""What a 32-bit float holds."""
_CRC_BYTES = 4
_NAN = 0x7FC00000
_NO_TOTAL = 0xFFFFFFF0


@dataclass(frozen=True)
class Record:
    """A valid record. `time_s`: as stored, Unix time or uptime; `quality`: from byte 8; `words`: what follows."""

    seq: int
    time_s: int
    kind: int
    quality: int
    extra: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Sector:
    """A sector whose header holds: its fields, and the places of its records, None for one that is damaged. Blank
    places are left out. Times in seconds."""

    number: int
    record_bytes: int
    next_seq: int
    stored: int
    cursor: int
    acknowledged: int
    expired: int
    rejected: int
    boot: int
    base_s: int
    steps_s: int
    names: tuple[str, ...]
    places: tuple[Record | None, ...]


@dataclass(frozen=True)
class Entry:
    """A record with what was in force when it was written: boot number, names, seconds the clock had been stepped."""

    record: Record
    sector: Sector
    boot: int
    steps_s: int


@dataclass
class Log:
    """`sectors`: valid ones, oldest first; `missing`: numbers between them that should be there; `place_of_next`: the
    sector after the newest, in whatever state; `clocks`: boot -> (Unix time of uptime 0, steps), both in seconds."""

    count: int
    sectors: list[Sector] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    misplaced: int = 0
    place_of_next: bytes = b""
    entries: list[Entry] = field(default_factory=list)
    clocks: dict[int, tuple[int, int]] = field(default_factory=dict)

    def samples(self) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.record.kind == SAMPLE)


def parse(content: bytes, sector_bytes: int = SECTOR_BYTES) -> Log:
    """The log in a copy of the partition; one without sectors if it is blank. Problem when it is no log of format 2."""
    if sector_bytes < 64 or len(content) % sector_bytes or len(content) < 2 * sector_bytes:
        why = f"it has {len(content):,} bytes; a log has two or more whole sectors of {sector_bytes:,} bytes"
        raise Problem(f"this is no copy of a log: {why}. Copy it again.", EXIT_USAGE)
    pieces = [content[at : at + sector_bytes] for at in range(0, len(content), sector_bytes)]
    found = {index: sector for index, piece in enumerate(pieces) if (sector := parse_sector(piece))}
    _check_version(pieces, bool(found))
    fitting = {s.number: s for index, s in found.items() if s.number >= 1 and (s.number - 1) % len(pieces) == index}
    log = Log(len(pieces), misplaced=len(found) - len(fitting))
    if fitting:
        newest = max(fitting)
        expected = range(max(1, newest - log.count + 2), newest + 1)
        log.sectors = [fitting[number] for number in expected if number in fitting]
        log.missing = [number for number in expected if number not in fitting]
        log.place_of_next = pieces[newest % log.count]
        log.entries = list(_walk(log))
    elif found:
        raise Problem(
            f"none of the {len(found)} sector headers is at its place in a log of {log.count} sectors. "
            "The copy is not complete, or the sectors have another size (--sector-bytes). Copy it again."
        )
    elif content.strip(b"\xff"):
        raise Problem("this is no copy of a log, or all of it is damaged: no sector has a valid header. Copy it again.")
    return log


def _check_version(pieces: list[bytes], some_are_valid: bool) -> None:
    """Problem when sectors were written in another format; a damaged byte in one of many is not that."""
    for piece in pieces:
        magic, version, _, size_bytes = struct.unpack_from("<4sBBH", piece)
        if magic != MAGIC or version == VERSION:
            continue
        if not some_are_valid or _crc_holds(piece[:size_bytes]):
            raise Problem(
                f"this log has format {version}; this tool reads format {VERSION}. "
                "Read it with `make read-log` of the checkout that the board's application was built from.",
            )


def _crc_holds(content: bytes, start: int = 0) -> bool:
    return len(content) > _CRC_BYTES and zlib.crc32(content[:-4], start) == int.from_bytes(content[-4:], "little")


def parse_sector(content: bytes) -> Sector | None:
    """A sector of format 2; None when it is blank, damaged or something else."""
    if len(content) < _HEADER.size + _CRC_BYTES:
        return None
    magic, version, record_bytes, header_bytes, number, *numbers = _HEADER.unpack_from(content)
    if magic != MAGIC or version != VERSION or record_bytes not in RECORD_SIZES:
        return None
    if not _HEADER.size + _CRC_BYTES <= header_bytes <= len(content) or not _crc_holds(content[:header_bytes]):
        return None
    text = content[_HEADER.size : header_bytes - _CRC_BYTES]
    names = tuple(text.decode("ascii", "replace").split(",")) if text else ()
    if len(names) > (record_bytes - _RECORD.size - _CRC_BYTES) // 4:
        return None
    starts = range(header_bytes, len(content) - record_bytes + 1, record_bytes)
    records = [content[at : at + record_bytes] for at in starts]
    places = [parse_record(record, number) for record in records if record.strip(b"\xff")]
    return Sector(number, record_bytes, *numbers, names=names, places=tuple(places))


def parse_record(content: bytes, number: int) -> Record | None:
    """A record of the sector `number`, None when its CRC says that it is damaged or belongs elsewhere."""
    if not _crc_holds(content, number):
        return None
    words = struct.unpack_from(f"<{(len(content) - _RECORD.size - _CRC_BYTES) // 4}I", content, _RECORD.size)
    seq, time_s, kind, extra = _RECORD.unpack_from(content)
    return Record(seq, time_s, kind & 7, kind >> 3, extra, words)


def holds_records(content: bytes, number: int) -> bool:
    """Whether a sector without a valid header has a record of the sector `number` all the same."""
    return any(
        _crc_holds(content[at : at + size], number) for size in RECORD_SIZES for at in range(len(content) - size + 1)
    )


def sync_of(record: Record) -> tuple[int, int, int]:
    """What a time sync says: drift in ppm (-32768 unknown), Unix time of uptime 0, seconds stepped in its boot."""
    drift_ppm = record.extra - 0x10000 if record.extra & 0x8000 else record.extra
    return drift_ppm, record.words[0], signed(record.words[1])


def signed(word: int) -> int:
    return word - 0x100000000 if word & 0x80000000 else word


def _walk(log: Log) -> Iterator[Entry]:
    """The records in order; notes in log.clocks what is known last of each boot's clock on the way."""
    for sector in log.sectors:
        boot, steps_s = sector.boot, sector.steps_s
        if sector.base_s:
            log.clocks[boot] = sector.base_s, steps_s
        for record in sector.places:
            if record is None:
                continue
            if record.kind == BOOT:
                if record.words[0] != boot:
                    boot, steps_s = record.words[0], 0
                if record.time_s:
                    log.clocks[boot] = record.time_s, 0
            elif record.kind == TIME_SYNC:
                _, base_s, steps_s = sync_of(record)
                log.clocks[boot] = base_s, steps_s
            yield Entry(record, sector, boot, steps_s)


def time_of(entry: Entry, log: Log) -> tuple[int | None, int]:
    """Unix time of a record, None when it can't be known, and how good it is: UNSET, ESTIMATED or SYNCED."""
    record = entry.record
    base_s, steps_s = log.clocks.get(entry.boot, (0, 0))
    if record.kind == TIME_SYNC or (record.kind != BOOT and record.quality == SYNCED):
        later_s = steps_s - entry.steps_s
        unix_s, quality = record.time_s + later_s, ESTIMATED if later_s else SYNCED
    else:
        uptime_s = 0 if record.kind == BOOT else record.time_s
        unix_s, quality = (base_s + steps_s + uptime_s if base_s else 0), ESTIMATED
    return (unix_s, quality) if unix_s >= EARLIEST_UNIX_S else (None, UNSET)


def value_of(name: str, word: int) -> float | str:
    """A value, or the reason why there is none."""
    if name.endswith("_total"):
        return word if word < _NO_TOTAL else REASONS.get(word - _NO_TOTAL, UNKNOWN_REASON)
    number: float = struct.unpack("<f", struct.pack("<I", word))[0]
    if not math.isfinite(number):
        return REASONS.get(word - _NAN, UNKNOWN_REASON)
    return float(f"{number:.{DIGITS}g}")


def utc(unix_s: int | None) -> str | None:
    """ISO 8601 in UTC."""
    return None if unix_s is None else f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
