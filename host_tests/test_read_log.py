"""scripts/read_log.py: every fault of a log by name, in dumps made here byte by byte. Those that the board's own code
wrote are in test_read_log_board.py."""

from __future__ import annotations

import csv
import io
import json
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_tests.commands import run_command
from scripts import console, log_check, log_format, partitions, read_log
from scripts.console import EXIT_FAULT, EXIT_OK, EXIT_USAGE, Problem

SECTOR = 512
SECTORS = 8
NOW_S = 1_790_000_000  # 2026-09-21
NAMES = "temp_c,rh_pct"
COLUMNS = "seq,boot,unix_s,time_utc,quality"
SAMPLE_KIND, CURSOR_KIND, SYNC_KIND, BOOT_KIND, CONFIG_KIND = 1, 2, 3, 4, 5


# --- a writer of its own -----------------------------------------------------------------------------------------


def real(value: float) -> int:
    """The word of a 32-bit float."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def record(number: int, size: int, seq: int, time_s: int, kind: int, info: int, extra: int, *words: int) -> bytes:
    body = struct.pack("<IIBH", seq, time_s, kind | info << 3, extra & 0xFFFF)
    body += b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in words)
    body = body.ljust(size - 4, b"\0")
    return body + struct.pack("<I", zlib.crc32(body, number))


def sample(seq: int, time_s: int, quality: int = 2, *words: int) -> tuple[int, ...]:
    return (seq, time_s, SAMPLE_KIND, quality, 7, *(words or (real(21.5), real(40.25))))


class Dump:
    """A partition that sectors are put into, each at its place. Counts in headers go on from sector to sector."""

    def __init__(self, sectors: int = SECTORS, sector_bytes: int = SECTOR) -> None:
        self.sectors = sectors
        self.sector_bytes = sector_bytes
        self.cells = bytearray(b"\xff" * sectors * sector_bytes)
        self.counts = {"next_seq": 1, "stored": 0, "cursor": 0, "acknowledged": 0, "expired": 0, "rejected": 0}
        self.counts |= {"boot": 1, "base_s": 0, "steps_s": 0}

    def offset(self, number: int) -> int:
        return (number - 1) % self.sectors * self.sector_bytes

    def sector(self, number: int, *records: Any, names: str = NAMES, version: int = 2, **counts: int) -> Dump:
        """`records`: what record() takes behind the size, or bytes as they are."""
        self.counts |= counts
        size = 15 + 4 * max(2, names.count(",") + 1)
        text = names.encode()
        head = struct.pack("<4sBBHI", b"Tlog", version, size, 12 + 36 + len(text) + 4, number)
        head += struct.pack("<IIIIIIIIi", *self.counts.values()) + text
        head += struct.pack("<I", zlib.crc32(head))
        body = head + b"".join(r if isinstance(r, bytes) else record(number, size, *r) for r in records)
        assert len(body) <= self.sector_bytes
        at = self.offset(number)
        self.cells[at : at + self.sector_bytes] = body.ljust(self.sector_bytes, b"\xff")
        seqs = [r[0] for r in records if not isinstance(r, bytes) and r[2] == SAMPLE_KIND]
        self.counts["stored"] += len(seqs)
        self.counts["next_seq"] = seqs[-1] + 1 if seqs else self.counts["next_seq"]
        return self

    def damage(self, number: int, at: int) -> Dump:
        self.cells[self.offset(number) + at] ^= 0x10
        return self


def full(number: int, boot: int = 1) -> Dump:
    """Sectors 1 to `number` with 3 samples each, none acknowledged, all 10 s apart."""
    dump = Dump()
    for i in range(1, number + 1):
        dump.sector(i, *(sample(seq, NOW_S + 10 * seq) for seq in range(3 * i - 2, 3 * i + 1)), boot=boot)
    return dump


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.fixture
def read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command on a dump: its exit code, what it printed, what it complained about."""

    def run(dump: Dump | bytes | Path, *options: str) -> tuple[int, str, str]:
        path = dump if isinstance(dump, Path) else tmp_path / "log.bin"
        if not isinstance(dump, Path):
            path.write_bytes(dump.cells if isinstance(dump, Dump) else dump)
        sector_bytes = dump.sector_bytes if isinstance(dump, Dump) else SECTOR
        argv = [str(path), "--sector-bytes", str(sector_bytes), *options]
        code = console.run(lambda: read_log.command(read_log.parser().parse_args(argv)))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


