"""The time of a sample as app/store works it out when it is read: docs/storage.md, "Time"."""

from __future__ import annotations

from typing import Any

import pytest
from app.restamp import first_since
from app.store import SYNC
from app.web.oldest import oldest_s
from hypothesis import given, settings
from hypothesis import strategies as st

from host_tests.nor import PowerCut
from host_tests.store_board import PER_SECTOR, UNIX_S, Board

EARLIEST_S = 1_704_067_200  # 2024-01-01
PPM = 50


class RealTime:
    """A board whose chip counts `ppm` parts in a million too fast, in a world that knows what time it is."""

    def __init__(self, ppm: int = 0, sectors: int = 16) -> None:
        self.true_s = float(UNIX_S)
        self.ppm = ppm
        self.taken: dict[int, float] = {}
        self.board = Board(sectors=sectors)
        self.reset()

    def reset(self, estimate_s: int = 0) -> None:
        """Boot with a clock that stands at `estimate_s`, or was never set."""
        self.started_s = self.true_s
        clock = self.board.clock
        clock.quality, clock.base_s, clock.steps_s, clock.uptime_s = int(estimate_s > 0), estimate_s, 0, 0
        self.offset_ms = 0
        self.board.start()

    def uptime_ms(self) -> int:
        return int((self.true_s - self.started_s) * (1000 + self.ppm / 1000))

    def take(self, count: int = 1, every_s: float = 10) -> list[int]:
        taken = []
        store, clock = self.board.store, self.board.clock
        for _ in range(count):
            self.true_s += every_s
            self.taken[store.next_seq] = self.true_s
            taken.append(store.next_seq)
            ms = self.uptime_ms()
            at_s = (ms + self.offset_ms) // 1000 if clock.quality == 2 else ms // 1000
            store.append(at_s, clock.quality, (store.next_seq, 0))
        return taken

    def sync(self, off_s: int = 0) -> None:
        """Set the clock to the true time, or to what a liar says it is: small corrections are no steps."""
        clock = self.board.clock
        offset_ms = int((self.true_s + off_s) * 1000) - self.uptime_ms()
        if clock.quality < 2:
            clock.base_s = offset_ms // 1000
            clock.quality = 2
        elif abs(offset_ms - self.offset_ms) > 2000:
            clock.steps_s += offset_ms // 1000 - self.offset_ms // 1000
        self.offset_ms = offset_ms
        self.board.store.mark(SYNC, 1, int(self.true_s), clock.base_s, clock.steps_s)

    def fill_sector(self) -> list[int]:
        number = self.board.store.log.number
        taken = []
        while self.board.store.log.number == number:
            taken += self.take()
        return taken

    def read(self) -> dict[int, tuple[Any, ...]]:
        return {seq: (unix_s, quality) for seq, unix_s, quality, *_ in self.board.scan()}

    def assert_right(self, quality: dict[int, int]) -> None:
        """Every sample has its time, to a second and what the chip drifts, and the quality that is expected of it."""
        found = self.read()
        assert {seq: found[seq][1] for seq in quality} == quality
        for seq in quality:
            unix_s = found[seq][0]
            assert unix_s is not None and unix_s >= EARLIEST_S
            assert -1 - self.slack_s(seq) <= unix_s - self.taken[seq] <= self.slack_s(seq), (seq, unix_s)

    def slack_s(self, seq: int) -> float:
        return (self.true_s - self.taken[seq] + 86_400) * abs(self.ppm) / 1_000_000


def qualities(**of: list[int]) -> dict[int, int]:
    words = {"synced": 2, "estimated": 1, "unset": 0}
    return {seq: words[word] for word, seqs in of.items() for seq in seqs}


def test_samples_from_before_the_sync_get_their_time_when_it_is_known() -> None:
    world = RealTime()
    before = world.take(3)
    assert world.read() == dict.fromkeys(before, (None, 0))
    world.sync()
    after = world.take(3)
    world.assert_right(qualities(estimated=before, synced=after))
    world.reset()
    world.assert_right(qualities(estimated=before, synced=after))


