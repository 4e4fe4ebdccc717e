"""Thirty days without a server at one sample a minute: 43,200 samples wait in the log, and all arrive when it is back.

In `make test` the store's own code on the VM fills the log, as it lies after 29 days and 23 hours and five starts; the
outage's last hour, the end of it and the drain are the whole application's. That leaves out how the application
fares in those days. `TALLY_OUTAGE_DAYS=30 make test TESTS=host_tests/test_outage.py JOBS=0 PYTEST_ARGS=-s` has it live
through all of them instead, in starts of five days each, since the board's ticks allow no more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from host_tests import faults
from host_tests.device import Device
from host_tests.telemetry_world import MINUTE_MS, PAGE_BESIDE_OTHERS_MS, PAGE_P99_MS, World, posting
from host_tests.virtual_board.state import EPOCH_2000_S
from host_tests.virtual_board.vm import registers as r
from scripts.build import build
from scripts.console import ROOT

pytestmark = pytest.mark.vm

DAYS = int(os.environ.get("TALLY_OUTAGE_DAYS", "0"))
START_DAYS = 5
PERIOD_S, DRAIN_PERIOD_S = 60, 10
SAMPLES = 43_200
LAST_HOUR = 60
BOOTS = 5
SERVER_MS = 300
MOST_DRAIN_S = 15 * 60
HOUR_MS = 60 * MINUTE_MS
FILL = ROOT / "host_tests" / "vm_scripts" / "telemetry_fill.py"


def fill(device: Device, samples: int) -> None:
    """Have the store take `samples`, the newest of them just now."""
    main = (build()[0] / "main.py").read_bytes()
    now_s = device.state[r.NTP] + EPOCH_2000_S
    head = f"SAMPLES, PERIOD_S, END_S, BOOTS = {samples}, {PERIOD_S}, {now_s // PERIOD_S * PERIOD_S}, {BOOTS}\n"
    device.write_file("/main.py", head.encode() + FILL.read_bytes())
    device.board.start()
    line = device.board.wait_for_line("^filled|Traceback|Error", 120)
    assert line == f"filled: next {samples + 1} stored {samples} expired 0 rejected 0", device.log()
    device.board.stop()
    device.write_file("/main.py", main)


def live_through(world: World, days: int) -> None:
    """The whole application for so long, with a page every hour."""
    world.device.start(collector=False)
    for hour in range(24 * days):
        if hour and hour % (24 * START_DAYS) == 0:
            world.assert_sound()
            world.device.board.stop()
            world.device.power_on()
        world.device.board.advance(HOUR_MS, 120)
        world.page()


def drain(world: World) -> tuple[int, int]:
    """The server is back, and 300 ms slow; from now on there is a sample each 10 s. (Milliseconds from its first answer
    until it has all that there was at that moment, how many had waited)."""
    waiting = world.post()["waiting"]
    world.set(sample_period_s=DRAIN_PERIOD_S)
    world.server.fault = faults.slow(SERVER_MS)
    world.device.post("/telemetry", b"do=send")
    world.until(lambda: world.server.readings, MINUTE_MS, 100)
    start_ms = world.now_ms()
    newest = world.status()["storage"]["next_seq"] - 1
    while world.newest() < newest:
        world.advance(5000)
        world.page()
        assert world.now_ms() - start_ms < 4000 * MOST_DRAIN_S, world.said()
    return world.now_ms() - start_ms, waiting


def assert_each_slot_once(world: World) -> int:
    """The last hour's samples and those taken while it drained, by the times they have; how many the latter are."""
    times = [reading[1] for reading in list(world.server.readings.values())[-100:]]
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    taken = len(gaps) - gaps.count(PERIOD_S)
    assert 0 < taken < 90
    assert gaps[:-taken] == [PERIOD_S] * (len(gaps) - taken)
    assert set(gaps[-taken + 1 :]) == {DRAIN_PERIOD_S}
    return taken


@pytest.mark.timeout(240 + 240 * DAYS)
def test_a_month_without_a_server_is_delivered_within_a_quarter_of_an_hour(make_device: Callable[..., Device]) -> None:
    began = time.monotonic()
    settings: dict[str, Any] = {"sample_period_s": PERIOD_S, "telemetry_period_s": 300}
    with posting(make_device, boot=False, **settings) as world:
        world.server.fault = faults.REFUSE
        if DAYS:
            live_through(world, DAYS)
        else:
            fill(world.device, SAMPLES - LAST_HOUR)
            world.device.start(collector=False)
            for _ in range(12):
                world.advance(5 * MINUTE_MS)
                world.page()
        status = world.assert_sound()
        assert status["post"]["failures"] > 3
        assert status["ledger"]["pending"] >= (DAYS * 1440 if DAYS else SAMPLES) - 2
        world.page_ms.clear()
        took_ms, waiting = drain(world)
        count = world.assert_delivered()
        status = world.assert_sound()
        requests, connections = len(world.requests()), world.server.connections
        taken, missed = assert_each_slot_once(world), status["sampling"]["missed_slots"]
        print(
            f"{count} samples arrived, {waiting} had waited; missing 0, double by seq 0, by key 0; "
            f"{requests} requests over {connections} connections; {took_ms / 1000:.0f} s of virtual time with a server "
            f"of {SERVER_MS} ms; {len(world.page_ms)} pages meanwhile, p99 {world.page_p99_ms():.0f} ms, most "
            f"{max(world.page_ms):.0f} ms; {taken} samples meanwhile, slots missed {missed}; "
            f"{time.monotonic() - began:.0f} s of real time"
        )
        assert took_ms <= 1000 * MOST_DRAIN_S
        assert connections <= requests // 50, "the connection is kept while it drains"
        assert world.page_p99_ms() <= (PAGE_P99_MS if DAYS else PAGE_BESIDE_OTHERS_MS)
        assert taken >= took_ms // 1000 // DRAIN_PERIOD_S - 1
