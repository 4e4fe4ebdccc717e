"""Whatever offers of the time come, true or false: the uptime never jumps, the time is right after a good round of NTP,
and so is the time that samples of before the first sync are given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tests.clock_world import DAY, HOUR, SECOND, TIMED_OUT, YEAR, World, stand_ins

SILENT = OSError(TIMED_OUT, "")
# Wrong by nothing, by an honest server's error, or by so much that nobody could call it drift.
WRONG_MS = st.sampled_from([0, 200, -200, -20 * SECOND, 5 * 60 * SECOND, HOUR, -HOUR, YEAR, -30 * YEAR])
# By more than any drift within the test.
GROSS = st.sampled_from([0, 10 * 60 * SECOND, HOUR, -HOUR, YEAR, SILENT])
SERVER = st.one_of(WRONG_MS, st.just(SILENT))
OFFER = st.one_of(
    st.tuples(st.just("ntp"), st.lists(SERVER, min_size=1, max_size=3)),
    st.tuples(st.just("http"), WRONG_MS),
    st.tuples(st.just("browser"), WRONG_MS),
)
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WAIT_MS = st.integers(0, 2 * DAY)
BOOT = st.fixed_dictionaries(
    {"ppm": st.integers(-50, 50)},
    optional={"kept_ms": st.sampled_from([-400, 0, 900, -DAY]), "last_s": st.just(1_799_990_000)},
)


@pytest.fixture(scope="module", autouse=True)
def _modules() -> Iterator[None]:
    with stand_ins():
        yield


def offer(world: World, kind: str, what: object) -> None:
    if kind == "ntp":
        world.ntp(**dict(zip("abc", what)))  # type: ignore[arg-type]
    else:
        getattr(world, kind)(what)


@SETTINGS
@given(boot=BOOT, offers=st.lists(st.tuples(WAIT_MS, OFFER), max_size=10))
def test_uptime_and_order_hold_for_any_sequence_of_offers(boot: dict, offers: list) -> None:
    world = World(**boot)
    clock = world.clock
    start_ms, chip_ms, origin_ms = clock.uptime_ms(), world.chip_ms(), clock.origin_ms
    slot_ms, shift_ms = chip_ms, clock.shift_ms  # of a sample just taken, as the sampler follows it
    quality = clock.quality
    for wait_ms, (kind, what) in offers:
        before_ms, before_true_ms = clock.uptime_ms(), world.true_ms
        world.wait(wait_ms)
        offer(world, kind, what)
        passed_ms = world.true_ms - before_true_ms
        assert abs(clock.uptime_ms() - before_ms - passed_ms) <= passed_ms * 50 // 1_000_000 + 3
        assert clock.uptime_ms() >= before_ms
        assert clock.quality >= quality
        quality = clock.quality
        assert (clock.now()[0] > 1_704_067_200) == (quality > 0)
        assert clock.uptime_ms() - start_ms == world.chip_ms() - chip_ms - (clock.origin_ms - origin_ms)
        slot_ms, shift_ms = slot_ms + clock.shift_ms - shift_ms, clock.shift_ms
        assert slot_ms >= chip_ms + clock.origin_ms - origin_ms  # never before where the clock's steps took it
    assert clock.steps == len([step_s for step_s in world.synced if step_s])
    assert clock.steps_s == sum(world.synced)


@SETTINGS
@given(boot=BOOT, offers=st.lists(st.tuples(WAIT_MS, OFFER), max_size=10))
def test_after_two_answers_that_agree_the_time_is_right_whatever_was_said_before(boot: dict, offers: list) -> None:
    world = World(**boot)
    for wait_ms, (kind, what) in offers:
        world.wait(wait_ms)
        offer(world, kind, what)
    world.ntp(a=0, b=0)
    assert (world.clock.quality, world.clock.source, world.clock.failures) == (2, "ntp", 0)
    assert abs(world.off_ms()) <= 40


@SETTINGS
@given(
    ppm=st.integers(-50, 50), offers=st.lists(st.tuples(WAIT_MS, st.lists(GROSS, min_size=1, max_size=3)), max_size=10)
)
def test_samples_of_before_the_first_sync_get_their_time_however_often_a_server_lied(ppm: int, offers: list) -> None:
    world = World(ppm=ppm)
    for wait_ms, servers in offers:
        world.wait(wait_ms)
        offer(world, "ntp", servers)
    world.ntp(a=0, b=0)
    drift_ms = (world.true_ms - world.boot_ms) * 50 // 1_000_000
    assert -SECOND - drift_ms - 40 <= world.restamp_off_ms() <= drift_ms + 40
