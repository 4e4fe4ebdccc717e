"""lib/ring_log and lib/ring_open on a model of NOR flash: every fault by name, then all at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from struct import pack_into, unpack_from
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ring_log import HEADER_BYTES, PAGE_BYTES, RingLog
from ring_open import find_head, find_tail
from ring_ram import RamFlash

from host_tests.nor import Nor, PowerCut

SECTOR = 512
RECORD = 24
NOTE = 8
HEADER = HEADER_BYTES + NOTE + 4
PER_SECTOR = (SECTOR - HEADER) // RECORD
MOST_READS = 300


def open_log(flash: Nor | RamFlash, record_bytes: int = RECORD, key: int = 1) -> RingLog:
    """A log whose records are keys that count up; the next one is known from what is found, as the store does it."""
    log = RingLog(flash, record_bytes, None)
    next_key = [key]

    def note(number: int) -> bytes:
        note = bytearray(NOTE)
        pack_into("<II", note, 0, next_key[0], number)
        return bytes(note)

    log.note = note
    log.next_key = next_key  # type: ignore[attr-defined]
    find_head(log)
    find_tail(log)
    if log.number:
        log.header(log.number, log.page)
        next_key[0] = unpack_from("<I", log.page, HEADER_BYTES)[0]
        next_key[0] = max([next_key[0] - 1, *in_sector(log, log.number)]) + 1
    return log


def append(log: RingLog, count: int = 1) -> list[int]:
    """Append records; their keys."""
    keys = []
    for _ in range(count):
        key = log.next_key[0]  # type: ignore[attr-defined]
        log.record[:] = content(key, len(log.record))
        log.append()
        log.next_key[0] = key + 1  # type: ignore[attr-defined]
        keys.append(key)
    return keys


def content(key: int, size: int = RECORD) -> bytes:
    """What the record with a key holds; its last 4 bytes are the log's."""
    return key.to_bytes(4, "little") + bytes((key * 7 + i) & 0xFF for i in range(size - 8)) + bytes(4)


def in_sector(log: RingLog, number: int) -> list[int]:
    """Keys of the records of a sector, each checked to be what was written."""
    page = bytearray(PAGE_BYTES)
    keys = []
    for at in log.records(number, page):
        size = page_record_bytes(log, number)
        key = unpack_from("<I", page, at)[0]
        assert bytes(page[at : at + size - 4]) == content(key, size)[:-4], "a false record"
        keys.append(key)
    return keys


def page_record_bytes(log: RingLog, number: int) -> int:
    page = bytearray(PAGE_BYTES)
    return page[5] if log.header(number, page) else 0


def keys_of(log: RingLog) -> list[int]:
    """Keys of all records that are kept, in the order of the log."""
    if not log.number:
        return []
    return [key for number in range(log.oldest(log.number), log.number + 1) for key in in_sector(log, number)]


def full_ring(sectors: int = 6, into_last: int = 3) -> tuple[Nor, RingLog]:
    """A ring in its second lap; `into_last` records lie in the newest sector."""
    flash = Nor(sectors * SECTOR, SECTOR)
    log = open_log(flash)
    append(log, (sectors + 2) * PER_SECTOR + into_last)
    return flash, log


# --- the ring ---------------------------------------------------------------------------------------


def test_records_come_back_in_order_after_a_restart() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    keys = append(open_log(flash), 2 * PER_SECTOR + 3)
    assert keys_of(open_log(flash)) == keys


def test_a_full_ring_keeps_all_sectors_but_one() -> None:
    flash, log = full_ring(sectors=6, into_last=3)
    assert keys_of(log) == list(range(log.next_key[0] - 4 * PER_SECTOR - 3, log.next_key[0]))  # type: ignore[attr-defined]
    assert keys_of(open_log(flash)) == keys_of(log)


def test_an_empty_flash_is_an_empty_log() -> None:
    log = open_log(Nor(6 * SECTOR, SECTOR))
    assert log.number == 0
    assert keys_of(log) == []


@pytest.mark.parametrize("rubbish", ["random", "zeros", "one byte", "magic only"])
def test_a_partition_full_of_rubbish_is_taken_over(rubbish: str) -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    noise = random.Random(3)
    for i in range(flash.size_bytes):
        flash.cells[i] = {
            "random": noise.randrange(256),
            "zeros": 0,
            "one byte": 0x54,
            "magic only": b"Tlog\1\x18\x03\0"[i % 8],
        }[rubbish]
    log = open_log(flash)
    assert keys_of(log) == []
    keys = append(log, 9 * PER_SECTOR)
    assert keys_of(open_log(flash)) == keys[-5 * PER_SECTOR :]