Read = Callable[..., tuple[int, str, str]]


def rows(read: Read, dump: Dump | bytes, *options: str) -> list[dict[str, str]]:
    code, out, err = read(dump, *options)
    assert (code, err) == (EXIT_OK, "")
    return list(csv.DictReader(io.StringIO(out)))


def times(read: Read, dump: Dump) -> list[tuple[str, str]]:
    return [(row["unix_s"], row["quality"]) for row in rows(read, dump)]


def lines(read: Read, dump: Dump, *options: str) -> list[dict[str, Any]]:
    code, out, _ = read(dump, "--ndjson", *options)
    assert code == EXIT_OK
    return [json.loads(line) for line in out.splitlines()]


def wrong(read: Read, dump: Dump | bytes) -> list[str]:
    """What --check finds wrong; its exit code must say the same."""
    code, out, err = read(dump, "--check")
    found = [line.removeprefix("wrong: ") for line in out.splitlines() if line.startswith("wrong: ")]
    assert (code, err) == (EXIT_FAULT if found else EXIT_OK, "")
    assert ("nothing is wrong" in out) is not bool(found)
    return found


def test_samples_become_rows_of_csv(read: Read) -> None:
    code, out, _ = read(Dump().sector(1, sample(1, NOW_S), sample(2, NOW_S + 10), boot=17))
    assert code == EXIT_OK
    assert out == (
        f"{COLUMNS},temp_c,rh_pct,status\n"
        "1,17,1790000000,2026-09-21T14:13:20Z,2,21.5,40.25,ok\n"
        "2,17,1790000010,2026-09-21T14:13:30Z,2,21.5,40.25,ok\n"
    )


def test_each_reason_for_a_missing_value_is_in_the_status_and_its_cell_is_empty(read: Read) -> None:
    reasons = ("absent", "crc", "range", "timeout", "error")
    samples = [sample(i, NOW_S + i, 2, 0x7FC00000 + i, 0xFFFFFFF0 + i) for i in range(1, 6)]
    found = rows(read, Dump().sector(1, *samples, names="temp_c,rain_total"))
    assert [(row["temp_c"], row["rain_total"]) for row in found] == [("", "")] * 5
    assert [row["status"] for row in found] == [f"temp_c:{reason} rain_total:{reason}" for reason in reasons]


def test_totals_are_whole_numbers_and_floats_have_seven_digits(read: Read) -> None:
    words = ((real(-0.1), 4_294_967_279), (real(1e-12), 0), (real(16777216), 16777217), (real(24), 3))
    samples = [sample(i, NOW_S + i, 2, *pair) for i, pair in enumerate(words, 1)]
    found = rows(read, Dump().sector(1, *samples, names="temp_c,rain_total"))
    assert [row["temp_c"] for row in found] == ["-0.1", "1e-12", "1.677722e+07", "24"]
    assert [row["rain_total"] for row in found] == ["4294967279", "0", "16777217", "3"]


def test_a_number_that_format_1_does_not_have_is_no_value_and_wrong(read: Read) -> None:
    words = (0x7F800000, 0x7FC00000, 0x7FC00006, 0xFFC00001)
    dump = Dump().sector(1, *(sample(i, NOW_S + i, 2, word, 0) for i, word in enumerate(words, 1)), names="temp_c")
    assert [(row["temp_c"], row["status"]) for row in rows(read, dump)] == [("", "temp_c:unknown")] * 4
    assert len(wrong(read, dump)) == 4


