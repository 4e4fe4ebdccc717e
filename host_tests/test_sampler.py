"""The sampler: slots, lateness, clocks that are set, and sensors that do what they like."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_tests.clock_world import DAY, HOUR, MINUTE, SECOND
from host_tests.sampler_world import LABEL, Plant, Sensor, stand_ins

MOST_WAIT_MS = 2000
UNIX_2000_S = 946_684_800
TIMED_OUT, NO_DEVICE = OSError(116, ""), OSError(19, "")


@pytest.fixture(autouse=True, scope="module")
def loaded() -> Iterator[None]:
    with stand_ins():
        yield


def synced(period_s: int = 10, sensors: dict[str, Sensor] | None = None) -> Plant:
    """A plant whose clock was set before its sampler starts."""
    plant = Plant(period_s, sensors)
    plant.sync()
    return plant


# --- slots --------------------------------------------------------------------------------------


@pytest.mark.parametrize("period_s", [1, 2, 7, 10, 60, 900, 3600, 86400])
def test_samples_are_taken_at_multiples_of_the_period_and_at_once(period_s: int) -> None:
    plant = synced(period_s)
    plant.run(3 * period_s * SECOND)
    times = plant.times()
    assert len(times) in (2, 3)
    assert {b - a for a, b in pairwise(times)} == {period_s}
    assert all((unix_s - UNIX_2000_S) % period_s == 0 for unix_s in times)
    assert max(plant.lates()) <= 1
    assert plant.sampler.missed == 0


def test_the_first_sample_waits_for_a_slot_to_begin() -> None:
    plant = synced(60)
    plant.run(3 * MINUTE)
    first_ms = plant.sensors[LABEL].calls[0][1]
    assert first_ms % MINUTE <= 1


def test_without_a_clock_slots_are_multiples_of_the_uptime() -> None:
    plant = Plant(10)
    plant.run(MINUTE)
    assert plant.times() == [None] * 6
    assert [sample[2] for sample in plant.samples()] == [0] * 6
    plant.sync()
    times = plant.times()
    assert {b - a for a, b in pairwise(times)} == {10}


def test_a_sampler_that_oversleeps_by_less_than_a_slot_is_late_and_says_how_much() -> None:
    plant = synced(10)
    plant.run(25 * SECOND)
    plant.busy(-plant.chip_ms() % 10_000)
    plant.busy(3210)
    plant.run(20 * SECOND)
    assert plant.sampler.missed == 0
    assert max(plant.lates()) == 3210
    plant.assert_one_a_slot()
    assert {b - a for a, b in pairwise(plant.times())} == {10}


@pytest.mark.parametrize(("held_up_ms", "missed"), [(9_900, 0), (10_200, 1), (30_200, 3), (600_200, 60)])
def test_slots_that_were_slept_through_are_counted_and_told(held_up_ms: int, missed: int) -> None:
    plant = synced(10)
    plant.run(25 * SECOND)
    plant.busy(-plant.chip_ms() % 10_000 - 100)
    plant.busy(held_up_ms)
    plant.run(40 * SECOND)
    assert plant.sampler.missed == missed
    told = [f"WARNING sampler: slots missed: {missed}, the loop was held up"]
    assert plant.warnings() == (told if missed else [])
    assert max(plant.lates()) == (held_up_ms - 100) % 10_000
    times = plant.times()
    assert (times[-1] - times[0]) // 10 + 1 == len(times) + missed
    plant.assert_one_a_slot()


def test_a_wait_that_ends_in_the_next_slot_costs_no_slot() -> None:
    """A second's slot, and a sensor that takes 750 ms after a loop that was held up for 300."""
    plant = synced(1)
    plant.sensors[LABEL].wait = 750
    for held_up_ms in (0, 300, 300, 0, 990, 0):
        plant.run(3 * SECOND)
        plant.at(-plant.chip_ms() % 1000 + 1000, lambda ms=held_up_ms: plant.wait(ms))
    plant.run(6 * SECOND)
    assert plant.sampler.missed == 0
    assert {b - a for a, b in pairwise(plant.times())} == {1}


def test_a_task_that_died_and_runs_again_counts_the_slots_between() -> None:
    plant = synced(10)
    plant.run(25 * SECOND)
    plant.restart()
    plant.busy(45 * SECOND)
    plant.run(20 * SECOND)
    times = plant.times()
    assert plant.sampler.missed > 0
    assert (times[-1] - times[0]) // 10 + 1 == len(times) + plant.sampler.missed


