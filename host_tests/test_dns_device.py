"""The whole device in a network whose name and time servers it needs, and lives without."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable

import pytest

from host_tests.device import Device

pytestmark = pytest.mark.vm

MINUTE_MS = 60_000
NAME = "collector.test"


def named(make_device: Callable[..., Device]) -> Device:
    """A device that is told its collector by name."""
    device = make_device()
    url = f"http://{NAME}:{device.collector_port}/readings"
    device.write_settings({**device.read_settings(), "telemetry_url": url})
    return device


def delivered(device: Device) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{device.collector_port}/stats", timeout=10) as answer:
        return json.load(answer)["readings"]


def test_a_collector_with_a_name_gets_the_readings(make_device: Callable[..., Device]) -> None:
    device = named(make_device)
    device.start()
    device.advance(5 * MINUTE_MS)
    assert delivered(device) >= 20
    asked = [name for _, name in device.names.asked]
    assert any(name.endswith("pool.ntp.org") for name in asked)
    assert 1 <= asked.count(NAME) <= 2, "its address is kept"
    assert device.times.asked


def test_an_hour_without_name_servers_loses_nothing(make_device: Callable[..., Device]) -> None:
    device = named(make_device)
    device.start()
    device.advance(MINUTE_MS)
    device.names.fault = "dead"
    device.stop_collector()  # so that the address that is kept is forgotten
    device.advance(60 * MINUTE_MS)
    status = device.status()
    assert status["sampling"]["missed_slots"] == 0
    assert "error -202" in status["telemetry"]
    device.names.fault = ""
    device.start_collector()
    device.advance(20 * MINUTE_MS)
    status = device.status()
    assert status["sampling"]["missed_slots"] == 0
    assert status["ledger"]["acknowledged"] >= 360
    assert device.board.resets == []
