"""app/store on a model of NOR flash: the ledger, sequence numbers, scans and the form of a record."""

from __future__ import annotations

import math
from struct import pack, unpack
from typing import Any

import pytest
from app.store import BOOT, CURSOR, REASONS, SAMPLE
from app.store_open import newest, open_store
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ring_log import PAGE_BYTES

from host_tests.store_board import NAMES, PER_SECTOR, SECTOR, SECTORS, UNIX_S, Board

BLOCK = 1000
MARK_EVERY = 32


# --- the ledger -------------------------------------------------------------------------------------


def test_what_is_counted_survives_a_restart() -> None:
    board = Board()
    board.take(3 * PER_SECTOR)
    assert len(board.deliver(MARK_EVERY)) == MARK_EVERY
    before = board.ledger(), board.store.cursor, board.store.next_seq
    board.start()
    assert (board.ledger(), board.store.cursor, board.store.next_seq) == before
    assert board.ledger() == (3 * PER_SECTOR, MARK_EVERY, 3 * PER_SECTOR - MARK_EVERY, 0, 0)


def test_samples_that_nobody_got_expire_with_their_sector() -> None:
    board = Board()
    board.take(10 * PER_SECTOR)
    stored, acknowledged, pending, expired, _ = board.ledger()
    assert (stored, acknowledged) == (10 * PER_SECTOR, 0)
    assert pending == len(board.seqs()) == stored - expired
    assert (SECTORS - 2) * PER_SECTOR <= pending <= (SECTORS - 1) * PER_SECTOR
    before = board.ledger()
    board.start()
    assert board.ledger() == before


def test_samples_that_expire_while_they_are_sent_are_counted_once() -> None:
    board = Board()
    board.take((SECTORS - 1) * PER_SECTOR - 5)
    batch = board.seqs()[: PER_SECTOR + 4]
    settled = board.store.acknowledged + board.store.expired + len(batch)
    board.take(10)
    expired = board.store.expired
    assert 0 < expired < len(batch)
    board.store.acknowledge(batch[-1], settled)
    assert board.ledger()[1:4] == (len(batch) - expired, board.store.stored - len(batch), expired)
    assert board.seqs(board.store.cursor + 1) == list(range(batch[-1] + 1, board.store.next_seq))


def test_an_answer_for_samples_that_have_all_expired_changes_nothing() -> None:
    board = Board()
    board.take(5)
    batch = board.seqs()
    board.take(10 * PER_SECTOR)
    before = board.ledger(), board.store.cursor
    board.store.acknowledge(batch[-1], len(batch))
    assert (board.ledger(), board.store.cursor) == before


def test_the_cursor_is_marked_after_so_many_samples_and_after_a_cut_the_rest_is_sent_again() -> None:
    board = Board()
    board.take(70)
    while board.store.acknowledged < 60:
        board.deliver(10)
    assert [board.store.acknowledged, board.store.marked] == [60, 40]
    board.start()
    assert [board.store.acknowledged, board.store.cursor] == [40, 40]
    assert board.seqs(board.store.cursor + 1)[0] == 41


def test_the_cursor_can_be_saved_before_a_planned_restart() -> None:
    board = Board()
    board.take(20)
    board.deliver(7)
    board.store.save_cursor()
    assert (board.start().acknowledged, board.store.cursor, board.store.marked) == (7, 7, 7)


def test_pending_samples_that_can_not_be_read_are_given_up() -> None:
    board = Board()
    board.take(2 * PER_SECTOR)
    log = board.store.log
    for number in range(1, log.number + 1):  # the records, not the headers
        end = log.at if number == log.number else SECTOR
        board.flash.damage(log.offset(number) + 60, end - 60)
    assert board.seqs() == []
    assert board.store.pending() == 2 * PER_SECTOR
    board.store.give_up(board.store.next_seq - 1, board.store.stored)
    assert board.ledger() == (2 * PER_SECTOR, 0, 0, 2 * PER_SECTOR, 0)
    (seq,) = board.take()
    assert board.seqs(board.store.cursor + 1) == board.deliver(5) == [seq]
    assert board.store.pending() == 0


def test_samples_of_a_lost_sector_expire_at_the_next_start() -> None:
    board = Board()
    board.take(10 * PER_SECTOR)
    log = board.store.log
    expired = board.store.expired
    board.flash.damage(log.offset(log.oldest(log.number)), 20)
    assert board.seqs()[0] == expired + PER_SECTOR + 1
    assert board.start().expired == expired + PER_SECTOR
    assert board.store.pending() == len(board.seqs())


def test_a_flash_that_fails_is_a_rejected_sample_whose_number_no_other_gets() -> None:
    board = Board()
    board.take(3)
    board.flash.failing = {"program"}
    assert board.take(4) == []
    board.flash.failing = set()
    assert board.take(2) == [8, 9]
    assert board.ledger() == (5, 0, 5, 0, 4)
    assert board.seqs() == [1, 2, 3, 8, 9]