def test_ndjson_has_a_line_for_each_sample_and_mark(read: Read) -> None:
    base_s = NOW_S - 100
    dump = Dump().sector(
        1,
        (0, 0, BOOT_KIND, 0, 0, 5, 2),
        (0, 3, CONFIG_KIND, 0, 0, 60, 0),
        sample(1, 60, 0, 0x7FC00002, real(40)),
        (1, NOW_S, SYNC_KIND, 1, -32768, base_s, 0),
        (1, NOW_S + 5, SYNC_KIND, 2, -25, base_s, -3),
        (1, NOW_S + 6, CURSOR_KIND, 2, 0, 1, 1),
        boot=5,
    )
    found = lines(read, dump, "--marks")
    stamps = [(line.pop("kind"), line.pop("unix_s"), line.pop("quality")) for line in found]
    assert stamps == [
        ("boot", base_s - 3, 1),
        ("configuration", base_s, 1),
        ("sample", base_s + 57, 1),
        ("time_sync", NOW_S - 3, 1),
        ("time_sync", NOW_S + 5, 2),
        ("cursor", NOW_S + 6, 2),
    ]
    assert [line.pop("boot") for line in found] == [5] * 6
    assert [line.pop("seq") for line in found] == [0, 0, 1, 1, 1, 1]
    assert found.pop(2) == {
        "time_utc": "2026-09-21T14:12:37Z",
        "late_ms": 7,
        "values": {"temp_c": None, "rh_pct": 40.0},
        "status": "temp_c:crc",
    }
    assert [{key: value for key, value in line.items() if key != "time_utc"} for line in found] == [
        {"reset_cause": 2},
        {"period_s": 60},
        {"source": "ntp", "drift_ppm": None, "base_s": base_s, "steps_s": 0},
        {"source": "http", "drift_ppm": -25, "base_s": base_s, "steps_s": -3},
        {"cursor": 1, "acknowledged": 1, "held": 0},
    ]
    assert [line["kind"] for line in lines(read, dump)] == ["sample"]


# --- what power cuts leave ----------------------------------------------------------------------------------------


def test_a_torn_record_is_skipped_and_not_wrong_before_a_start(read: Read) -> None:
    torn = record(1, 23, *sample(2, NOW_S + 20))[:13].ljust(23, b"\xff")
    dump = Dump().sector(1, sample(1, NOW_S), torn, (1, 0, BOOT_KIND, 0, 0, 2, 1), sample(2, NOW_S + 60), torn)
    assert [row["seq"] for row in rows(read, dump)] == ["1", "2"]
    assert wrong(read, dump) == []
    assert "damaged records: 2\n" in read(dump, "--check")[1]


def test_a_start_whose_own_mark_was_torn_is_not_wrong(read: Read) -> None:
    torn = b"\0" * 23
    dump = Dump().sector(1, sample(1, NOW_S), torn, torn, (1, 0, BOOT_KIND, 0, 0, 3, 1), sample(2, NOW_S + 60))
    assert wrong(read, dump) == []
    dump = Dump().sector(1, sample(1, NOW_S), torn, torn, (1, 0, BOOT_KIND, 0, 0, 2, 1), sample(2, NOW_S + 60))
    assert len(wrong(read, dump)) == 1


def test_a_damaged_record_without_a_start_behind_it_is_wrong(read: Read) -> None:
    dump = Dump().sector(1, sample(1, NOW_S), sample(2, NOW_S + 10), sample(3, NOW_S + 20)).damage(1, 12 + 36 + 17 + 30)
    assert [row["seq"] for row in rows(read, dump)] == ["1", "3"]
    assert (
        wrong(read, dump)
        == [
            "1 damaged records are not from a power cut: the flash did not take or keep them",
            "the samples 2 to 2 are missing",
            "the ledger does not add up: -1 samples are neither acknowledged, pending nor expired",
        ][:2]
    )


def test_a_record_of_another_sector_is_none(read: Read) -> None:
    stale = record(9, 23, *sample(2, NOW_S + 10))
    assert [row["seq"] for row in rows(read, Dump().sector(1, sample(1, NOW_S), stale))] == ["1"]