def test_a_sample_that_dies_half_way_is_a_missed_slot_and_counts_once() -> None:
    plant = synced(10)
    plant.sensors[LABEL].wait = 500
    plant.run(25 * SECOND)
    taken = plant.sampler.taken
    while not plant.sampler._is_taking:  # it sleeps until the sensor is ready
        plant.run(100)
    plant.restart()
    plant.run(1)
    plant.restart()
    plant.run(1)
    assert (plant.sampler.taken, plant.sampler.missed) == (taken, 1)
    plant.run(20 * SECOND)
    assert (plant.sampler.taken, plant.sampler.missed) == (taken + 2, 1)
    plant.assert_one_a_slot()


def test_an_erase_ahead_is_done_only_while_there_is_time() -> None:
    plant = synced(2)
    plant.sensors[LABEL].wait = 1000
    plant.run(MINUTE)
    assert plant.tended
    assert all(2000 - ms % 2000 > 500 for ms in plant.tended)


def test_an_erase_ahead_does_not_make_the_next_sample_late() -> None:
    plant = synced(1)
    plant.tend_ms = 90
    plant.run(MINUTE)
    assert max(plant.lates()) <= 1
    assert plant.sampler.missed == 0


def test_a_new_period_counts_within_a_second_and_no_slot_comes_twice() -> None:
    plant = synced(600)
    plant.run(25 * MINUTE)
    for period_s in (1, 7, 10, 1, 3600, 2):
        plant.period["sample_period_s"] = period_s
        plant.run(5 * period_s * SECOND)
        times = plant.times()
        assert {b - a for a, b in pairwise(times[-4:])} == {period_s}
        assert (times[-1] - UNIX_2000_S) % period_s == 0
    assert plant.sampler.missed == 0
    plant.assert_one_a_slot()


# --- clocks that are set ------------------------------------------------------------------------


@pytest.mark.parametrize("period_s", [1, 10, 3600])
@pytest.mark.parametrize("off_ms", [0, 1, 499, 500, 999, 12_345, -12_345])
def test_the_first_sync_makes_no_slot_come_twice(period_s: int, off_ms: int) -> None:
    plant = Plant(period_s)
    plant.run(5 * period_s * SECOND + 300)
    plant.sync(off_ms)
    plant.run(5 * period_s * SECOND)
    plant.assert_one_a_slot()
    assert plant.sampler.missed == 0
    assert len(plant.times()) in range(9, 12)


CORRECTIONS = [-1500, -800, -50, 50, 800, 1500]


@pytest.mark.parametrize("period_s", [1, 10, 60])
@pytest.mark.parametrize("off_ms", CORRECTIONS)
@pytest.mark.parametrize("phase_ms", [1, 300, 990])
def test_a_quiet_correction_makes_no_slot_come_twice_and_none_missing(
    period_s: int, off_ms: int, phase_ms: int
) -> None:
    plant = synced(period_s)
    plant.run(5 * period_s * SECOND)
    to_slot_ms = -plant.chip_ms() % (period_s * SECOND)
    plant.at(to_slot_ms + phase_ms, lambda: plant.sync(off_ms))
    plant.run(10 * period_s * SECOND)
    assert plant.clock.steps == 0
    assert plant.sampler.missed == 0
    plant.assert_one_a_slot()
    gaps = {b - a for a, b in pairwise(plant.times())}
    assert gaps <= ({period_s, 2, 3} if period_s == 1 and off_ms > 500 else {period_s})


@pytest.mark.parametrize("period_s", [1, 10, 3600])
@pytest.mark.parametrize("base_ms", [50, 700])
@pytest.mark.parametrize("off_ms", [HOUR + 400, -HOUR - 400, 9500, -9500, DAY + 999, -DAY + 1])
def test_a_step_makes_no_slot_come_twice_and_counts_none_as_missed(period_s: int, base_ms: int, off_ms: int) -> None:
    """The clock stands on no whole second of the uptime: what is told of steps is whole seconds."""
    plant = synced(period_s)
    plant.sync(base_ms)
    plant.run(5 * period_s * SECOND + 600)
    plant.sync(off_ms)
    plant.run(5 * period_s * SECOND)
    assert plant.clock.steps == 1
    assert plant.sampler.missed == 0
    plant.assert_one_a_slot()
    assert len(plant.times()) in range(8, 12)


@pytest.mark.parametrize("off_ms", [-HOUR - 400, -1500, -800, 800, 1500, HOUR + 400])
def test_a_clock_that_is_set_while_sensors_are_waited_for_makes_no_slot_come_twice(off_ms: int) -> None:
    plant = synced(2)
    plant.sync(700)
    plant.sensors[LABEL].wait = 1000
    plant.run(9 * SECOND)
    to_slot_ms = -plant.chip_ms() % 2000
    plant.at(to_slot_ms + 500, lambda: plant.sync(off_ms))
    plant.run(20 * SECOND)
    plant.assert_one_a_slot()
    assert plant.sampler.missed == 0