def test_a_sample_that_landed_though_the_flash_said_no_keeps_its_number() -> None:
    board = Board()
    board.take(3)
    board.flash.failing = {"read"}  # of what was programmed
    assert board.take(1) == []
    board.flash.failing = set()
    assert board.take(1) == [5]
    assert sorted(set(board.seqs())) == board.seqs()


def test_a_mark_that_can_not_be_written_stops_nothing() -> None:
    board = Board()
    board.take(MARK_EVERY)
    board.flash.failing = {"program"}
    board.deliver(MARK_EVERY)
    board.store.mark(CURSOR, 0, 0, 0, 0)
    board.flash.failing = {"erase", "read"}
    board.store.tend()
    board.flash.failing = set()
    assert board.store.acknowledged == MARK_EVERY
    assert board.take() == [MARK_EVERY + 1]


def test_tending_leaves_no_erase_to_a_sample() -> None:
    board = Board()
    for _ in range(20 * PER_SECTOR):
        board.take()
        board.store.tend()
    assert board.store.log.late == 0
    assert board.flash.erases > 10


# --- sequence numbers -------------------------------------------------------------------------------


def test_numbers_are_taken_in_nvs_before_they_are_used() -> None:
    board = Board(sectors=64)
    for seq in board.take(2 * BLOCK + 5):
        assert board.store.block_end >= seq
    assert board.nvs["seq"] == 3 * BLOCK
    board.start()
    assert board.take() == [2 * BLOCK + 6]
    assert board.nvs["seq"] == 3 * BLOCK


def test_no_number_is_used_without_nvs() -> None:
    board = Board()
    board.nvs_fails = True
    assert board.take(3) == []
    assert board.ledger() == (0, 0, 0, 0, 3)
    board.nvs_fails = False
    assert board.take(2) == [1, 2]


