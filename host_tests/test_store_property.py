"""app/store at random: whatever fails, the ledger is true, no number comes twice and nothing is lost."""

from __future__ import annotations

from struct import unpack_from
from typing import Any

from app.store import SAMPLE
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ring_log import PAGE_BYTES

from host_tests.nor import PowerCut
from host_tests.store_board import PER_SECTOR, SECTOR, Board

MARK_EVERY = 32


class AnyLife(RuleBasedStateMachine):
    """A board that samples, delivers and fails, beside the ledger as it has to be."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(sectors=5, seed=7)
        self.samples: dict[int, list[Any]] = {}  # seq: [sector, "pending", "acknowledged" or "expired"]
        self.rejected = 0
        self.oldest = 1

    # what the model knows

    def count(self, state: str) -> int:
        return sum(sample[1] == state for sample in self.samples.values())

    def settle(self) -> None:
        """What no sector holds any more and nobody got has expired."""
        self.oldest = max(self.oldest, self.kept_from())
        for sample in self.samples.values():
            if sample[1] == "pending" and sample[0] < self.oldest:
                sample[1] = "expired"

    def kept_from(self, more: int = 0) -> int:
        log = self.board.store.log
        return log.oldest(log.number + more)

    def note(self, seq: int) -> None:
        assert seq not in self.samples, "a number came twice"
        assert not self.samples or seq > max(self.samples)
        self.samples[seq] = [self.sector_of(seq), "pending"]
        self.settle()

    def sector_of(self, seq: int) -> int:
        """The newest sector, unless the mark of a boot has begun another since."""
        log = self.board.store.log
        page = bytearray(PAGE_BYTES)
        for at in log.records(log.number - 1, page):
            if unpack_from("<I", page, at)[0] == seq and page[at + 8] & 7 == SAMPLE:
                return log.number - 1
        return log.number

    def restart(self, in_flight: int = 0, most_again: int = MARK_EVERY - 1) -> None:
        """Boot, and see what the power cut cost: the sample in flight, and some of what was acknowledged."""
        store = self.board.start()
        if in_flight in self.board.seqs(in_flight):
            self.note(in_flight)
        acknowledged = [s for s in self.samples.values() if s[1] == "acknowledged"]
        assert 0 <= len(acknowledged) - store.acknowledged <= most_again
        for sample in acknowledged[store.acknowledged :]:
            sample[1] = "pending"
        self.oldest = self.kept_from()
        for sample in self.samples.values():
            if sample[1] == "expired" and sample[0] >= self.oldest:
                sample[1] = "pending"
        self.settle()
        assert store.rejected <= self.rejected
        self.rejected = store.rejected

    def run(self, operation: Any) -> None:
        """Do it with a cut ahead; if that comes, restart."""
        acknowledged = self.count("acknowledged")
        in_flight = self.board.store.next_seq
        try:
            operation()
        except PowerCut:
            now = self.board.store.acknowledged
            self.restart(in_flight, MARK_EVERY - 1 + max(0, now - acknowledged))

    # what can happen

    @rule(count=st.integers(1, 2 * PER_SECTOR), tends=st.booleans())
    def take(self, count: int, tends: bool) -> None:
        for _ in range(count):
            self.run(self.take_one)
            if tends:
                self.run(self.board.store.tend)

    def take_one(self) -> None:
        (seq,) = self.board.take()
        self.note(seq)

    @rule(count=st.integers(1, 120), meanwhile=st.sampled_from([0, 0, 1, PER_SECTOR, 4 * PER_SECTOR]))
    def deliver(self, count: int, meanwhile: int) -> None:
        store = self.board.store
        batch = self.board.seqs(store.cursor + 1)[:count]
        settled = store.settled() + len(batch)
        assert batch == [seq for seq, sample in self.samples.items() if sample[1] == "pending"][:count]
        self.take(meanwhile, True) if meanwhile else None
        if batch and store is self.board.store:

            def acknowledge() -> None:
                for seq in batch:
                    if self.samples[seq][1] == "pending":
                        self.samples[seq][1] = "acknowledged"
                store.acknowledge(batch[-1], settled)
                self.settle()

            self.run(acknowledge)

    @rule(operations=st.integers(0, 60), only=st.sampled_from(["", "", "erase"]))
    def cut_soon(self, operations: int, only: str) -> None:
        self.board.flash.cut_after(0 if only else operations, only=only)

    @precondition(lambda self: self.board.flash._left is None)
    @rule(what=st.sampled_from(["program", "erase"]), count=st.integers(1, 3))
    def fail(self, what: str, count: int) -> None:
        self.board.flash.failing = {what}
        for _ in range(count):
            stored = self.board.store.stored
            is_full = self.board.store.log.at + 23 > SECTOR
            if self.board.take():
                self.note(self.board.store.next_seq - 1)
            else:
                assert self.board.store.stored == stored
                self.rejected += 1
                # A sector that could not be begun has had its effect on the ledger already.
                self.oldest = max(self.oldest, self.kept_from(is_full and what == "program"))
                self.settle()
        self.board.flash.failing = set()

    @precondition(lambda self: self.board.flash._left is None)
    @rule()
    def no_numbers(self) -> None:
        self.board.nvs_fails = True
        if self.board.take():
            self.note(self.board.store.next_seq - 1)
        else:
            self.rejected += 1
        self.board.nvs_fails = False

    @rule(marks=st.booleans())
    def boot(self, marks: bool) -> None:
        self.board.flash.power_on()
        if not marks:
            self.board.start(mark=False)
        self.restart()

    @invariant()
    def ledger_is_true(self) -> None:
        self.settle()
        store = self.board.store
        assert store.stored == store.acknowledged + store.pending() + store.expired
        assert self.board.ledger() == self.ledger_counts()

    def ledger_counts(self) -> tuple[int, ...]:
        of = self.count
        return len(self.samples), of("acknowledged"), of("pending"), of("expired"), self.rejected

    @invariant()
    def holds_what_it_took(self) -> None:
        kept = {seq: sample for seq, sample in self.samples.items() if sample[0] >= self.kept_from()}
        assert [(s[0], s[5][0]) for s in self.board.scan()] == [(seq, seq % 4096) for seq in kept]
        pending = [seq for seq, sample in kept.items() if sample[1] == "pending"]
        assert self.board.seqs(self.board.store.cursor + 1) == pending


AnyLife.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAnyLife = AnyLife.TestCase