@pytest.mark.parametrize("size", range(20))
def test_a_header_that_claims_any_size_is_none(size: int) -> None:
    """A half-erased sector may keep magic, version and number and lose the rest."""
    flash, log = full_ring()
    pack_into("<H", flash.cells, log.offset(log.number) + 6, size)
    assert log.header(log.number, log.page) == 0
    assert open_log(flash).number == log.number - 1


def test_records_of_another_size_begin_a_new_sector() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    old = append(open_log(flash), PER_SECTOR + 2)
    log = open_log(flash, 48)
    new = append(log, 5)
    assert (log.number, keys_of(log)) == (3, old + new)
    assert keys_of(open_log(flash, 48)) == old + new
    assert keys_of(open_log(flash)) == old + new


def test_memory_holds_a_ring_as_flash_does() -> None:
    flash = RamFlash(4096, SECTOR)
    log = open_log(flash)
    keys = append(log, 11 * PER_SECTOR)
    assert keys_of(log) == keys[-7 * PER_SECTOR :]
    assert keys_of(open_log(flash)) == keys_of(log)


# --- power cuts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("landed", range(RECORD + 1))
def test_a_torn_record_is_passed_over(landed: int) -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    keys = append(log, 5)
    flash.cut_after(0, landed)
    with pytest.raises(PowerCut):
        append(log)
    flash.power_on()
    log = open_log(flash)
    assert keys_of(log) == (keys + [6] if landed == RECORD else keys)
    keys = keys_of(log) + append(log, PER_SECTOR)
    assert keys_of(log) == keys_of(open_log(flash)) == keys


@pytest.mark.parametrize("landed", range(HEADER + 1))
@pytest.mark.parametrize("sectors_before", [2, 8])
def test_a_torn_header_is_none(landed: int, sectors_before: int) -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    keys = append(log, sectors_before * PER_SECTOR)
    log.tend()
    flash.cut_after(0, landed, only="program")
    with pytest.raises(PowerCut):
        append(log)
    flash.power_on()
    log = open_log(flash)
    assert log.number == sectors_before + (landed == HEADER)
    keys += append(log, 3)
    assert keys_of(log) == keys_of(open_log(flash)) == keys[-(4 * PER_SECTOR + 3) :]


@pytest.mark.parametrize("seed", range(20))
def test_a_half_erased_sector_is_recognised(seed: int) -> None:
    flash = Nor(6 * SECTOR, SECTOR, seed)
    log = open_log(flash)
    keys = append(log, 8 * PER_SECTOR + 3)
    flash.cut_after(0, only="erase")
    with pytest.raises(PowerCut):
        log.tend()
    flash.power_on()
    log = open_log(flash)
    assert keys_of(log) == keys[-(4 * PER_SECTOR + 3) :]
    keys += append(log, PER_SECTOR)
    assert keys_of(log) == keys_of(open_log(flash)) == keys[-(4 * PER_SECTOR + 3) :]


def test_a_cut_between_a_header_and_its_first_record_costs_that_record_only() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    keys = append(log, 8 * PER_SECTOR)
    log.tend()
    flash.cut_after(1, 0)
    with pytest.raises(PowerCut):
        append(log)
    flash.power_on()
    log = open_log(flash)
    assert (log.number, log.at) == (9, HEADER)
    assert keys_of(log) == keys[-4 * PER_SECTOR :]
    assert keys_of(log) + append(log) == keys_of(open_log(flash))


@pytest.mark.parametrize("seed", range(20))
def test_two_cuts_in_a_row_are_as_one(seed: int) -> None:
    """The second comes while what the first left behind is cleared away."""
    flash = Nor(6 * SECTOR, SECTOR, seed)
    log = open_log(flash)
    keys = append(log, 8 * PER_SECTOR)
    for what in ("erase", "erase", "program", "program"):
        flash.cut_after(0, only=what)
        try:
            append(log)
        except PowerCut:
            pass
        flash.power_on()
        log = open_log(flash)
        kept = keys_of(log)
        expected = keys[-(13 - log.number) * PER_SECTOR :]
        assert kept[: len(expected)] == expected
        assert len(kept) <= len(expected) + 2  # of the two torn records
    after = append(log, 5)
    assert keys_of(open_log(flash)) == keys_of(log) == [*kept[-len(keys_of(log)) + 5 :], *after]


# --- bad cells --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lap", [0, 8], ids=["first lap", "full ring"])
@pytest.mark.parametrize("back", [1, 2, 3, 4])
def test_a_damaged_header_costs_its_own_sector_only(lap: int, back: int) -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    keys = append(log, (lap + 4) * PER_SECTOR + 3)
    lost = log.number - back
    if lost < log.oldest(log.number):
        pytest.skip("not in the ring")
    flash.damage(log.offset(lost), 20)
    log = open_log(flash)
    gone = keys[(lost - 1) * PER_SECTOR : lost * PER_SECTOR]
    kept = keys[(log.oldest(log.number) - 1) * PER_SECTOR :]
    assert log.number == lap + 5
    assert keys_of(log) == [key for key in kept if key not in gone]