def test_a_period_that_changes_after_a_correction_back_makes_no_slot_come_twice() -> None:
    plant = synced(10)
    plant.run(31 * SECOND)
    plant.busy(-plant.chip_ms() % 10_000)
    plant.run(200)
    plant.sync(-800)
    plant.period["sample_period_s"] = 1
    plant.run(5 * SECOND)
    plant.assert_one_a_slot()


# --- sensors ------------------------------------------------------------------------------------


def with_neighbours(sensor: Sensor) -> dict[str, Sensor]:
    return {"first": Sensor("a"), LABEL: sensor, "last": Sensor("z", "n_total", says=(-1.5, 7))}


FAULTS: list[tuple[str, Any, str]] = [
    ("ETIMEDOUT", TIMED_OUT, "timeout"),
    ("ENODEV", NO_DEVICE, "absent"),
    ("an OSError without a number", OSError(), "absent"),
    ("ValueError", ValueError("x"), "error"),
    ("MemoryError", MemoryError(), "error"),
    ("nothing", None, "error"),
    ("too few", (), "error"),
    ("too many", (1.0, 2.0), "error"),
    ("no sequence", 21.5, "error"),
    ("a value that is None", (None,), "error"),
    ("a list in it", ([],), "error"),
    ("not a number", (math.nan,), "range"),
    ("infinite", (math.inf,), "range"),
    ("minus infinite", (-math.inf,), "range"),
    ("more than a float holds", (3.5e38,), "range"),
    ("absent", ("absent",), "absent"),
    ("crc", ("crc",), "crc"),
    ("range", ("range",), "range"),
    ("timeout", ("timeout",), "timeout"),
    ("an unknown word", ("broken",), "error"),
    ("an empty word", ("",), "error"),
]


