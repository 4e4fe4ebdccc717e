"""Whom the board believes about the time, what it counts and says, and how long a source keeps its word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from host_tests.clock_world import DAY, HOUR, MINUTE, SECOND, START_MS, World, stand_ins, synced


@pytest.fixture(scope="module", autouse=True)
def _modules() -> Iterator[None]:
    with stand_ins():
        yield


@pytest.fixture
def world() -> World:
    return synced()


# --- rank -------------------------------------------------------------------------------------------


def test_nobody_changes_for_a_day_what_a_better_source_said(world: World) -> None:
    world.wait(17 * HOUR)
    world.http(30 * SECOND)
    assert world.browser(30 * SECOND) == (False, "left alone, NTP set it 1380 minutes ago")
    assert abs(world.off_ms()) <= 5
    assert world.clock.steps == 0


def test_after_a_day_without_ntp_an_answer_s_date_counts(world: World) -> None:
    world.wait(19 * HOUR)
    world.http(30 * SECOND)
    assert (world.clock.source, world.clock.quality, world.clock.steps) == ("http", 2, 1)
    assert abs(world.off_ms() - 30 * SECOND) <= SECOND


def test_after_a_day_without_any_server_a_browser_counts_and_the_quality_stays(world: World) -> None:
    world.wait(19 * HOUR)
    assert world.browser(30 * SECOND) == (True, "stepped ahead 30 s, by a browser")
    assert (world.clock.source, world.clock.quality) == ("browser", 2)


def test_a_browser_far_off_a_synced_clock_must_say_it_twice(world: World) -> None:
    world.wait(19 * HOUR)
    taken, said = world.browser(HOUR)
    assert not taken
    assert "3600 s off needs a second answer" in said
    world.wait(3 * SECOND)
    assert world.browser(HOUR) == (True, "stepped ahead 3600 s, by a browser")


def test_a_doubt_is_forgotten_as_soon_as_the_time_was_confirmed(world: World) -> None:
    for off_ms in (HOUR, 0, HOUR, 0):
        world.ntp(a=off_ms)
    assert world.clock.steps == 0
    assert abs(world.off_ms()) <= 5


def test_the_later_browser_wins_while_nothing_better_is_known() -> None:
    world = World()
    world.browser(2 * HOUR)
    assert world.browser() == (True, "set by a browser")
    assert abs(world.off_ms()) <= 500
    assert (world.clock.quality, world.clock.steps, world.clock.steps_s) == (1, 0, 0)


def test_a_browser_sets_the_clock_by_whole_seconds_so_that_slots_stay_whole_uptimes() -> None:
    world = World(kept_ms=-12_345)
    before_ms = world.clock.origin_ms
    world.browser()
    assert (world.clock.origin_ms - before_ms) % 1000 == 0
    assert world.clock.origin_ms % 1000 == 0


def test_a_difference_within_the_source_s_own_error_is_left_alone() -> None:
    world = World()
    world.http()
    set_to_ms = world.clock.shift_ms
    world.wait(HOUR)
    world.http(900)
    assert world.clock.shift_ms == set_to_ms
    assert world.clock.synced_ms == world.clock.uptime_ms()
    assert world.synced == [0]


# --- what is counted --------------------------------------------------------------------------------


def test_a_small_correction_is_no_step_and_no_line(world: World) -> None:
    lines = len(world.lines)
    world.ntp(a=-1900)
    assert -1905 <= world.off_ms() <= -1895
    assert (world.clock.steps, world.clock.step_s, world.clock.steps_s) == (0, 0, 0)
    assert world.lines[lines:] == []
    assert world.synced == [0, 0]


def test_drift_is_allowed_100_ppm_of_the_time_since_the_last_sync(world: World) -> None:
    world.ntp(a=0)
    world.wait(10 * DAY)
    world.ntp(a=88_000)
    assert world.clock.steps == 0
    world.wait(10 * DAY)
    world.ntp(a=0)
    assert world.clock.steps == 0
    world.wait(10 * DAY)
    world.ntp(a=89_000)
    assert world.clock.steps == 1


def test_a_step_is_counted_told_in_one_line_and_noted_in_the_log(world: World) -> None:
    lines = len(world.lines)
    world.ntp(a=-HOUR, b=-HOUR)
    clock = world.clock
    assert (clock.steps, clock.step_s, clock.steps_s) == (1, -3600, -3600)
    assert world.lines[lines:] == ["WARNING clock: stepped back 3600 s, by NTP"]
    assert world.synced == [0, -3600]


def test_steps_there_and_back_add_up_to_nothing(world: World) -> None:
    for off_ms in (HOUR, -3 * HOUR, 2 * HOUR + 789, 0):
        world.ntp(a=off_ms, b=off_ms)
        world.wait(HOUR)
    assert world.clock.steps == 4
    assert world.clock.steps_s == 0
    assert -1000 <= world.restamp_off_ms() <= 0


def test_what_the_chip_s_clock_was_moved_is_summed_up_for_the_sampler() -> None:
    world = World(kept_ms=-700)
    start_ms = world.chip_ms()
    true_ms = world.true_ms
    for off_ms in (0, 1500, -HOUR, 2 * HOUR):
        world.ntp(a=off_ms, b=off_ms)
        world.wait(MINUTE)
        assert world.chip_ms() - start_ms == world.clock.shift_ms + world.true_ms - true_ms


def test_a_quiet_correction_backwards_leaves_the_last_slot_where_it_was_taken() -> None:
    world = World()
    world.ntp(a=0)
    shift_ms, chip_ms = world.clock.shift_ms, world.chip_ms()
    world.ntp(a=-800)
    assert world.chip_ms() < chip_ms
    assert world.clock.shift_ms == shift_ms
    assert world.clock.steps == 0


def test_the_time_of_boot_is_what_the_first_sync_says_and_never_later_than_it_was() -> None:
    world = World(last_s=START_MS // 1000 - DAY)
    assert world.clock.base_s == START_MS // 1000 - DAY
    world.wait(7 * SECOND)
    world.ntp(a=0)
    assert -1000 < world.restamp_off_ms() <= 0
    world.wait(HOUR)
    world.ntp(a=HOUR, b=HOUR)
    assert -1000 < world.restamp_off_ms() - HOUR <= 0


def test_a_better_source_leaves_the_time_of_boot_so_that_samples_stay_in_order() -> None:
    world = World()
    world.http(1400)
    base_s = world.clock.base_s
    world.ntp(a=0)
    assert (world.clock.base_s, world.clock.steps_s) == (base_s, 0)
    assert 0 < world.restamp_off_ms() <= 2000


def test_an_estimate_needs_a_record_of_a_sane_time() -> None:
    for last_s in (0, 1, 1_704_067_199, 3_092_601_600, 4_294_967_295):
        world = World(last_s=last_s)
        assert (world.clock.quality, world.clock.base_s, world.chip_ms()) == (0, 0, 5250), last_s


def test_after_a_reset_the_uptime_begins_within_a_second_of_0() -> None:
    for kept_ms in (None, 0, -1, 999, -DAY):
        assert 0 <= World(kept_ms=kept_ms).clock.uptime_ms() < 1000


# --- drift ------------------------------------------------------------------------------------------


def drift_ppm(world: World) -> int | None:
    return world.clock.ppm


@pytest.mark.parametrize("ppm", [50, -50, 0, 7])
def test_the_drift_is_known_after_two_answers_an_hour_apart(ppm: int) -> None:
    world = World(ppm=ppm)
    world.ntp(a=0)
    world.wait(HOUR - MINUTE)
    world.ntp(a=0)
    assert drift_ppm(world) is None
    world.wait(6 * HOUR)
    world.ntp(a=0)
    assert drift_ppm(world) in (ppm - 1, ppm, ppm + 1)


def test_a_step_between_two_answers_says_nothing_about_drift(world: World) -> None:
    world.ntp(a=HOUR, b=HOUR)
    world.wait(6 * HOUR)
    assert drift_ppm(world) is None
    world.ntp(a=HOUR)
    assert drift_ppm(world) == 0


# --- when HTTP is asked --------------------------------------------------------------------------


def test_a_date_is_wanted_until_synced_and_after_a_day_without_ntp() -> None:
    world = World()
    assert world.clock.wants_http()
    world.browser()
    assert world.clock.wants_http()
    world.ntp(a=0)
    assert not world.clock.wants_http()
    world.wait(23 * HOUR)
    assert not world.clock.wants_http()
    world.wait(2 * HOUR)
    assert world.clock.wants_http()
    world.http()
    assert not world.clock.wants_http()
    world.wait(25 * HOUR)
    assert world.clock.wants_http()
