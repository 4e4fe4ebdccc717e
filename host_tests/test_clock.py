"""The clock table: what the board believes, does and says, for each way in which time can come to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from host_tests.clock_world import (
    DAY,
    EPOCH_MS,
    HOUR,
    MINUTE,
    NO_NAME,
    REFUSED,
    START_MS,
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
YEAR_2000_MS = EPOCH_MS - START_MS
YEAR_1970_MS = -START_MS
NO_TIME = 10**18


@pytest.fixture(scope="module", autouse=True)
def _modules() -> Iterator[None]:
    with stand_ins():
        yield


def nothing(world: World) -> None:
    world.wait(HOUR)


def no_network(world: World) -> None:
    world.wifi.ip = ""
    world.run(HOUR)


def six_hours_apart(*offs_ms: int) -> Callable[[World], None]:
    def rounds(world: World) -> None:
        for off_ms in offs_ms:
            world.ntp(a=off_ms)
            world.wait(6 * HOUR)

    return rounds


def then(*steps: Callable[[World], object]) -> Callable[[World], None]:
    def all_steps(world: World) -> None:
        for step in steps:
            step(world)

    return all_steps


def week_of_drift(world: World) -> None:
    world.use(a=0)
    world.run(7 * DAY)


def asked(**servers: int | Exception) -> Callable[[World], object]:
    return lambda world: world.ntp(**servers)


def after(ms: int) -> Callable[[World], None]:
    return lambda world: world.wait(ms)


def by_http(off_ms: int = 0) -> Callable[[World], None]:
    return lambda world: world.http(off_ms)


def by_browser(off_ms: int = 0) -> Callable[[World], object]:
    return lambda world: world.browser(off_ms)


LAST_S = START_MS // 1000 - 3600
COLD: dict[str, int] = {}
KEPT = {"kept_ms": -400}
LOST_POWER = {"last_s": LAST_S}
# name: how it booted, what happened; quality, source, steps, and how far the clock may be off at the end.
TABLE = {
    "cold boot without a network": (COLD, no_network, 0, "", 0, NO_TIME),
    "kept over a reset": (KEPT, no_network, 1, "kept", 0, 400),
    "kept, but earlier than the newest record": ({"kept_ms": -DAY, **LOST_POWER}, nothing, 1, "last", 0, HOUR),
    "power lost, goes on from the newest record": (LOST_POWER, no_network, 1, "last", 0, HOUR),
    "power lost, newest record of no sane time": ({"last_s": 1}, nothing, 0, "", 0, NO_TIME),
    "NTP after a cold boot": (COLD, asked(a=0), 2, "ntp", 0, 5),
    "NTP after a kept clock": (KEPT, asked(a=0), 2, "ntp", 0, 5),
    "NTP after a power loss": (LOST_POWER, asked(a=0), 2, "ntp", 0, 5),
    "jitter of 0.3 s": (COLD, six_hours_apart(0, 300, -300, 300, -300, 300), 2, "ntp", 0, 310),
    "drift of 50 ppm over 7 days": ({"ppm": 50}, week_of_drift, 2, "ntp", 0, 1100),
    "HTTP Date only": (COLD, then(by_http(), after(HOUR), by_http()), 2, "http", 0, 1000),
    "browser only": (COLD, then(by_browser(), after(HOUR)), 1, "browser", 0, 1000),
    "browser, then NTP": (COLD, then(by_browser(HOUR), asked(a=0)), 2, "ntp", 0, 5),
    "HTTP, then NTP": (COLD, then(by_http(1800), asked(a=0)), 2, "ntp", 0, 5),
    "1970 offered by NTP": (COLD, asked(a=YEAR_1970_MS), 0, "", 0, NO_TIME),
    "2000 offered by NTP": (COLD, asked(a=YEAR_2000_MS), 0, "", 0, NO_TIME),
    "2000 offered by HTTP": (COLD, by_http(YEAR_2000_MS), 0, "", 0, NO_TIME),
    "1970 offered by a browser": (COLD, by_browser(YEAR_1970_MS), 0, "", 0, NO_TIME),
    "2000 offered to a kept clock": (KEPT, asked(a=YEAR_2000_MS), 1, "kept", 0, 400),
    "one of three is wrong by a year": (COLD, asked(a=YEAR, b=0, c=0), 2, "ntp", 0, 5),
    "one of three says 1970": (COLD, asked(a=YEAR_1970_MS, b=0, c=SILENT), 2, "ntp", 0, 5),
    "two of three are wrong in two ways": (COLD, asked(a=YEAR, b=-HOUR, c=0), 0, "", 0, NO_TIME),
    "two of three are wrong alike": (COLD, asked(a=HOUR, b=HOUR, c=0), 2, "ntp", 0, HOUR + 5),
    "only the last of four answers": (COLD, asked(a=SILENT, b=NAMELESS, c=UNSYNCED, d=0), 2, "ntp", 0, 5),
    "past 2036": ({"true_ms": 2_086_000_000_000}, asked(a=0), 2, "ntp", 0, 5),
    "past 2038": ({"true_ms": 2_148_000_000_000}, then(by_http(), asked(a=0)), 2, "ntp", 0, 5),
    "after 2067": ({"true_ms": 3_093_000_000_000}, then(by_http(), asked(a=0), by_browser()), 0, "", 0, NO_TIME),
}
FIRST_BY_HTTP = {TABLE[name][1] for name in ("HTTP, then NTP", "past 2038")}
SYNCED_TABLE = {
    "an hour ahead by one server, once": (asked(a=HOUR), 0, 5),
    "an hour ahead by one server, twice": (then(asked(a=HOUR), asked(a=HOUR)), 1, HOUR + 5),
    "an hour back by one server, twice": (then(asked(a=-HOUR), asked(a=-HOUR)), 1, HOUR + 5),
    "an hour ahead by two servers": (asked(a=HOUR, b=HOUR), 1, HOUR + 5),
    "an hour back by two servers": (asked(a=-HOUR, b=-HOUR), 1, HOUR + 5),
    "a year ahead by one server, then right": (then(asked(a=YEAR), asked(a=0)), 0, 5),
    "a year ahead by one of three": (asked(a=YEAR, b=SILENT, c=0), 0, 5),
    "two of three wrong in two ways": (asked(a=YEAR, b=HOUR, c=0), 0, 5),
    "two answers far off that differ": (then(asked(a=HOUR), asked(a=2 * HOUR)), 0, 5),
    "five minutes ahead by one server": (asked(a=5 * MINUTE), 1, 5 * MINUTE + 5),
    "there and back": (then(asked(a=HOUR, b=HOUR), after(HOUR), asked(a=0, b=0)), 2, 5),
    "HTTP an hour off": (then(by_http(HOUR), by_http(HOUR)), 0, 5),
    "a browser an hour off": (then(by_browser(HOUR), by_browser(HOUR)), 0, 5),
    "2000 offered by two servers": (asked(a=YEAR_2000_MS, b=YEAR_2000_MS), 0, 5),
}


@pytest.mark.parametrize(("boot", "happens", "quality", "source", "steps", "off_ms"), TABLE.values(), ids=TABLE)
def test_the_clock_table(
    boot: dict[str, int],
    happens: Callable[[World], object],
    quality: int,
    source: str,
    steps: int,
    off_ms: int,
) -> None:
    world = World(**boot)  # type: ignore[arg-type]
    uptime_ms, true_ms = world.clock.uptime_ms(), world.true_ms
    happens(world)
    clock = world.clock
    assert (clock.quality, clock.source, clock.steps) == (quality, source, steps), world.lines
    assert abs(world.off_ms()) <= off_ms
    assert clock.now()[0] == (world.unix_s() if quality else clock.uptime_ms() // 1000)
    spent_ms = world.true_ms - true_ms
    assert abs(clock.uptime_ms() - uptime_ms - spent_ms) <= spent_ms * world.ppm // 1_000_000 + len(world.synced)
    if quality == 2:  # a better source that comes later corrects the clock, not what the first sync said of boot
        first_ms = 2000 if happens in FIRST_BY_HTTP else off_ms
        assert -1000 - first_ms <= world.restamp_off_ms() <= first_ms


@pytest.mark.parametrize(("happens", "steps", "off_ms"), SYNCED_TABLE.values(), ids=SYNCED_TABLE)
def test_the_clock_table_of_a_board_that_is_synced(happens: Callable[[World], object], steps: int, off_ms: int) -> None:
    world = synced()
    uptime_ms, true_ms = world.clock.uptime_ms(), world.true_ms
    happens(world)
    assert (world.clock.quality, world.clock.source, world.clock.steps) == (2, "ntp", steps), world.lines
    assert abs(world.off_ms()) <= off_ms
    assert abs(world.clock.uptime_ms() - uptime_ms - (world.true_ms - true_ms)) <= len(world.synced)
    assert len([line for line in world.lines if "stepped" in line]) == steps
    assert -1000 - off_ms <= world.restamp_off_ms() <= off_ms
