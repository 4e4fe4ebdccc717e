"""The host's reader of the log against the board's own code: on a model of NOR flash with power cuts, and on a whole
virtual board. Two implementations of docs/storage.md must read the same."""

from __future__ import annotations

import csv
import io
import json
import random
from typing import Any

import pytest
from app.store import BOOT, CONFIG, SYNC, Store
from app.store_open import open_store
from ring_log import PAGE_BYTES

from host_tests.device import Device
from host_tests.nor import Nor, PowerCut
from scripts import console, log_check, log_format, read_log
from scripts.console import EXIT_OK

SECTOR = 512
SECTORS = 8
NOW_S = 1_790_000_000  # 2026-09-21
KNOWN = "the time goes back"
"""A wrong clock that nothing put right before the next boot: said by the check, and no fault of the log."""


class BoardClock:
    """What app.clock offers the store, set by hand."""

    def __init__(self, uptime_0_s: int) -> None:
        self.quality = self.base_s = self.steps_s = self.uptime_s = 0
        self.uptime_0_s = uptime_0_s

    def stamp(self) -> int:
        unix_s = self.base_s + self.steps_s + self.uptime_s
        return unix_s if self.quality == 2 else self.uptime_s


class Board:
    """A board that samples, syncs, delivers and loses power, on the device's own store over NOR flash."""

    LISTS = ("temp_c", "temp_c,rh_pct", "temp_c,rh_pct,rain_total", "a,b,c,d,e,f_total")

    def __init__(self, seed: int, sectors: int = SECTORS) -> None:
        self.rng = random.Random(seed)
        self.flash = Nor(sectors * SECTOR, SECTOR, seed)
        self.now_s = NOW_S
        self.boot = 0
        self.counters = {"seq": 0}
        self.durable: dict[int, tuple] = {}
        self.settled: dict[int, int] = {}
        self.store: Store
        self.clock: BoardClock

    def count_up(self, key: str, by: int) -> int:
        self.counters[key] += by
        return self.counters[key] - by

    def start(self, names: str = LISTS[1]) -> None:
        self.boot += 1
        self.flash.power_on()
        self.clock = BoardClock(self.now_s)
        if self.rng.random() < 0.3:
            self.clock.quality, self.clock.base_s = 1, self.now_s - self.rng.randrange(5)
        self.store = open_store(self.flash, names, self.boot, self.clock, self.count_up)
        self.store.mark(BOOT, self.clock.quality, self.clock.base_s, self.boot, 1)
        self.store.mark(CONFIG, self.clock.quality, self.clock.stamp(), 10, 0)

    def value(self, name: str) -> Any:
        if self.rng.random() < 0.1:
            return self.rng.choice(["absent", "crc", "range", "timeout", "error"])
        return self.rng.randrange(2**32 - 16) if name.endswith("_total") else self.rng.randrange(-400, 1000) / 8

    def sample(self) -> None:
        store, clock = self.store, self.clock
        values = tuple(self.value(name) for name in store.names.split(","))
        seq = store.next_seq
        store.append(clock.stamp(), clock.quality, values, self.rng.randrange(100))
        if store.next_seq == seq + 1:
            self.durable[seq] = values
            self.settled[seq] = store.stored

    def wait(self) -> None:
        """Until the next slot."""
        self.now_s += 10
        self.clock.uptime_s = self.now_s - self.clock.uptime_0_s

    def sync(self) -> None:
        clock = self.clock
        if clock.quality < 2:
            clock.quality, clock.base_s = 2, clock.uptime_0_s + self.rng.choice([0, 0, 3600, -300])
        else:
            clock.steps_s = clock.uptime_0_s - clock.base_s  # the step that puts it right
        self.store.mark(
            SYNC, self.rng.randrange(1, 4), clock.stamp(), clock.base_s, clock.steps_s, self.rng.randrange(-90, 90)
        )

    def deliver(self) -> None:
        store = self.store
        waiting = [seq for seq in self.settled if store.cursor < seq < store.next_seq]
        if waiting:
            seq = self.rng.choice(waiting)
            store.acknowledge(seq, self.settled[seq])

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.wait()
            chance = self.rng.random()
            if chance < 0.08:
                self.sync()
            elif chance < 0.2:
                self.deliver()
            else:
                self.sample()
            self.store.tend()

    def live(self, boots: int) -> None:
        """Boots that a power cut ends at any moment."""
        names = self.rng.choice(self.LISTS)
        for _ in range(boots):
            self.now_s += 60
            if self.rng.random() < 0.2:
                names = self.rng.choice(self.LISTS)
            try:
                self.start(names)
                self.flash.cut_after(self.rng.randrange(60))
                self.run(60)
            except PowerCut:
                pass
        self.now_s += 60
        self.start(names)
        self.run(5)

    def samples(self) -> list[tuple]:
        """All that the device itself reads back."""
        page = bytearray(PAGE_BYTES)
        return [
            (seq, boot, unix_s, quality, dict(zip(names.split(","), values, strict=True)))
            for seq, unix_s, quality, boot, names, values in self.store.samples(1, page)
        ]


