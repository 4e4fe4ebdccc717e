"""Asking time servers: which, how many, how often, what a bad one can do, and the task that keeps at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from host_tests.clock_world import (
    DAY,
    HOUR,
    MINUTE,
    NO_NAME,
    REFUSED,
    SECOND,
    TIMED_OUT,
    YEAR,
    World,
    stand_ins,
    synced,
)

SILENT = OSError(TIMED_OUT, "")
NAMELESS = OSError(NO_NAME, "")
SENT_AWAY = OSError(REFUSED, "")
UNSYNCED = ValueError("the time server is not synchronised itself")


@pytest.fixture(scope="module", autouse=True)
def _modules() -> Iterator[None]:
    with stand_ins():
        yield


@pytest.fixture
def world() -> World:
    world = synced()
    world.asked.clear()
    world.lines.clear()
    return world


# --- one round --------------------------------------------------------------------------------------


def test_two_servers_that_agree_are_enough() -> None:
    world = World()
    world.ntp(a=0, b=0, c=0, d=0)
    assert world.asked == ["a", "b"]


def test_a_synced_clock_is_the_second_opinion_of_one_server(world: World) -> None:
    world.ntp(a=100, b=0, c=0)
    assert world.asked == ["a"]


def test_of_two_that_agree_the_quicker_one_counts() -> None:
    world = World()
    answers = iter(((800, 2400), (40, 2000), (40, 9000)))

    async def ask(ip: str, now_ms: object, timeout_ms: int) -> tuple[int, int]:
        delay_ms, off_ms = next(answers)
        return world.true_ms + off_ms - world.clock.uptime_ms(), delay_ms

    world.ask = ask  # type: ignore[method-assign]
    world.ntp(a=0, b=0, c=0)
    assert abs(world.off_ms() - 2000) <= 5


def test_four_servers_are_asked_at_most_and_others_after_a_failure() -> None:
    world = World()
    world.ntp(a=SILENT, b=SILENT, c=SILENT, d=SILENT, e=0)
    assert world.asked == ["a", "b", "c", "d"]
    world.ntp(a=SILENT, b=SILENT, c=SILENT, d=SILENT, e=0)
    assert world.asked[4:] == ["b", "c", "d", "e"]
    assert world.clock.quality == 2


def test_servers_get_more_time_after_each_failure_up_to_four_seconds_each() -> None:
    world = World()
    spent_ms = []
    for _ in range(4):
        start_ms = world.true_ms
        world.ntp(a=SILENT)
        spent_ms.append(world.true_ms - start_ms)
    assert spent_ms == [1 * SECOND, 2 * SECOND, 4 * SECOND, 4 * SECOND]


def test_setting_the_clock_while_a_server_is_asked_does_not_spoil_its_answer() -> None:
    world = World()
    answer = world.ask

    async def interrupted(ip: str, now_ms: object, timeout_ms: int) -> tuple[int, int]:
        world.browser(-5 * HOUR)
        return await answer(ip, now_ms, timeout_ms)

    world.ask = interrupted  # type: ignore[method-assign]
    world.ntp(a=0, b=0)
    assert abs(world.off_ms()) <= 5


@pytest.mark.parametrize("fault", [SILENT, NAMELESS, UNSYNCED, SENT_AWAY, -10 * YEAR], ids=repr)
@pytest.mark.parametrize("place", range(3))
def test_one_server_that_is_of_no_use_does_not_keep_the_others_from_setting_the_clock(
    fault: int | Exception, place: int
) -> None:
    world = World()
    servers: dict[str, int | Exception] = {name: fault if i == place else 0 for i, name in enumerate("abc")}
    world.ntp(**servers)
    assert (world.clock.quality, world.clock.failures) == (2, 0)
    assert abs(world.off_ms()) <= 5


@pytest.mark.parametrize("wrong_ms", [-DAY, -5 * SECOND, 5 * SECOND, HOUR, 20 * YEAR])
@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("before", [False, True], ids=["first sync", "synced"])
def test_one_wrong_server_of_three_is_outvoted(wrong_ms: int, place: int, before: bool) -> None:
    world = World()
    if before:
        world.ntp(x=0)
    world.ntp(**{name: wrong_ms if i == place else 0 for i, name in enumerate("abc")})
    assert world.clock.quality == 2
    assert world.clock.steps == 0
    assert abs(world.off_ms()) <= 5


def test_servers_that_disagree_are_not_believed_and_that_is_said() -> None:
    world = World()
    world.ntp(a=0, b=5000, c=-5000)
    assert world.clock.quality == 0
    assert "no time from NTP: 3 servers disagree, next try in " in world.lines[-1]


def test_a_server_that_sends_us_away_is_left_alone_for_a_day() -> None:
    world = World()
    world.ntp(a=SENT_AWAY, b=0)
    assert world.asked == ["a", "b"]
    world.wait(23 * HOUR)
    world.ntp(a=0, b=0)
    assert world.asked[2:] == ["b"]
    world.wait(2 * HOUR)
    world.ntp(a=0, b=0)
    assert world.asked[3:] == ["a"]


def test_with_every_server_sending_us_away_none_is_asked() -> None:
    world = World()
    world.ntp(a=SENT_AWAY)
    assert "a: error 111" in world.lines[-1]
    world.wait(HOUR)
    world.ntp(a=SENT_AWAY)
    assert world.asked == ["a"]
    assert "no server may be asked today" in world.lines[-1]


def test_an_empty_list_of_servers_turns_ntp_off() -> None:
    world = World()
    assert world.ntp() == MINUTE
    assert (world.clock.failures, world.lines) == (0, [])


# --- when -------------------------------------------------------------------------------------------


def test_a_fleet_that_started_together_parts_ways() -> None:
    waits_ms = set()
    for _ in range(50):
        world = World()
        waits_ms.add(world.ntp(a=0))
    assert all(6 * HOUR - 36 * MINUTE < wait_ms <= 6 * HOUR for wait_ms in waits_ms)
    assert len(waits_ms) > 40


def test_failures_are_retried_within_5_seconds_to_10_minutes() -> None:
    world = World()
    waits_ms = [world.ntp(a=SILENT) for _ in range(12)]
    assert 5 * SECOND <= waits_ms[0] <= 10 * SECOND
    assert all(5 * SECOND <= wait_ms <= 10 * MINUTE for wait_ms in waits_ms)
    assert len(set(waits_ms)) > 8


def test_failures_are_told_when_they_begin_and_then_once_an_hour(world: World) -> None:
    world.use(a=SILENT)
    world.clock.due_ms = 0
    world.run(DAY)
    told = [line for line in world.lines if "no time from NTP: a: error 116" in line]
    assert 20 <= len(told) <= 25
    assert len(world.lines) == len(told)
    world.use(a=0)
    world.run(11 * MINUTE)
    assert world.lines[-1].startswith("INFO clock: NTP answers again after ")
    assert world.clock.failures == 0


# --- the task ---------------------------------------------------------------------------------------


def test_the_first_sync_comes_within_10_s_of_the_link_when_one_of_four_answers() -> None:
    for place in range(4):
        for fault in (SILENT, NAMELESS):
            world = World()
            world.wifi.ip = ""
            world.use(**{name: 0 if i == place else fault for i, name in enumerate("abcd")})
            world.run(MINUTE)
            assert world.asked == []
            world.wifi.ip = "10.0.0.2"
            world.run(10 * SECOND)
            assert world.clock.quality == 2


def test_a_new_link_is_tried_at_once_while_the_clock_is_not_synced() -> None:
    world = World()
    world.use(a=SILENT)
    world.run(2 * HOUR)
    world.wifi.ip = ""
    world.run(5 * SECOND)
    world.wifi.ip = "10.0.0.2"
    world.use(a=0)
    world.run(3 * SECOND)
    assert world.clock.quality == 2


def test_a_link_that_comes_and_goes_does_not_make_a_synced_board_ask(world: World) -> None:
    world.clock.due_ms = world.clock.uptime_ms() + HOUR
    for _ in range(100):
        world.wifi.ip = "" if world.wifi.ip else "10.0.0.2"
        world.run(5 * SECOND)
    assert world.asked == []


def test_a_synced_board_asks_four_times_a_day_and_forgets_the_code_each_time(world: World) -> None:
    world.clock.due_ms = 0
    world.run(DAY - HOUR)
    assert len(world.asked) in (4, 5)
    assert len(world.forgotten) >= 2 * len(world.asked)  # the look-up's before NTP's, then all
    assert world.beats >= (DAY - HOUR) // SECOND - 10


def test_the_task_beats_before_each_server_so_that_a_dead_network_is_no_silence() -> None:
    world = World()
    beats_ms: list[int] = []
    world.beat = lambda: beats_ms.append(world.true_ms)  # type: ignore[method-assign]
    world.use(a=NAMELESS, b=SILENT, c=SILENT, d=NAMELESS)
    world.run(HOUR)
    assert max(b - a for a, b in zip(beats_ms, beats_ms[1:])) <= 9 * SECOND