def test_a_sync_in_a_later_sector_dates_the_samples_of_all_before() -> None:
    world = RealTime()
    before = world.take(2) + world.fill_sector() + world.fill_sector() + world.take(2)
    world.sync()
    after = world.take(2)
    for _ in range(3):
        world.assert_right(qualities(estimated=before, synced=after))
        world.reset()
        world.fill_sector()


def test_a_sync_is_known_from_a_header_when_its_mark_has_left_the_ring() -> None:
    world = RealTime(sectors=5)
    world.take(2)
    world.sync()
    for _ in range(8):
        world.fill_sector()
    world.sync(off_s=0)
    kept = [seq for seq in world.read() if seq in world.taken]
    world.assert_right(qualities(synced=kept))
    world.reset()
    world.assert_right(qualities(synced=[seq for seq in kept if seq in world.read()]))


def test_a_boot_that_was_never_synced_has_no_times() -> None:
    world = RealTime()
    unset = world.take(3) + world.fill_sector() + world.take(1)
    world.reset()
    world.sync()
    synced = world.take(3)
    assert {seq: world.read()[seq] for seq in unset} == dict.fromkeys(unset, (None, 0))
    world.assert_right(qualities(synced=synced))


@pytest.mark.parametrize("sectors", [0, 2])
def test_a_boot_that_was_never_synced_keeps_its_estimate(sectors: int) -> None:
    world = RealTime()
    world.reset(int(world.true_s))
    estimated = world.take(3)
    for _ in range(sectors):
        estimated += world.fill_sector()
    world.assert_right(qualities(estimated=estimated))
    world.reset()
    world.assert_right(qualities(estimated=estimated))


def test_a_sync_corrects_an_estimate() -> None:
    world = RealTime()
    world.reset(int(world.true_s) - 5_000)
    estimated = world.take(3)
    assert all(world.read()[seq][0] < world.taken[seq] - 4_000 for seq in estimated)
    world.sync()
    world.assert_right(qualities(estimated=estimated))


@pytest.mark.parametrize("off_s", [7_200, -7_200, 100_000_000, -30_000_000], ids="{:+d} s".format)
def test_a_step_takes_along_the_samples_of_its_boot(off_s: int) -> None:
    """A server that lied is found out later."""
    world = RealTime()
    before = world.take(3)
    world.sync(off_s)
    wrong = world.take(3) + world.fill_sector() + world.take(3)
    world.sync()
    right = world.take(3) + world.fill_sector()
    for _ in range(3):
        world.assert_right(qualities(estimated=before + wrong, synced=right))
        world.reset()
        world.fill_sector()


def test_several_steps_add_up() -> None:
    world = RealTime()
    of_quality = qualities(estimated=world.take(2))
    for off_s in (3_600, -86_400, 7_000_000):
        world.sync(off_s)
        of_quality |= qualities(estimated=world.take(2))
    world.sync()
    of_quality |= qualities(synced=world.take(2))
    world.assert_right(of_quality)
    world.reset(int(world.true_s) - 50)
    world.assert_right(of_quality)


def test_boots_that_share_a_sector_have_their_own_times() -> None:
    world = RealTime()
    of_quality: dict[int, int] = {}
    unset: list[int] = []
    for boot in range(12):
        world.true_s += 1_000
        world.reset(int(world.true_s) if boot % 4 == 1 else 0)
        if boot % 4 == 2:
            of_quality |= qualities(estimated=world.take(1))
            world.sync()
            of_quality |= qualities(synced=world.take(2))
        elif boot % 4 == 3:
            world.sync(-500_000)
            of_quality |= qualities(estimated=world.take(1))
            world.sync()
        elif boot % 4 == 1:
            of_quality |= qualities(estimated=world.take(2))
        else:
            unset += world.take(1)
    world.assert_right(of_quality)
    assert {world.read()[seq] for seq in unset} == {(None, 0)}