@pytest.mark.parametrize("newest", range(6, 19))
@pytest.mark.parametrize("damaged", [1, 2], ids=["one", "two that are neighbours"])
def test_damaged_headers_anywhere_do_not_hide_the_newest_sector(newest: int, damaged: int) -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    append(log, (newest - 1) * PER_SECTOR + 3)
    assert log.number == newest
    for first in range(log.oldest(newest), newest - damaged + 1):
        before = bytes(flash.cells)
        for number in range(first, first + damaged):
            flash.damage(log.offset(number), 20)
        again = open_log(flash)
        assert (again.number, again.at) == (newest, log.at)
        flash.cells[:] = before


def test_a_cell_that_takes_no_zero_sends_the_record_to_the_next_place() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    keys = append(log, 2)
    flash.stuck[log.offset(1) + log.at + 4] = 0xFF
    flash.stuck[log.offset(1) + log.at + RECORD + 4] = 0xFF
    keys += append(log, 2)
    assert log.errors == 2
    assert log.at == HEADER + 6 * RECORD
    assert keys_of(log) == keys_of(open_log(flash)) == keys


def test_three_places_in_a_row_that_take_nothing_are_an_error_and_no_record() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    keys = append(log, 2)
    for at in range(3):
        flash.stuck[log.offset(1) + log.at + at * RECORD + 4] = 0xFF
    with pytest.raises(OSError):
        append(log)
    keys += append(log, 2)
    assert keys_of(log) == keys_of(open_log(flash)) == keys


@pytest.mark.parametrize("more", range(7))
def test_a_header_that_does_not_take_sends_the_log_on_to_the_next_sector(more: int) -> None:
    """Sector 3 can't be begun, in this lap or any other; whatever is newest, it is found."""
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    flash.stuck[log.offset(3) + 8] = 0xFF
    keys = append(log, 2 * PER_SECTOR + 1)
    assert (log.number, log.errors) == (4, 1)
    assert keys_of(log) == keys_of(open_log(flash)) == keys
    keys += append(log, (6 + more) * PER_SECTOR)
    again = open_log(flash)
    assert (again.number, again.at) == (log.number, log.at)
    assert keys_of(again) == keys_of(log) == keys[-len(keys_of(log)) :]
    assert len(keys_of(log)) > 3 * PER_SECTOR
    assert keys_of(log) + append(again) == keys_of(again)


@pytest.mark.parametrize("what", ["program", "erase"])
def test_nothing_is_burnt_when_the_driver_fails(what: str) -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    keys = append(log, 8 * PER_SECTOR + (0 if what == "erase" else 3))
    flash.failing = {what}
    for _ in range(3):
        with pytest.raises(OSError):
            append(log)
    flash.failing = set()
    number = log.number
    after = append(log, 2)
    assert log.number - number == (what == "erase")
    expected = keys[-4 * PER_SECTOR :] if what == "erase" else keys[-(4 * PER_SECTOR + 3) :]
    assert keys_of(log) == expected + after
    assert keys_of(open_log(flash)) == keys_of(log)


def test_what_can_not_be_read_back_is_not_taken_for_durable() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    keys = append(log, 3)
    flash.failing = {"read"}
    with pytest.raises(OSError):
        append(log)
    flash.failing = set()
    assert keys_of(log)[:3] == keys
    append(log, 2)
    assert keys_of(open_log(flash)) == keys_of(log)


# --- figures ----------------------------------------------------------------------------------------


def test_append_never_erases_when_there_was_time_to() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    for _ in range(20 * PER_SECTOR):
        append(log)
        erases = flash.erases
        log.tend()
        assert flash.erases - erases <= 1
    assert log.late == 0
    assert log.erases == flash.erases > 10
    append(log, 20 * PER_SECTOR)
    assert log.late > 10


def test_a_blank_sector_is_not_erased_again() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    append(open_log(flash), 5 * PER_SECTOR)
    assert flash.erases == 0


def test_sectors_wear_evenly() -> None:
    flash = Nor(6 * SECTOR, SECTOR)
    log = open_log(flash)
    append(log, 60 * PER_SECTOR)
    assert max(flash.wear) - min(flash.wear) <= 1


def test_a_megabyte_is_opened_with_few_reads_wherever_its_head_is() -> None:
    flash = Nor(256 * 4096, 4096)
    log = open_log(flash, 64)
    reads = {"first lap": 0, "full": 0}
    number = 0
    while log.number < 514:
        append(log)
        if log.number == number and log.number % 8 or log.at % 640 > 64 and log.number == number:
            continue
        number = log.number
        for _ in range(2):  # the next sector is not erased, and it is
            before = flash.reads
            again = RingLog(flash, 64, None)
            find_head(again)
            find_tail(again)
            lap = "first lap" if number < 256 else "full"
            reads[lap] = max(reads[lap], flash.reads - before)
            assert (again.number, again.at) == (log.number, log.at)
            log.tend()
    assert max(reads.values()) <= MOST_READS, reads


