"""A world for the board's clock on CPython: the true time, a chip whose clock drifts, and servers that may lie.

app.clock and app.timesync are the device's own; what needs the chip (app.board, app.log, app.site, lib/dns, lib/ntp)
are stand-ins that speak for the world made last. Nothing sleeps: time passes when `wait` says so, and while a server
answers.
"""

from __future__ import annotations

import calendar
import importlib
import sys
import time
import types
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

EPOCH_MS = 946_684_800_000
START_MS = 1_800_000_000_123  # January 2027
SECOND, MINUTE, HOUR, DAY, YEAR = 1000, 60_000, 3_600_000, 86_400_000, 31_536_000_000
REFUSED, TIMED_OUT, NO_NAME = 111, 116, -202
OWN = ("app.clock", "app.ntpsync", "app.timerules", "app.timesync", "app.web.clock", "http_date")
Fault = int | Exception

now: World


class EndOfRunError(Exception):
    """The time that a task was to run for is over."""


@contextmanager
def stand_ins() -> Iterator[None]:
    """The modules under test, loaded on stand-ins; all are gone from sys.modules afterwards."""

    async def read(http: dict[str, str]) -> dict[str, str]:
        return http["form"]  # type: ignore[return-value]

    members: dict[str, dict[str, Any]] = {
        "app.board": {
            "clock_ms": lambda: now.chip_ms(),
            "unix_s": lambda: now.unix_s(),
            "set_clock": lambda unix_ms: now.set_clock(unix_ms),
        },
        "app.log": {
            "info": lambda part, text, *args: now.lines.append(f"INFO {part}: {text % args}"),
            "warning": lambda part, text, *args: now.lines.append(f"WARNING {part}: {text % args}"),
        },
        "app.site": {"evict": lambda: now.forgotten.append(now.true_ms)},
        "dns": {"resolve": lambda *args: now.resolve(*args)},
        "ntp": {"ask": lambda *args: now.ask(*args), "REFUSED": REFUSED},
        "forms": {"read": read},
    }
    package = importlib.import_module("app")
    before = {name: sys.modules.pop(name, None) for name in (*members, *OWN)}
    attributes = {name: value for name, value in vars(package).items() if "app." + name in before or name == "web"}
    for name in attributes:
        delattr(package, name)
    for name, names in members.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(names)
    try:
        for name in OWN:
            importlib.import_module(name)
        sys.modules["http_date"].mktime = _mktime  # type: ignore[attr-defined]
        sys.modules["app.clock"].asyncio = types.SimpleNamespace(sleep_ms=lambda ms: now.sleep_ms(ms))  # type: ignore[attr-defined]
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module:
                sys.modules[name] = module
        for name in [name for name in vars(package) if "app." + name in before]:
            delattr(package, name)
        vars(package).update(attributes)


def _mktime(parts: tuple[int, ...]) -> int:
    return calendar.timegm(parts[:6]) - EPOCH_MS // 1000  # type: ignore[arg-type]


def http_date(unix_s: int) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(unix_s))