@pytest.mark.parametrize("ppm", [PPM, -PPM])
def test_a_chip_that_drifts_is_off_by_its_drift_and_a_second(ppm: int) -> None:
    """A day without a sync, then one in six hours, which corrects without a step."""
    world = RealTime(ppm, sectors=40)
    before = world.take(24, 3_600)
    world.sync()
    after = []
    for _ in range(20):
        after += world.take(6, 3_600)
        world.sync()
    world.assert_right(qualities(estimated=before, synced=after))
    world.reset()
    world.assert_right(qualities(estimated=before, synced=after))


@given(st.lists(st.sampled_from(["take", "sync", "boot", "boot with estimate", "sector", "torn"]), max_size=40))
@settings(deadline=None, max_examples=60)
def test_a_search_by_time_begins_at_or_before_the_first_sample_of_that_time(events: list[str]) -> None:
    world = RealTime(sectors=8)
    for what in events:
        if what == "take":
            world.take(2)
        elif what == "sector":
            world.fill_sector()
        elif what == "sync":
            world.sync()
        elif what == "torn":
            world.board.flash.cut_after(0)
            with pytest.raises(PowerCut):
                world.take()
            world.reset()
        else:
            world.reset(int(world.true_s) if "estimate" in what else 0)
    dated = [(seq, unix_s) for seq, (unix_s, _) in world.read().items() if unix_s]
    store = world.board.store
    for seq, unix_s in [*dated[:3], *dated[::17], *dated[-3:]]:
        first = max(first_since(store, unix_s), world.board.seqs()[0])
        assert first <= min(s for s, at_s in dated if at_s >= unix_s)
        assert seq - first <= 2 * PER_SECTOR + sum(sample[1] is None for sample in world.board.scan(first))
    assert first_since(store, 0) == 0


@given(st.lists(st.sampled_from(["take", "take", "sync", "boot", "sector", "torn", "jump"]), max_size=30))
@settings(deadline=None, max_examples=60)
def test_the_time_of_the_oldest_that_waits_is_that_of_a_scan(events: list[str]) -> None:
    world = RealTime(sectors=6)
    store = world.board.store
    for what in events:
        if what == "take":
            world.take(3)
        elif what == "sector":
            world.fill_sector()
        elif what == "sync":
            world.sync()
        elif what == "boot":
            world.reset()
        elif what == "jump":
            store.next_seq += 300
        else:
            world.board.flash.cut_after(0)
            with pytest.raises(PowerCut):
                world.take()
            world.reset()
        store = world.board.store
    seqs = world.board.seqs()
    for first in [*seqs[:3], *seqs[::7], *seqs[-3:], store.next_seq]:
        store.cursor = first - 1
        sample = next(iter(world.board.scan(first)), None)
        assert oldest_s(store) == (sample[1] if sample else None)


EVENTS = st.sampled_from(["take", "sync", "lie", "boot", "boot with estimate", "sector"])


@given(st.lists(st.tuples(EVENTS, st.integers(-40_000, 40_000)), min_size=5, max_size=40))
@settings(deadline=None, max_examples=100)
def test_no_sample_ever_has_a_date_before_2024(events: list[tuple[str, int]]) -> None:
    """And what the last sync of a boot was right about, all samples of the boot are."""
    world = RealTime(sectors=8)
    of_boot: dict[int, list[int]] = {}
    is_right: dict[int, bool] = {}
    for what, number in events:
        boot = world.board.store.boot
        if what == "take":
            of_boot.setdefault(boot, []).extend(world.take(1 + number % 5))
        elif what == "sector":
            of_boot.setdefault(boot, []).extend(world.fill_sector())
        elif what in ("sync", "lie"):
            world.sync(number if what == "lie" else 0)
            is_right[boot] = what == "sync" or number == 0
        else:
            world.reset(int(world.true_s) + number if "estimate" in what else 0)
    found = world.read()
    assert all(unix_s is None or unix_s >= EARLIEST_S for unix_s, _ in found.values())
    for boot, seqs in of_boot.items():
        for seq in seqs:
            if is_right.get(boot) and seq in found:
                unix_s = found[seq][0]
                # What was taken while a small lie stood, which no step took back, is off by no more than that.
                assert abs(unix_s - world.taken[seq]) <= 3