@pytest.mark.parametrize("stored", [5, BLOCK - 1, BLOCK, BLOCK + 1])
def test_a_log_that_was_erased_repeats_no_number(stored: int) -> None:
    board = Board(sectors=64)
    used = board.take(stored)
    board.flash.cells[:] = b"\xff" * board.flash.size_bytes
    board.start()
    again = board.take(5) + (board.start() and board.take(5))
    assert again == list(range(again[0], again[0] + 10))
    assert again[0] == -(-used[-1] // BLOCK) * BLOCK + 1


@pytest.mark.parametrize("since", [5, BLOCK - 20, 3 * BLOCK])
def test_an_older_copy_of_the_log_repeats_no_number(since: int) -> None:
    """A backup restarts the board, and so does what puts it back."""
    board = Board(sectors=200)
    used = board.take(10)
    copy = bytes(board.flash.cells)
    board.start()
    used += board.take(since)
    board.flash.cells[:] = copy
    board.start()
    again = board.take(5) + (board.start() and board.take(5))
    assert min(again) > max(used)
    assert again == list(range(again[0], again[0] + 10))
    assert board.seqs() == [*range(1, 11), *again]


@pytest.mark.parametrize("stored", [5, 3 * BLOCK + 5])
def test_numbers_go_on_from_the_log_when_nvs_was_emptied(stored: int) -> None:
    board = Board(sectors=200)
    used = board.take(stored)
    board.nvs.clear()
    board.start()
    again = board.take(5)
    assert again[0] == used[-1] + 1
    assert board.nvs["seq"] == used[-1] + BLOCK
    assert board.store.boot == 2
    assert [sample[3] for sample in board.scan(used[-1])] == [1, 2, 2, 2, 2, 2]
    assert board.start().boot == 3


def test_a_log_from_another_board_is_gone_on_with() -> None:
    other = Board(sectors=64)
    for _ in range(7):
        other.start()
    used = other.take(BLOCK + 200)
    board = Board(sectors=64)
    own = board.take(10)
    board.flash.cells[:] = other.flash.cells
    board.start()
    assert min(board.take(3)) > max(own + used)
    assert board.store.boot == 9


def test_a_cut_before_the_boot_mark_is_durable_repeats_no_number() -> None:
    board = Board()
    used = board.take(10)
    board.start(mark=False)
    board.start()
    assert board.store.last == (10, (10.0, 0.0))
    again = board.take(2)
    assert again == [BLOCK + 1, BLOCK + 2]
    assert board.seqs() == used + again
    assert board.ledger() == (12, 0, 12, 0, 0)
    assert board.deliver(12) == used + again


def test_a_store_in_memory_uses_no_number_of_an_earlier_boot() -> None:
    nvs = Board()
    store = open_store(None, NAMES, 7, nvs.clock, nvs.count_up)
    store.append(UNIX_S, 2, (1, 2))
    assert store.is_memory
    assert store.last[0] == 1
    again = open_store(None, NAMES, 8, nvs.clock, nvs.count_up)
    again.append(UNIX_S, 2, (1, 2))
    assert again.last[0] == BLOCK + 1


# --- what a scan gives ------------------------------------------------------------------------------


def test_a_scan_begins_at_any_number_of_any_lap() -> None:
    board = Board()
    everything = []
    for _ in range(9):
        everything += board.take(PER_SECTOR - 2)
        board.deliver(MARK_EVERY)
        board.start()
        kept = board.seqs()
        assert kept == everything[-len(kept) :]
        for first in range(kept[0] - 3, kept[-1] + 3):
            assert board.seqs(first) == [seq for seq in kept if seq >= first]


def test_a_sample_knows_its_boot_and_the_names_of_its_time() -> None:
    board = Board()
    board.take(2)
    board.names = "x,y,z"
    board.start()
    board.take(2)
    board.start()
    board.take(1)
    board.names = "x"
    board.start()
    board.take(PER_SECTOR + 1)
    samples = board.scan()
    assert [sample[3:5] for sample in samples[:5]] == [(1, "a,b")] * 2 + [(2, "x,y,z")] * 2 + [(3, "x,y,z")]
    assert [sample[5] for sample in samples[:7]] == [(1, 0), (2, 0), (3, 0, 1), (4, 0, 1), (5, 0, 1), (6,), (7,)]
    assert {sample[3:5] for sample in samples[5:]} == {(4, "x")}


def test_values_of_another_configuration_are_not_the_newest() -> None:
    board = Board()
    board.take(2)
    assert board.start().last == (2, (2.0, 0.0))
    board.names = "b,a"
    assert board.start().last == (2, ())
    board.take(1)
    assert [sample[4] for sample in board.scan()] == ["a,b", "a,b", "b,a"]


def test_the_time_of_the_newest_sample_is_found_behind_marks() -> None:
    board = Board()
    board.take(2 * PER_SECTOR)
    at_s = board.clock.stamp()
    for _ in range(2 * PER_SECTOR):
        board.store.mark(CURSOR, 2, at_s + 5, 0, 0)
    board.start(mark=False)
    assert newest(board.store) == (at_s, {})
    assert newest(Board().store) == (0, {})


def test_a_scan_that_is_overtaken_goes_on_with_what_is_left() -> None:
    """An export may take longer than the ring takes to come round."""
    board = Board()
    board.take(5 * PER_SECTOR)
    scan = board.store.samples(1, bytearray(PAGE_BYTES))
    got = [next(scan)[0] for _ in range(5)]
    for seq, *_ in scan:
        got.append(seq)
        if len(got) % 3 == 0 and len(got) < 200:
            board.take(4)
    assert got == sorted(set(got))
    assert got[-1] == board.store.next_seq - 1


FLOATS = st.floats(width=32, allow_nan=False)
TOTALS = st.integers(0, 0xFFFFFFF0)
WORDS = st.sampled_from(REASONS[1:])


@settings(deadline=None)
@given(st.tuples(FLOATS | WORDS, TOTALS | WORDS, FLOATS | WORDS, TOTALS | WORDS))
@example((-0.0, 0, 3.4028234663852886e38, 0xFFFFFFF0))
@example(tuple(REASONS[1:5]))
@example((REASONS[5], REASONS[5], 2.0**-149, 1 << 24 | 1))
def test_values_come_back_as_they_were_given(values: tuple[Any, ...]) -> None:
    board = Board(names="a,a_total,b,b_total")
    board.store.append(UNIX_S, 2, values, 70_000)
    ((seq, unix_s, quality, boot, names, got),) = board.scan()
    assert (seq, unix_s, quality, boot, names) == (1, UNIX_S, 2, 1, board.names)
    assert got == values
    assert [math.copysign(1, v) for v in got if isinstance(v, float)] == [
        math.copysign(1, v) for v in (values[0], values[2]) if not isinstance(v, str)
    ]


def test_a_record_is_laid_out_as_documented() -> None:
    board = Board(names="t_total")
    board.store.append(UNIX_S, 2, (77,), 70_000)
    store = board.store
    record = bytes(store.log.record)
    assert record[:19] == pack("<IIBHII", 1, UNIX_S, SAMPLE | 2 << 3, 65_535, 77, 0)
    offset = store.log.at - len(record)
    assert board.flash.cells[offset : offset + 23] == record
    header = board.flash.cells[: 12 + 36 + len("t_total") + 4]
    assert header[:12] == b"Tlog" + pack("<BBHI", 2, 23, len(header), 1)
    assert unpack("<IIIIIIIIi", header[12:48]) == (1, 0, 0, 0, 0, 0, 1, UNIX_S, 0)
    assert header[48:-4] == b"t_total"


# --- without a partition ----------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["temperature_c", "temperature_c,humidity_percent", "n" * 25 + "," + "n" * 25])
def test_memory_holds_at_least_a_hundred_samples(names: str) -> None:
    board = Board(names=names)
    store = board.store = open_store(None, names, 1, board.clock, board.count_up)
    store.mark(BOOT, 0, 0, 1, 1)
    fewest = 1000
    for _ in range(1000):
        board.take()
        store.tend()
        assert store.stored == store.acknowledged + store.pending() + store.expired
        if store.expired:
            fewest = min(fewest, store.pending())
    assert fewest >= 100
    assert board.seqs() == list(range(1001 - store.pending(), 1001))
