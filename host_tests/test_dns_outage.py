"""Telemetry to a server with a name, on the whole device, while something is wrong with the name servers.

Whatever they say, the pages answer, no slot is missed and a lookup ends in its time; where no honest answer comes the
board says so and delivers when one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from host_tests import faults
from host_tests.device import Device
from host_tests.telemetry_world import LONGEST_PAUSE_MS, MINUTE_MS, World, posting
from host_tests.virtual_board.name_server import FORGED, FORGERIES, Fault

pytestmark = pytest.mark.vm

NAME = "collector.test"
MINUTES = 3
LOOKUP_MS = 10_000
FAILING: tuple[Fault, ...] = (
    "dead", "nxdomain", "servfail", "no address", "only AAAA", "truncated empty", "cname loop", "compression loop",
    "cut off", "empty datagram",
)  # fmt: skip
ANSWERED: tuple[Fault, ...] = ("truncated", "cname chain", "cname backwards", *FORGERIES)
MOST_PAGE_MS = 600  # where other tests run beside this one


@pytest.fixture
def world(make_device: Callable[..., Device]) -> Iterator[World]:
    """A board that knows its server by a name, whose address holds for a minute."""
    with posting(make_device, boot=False) as world:
        device = world.device
        device.names.ttl_s = 60
        device.write_settings({**device.read_settings(), "telemetry_url": named(world)})
        device.start(collector=False)
        world.advance(MINUTE_MS)
        assert len(world.arrived()) >= 3
        yield world


def named(world: World) -> str:
    return f"http://{NAME}:{urlsplit(world.server.url).port}/readings"


def lookups(world: World) -> int:
    return [name for _, name in world.device.names.asked].count(NAME)


def live(world: World) -> None:
    """Some minutes, with a page every 10 s."""
    for _ in range(MINUTES * 6):
        world.advance(10_000)
        world.page()
    world.assert_sound()
    assert world.page_p99_ms() <= MOST_PAGE_MS


def assert_delivers_again(world: World) -> None:
    world.device.names.fault = ""
    world.device.names.delay_ms = 0
    world.device.names.lies_only = False
    newest = world.status()["storage"]["next_seq"] - 1
    world.until(lambda: world.newest() >= newest, LONGEST_PAUSE_MS, 5000)
    world.assert_delivered()
    world.assert_sound()


@pytest.mark.parametrize("fault", FAILING)
def test_without_an_honest_answer_the_lookup_ends_in_time_is_said_and_tried_again(world: World, fault: Fault) -> None:
    world.device.names.fault = fault
    live(world)
    assert "looking up its name failed: the name has no address (error -202)" in world.post()["state"]
    pauses = world.pauses_s()
    print(f"{fault}: {len(pauses)} tries in {MINUTES} minutes, pauses {pauses}, {lookups(world)} questions")
    assert len(pauses) >= 4
    assert sum(pauses[:-1]) + len(pauses) * LOOKUP_MS / 1000 + 65 >= MINUTES * 60 - pauses[-1], "no lookup takes longer"
    assert_delivers_again(world)


@pytest.mark.parametrize("fault", ANSWERED)
def test_an_honest_answer_is_found_among_others(world: World, fault: Fault) -> None:
    world.device.names.fault = fault
    before, asked = world.newest(), lookups(world)
    live(world)
    assert world.newest() >= before + MINUTES * 6 - 6
    assert lookups(world) > asked
    assert world.pauses_s() == []
    assert_delivers_again(world)


@pytest.mark.parametrize("fault", FORGERIES)
def test_a_forgery_alone_leads_nowhere(world: World, fault: Fault) -> None:
    """Nobody listens at the address it names, and no attempt is made to connect to it."""
    world.device.names.fault = fault
    world.device.names.lies_only = True
    live(world)
    assert "looking up its name failed" in world.post()["state"], FORGED
    assert "connecting failed" not in world.device.log()
    assert_delivers_again(world)


@pytest.mark.parametrize("delay_ms", [900, 3000, 8000])
def test_a_slow_name_server_holds_nothing_up(world: World, delay_ms: int) -> None:
    world.device.names.delay_ms = delay_ms
    before = world.newest()
    live(world)
    print(f"answers after {delay_ms} ms: {world.newest() - before} samples in {MINUTES} minutes, {world.pauses_s()}")
    assert delay_ms > 3000 or world.newest() >= before + MINUTES * 6 - 6
    assert_delivers_again(world)


def test_an_address_that_changed_is_found_when_the_old_one_fails(world: World) -> None:
    """The name is asked for anew, also before its time is up."""
    device = world.device
    device.names.ttl_s = 3600
    world.advance(2 * MINUTE_MS)  # in which the address is asked for, and kept for an hour
    asked = lookups(world)
    world.advance(5 * MINUTE_MS)
    assert lookups(world) == asked
    device.names.names[NAME] = "127.0.0.9"  # nobody listens there
    world.server.fault = faults.REFUSE
    world.until(lambda: len(world.pauses_s()) >= 2, 5 * MINUTE_MS)
    assert lookups(world) > asked
    device.names.names[NAME] = "127.0.0.9 127.0.0.1"
    world.server.fault = faults.NONE
    world.until(lambda: world.post()["waiting"] < 4, LONGEST_PAUSE_MS, 2000)
    world.assert_delivered()
    world.assert_sound()