# --- find -------------------------------------------------------------------------------------------


def last_sector(log: RingLog, test: Callable[[Any], bool]) -> int:
    """What find() is to answer, by looking at every sector."""
    page = bytearray(PAGE_BYTES)
    found = 0
    for number in range(log.oldest(log.number), log.number + 1):
        if log.header(number, page) and test(page):
            found = number
    return found


@pytest.mark.parametrize("damaged", [(), (0,), (2,), (1, 2), (4,), (3, 4), (0, 1, 2, 3, 4)])
def test_find_passes_over_sectors_without_a_header(damaged: tuple[int, ...]) -> None:
    flash, log = full_ring(sectors=6, into_last=3)
    oldest = log.oldest(log.number)
    for n in damaged:
        flash.damage(log.offset(oldest + n), 20)
    for key in range((oldest - 2) * PER_SECTOR, log.number * PER_SECTOR, 5):

        def begins_before(page: bytes, key: int = key) -> bool:
            return unpack_from("<I", page, HEADER_BYTES)[0] <= key

        assert log.find(begins_before) == last_sector(log, begins_before)


# --- everything at random ---------------------------------------------------------------------------


class AnyLife(RuleBasedStateMachine):
    """A log that is appended to, cut, restarted and damaged, beside a plain list of what it has to hold."""

    SECTORS = 5

    def __init__(self) -> None:
        super().__init__()
        self.flash = Nor(self.SECTORS * SECTOR, SECTOR, 1)
        self.log = open_log(self.flash)
        self.kept: list[tuple[int, int]] = []  # (sector, key)
        self.damaged = 0

    def _append(self) -> None:
        (key,) = append(self.log)
        self.kept.append((self.log.number, key))

    @rule(count=st.integers(1, 2 * PER_SECTOR))
    def append_some(self, count: int) -> None:
        for _ in range(count):
            self._append()

    @rule()
    def tend(self) -> None:
        self.log.tend()
        assert self.log.tend() is False

    @rule()
    def restart(self) -> None:
        before = self.log
        self.log = open_log(self.flash)
        assert (self.log.number, self.log.at) == (before.number, before.at)

    @rule(after=st.integers(0, 2 * PER_SECTOR), tend_first=st.booleans(), only=st.sampled_from(["", "", "erase"]))
    def cut(self, after: int, tend_first: bool, only: str) -> None:
        self.flash.cut_after(after if not only else after % 2, only=only)
        in_flight = 0
        try:
            while True:
                if tend_first:
                    self.log.tend()
                in_flight = self.log.next_key[0]  # type: ignore[attr-defined]
                self._append()
                in_flight = 0
        except PowerCut:
            self.flash.power_on()
        number = self.log.number
        self.log = open_log(self.flash)
        assert self.log.number in (number, number + 1)
        found = in_sector(self.log, self.log.number)
        if in_flight in found:
            self.kept.append((self.log.number, in_flight))
        assert append(self.log) == [self.kept[-1][1] + 1 if self.kept else 1]
        self.kept.append((self.log.number, self.log.next_key[0] - 1))  # type: ignore[attr-defined]

    @precondition(lambda self: self.log.number > 1 and self.damaged < self.log.oldest(self.log.number))
    @rule(back=st.integers(1, 3), at=st.integers(0, HEADER - 1))
    def damage_a_header(self, back: int, at: int) -> None:
        """Not the newest one's: without it, all that is known of the end of the log would be gone."""
        self.damaged = max(self.log.number - back, self.log.oldest(self.log.number))
        if self.damaged == self.log.number:
            self.damaged -= 1
        self.flash.damage(self.log.offset(self.damaged) + at)
        self.flash.damage(self.log.offset(self.damaged), 4)
        self.kept = [(number, key) for number, key in self.kept if number != self.damaged]

    @rule(key=st.integers(0, 2000))
    def find(self, key: int) -> None:
        def begins_before(page: bytes) -> bool:
            return unpack_from("<I", page, HEADER_BYTES)[0] <= key

        if self.log.number:
            assert self.log.find(begins_before) == last_sector(self.log, begins_before)

    @invariant()
    def holds_what_it_took(self) -> None:
        oldest = self.log.oldest(self.log.number)
        self.kept = [(number, key) for number, key in self.kept if number >= oldest]
        assert keys_of(self.log) == [key for _, key in self.kept]


AnyLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyLife = AnyLife.TestCase
