"""How long the device waits before it posts again: after a failure, by a server's wish, by its own schedule.

Moments are those at which the fault server had a request whole, on the board's clock.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest

from host_tests import faults
from host_tests.device import Device
from host_tests.fault_ledger import Posted, Reading
from host_tests.telemetry_world import LONGEST_PAUSE_MS, MINUTE_MS, World, posting
from host_tests.virtual_board.state import EPOCH_2000_S
from host_tests.virtual_board.vm import registers as r

pytestmark = pytest.mark.vm

LEAST_S, MOST_S = 2, 900
SECOND_MS = 1000


@pytest.fixture
def world(make_device: Callable[..., Device]) -> Iterator[World]:
    with posting(make_device) as world:
        world.advance(MINUTE_MS)
        yield world


def times_of(world: World) -> list[int]:
    """From now on, when each request has come. Ask for it before the bodies of `requests` are read again."""
    times: list[int] = []
    before = world.server.ledger.read

    def read(request: Posted) -> list[Reading]:
        times.append(world.now_ms())
        return before(request)

    world.server.ledger.read = read
    return times


def gaps_s(times: list[int]) -> list[float]:
    """Seconds between requests; the server reads a request that it commits twice."""
    apart = [b - a for a, b in zip(times, times[1:], strict=False)]
    return [gap / 1000 for gap in apart if gap > 50]


# --- full jitter ----------------------------------------------------------------------------------


def test_pauses_grow_to_a_quarter_of_an_hour_at_most_and_are_never_below_two_seconds(world: World) -> None:
    world.server.fault = faults.status(503)
    times = times_of(world)
    for _ in range(9):
        world.advance(20 * MINUTE_MS)
    pauses = world.pauses_s()
    assert len(pauses) >= 18
    for n, pause_s in enumerate(pauses, 1):
        assert LEAST_S <= pause_s <= min(MOST_S, LEAST_S << n)
    assert max(pauses) > 600 and len(set(pauses[-10:])) > 8
    gaps = gaps_s(times)
    assert min(gaps) >= LEAST_S
    for gap_s, pause_s in zip(gaps, pauses, strict=False):
        assert pause_s <= gap_s <= pause_s + 3
    print(f"{len(pauses)} pauses of {min(pauses)} to {max(pauses)} s")
    world.server.fault = faults.NONE
    world.until(lambda: world.post()["waiting"] < 5, LONGEST_PAUSE_MS + MINUTE_MS, 5000)
    world.assert_delivered()
    world.assert_sound()


def test_boards_that_lost_their_server_together_do_not_come_back_together(make_device: Callable[..., Device]) -> None:
    told = []
    for last in range(3):
        with posting(make_device, boot=False) as world:
            world.device.state.put_bytes(r.UNIQUE_ID, bytes((0x70, 0xB8, 0xF6, 0x0C, 0x3F, last)))
            world.server.fault = faults.REFUSE
            world.device.start(collector=False)
            world.advance(60 * MINUTE_MS)
            told.append(world.pauses_s()[:8])
    print(f"the first pauses of three boards, in s: {told}")
    assert all(len(pauses) == 8 for pauses in told)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        same = sum(abs(a - b) <= 1 for a, b in zip(told[one][4:], told[other][4:], strict=True))
        assert same <= 1, "of the four that are not short anyway"


def test_a_board_draws_other_pauses_after_a_restart(world: World) -> None:
    told = []
    for _ in range(2):
        world.server.fault = faults.status(500)
        already = len(world.pauses_s())
        world.advance(60 * MINUTE_MS)
        told.append(world.pauses_s()[already:][2:8])
        world.server.fault = faults.NONE
        world.device.board.stop()
        world.device.power_on()
    assert told[0] != told[1]


# --- Retry-After ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 413, 425, 429, 500, 503, 400])
def test_retry_after_in_seconds_is_kept_to(world: World, status: int) -> None:
    times = times_of(world)
    already = len(world.server.requests)
    world.server.fault = faults.status(status, "Retry-After: 40")
    world.until(lambda: len(world.server.requests) > already, MINUTE_MS)
    world.server.fault = faults.NONE
    world.advance(3 * MINUTE_MS)
    assert 40 <= gaps_s(times)[0] <= 75
    assert sorted(world.arrived()) == list(range(1, world.newest() + 1))
    assert world.post()["held"] == 0
    world.assert_sound()


def test_a_day_is_the_longest_that_a_server_can_ask_for(world: World) -> None:
    world.server.fault = faults.status(503, "Retry-After: 99999999")
    world.until(lambda: world.pauses_s(), MINUTE_MS)
    assert world.pauses_s() == [86_400]
    world.server.fault = faults.NONE
    world.device.post("/telemetry", b"do=send")
    world.advance(10_000)
    assert world.post()["waiting"] <= 2


def true_time(world: World) -> int:
    """Unix seconds of the world around the board."""
    return world.device.times.truth_ms() // 1000


def test_retry_after_as_a_date_is_counted_from_the_answers_own(world: World) -> None:
    wrong = int(time.time()) - 100_000_000
    world.server.date = formatdate(wrong, usegmt=True)
    world.server.fault = faults.status(503, f"Retry-After: {formatdate(wrong + 120, usegmt=True)}")
    world.until(lambda: world.pauses_s(), MINUTE_MS)
    assert world.pauses_s() == [120]


def test_retry_after_as_a_date_is_counted_from_the_boards_clock_if_the_answer_has_none(world: World) -> None:
    world.server.fault = faults.status(503, f"Retry-After: {formatdate(true_time(world) + 300, usegmt=True)}")
    world.until(lambda: world.pauses_s(), MINUTE_MS)
    assert 260 <= world.pauses_s()[0] <= 300


@pytest.mark.parametrize("text", ["soon", "-5", "1.5", "Mon, 99 Foo 2026 00:00:00 GMT", ""])
def test_retry_after_that_is_none_is_left_alone(world: World, text: str) -> None:
    world.server.fault = faults.status(503, f"Retry-After: {text}")
    world.until(lambda: world.pauses_s(), MINUTE_MS)
    assert world.pauses_s()[0] <= 4


def test_a_date_says_nothing_to_a_board_without_any_clock(make_device: Callable[..., Device]) -> None:
    with posting(make_device, boot=False) as world:
        world.device.state[r.NTP_OK] = 0
        world.device.start(collector=False, until="no time from NTP")
        world.server.fault = faults.status(503, f"Retry-After: {formatdate(time.time() + 300, usegmt=True)}")
        world.until(lambda: world.pauses_s(), 3 * MINUTE_MS)
        assert world.pauses_s()[0] <= 4


def test_a_board_whose_only_clock_is_the_server_counts_a_date_from_the_answers(
    make_device: Callable[..., Device],
) -> None:
    with posting(make_device, boot=False) as world:
        world.device.state[r.NTP_OK] = 0
        world.device.start(collector=False, until="no time from NTP")
        now_s = world.device.state[r.NTP] + EPOCH_2000_S
        world.server.date = formatdate(now_s, usegmt=True)
        world.server.fault = faults.status(503, f"Retry-After: {formatdate(now_s + 100, usegmt=True)}")
        world.until(lambda: world.pauses_s(), 3 * MINUTE_MS)
        assert world.pauses_s() == [100]
        assert world.status()["clock"]["source"] == "http"


# --- the schedule ---------------------------------------------------------------------------------


def sizes(world: World) -> list[int]:
    return [len(world.seqs_of(request)) for request in world.server.requests]


def test_by_number_a_post_goes_out_as_soon_as_so_many_samples_wait(make_device: Callable[..., Device]) -> None:
    with posting(make_device, sample_period_s=10, telemetry_period_s=0, telemetry_samples=6) as world:
        times = times_of(world)
        world.advance(10 * MINUTE_MS)
        gaps = gaps_s(times)
        assert set(sizes(world)[1:]) == {6}
        assert len(sizes(world)) >= 9
        assert all(58 <= gap_s <= 62 for gap_s in gaps[1:])
        world.assert_delivered()


def test_by_number_and_period_whichever_comes_first(make_device: Callable[..., Device]) -> None:
    with posting(make_device, sample_period_s=10, telemetry_period_s=40, telemetry_samples=12) as world:
        world.advance(4 * MINUTE_MS)
        assert set(sizes(world)[1:]) <= {4, 5}
        world.set(sample_period_s=1)
        world.advance(5000)
        already = len(sizes(world))
        world.advance(2 * MINUTE_MS)
        assert set(sizes(world)[already + 1 :]) <= {12, 13}
        world.assert_delivered()
        world.assert_sound()


def test_by_number_a_failure_is_followed_by_its_pause_however_many_wait(make_device: Callable[..., Device]) -> None:
    with posting(make_device, sample_period_s=1, telemetry_period_s=0, telemetry_samples=2) as world:
        world.server.fault = faults.status(503, "Retry-After: 50")
        world.until(lambda: world.pauses_s(), MINUTE_MS)
        already = len(world.server.requests)
        world.advance(45_000)
        assert len(world.server.requests) == already


def test_a_batch_is_no_larger_than_the_setting_and_a_backlog_goes_out_over_one_connection(
    make_device: Callable[..., Device],
) -> None:
    with posting(make_device, sample_period_s=1, telemetry_period_s=100, telemetry_batch=7) as world:
        world.until(lambda: world.newest() > 150, 5 * MINUTE_MS)
        world.until(lambda: world.post()["waiting"] < 7, MINUTE_MS)
        assert max(sizes(world)) == 7 and len(sizes(world)) >= 20
        print(f"{len(sizes(world))} requests over {world.server.connections} connections")
        assert world.server.connections <= len(sizes(world)) / 4
        world.assert_delivered()
        world.assert_sound()


def test_another_address_ends_a_long_pause_at_once(world: World) -> None:
    world.server.fault = faults.REFUSE
    world.until(lambda: world.pauses_s() and world.pauses_s()[-1] > 100, 60 * MINUTE_MS, 5000)
    world.server.fault = faults.NONE
    world.set(telemetry_url=world.server.url + "?other")
    assert world.until(lambda: world.newest() > 10, MINUTE_MS) <= 4 * SECOND_MS
    world.assert_delivered()


def test_send_now_ends_a_pause_and_a_period(world: World) -> None:
    world.set(telemetry_period_s=3600)
    world.advance(MINUTE_MS)
    before = world.newest()
    world.device.post("/telemetry", b"do=send")
    assert world.until(lambda: world.newest() > before, MINUTE_MS) <= 3 * SECOND_MS
    world.server.fault = faults.status(503, "Retry-After: 3000")
    world.advance(11_000)
    world.device.post("/telemetry", b"do=send")
    world.advance(20_000)
    assert re.search("answers 503", world.post()["state"])
    world.server.fault = faults.NONE
    before = world.newest()
    world.device.post("/telemetry", b"do=send")
    assert world.until(lambda: world.newest() > before, MINUTE_MS) <= 3 * SECOND_MS
    world.assert_delivered()
    world.assert_sound()
