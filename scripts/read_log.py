"""`make read-log`: a copy of a board's log as CSV or NDJSON, or a check of it.

Owns the command line, finding the log in what people have, and the form of the rows. The format of the log is
scripts/log_format.py's, what counts as wrong in it scripts/log_check.py's.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from scripts import console, log_check, log_format, partitions
from scripts.console import EXIT_FAULT, EXIT_OK, EXIT_USAGE, Problem
from scripts.log_format import BOOT, CONFIGURATION, CURSOR, DIGITS, MARKS, SAMPLE, TIME_SYNC, Entry, Log

PARTITION_NAME = "log"
_FIRST_COLUMNS = ("seq", "boot", "unix_s", "time_utc", "quality")
_IN_FOLDERS = ("log.bin", "flash.bin")
_BYTES_MAX = 16 * 1024 * 1024  # the largest flash of an ESP32-C3
_SOURCES = {1: "ntp", 2: "http", 3: "browser"}
_DRIFT_UNKNOWN = -32768
_ABOUT = """FILE is a copy of the partition, a backup's folder, or a whole flash image, also `make sim`'s STATE folder.

CSV has one row a sample. When the list of values changed on the way, the columns are all names in the order in which
they appear; cells of values that did not exist then are empty. A value that could not be had is an empty cell, and the
status says name:reason. A time that can't be known is an empty cell."""


def load(path: Path) -> bytes:
    """The log's bytes from a copy of the partition, a backup, a whole flash image or the simulator's state folder."""
    if path.is_dir():
        inside = [path / name for name in _IN_FOLDERS if (path / name).is_file()]
        if not inside:
            raise Problem(f"{path} has neither {' nor '.join(_IN_FOLDERS)}. Name a copy of the log.", EXIT_USAGE)
        path = inside[0]
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise Problem(f"{path} is no copy of a log: it is larger than any flash. Name another file.", EXIT_USAGE)
        content = path.read_bytes()
    except OSError as error:
        raise Problem(f"{path} can't be read ({error.strerror}). Name a copy of the log.", EXIT_USAGE) from error
    try:
        rows = partitions.from_bytes(content[partitions.TABLE_OFFSET :][: partitions.TABLE_SIZE_BYTES])
    except Problem:
        return content
    row = partitions.named(rows, PARTITION_NAME)
    if row.offset + row.size_bytes > len(content):
        raise Problem(f"{path} ends before its partition {PARTITION_NAME!r} does. Copy the whole flash.", EXIT_USAGE)
    return content[row.offset : row.offset + row.size_bytes]