@pytest.mark.parametrize("kept", [0, 100, 300, 512])
def test_a_half_erased_sector_behind_the_newest_holds_nothing(read: Read, kept: int) -> None:
    dump = full(SECTORS + 2)
    dump.cells[dump.offset(3) : dump.offset(3) + SECTOR] = full(3).cells[2 * SECTOR :][:kept].ljust(SECTOR, b"\xff")
    assert [row["seq"] for row in rows(read, dump)] == [str(seq) for seq in range(10, 31)]
    assert wrong(read, dump) == []
    ledger = "30 stored = 0 acknowledged + 21 pending + 0 expired + 9 expired since; 0 rejected"
    assert ledger in read(dump, "--check")[1]


def test_a_torn_header_behind_the_newest_sector_is_not_wrong(read: Read) -> None:
    dump = full(3)
    head = bytes(full(4).cells[3 * SECTOR : 3 * SECTOR + 30])
    dump.cells[3 * SECTOR : 3 * SECTOR + 30] = head
    assert len(rows(read, dump)) == 9
    assert wrong(read, dump) == []


def test_the_sector_that_is_due_for_erasing_is_not_read(read: Read) -> None:
    dump = full(SECTORS + 1)  # sector 2 lies behind it, whole
    dump.counts["expired"] = 6
    seqs = [int(row["seq"]) for row in rows(read, dump)]
    assert seqs == list(range(7, 28))


# --- damage -------------------------------------------------------------------------------------------------------


def test_a_sector_whose_header_is_damaged_is_left_out_and_wrong(read: Read) -> None:
    dump = full(4).damage(2, 20)
    assert [int(row["seq"]) for row in rows(read, dump)] == [1, 2, 3, 7, 8, 9, 10, 11, 12]
    assert wrong(read, dump) == [
        "sector 2 has no valid header: what was in it is lost",
        "the samples 4 to 6 are missing",
    ]


def test_the_newest_sector_with_a_damaged_header_is_missed(read: Read) -> None:
    dump = full(4).damage(4, 50)
    assert len(rows(read, dump)) == 9
    assert wrong(read, dump) == ["the header of sector 4, the newest, is damaged: its records are lost"]


def test_a_header_at_another_place_than_its_own_is_none(read: Read) -> None:
    dump = full(2)
    dump.cells[5 * SECTOR : 6 * SECTOR] = full(3).cells[2 * SECTOR : 3 * SECTOR]
    assert len(rows(read, dump)) == 6
    assert wrong(read, dump) == ["1 sector headers are at a place that is not theirs: is this the whole partition?"]


def test_a_part_of_a_log_is_refused(read: Read) -> None:
    code, out, err = read(bytes(full(SECTORS).cells[SECTOR : 3 * SECTOR]))
    assert (code, out) == (EXIT_FAULT, "")
    assert "none of the 2 sector headers is at its place in a log of 2 sectors" in err


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_random_damage_never_makes_a_false_record(data: st.DataObject) -> None:
    dump = full(data.draw(st.integers(1, 12)))
    true = {(number, r) for number in range(1, 13) for r in records_of(full(12), number)}
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(dump.cells) - 1))
        noise = data.draw(st.binary(min_size=1, max_size=60))[: len(dump.cells) - at]
        dump.cells[at : at + len(noise)] = noise
    try:
        log = log_format.parse(bytes(dump.cells), SECTOR)
    except Problem:
        return
    assert {(entry.sector.number, entry.record) for entry in log.entries} <= true
    if log.sectors:
        log_check.check(log)


