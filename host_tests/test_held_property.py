"""app/held at random: AnyLife with a server that refuses. Nothing is lost, every sample is what it is counted as."""

from __future__ import annotations

from collections.abc import Callable

from app import held
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from host_tests.store_board import PER_SECTOR
from host_tests.test_store_property import MARK_EVERY, AnyLife

MOST = 64


class AnyHeldLife(AnyLife):
    """AnyLife with a server that refuses: samples may be "held" too. What happens to a sample when the power goes in
    the middle of an operation is one of the things that the operation might have made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.doubtful: dict[int, str] = {}  # what an operation in flight makes of a sample: its state afterwards

    def look(self) -> list[int]:
        """What is held; with it, held samples whose sector is gone have expired."""
        for sample in self.samples.values():
            if sample[1] == "held" and sample[0] < self.kept_from():
                sample[1] = "expired"
        return held.numbers(self.board.store)

    def restart(self, in_flight: int = 0, most_again: int = MARK_EVERY - 1) -> None:
        store = self.board.start()
        seqs = held.numbers(store)
        if in_flight in self.board.seqs(in_flight):
            self.note(in_flight)
        self.oldest = self.kept_from()
        again = 0
        for seq, sample in self.samples.items():
            was, might = sample[1], self.doubtful.get(seq, "")
            is_gone = sample[0] < self.oldest
            if seq in seqs:
                sample[1] = "held"
                assert "held" in (was, might)
            elif seq > store.cursor:
                sample[1] = "pending"
                again += was == "acknowledged"
                assert was != "held" and not is_gone
            elif was in ("pending", "held"):
                sample[1] = "acknowledged" if might == "acknowledged" else "expired"
                assert is_gone or might in ("acknowledged", "expired"), (seq, was, might)
        acknowledged = [sample for sample in self.samples.values() if sample[1] == "acknowledged"]
        for sample in acknowledged[store.acknowledged :]:  # not in the log yet, and in no sector any more
            sample[1] = "expired"
            again += 1
            assert sample[0] < self.oldest
        assert again <= most_again
        self.doubtful = {}
        self.rejected = store.rejected

    def change(self, becomes: dict[int, str], operation: Callable[[], bool]) -> None:
        """Do what makes something else of samples, with a cut ahead."""
        self.doubtful = becomes
        store = self.board.store

        def run() -> None:
            assert operation()
            for seq, word in becomes.items():
                self.samples[seq][1] = word

        self.run(run)
        if store is self.board.store:
            self.doubtful = {}

    def held_seqs(self) -> list[int]:
        seqs = self.look()
        assert seqs == [seq for seq, sample in self.samples.items() if sample[1] == "held"]
        return seqs

    @rule(refused=st.lists(st.booleans(), min_size=1, max_size=6), meanwhile=st.sampled_from([0, 0, PER_SECTOR]))
    def hold(self, refused: list[bool], meanwhile: int) -> None:
        """A batch of which the server refuses some, each alone."""
        store = self.board.store
        batch = self.board.seqs(store.cursor + 1)[: len(refused)]
        settled = store.settled() + len(batch)
        self.take(meanwhile, True) if meanwhile else None
        if not batch or store is not self.board.store:
            return
        self.look()
        seqs = [seq for seq, is_refused in zip(batch, refused, strict=False) if is_refused]
        becomes = {seq: "held" if seq in seqs else "acknowledged" for seq in batch if self.samples[seq][1] == "pending"}
        if store.held + len(seqs) <= MOST:
            self.change(becomes, lambda: held.hold(store, seqs, batch[-1], settled))

    @precondition(lambda self: self.board.store.held)
    @rule(at=st.integers(0, MOST))
    def release(self, at: int) -> None:
        seqs = self.held_seqs()
        if seqs:
            seq = seqs[at % len(seqs)]
            self.change({seq: "acknowledged"}, lambda: held.release(self.board.store, seq))

    @precondition(lambda self: self.board.store.held)
    @rule(at=st.integers(-1, MOST))
    def forget(self, at: int) -> None:
        seqs = self.held_seqs()
        if seqs:
            some = [seqs[at % len(seqs)]] if at >= 0 else seqs
            only = some[0] if at >= 0 else 0
            self.change(dict.fromkeys(some, "expired"), lambda: held.forget(self.board.store, only))

    @rule()
    def is_looked_at(self) -> None:
        self.held_seqs()

    def ledger_counts(self) -> tuple[int, ...]:
        of = self.count
        return len(self.samples), of("acknowledged"), of("pending") + of("held"), of("expired"), self.rejected


AnyHeldLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyHeldLife = AnyHeldLife.TestCase