@pytest.mark.parametrize(("says", "why"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_whatever_a_sensor_says_the_others_are_read_and_the_reason_is_right(says: Any, why: str) -> None:
    sensor = Sensor()
    plant = synced(10, with_neighbours(sensor))
    plant.run(25 * SECOND)
    sensor.says = says
    plant.run(30 * SECOND)
    sensor.says = (22.0,)
    plant.run(30 * SECOND)
    values = plant.values()
    assert {(a, z, total) for a, _, z, total in values} == {(21.5, -1.5, 7)}
    said = [temperature for _, temperature, *_ in values]
    assert said == [21.5] * 2 + [why] * 3 + [22.0] * (len(said) - 5)
    told = [line for line in plant.warnings() if "no value" in line or "again" in line]
    assert told == [f"WARNING sampler: {LABEL}: no value, {why}", f"WARNING sampler: {LABEL}: good again"]
    assert all(f" {LABEL}: " in line for line in plant.warnings())
    assert len(plant.warnings()) <= 3
    assert plant.sampler.failed == 3
    assert plant.sampler.states == {"first": "", LABEL: "", "last": ""}
    assert plant.sampler.taken == len(values) == plant.store.stored
    assert plant.sampler.missed == 0


@pytest.mark.parametrize("wait", [TIMED_OUT, NO_DEVICE, ValueError("x"), None, "soon", math.nan, [1]])
def test_a_sensor_that_can_not_be_started_is_not_read(wait: Any) -> None:
    sensor = Sensor()
    plant = synced(10, with_neighbours(sensor))
    sensor.wait = wait
    plant.run(25 * SECOND)
    assert "read" not in {call for call, _ in sensor.calls}
    why = {116: "timeout", 19: "absent"}.get(getattr(wait, "errno", 0), "error")
    assert set(plant.values()) == {(21.5, why, -1.5, 7)}
    assert plant.warnings()[-1] == f"WARNING sampler: {LABEL}: no value, {why}"


@pytest.mark.parametrize(
    ("says", "stored"),
    [(0, 0), (4294967279, 4294967279), (4294967280, "range"), (1 << 40, "range"), (-1, "range"), ("crc", "crc"),
     (None, "error"), (math.nan, "error"), (math.inf, "error")],
)  # fmt: skip
def test_a_total_is_a_whole_number_that_the_log_can_hold_or_null(says: Any, stored: Any) -> None:
    plant = synced(10, {LABEL: Sensor("n_total", says=(says,)), "other": Sensor("a")})
    plant.run(25 * SECOND)
    assert set(plant.values()) == {(stored, 21.5)}


@pytest.mark.parametrize("call", ["start", "read"])
@pytest.mark.parametrize(("slow_ms", "why"), [(250, ""), (251, "timeout"), (3000, "timeout")])
def test_a_sensor_that_holds_up_the_loop_is_not_believed(call: str, slow_ms: int, why: str) -> None:
    sensor = Sensor()
    plant = synced(10, with_neighbours(sensor))
    sensor.slow_ms[call] = slow_ms
    plant.run(35 * SECOND)
    assert {temperature for _, temperature, *_ in plant.values()} == {why or 21.5}
    assert plant.sampler.missed == 0
    assert plant.sampler.states == {"first": "", LABEL: why, "last": ""}


def test_all_sensors_are_waited_for_together() -> None:
    sensors = {f"s{i}": Sensor(f"f{i}") for i in range(4)}
    for wait_ms, sensor in zip((750, 16, 1000, 0), sensors.values(), strict=True):
        sensor.wait = wait_ms
    plant = synced(10, sensors)
    plant.run(15 * SECOND)
    starts = [ms for sensor in sensors.values() for call, ms in sensor.calls if call == "start"]
    reads = [ms for sensor in sensors.values() for call, ms in sensor.calls if call == "read"]
    assert max(reads) - min(starts) == 1000


def test_no_sensor_is_waited_for_longer_than_two_seconds() -> None:
    sensor = Sensor()
    sensor.wait = 10_000
    plant = synced(10, with_neighbours(sensor))
    plant.run(25 * SECOND)
    (_, start_ms), (_, read_ms) = sensor.calls[:2]
    assert read_ms - start_ms == MOST_WAIT_MS
    assert plant.sampler.missed == 0


def test_a_sensor_that_fails_in_two_ways_is_told_for_each_change() -> None:
    sensor = Sensor()
    plant = synced(10, {"tank": sensor})
    for says in ((21.5,), ("crc",), ("crc",), ("absent",), (21.5,)):
        sensor.says = says
        plant.run(10 * SECOND)
    words = ["no value, crc", "no value, absent", "good again"]
    assert plant.warnings() == [f"WARNING sampler: tank: {word}" for word in words]


def test_samples_that_the_flash_does_not_take_are_counted_as_taken() -> None:
    plant = synced(10)
    plant.run(25 * SECOND)
    plant.flash.failing = {"program"}
    plant.run(30 * SECOND)
    plant.flash.failing = set()
    plant.run(30 * SECOND)
    assert plant.store.rejected == 3
    assert plant.sampler.taken == plant.store.stored + 3
    plant.assert_one_a_slot()


# --- whatever happens ---------------------------------------------------------------------------

EVENTS = st.one_of(
    st.tuples(st.just("sync"), st.sampled_from([-1900, -800, -20, 20, 800, 1900])),
    st.tuples(st.just("sync"), st.integers(2_500, 2 * HOUR)),
    st.tuples(st.just("sync"), st.integers(-2 * HOUR, -2_500)),
    st.tuples(st.just("late"), st.integers(1, 40_000)),
    st.tuples(st.just("period"), st.sampled_from([1, 2, 5, 10, 60])),
    st.tuples(st.just("sensor"), st.integers(0, 2500)),
    st.tuples(st.just("restart"), st.just(0)),
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([1, 2, 5, 10, 60]), st.booleans(),
    st.lists(st.tuples(st.integers(0, 12_000), EVENTS), min_size=1, max_size=10),
)  # fmt: skip
def test_no_slot_comes_twice_and_slots_are_taken_or_missed(
    period_s: int, has_clock: bool, events: list[tuple[int, tuple[str, int]]]
) -> None:
    plant = Plant(period_s)
    if has_clock:
        plant.sync()
    began = plant.chip_ms() // (period_s * SECOND)
    for after_ms, (what, how) in events:
        if what == "sync":
            plant.at(after_ms, lambda how=how: plant.sync(how))
        elif what == "late":
            plant.at(after_ms, lambda how=how: plant.wait(how))
        elif what == "period":
            plant.at(after_ms, lambda how=how: plant.period.update(sample_period_s=how))
        elif what == "sensor":
            plant.sensors[LABEL].wait = how
        plant.run(after_ms + 100)
        if what == "restart":
            plant.restart()
    plant.sensors[LABEL].wait = 0
    plant.run(3 * MINUTE)
    slots = plant.chip_ms() // (period_s * SECOND) - began
    plant.sync()
    plant.assert_one_a_slot()
    sampler = plant.sampler
    assert sampler.taken == len(plant.times())
    if not {"sync", "period", "restart"} & {what for _, (what, _) in events}:
        assert slots - sampler.taken - sampler.missed in (0, 1)  # the one that begins now