def records_of(dump: Dump, number: int) -> list[log_format.Record]:
    at = 12 + 36 + len(NAMES) + 4
    words = (real(21.5), real(40.25))
    assert dump.cells[dump.offset(number) + at]
    return [
        log_format.Record(seq, NOW_S + 10 * seq, SAMPLE_KIND, 2, 7, words)
        for seq in range(3 * number - 2, 3 * number + 1)
    ]


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=64, max_size=64 * 8), st.booleans())
def test_noise_is_refused_in_a_sentence_or_blank(content: bytes, begins_well: bool) -> None:
    content = (b"Tlog\x01\x18" if begins_well else b"") + content
    content = content[: len(content) // 64 * 64]
    try:
        log = log_format.parse(content, 64)
    except Problem as problem:
        assert str(problem).endswith(".")
        return
    assert not log.sectors and not content.strip(b"\xff")


# --- time ---------------------------------------------------------------------------------------------------------


def test_samples_before_the_first_sync_get_their_time_by_uptime(read: Read) -> None:
    dump = Dump().sector(
        1,
        (0, 0, BOOT_KIND, 0, 0, 1, 1),
        sample(1, 10, 0),
        sample(2, 20, 0),
        (2, NOW_S, SYNC_KIND, 1, 0, NOW_S - 25, 0),
        sample(3, NOW_S + 5),
    )
    assert times(read, dump) == [(str(NOW_S - 15), "1"), (str(NOW_S - 5), "1"), (str(NOW_S + 5), "2")]
    assert wrong(read, dump) == []


def test_without_a_sync_there_is_no_time_unless_the_boot_had_an_estimate(read: Read) -> None:
    dump = Dump().sector(
        1,
        (0, 0, BOOT_KIND, 0, 0, 1, 1),
        sample(1, 10, 0),
        (1, NOW_S, BOOT_KIND, 1, 0, 2, 1),
        sample(2, 10, 1),
        (2, 0, BOOT_KIND, 0, 0, 3, 1),
        sample(3, 10, 0),
    )
    assert times(read, dump) == [("", "0"), (str(NOW_S + 10), "1"), ("", "0")]
    assert rows(read, dump)[0]["time_utc"] == ""
    assert wrong(read, dump) == []


def test_a_header_tells_the_time_of_a_boot_whose_sync_was_overwritten(read: Read) -> None:
    dump = Dump().sector(9, sample(1, 10, 0), (1, 0, BOOT_KIND, 0, 0, 8, 1), sample(2, 5, 0), boot=7, base_s=NOW_S)
    dump.sector(10, sample(3, 15, 0), boot=8, base_s=NOW_S + 60, steps_s=4)
    assert times(read, dump) == [(str(NOW_S + 10), "1"), (str(NOW_S + 69), "1"), (str(NOW_S + 79), "1")]


def test_a_step_back_moves_what_was_taken_before_it(read: Read) -> None:
    dump = Dump().sector(
        1,
        sample(1, 20, 0),
        (1, NOW_S, SYNC_KIND, 3, 0, NOW_S - 30, 0),
        sample(2, NOW_S + 10),
        (2, NOW_S - 3580, SYNC_KIND, 1, 0, NOW_S - 30, -3600),
        sample(3, NOW_S - 3570),
    )
    dump.sector(
        2, sample(4, NOW_S - 3560), (4, 0, SYNC_KIND, 1, 0, NOW_S - 30, -3598), base_s=NOW_S - 30, steps_s=-3600
    )
    assert times(read, dump) == [
        (str(NOW_S - 30 + 20 - 3598), "1"),
        (str(NOW_S + 10 - 3598), "1"),
        (str(NOW_S - 3570 + 2), "1"),
        (str(NOW_S - 3560 + 2), "1"),
    ]
    assert wrong(read, dump) == []


def test_steps_of_one_boot_do_not_move_another(read: Read) -> None:
    dump = Dump().sector(
        1,
        (0, NOW_S, SYNC_KIND, 1, 0, NOW_S - 30, -50),
        sample(1, NOW_S + 10),
        (1, NOW_S + 20, BOOT_KIND, 1, 0, 2, 1),
        sample(2, 10, 1),
        (2, NOW_S + 40, SYNC_KIND, 1, 0, NOW_S + 25, 0),
        sample(3, NOW_S + 50),
    )
    assert times(read, dump) == [(str(NOW_S + 10), "2"), (str(NOW_S + 35), "1"), (str(NOW_S + 50), "2")]


def test_a_time_sync_that_was_lost_leaves_later_samples_as_they_are(read: Read) -> None:
    dump = Dump().sector(
        1,
        (0, NOW_S, SYNC_KIND, 1, 0, NOW_S - 30, -50),
        (0, NOW_S + 20, BOOT_KIND, 1, 0, 2, 1),
        b"\0" * 23,
        sample(1, NOW_S + 50),
    )
    assert times(read, dump) == [(str(NOW_S + 50), "2")]


@pytest.mark.parametrize(("time_s", "quality"), [(1704067199, 2), (0, 2), (5, 1)])
def test_no_row_has_a_date_before_2024(read: Read, time_s: int, quality: int) -> None:
    dump = Dump().sector(1, sample(1, time_s, quality), base_s=1_000_000)
    assert times(read, dump) == [("", "0")]
    assert (wrong(read, dump) == ["sample 1 has a time before 2024"]) is (quality == 2)


# --- several lists of values, choosing, writing --------------------------------------------------------------------


def test_other_lists_of_values_make_one_table_with_all_names(read: Read) -> None:
    dump = Dump().sector(1, sample(1, NOW_S, 2, real(1)), names="temp_c")
    four = [real(value) for value in (2, 3, 4, 5)]
    dump.sector(2, sample(2, NOW_S + 1, 2, *four), names="rh_pct,temp_c,co2_ppm,x_v")
    dump.sector(3, sample(3, NOW_S + 2, 2, real(6)), names="temp_c")
    dump.sector(4, sample(4, NOW_S + 3, 2), names="")
    code, out, _ = read(dump)
    assert code == EXIT_OK
    cells = [line.split(",")[5:] for line in out.splitlines()]
    assert cells == [
        ["temp_c", "rh_pct", "co2_ppm", "x_v", "status"],
        ["1", "", "", "", "ok"],
        ["3", "2", "4", "5", "ok"],
        ["6", "", "", "", "ok"],
        ["", "", "", "", "ok"],
    ]
    assert wrong(read, dump) == []


def test_rows_are_chosen_by_time_and_number(read: Read) -> None:
    dump = Dump().sector(1, sample(1, 5, 0), (1, 0, BOOT_KIND, 0, 0, 2, 1), *(sample(i, NOW_S + i) for i in (2, 3, 4)))

    def seqs(*options: str) -> str:
        return "".join(row["seq"] for row in rows(read, dump, *options))

    assert seqs() == "1234"
    assert seqs("--after", "2") == "34"
    assert seqs("--from", str(NOW_S + 3)) == "34"
    assert seqs("--to", "2026-09-21T14:13:23Z") == "2"
    assert seqs("--from", "2026-09-21", "--to", "2026-09-22") == "234"
    assert seqs("--from", "2026-09-21T16:13:24+02:00") == "4"
    assert seqs("--from", "2027-01-01") == ""
    assert [line["kind"] for line in lines(read, dump, "--marks", "--after", "1")] == ["boot"] + 3 * ["sample"]


def test_a_time_without_a_zone_is_utc_wherever_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert read_log.unix_s_of("2026-09-21T14:13:20") == read_log.unix_s_of("2026-09-21T16:13:20+02:00") == NOW_S
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_file_is_written_as_asked(read: Read, tmp_path: Path) -> None:
    _, printed, _ = read(full(2))
    assert read(full(2), "-o", str(tmp_path / "out.csv"))[:2] == (EXIT_OK, "")
    assert (tmp_path / "out.csv").read_text() == printed
    code, _, err = read(full(2), "-o", str(tmp_path / "no" / "out.csv"))
    assert code == EXIT_USAGE and "can't be written (No such file or directory)" in err


# --- where the log comes from ---------------------------------------------------------------------------------------


def test_the_log_is_found_in_a_backup_a_flash_image_and_a_state_folder(tmp_path: Path) -> None:
    log = Dump(256, 4096).sector(1, sample(1, NOW_S)).cells
    flash = bytearray(b"\xff" * partitions.FLASH_BYTES)
    table = partitions.read_csv()
    flash[partitions.TABLE_OFFSET : partitions.TABLE_OFFSET + partitions.TABLE_SIZE_BYTES] = partitions.to_bytes(table)
    row = partitions.named(table, "log")
    flash[row.offset : row.offset + row.size_bytes] = log
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "log.bin").write_bytes(log)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "flash.bin").write_bytes(flash)
    for path in ("backup", "backup/log.bin", "state", "state/flash.bin"):
        assert read_log.load(tmp_path / path) == log