def read_back(board: Board) -> tuple[list[tuple], log_format.Log]:
    log = log_format.parse(bytes(board.flash.cells), SECTOR)
    found = []
    for entry in log.samples():
        pairs = zip(entry.sector.names, entry.record.words, strict=False)
        values = {name: log_format.value_of(name, word) for name, word in pairs}
        found.append((entry.record.seq, entry.boot, *log_format.time_of(entry, log), values))
    return found, log


@pytest.mark.parametrize("seed", range(40))
def test_what_the_board_wrote_over_many_power_cuts_reads_the_same_here(seed: int) -> None:
    board = Board(seed)
    board.live(25)
    found, log = read_back(board)
    assert found == board.samples()
    kept = {seq: values for seq, values in board.durable.items() if seq >= log.sectors[0].next_seq}
    assert {seq: tuple(values.values()) for seq, *_, values in found if seq in kept} == kept
    told, mistakes = log_check.check(log)
    assert [sentence for sentence in mistakes if KNOWN not in sentence] == []
    store = board.store
    assert (store.stored, store.pending()) == (
        store.acknowledged + store.pending() + store.expired,
        sum(seq > store.cursor for seq, *_ in found),
    )
    assert told[-1].startswith(f"ledger: {store.stored} stored = ")


def test_two_laps_of_the_board_leave_the_newest_sectors() -> None:
    board = Board(1)
    board.start()
    for _ in range(2 * SECTORS * (SECTOR // 23) + 50):
        board.wait()
        board.sample()
    found, log = read_back(board)
    assert log.sectors[-1].number > 2 * SECTORS
    assert len(log.sectors) == SECTORS - 1
    assert found == board.samples() and len(found) > 100
    assert board.store.expired > 0
    assert [s for s in log_check.check(log)[1] if KNOWN not in s] == []


def test_a_log_that_was_erased_goes_on_behind_the_last_block() -> None:
    board = Board(2)
    board.start()
    board.run(50)
    board.flash.cells[:] = b"\xff" * len(board.flash.cells)
    board.start()
    board.run(20)
    found, log = read_back(board)
    assert found[0][0] == 1001
    assert found == board.samples()
    assert [s for s in log_check.check(log)[1] if KNOWN not in s] == []


def test_places_that_the_flash_does_not_take_are_told() -> None:
    board = Board(3)
    board.start()
    board.flash.stuck[307] = 0xFF  # in a sequence number, which has zeros there
    board.run(40)
    found, log = read_back(board)
    assert found == board.samples()
    assert board.store.log.errors == 1
    assert log_check.check(log)[1] == [
        "1 damaged records are not from a power cut: the flash did not take or keep them"
    ]


@pytest.mark.vm
def test_the_log_of_a_whole_virtual_board_reads_back(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.advance(5 * 60_000)
    status = device.status()
    device.board.stop()

    def run(*options: str) -> str:
        arguments = read_log.parser().parse_args([str(device.folder), *options])
        assert console.run(lambda: read_log.command(arguments)) == EXIT_OK
        return capsys.readouterr().out

    assert run("--check").endswith("nothing is wrong\n")
    found = list(csv.DictReader(io.StringIO(run())))
    assert len(found) >= status["ledger"]["stored"] > 3
    assert [int(row["seq"]) for row in found] == list(range(int(found[0]["seq"]), int(found[-1]["seq"]) + 1))
    assert {row["quality"] for row in found} <= {"1", "2"}
    assert device.collector is not None
    sent = {reading["seq"]: reading for reading in device.collector.readings()}
    assert sent
    for row in found:
        if reading := sent.get(int(row["seq"])):
            assert {name: float(row[name]) for name in reading["values"]} == pytest.approx(reading["values"])
    kinds = [json.loads(line)["kind"] for line in run("--ndjson", "--marks").splitlines()]
    assert {"boot", "configuration", "sample"} <= set(kinds)