def finish(task: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that never has to wait here."""
    try:
        task.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something that is not of this world")


class World:
    """A board just booted. `kept_ms`: how far its clock is off after it ran on through a reset, None when it lost its
    power; `last_s`: time of its newest record; `ppm`: how fast its clock runs."""

    def __init__(self, kept_ms: int | None = None, last_s: int = 0, ppm: int = 0, true_ms: int = START_MS) -> None:
        global now
        now = self
        self.true_ms = true_ms
        self.ppm = ppm
        self.chip_us = 5_250_000 if kept_ms is None else (true_ms + kept_ms - EPOCH_MS) * 1000
        self.delay_ms = 40
        self.servers: dict[str, Fault] = {}
        self.asked: list[str] = []
        self.lines: list[str] = []
        self.synced: list[int] = []
        self.forgotten: list[int] = []
        self.beats = 0
        self.end_ms = 0
        self.wifi = types.SimpleNamespace(
            ip="10.0.0.2",
            settings={"ntp_servers": ""},
            wlan=types.SimpleNamespace(ifconfig=lambda: ("10.0.0.2", "255.0.0.0", "10.0.0.1", "10.0.0.53")),
        )
        self.timesync: Any = sys.modules["app.timesync"]
        self.ntpsync: Any = sys.modules["app.ntpsync"]
        self.clock: Any = sys.modules["app.clock"].Clock()  # type: ignore[attr-defined]
        self.boot_ms = true_ms - self.clock.uptime_ms()
        self.clock.on_sync = self.synced.append
        self.timesync.estimate(self.clock, last_s)

    # --- the chip and its time --------------------------------------------------------------------

    def wait(self, ms: int) -> None:
        self.true_ms += ms
        self.chip_us += ms * (1_000_000 + self.ppm) // 1000

    def chip_ms(self) -> int:
        return self.chip_us // 1000

    def set_clock(self, unix_ms: int) -> None:
        self.chip_us = (unix_ms - EPOCH_MS) * 1000

    def unix_s(self) -> int:
        now_s = self.chip_ms() // 1000
        return now_s + EPOCH_MS // 1000 if now_s > 757_382_400 else 0

    async def sleep_ms(self, ms: int) -> None:
        self.wait(ms)
        if self.true_ms >= self.end_ms:
            raise EndOfRunError

    def beat(self) -> None:
        self.beats += 1

    # --- offers -----------------------------------------------------------------------------------

    async def resolve(self, name: str, servers: tuple[str, ...], timeout_ms: int) -> tuple[tuple[str], int]:
        assert servers == ("10.0.0.53",)
        self.asked.append(name)
        fault = self.servers[name]
        if isinstance(fault, OSError) and fault.errno == NO_NAME:
            self.wait(timeout_ms)
            raise fault
        return ("ip of " + name,), 60

    async def ask(self, ip: str, now_ms: Any, timeout_ms: int) -> tuple[int, int]:
        answer = self.servers[ip.removeprefix("ip of ")]
        sent_ms = now_ms()
        if isinstance(answer, Exception):
            self.wait(timeout_ms if isinstance(answer, OSError) and answer.errno == TIMED_OUT else self.delay_ms)
            raise answer
        self.wait(self.delay_ms // 2)
        answered_ms = self.true_ms + answer
        self.wait(self.delay_ms - self.delay_ms // 2)
        return answered_ms - (sent_ms + now_ms()) // 2, self.delay_ms

    def ntp(self, **servers: Fault) -> int:
        """One round of asking `servers`: ms by which each is off, or what asking raises. Ms until the next is due."""
        self.use(**servers)
        return finish(self.ntpsync.sync(self.clock, self.wifi, self.beat)) - self.clock.uptime_ms()

    def use(self, **servers: Fault) -> None:
        self.servers = servers
        self.wifi.settings["ntp_servers"] = " ".join(servers)

    def run(self, ms: int) -> None:
        """The clock's task, for so long."""
        self.end_ms = self.true_ms + ms
        try:
            finish(self.clock.run(self.wifi, self.beat))
        except EndOfRunError:
            pass

    def http(self, off_ms: int = 0) -> None:
        """The answer of a server whose clock is off by so much."""
        date = http_date((self.true_ms + off_ms) // 1000)
        self.timesync.from_http(self.clock, f"HTTP/1.1 200 \r\nServer: x\r\ndate: {date}\r\nA: b".encode())

    def browser(self, off_ms: int = 0) -> tuple[bool, str]:
        return self.timesync.set_time(self.clock, self.true_ms + off_ms, "browser", 3000)

    # --- what came of it --------------------------------------------------------------------------

    def off_ms(self) -> int:
        """How far the chip's clock is from the truth."""
        return self.chip_ms() + EPOCH_MS - self.true_ms

    def restamp_off_ms(self) -> int:
        """How far from the truth a sample is dated that was taken at boot, before the first sync."""
        return (self.clock.base_s + self.clock.steps_s) * 1000 - self.boot_ms


def synced(**boot: int) -> World:
    """A world whose board was synced by NTP six hours ago."""
    world = World(**boot)  # type: ignore[arg-type]
    world.ntp(a=0)
    world.wait(6 * HOUR)
    return world