def test_a_flash_image_without_the_whole_partition_is_refused(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "flash.bin"
    head = b"\xff" * partitions.TABLE_OFFSET
    path.write_bytes(head + partitions.to_bytes(partitions.read_csv()))
    assert "ends before its partition 'log' does" in read(path)[2]
    others = [row for row in partitions.read_csv() if row.name != "log"]
    path.write_bytes(head + partitions.to_bytes(others))
    assert "no partition named 'log'" in read(path)[2]


def test_a_blank_log_has_no_samples_yet(read: Read) -> None:
    assert read(Dump()) == (EXIT_OK, f"{COLUMNS},status\n", "no samples yet: the log is blank\n")
    assert read(Dump(), "--check") == (EXIT_OK, "no samples yet: the log is blank\n", "")


@pytest.mark.parametrize(
    ("content", "options", "code", "sentence"),
    [
        (b"", (), EXIT_USAGE, "it has 0 bytes; a log has two or more whole sectors of 512 bytes"),
        (b"\xff" * 1000, (), EXIT_USAGE, "it has 1,000 bytes"),
        (b"\xff" * 1024, ("--sector-bytes", "0"), EXIT_USAGE, "whole sectors of 0 bytes"),
        (b"PK\3\4" * 256, (), EXIT_FAULT, "this is no copy of a log, or all of it is damaged"),
        (b"\xff" * 1024, ("--marks",), EXIT_USAGE, "Use --marks with --ndjson"),
    ],
)
def test_what_is_no_log_is_said_in_a_sentence(
    read: Read, content: bytes, options: tuple[str, ...], code: int, sentence: str
) -> None:
    found, out, err = read(content, *options)
    assert (found, out) == (code, "")
    assert sentence in err


def test_another_version_of_the_format_says_which_tool_reads_it(read: Read) -> None:
    newer = Dump().sector(1, sample(1, NOW_S), version=3)
    mixed = full(2).sector(3, sample(7, NOW_S + 100), version=3)
    for dump in (newer, mixed):
        code, out, err = read(dump)
        assert (code, out) == (EXIT_FAULT, "")
        assert "this log has format 3; this tool reads format 2. Read it with `make read-log` of the checkout" in err


def test_a_damaged_version_in_one_of_many_headers_is_only_damage(read: Read) -> None:
    dump = full(3)
    dump.cells[dump.offset(2) + 4] = 9
    assert len(rows(read, dump)) == 6


def test_the_command_says_what_is_wrong_with_its_arguments(tmp_path: Path) -> None:
    for arguments, sentence in (
        ((), "no file is named. Name a copy of the log: make read-log FILE=log.bin"),
        ((str(tmp_path / "none"),), "can't be read (No such file or directory)"),
        ((str(tmp_path),), "has neither log.bin nor flash.bin"),
        (("x", "--from", "yesterday"), "'yesterday' is no time: give Unix seconds or ISO 8601"),
    ):
        done = run_command("read_log", *arguments)
        assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
        assert sentence in done.stderr


# --- the check --------------------------------------------------------------------------------------------------------


def test_the_check_counts_what_is_there(read: Read) -> None:
    dump = full(2).sector(
        3,
        (6, NOW_S + 65, CURSOR_KIND, 2, 0, 4, 4),
        (6, NOW_S + 66, BOOT_KIND, 1, 0, 2, 1),
        (6, NOW_S + 67, CONFIG_KIND, 2, 0, 10, 0),
        sample(7, 5, 1),
        (7, NOW_S + 80, SYNC_KIND, 1, 0, NOW_S + 70, 0),
    )
    assert read(dump, "--check")[1].splitlines() == [
        "sectors: 3 of 7 in use, numbers 1 to 3, 0 damaged",
        "samples: 7, numbers 1 to 7, 2026-09-21T14:13:30Z to 2026-09-21T14:14:35Z; 0 without a time",
        "marks: 1 cursor, 1 time_sync, 1 boot, 1 configuration",
        "boots: 2, numbers 1 to 2",
        "damaged records: 0",
        "gaps in the numbers: 0",
        "ledger: 7 stored = 4 acknowledged + 3 pending + 0 expired; 0 rejected",
        "nothing is wrong",
    ]


FAULTS = {
    "a repeat": (
        Dump().sector(1, sample(1, NOW_S), sample(2, NOW_S + 1), sample(2, NOW_S + 2)),
        ["the number 2 comes behind 2: it is a repeat, or out of order"],
    ),
    "a lost sample": (
        Dump().sector(1, sample(1, NOW_S), sample(3, NOW_S + 1)),
        ["the samples 2 to 2 are missing"],
    ),
    "a jump at a start that nothing explains": (
        Dump().sector(1, sample(1, NOW_S), (1, 0, BOOT_KIND, 0, 0, 2, 1), sample(12, NOW_S + 1)),
        ["the samples 2 to 11 are missing"],
    ),
    "a jump over a block without a start": (
        Dump().sector(1, sample(1, NOW_S), sample(2001, NOW_S + 1)),
        ["the samples 2 to 2000 are missing"],
    ),
    "the time goes back": (
        Dump().sector(1, sample(1, NOW_S), sample(2, NOW_S - 5)),
        ["the time goes back by 5 s at sample 2"],
    ),
    "two samples in a slot": (
        Dump().sector(1, sample(1, NOW_S), sample(2, NOW_S)),
        ["sample 2 has the same time as the one before it: two in one slot"],
    ),
    "the time goes back over a start": (
        Dump().sector(1, sample(1, NOW_S), (1, NOW_S - 50, BOOT_KIND, 1, 0, 2, 1), sample(2, 10, 1)),
        ["the time goes back by 40 s at sample 2 at the start of boot 2"],
    ),
    "an unknown kind": (
        Dump().sector(1, sample(1, NOW_S), (1, NOW_S, 7, 0, 0, 0, 0)),
        ["a mark behind sample 1 has the unknown kind 7"],
    ),
    "an unknown quality": (
        Dump().sector(1, sample(1, NOW_S, 3)),
        ["a record at sample 1 has the unknown quality 3"],
    ),
    "a header that counts other samples": (
        Dump().sector(1, sample(1, NOW_S)).sector(2, sample(2, NOW_S + 1), stored=2, acknowledged=1),
        ["sector 1 holds 1 samples, but the next header counts 2"],
    ),
    "a count that goes back": (
        Dump().sector(1, sample(1, NOW_S), rejected=5).sector(2, rejected=4),
        ["rejected goes back in the header of sector 2"],
    ),
    "a cursor ahead of the samples in a header": (
        Dump().sector(1, sample(1, NOW_S)).sector(2, sample(2, NOW_S + 1), cursor=2, acknowledged=1),
        [
            "the cursor in the header of sector 2 is ahead of the samples",
            "the ledger does not add up: +1 samples are neither acknowledged, pending nor expired",
        ],
    ),
    "a cursor that goes back": (
        Dump().sector(
            1, sample(1, NOW_S), sample(2, NOW_S + 1), (2, NOW_S, CURSOR_KIND, 2, 0, 2, 2), (2, NOW_S, 2, 2, 0, 1, 1)
        ),
        ["the cursor goes from 2 to 1 behind sample 2"],
    ),
    "a ledger that says more than there is": (
        Dump().sector(1, sample(1, NOW_S), stored=3),
        ["the ledger does not add up: +3 samples are neither acknowledged, pending nor expired"],
    ),
    "a ledger that says less than there is": (
        Dump().sector(1, sample(1, NOW_S), expired=2),
        ["the ledger does not add up: -2 samples are neither acknowledged, pending nor expired"],
    ),
    "a sample before its header's number": (
        Dump().sector(1, sample(1, NOW_S), next_seq=5),
        ["sector 1 begins with sample 1, its header says 5"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_check_finds(read: Read, fault: str) -> None:
    dump, sentences = FAULTS[fault]
    assert wrong(read, dump) == sentences


def test_numbers_that_were_left_out_after_a_restore_are_not_wrong(read: Read) -> None:
    dump = Dump().sector(
        1, sample(400, NOW_S), (400, 0, BOOT_KIND, 0, 0, 9, 1), sample(101401, NOW_S + 9), next_seq=400
    )
    assert wrong(read, dump) == []
    assert "gaps in the numbers: 1\n" in read(dump, "--check")[1]