def unix_s_of(text: str) -> int:
    """Unix seconds from digits or ISO 8601, which is UTC unless it says otherwise."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        why = f"{text!r} is no time: give Unix seconds or ISO 8601, such as 2026-02-01 or 2026-02-01T12:00:00Z"
        raise argparse.ArgumentTypeError(why) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def wanted(log: Log, args: argparse.Namespace) -> Iterator[tuple[Entry, int | None, int]]:
    """The entries asked for, each with its time and quality. A mark belongs to the sample before it."""
    for entry in log.entries:
        if entry.record.kind != SAMPLE and not (args.marks and entry.record.kind in MARKS):
            continue
        if entry.record.seq < args.after + (entry.record.kind == SAMPLE):
            continue
        unix_s, quality = log_format.time_of(entry, log)
        if unix_s is None and (args.since is not None or args.until is not None):
            continue
        if unix_s is not None and not (args.since or 0) <= unix_s < (args.until or unix_s + 1):
            continue
        yield entry, unix_s, quality


def values_of(entry: Entry) -> tuple[dict[str, float | None], str]:
    """The values of a sample by name, None for those that could not be had, and the status: "ok" or the reasons."""
    values: dict[str, float | None] = {}
    reasons = []
    for name, word in zip(entry.sector.names, entry.record.words, strict=False):
        value = log_format.value_of(name, word)
        values[name] = None if isinstance(value, str) else value
        if isinstance(value, str):
            reasons.append(f"{name}:{value}")
    return values, " ".join(reasons) or "ok"


def write_csv(log: Log, args: argparse.Namespace, out: TextIO) -> None:
    names = list(dict.fromkeys(name for sector in log.sectors for name in sector.names))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*_FIRST_COLUMNS, *names, "status"))
    for entry, unix_s, quality in wanted(log, args):
        values, status = values_of(entry)
        cells = [f"{v:.{DIGITS}g}" if isinstance(v := values.get(name), float) else v for name in names]
        writer.writerow((entry.record.seq, entry.boot, unix_s, log_format.utc(unix_s), quality, *cells, status))


def write_ndjson(log: Log, args: argparse.Namespace, out: TextIO) -> None:
    for entry, unix_s, quality in wanted(log, args):
        record = entry.record
        row: dict[str, Any] = {
            "kind": MARKS.get(record.kind, "sample"),
            "seq": record.seq,
            "boot": entry.boot,
            "unix_s": unix_s,
            "time_utc": log_format.utc(unix_s),
            "quality": quality,
        }
        if record.kind == SAMPLE:
            values, status = values_of(entry)
            row |= {"late_ms": record.extra, "values": values, "status": status}
        else:
            row |= said_by(entry)
        out.write(json.dumps(row, separators=(",", ":")) + "\n")


def said_by(entry: Entry) -> dict[str, Any]:
    """What a mark says besides its time."""
    a, b = entry.record.words[:2]
    if entry.record.kind == CURSOR:
        return {"cursor": a, "acknowledged": b, "held": entry.record.extra}
    if entry.record.kind == BOOT:
        return {"reset_cause": b}
    if entry.record.kind == CONFIGURATION:
        return {"period_s": a}
    assert entry.record.kind == TIME_SYNC
    drift_ppm, base_s, steps_s = log_format.sync_of(entry.record)
    source = _SOURCES.get(entry.record.quality, str(entry.record.quality))
    drift = None if drift_ppm == _DRIFT_UNKNOWN else drift_ppm
    return {"source": source, "drift_ppm": drift, "base_s": base_s, "steps_s": steps_s}


def report(log: Log) -> int:
    """Print what `--check` found."""
    if not log.sectors:
        print("no samples yet: the log is blank")
        return EXIT_OK
    lines, wrong = log_check.check(log)
    print("\n".join([*lines, *(f"wrong: {sentence}" for sentence in wrong)]))
    if not wrong:
        print("nothing is wrong")
    return EXIT_FAULT if wrong else EXIT_OK


def command(args: argparse.Namespace) -> int:
    if not args.file:
        raise Problem("no file is named. Name a copy of the log: make read-log FILE=log.bin", EXIT_USAGE)
    if args.marks and not args.ndjson:
        raise Problem("marks have no columns in CSV. Use --marks with --ndjson.", EXIT_USAGE)
    log = log_format.parse(load(Path(args.file)), args.sector_bytes)
    if args.check:
        return report(log)
    if not log.sectors:
        print("no samples yet: the log is blank", file=sys.stderr)
    try:
        with open(args.output, "w", newline="", encoding="utf-8") if args.output else nullcontext(sys.stdout) as out:
            (write_ndjson if args.ndjson else write_csv)(log, args, out)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Problem(
            f"{args.output} can't be written ({error.strerror}). Name another: -o FILE", EXIT_USAGE
        ) from error
    return EXIT_OK


def parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser(prog="make read-log", description=_ABOUT, formatter_class=form)
    p.add_argument("file", nargs="?", metavar="FILE", help="FILE")
    p.add_argument("--ndjson", action="store_true", help="one JSON object a line instead of CSV")
    p.add_argument(
        "--marks", action="store_true", help="with --ndjson: also cursors, time syncs, boots, configurations"
    )
    moment = "Unix seconds or ISO 8601 (UTC); leaves out rows without a time"
    p.add_argument("--from", dest="since", type=unix_s_of, metavar="TIME", help=f"from this time on: {moment}")
    p.add_argument("--to", dest="until", type=unix_s_of, metavar="TIME", help="up to this time, itself not included")
    p.add_argument("--after", type=int, default=0, metavar="SEQ", help="samples with higher numbers")
    p.add_argument("-o", dest="output", default="", metavar="FILE", help="write to a file")
    p.add_argument(
        "--check", action="store_true", help="say what is in it and what is wrong; exit code 1 if anything is"
    )
    p.add_argument("--sector-bytes", type=int, default=log_format.SECTOR_BYTES, metavar="N", help="4096 on flash")
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    console.stop_on_signals()
    return console.run(lambda: command(args))


if __name__ == "__main__":
    sys.exit(main())
