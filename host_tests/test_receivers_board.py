"""The whole board posts to InfluxDB and VictoriaMetrics: what they give back is what the board says it stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from host_tests.device import Device
from host_tests.receivers import Point, Receiver, influxdb_on, victoria_on
from host_tests.virtual_board.vm import registers as r

pytestmark = pytest.mark.vm

MINUTE_MS = 60_000
ADDRESSES = [
    pytest.param(influxdb_on, "url", id="InfluxDB"),
    pytest.param(victoria_on, "url", id="VictoriaMetrics"),
    pytest.param(victoria_on, "url_v2", id="VictoriaMetrics as InfluxDB 2"),
]


def stored(device: Device) -> list[Point]:
    """What the board has in its log, as `Receiver.points` tells it."""
    rows = [json.loads(line) for line in device.get("/export?fmt=ndjson").text.splitlines()]
    return [
        (
            row["seq"],
            row["unix_s"],
            {"boot": row["boot"], "quality": row["quality"]}
            | {name: value for name, value in row["values"].items() if value is not None},
        )
        for row in rows
    ]


@pytest.mark.parametrize(("start", "address"), ADDRESSES)
def test_a_server_has_what_the_board_stored(
    make_device: Callable[..., Device],
    tmp_path: Path,
    start: Callable[[Path], AbstractContextManager[Receiver]],
    address: str,
) -> None:
    """A first start without link or clock, sensors that fail, a backlog of several batches, a clock that is set."""
    with start(tmp_path / "server") as receiver:
        device = make_device(
            settings={
                "telemetry_url": getattr(receiver, address),
                "telemetry_format": "line",
                "telemetry_batch": 50,
                "sample_period_s": 5,
            }
        )
        device.state[r.AP_PRESENT] = 0
        device.start(collector=False, until="joining")
        device.advance(10 * MINUTE_MS)
        device.state[r.SENSOR_FAIL] = 1
        device.advance(MINUTE_MS)
        device.state[r.SENSOR_FAIL] = 0
        device.state[r.AP_PRESENT] = 1
        device.advance(10 * MINUTE_MS)
        ledger = device.status()["ledger"]
        assert ledger["acknowledged"] >= 240, device.log()
        kept = stored(device)[: ledger["acknowledged"]]
        assert any("temp_c" not in fields for _, _, fields in kept)
        assert any(fields["quality"] == 1 for _, _, fields in kept)
        assert receiver.points(device="tally-0c3f01") == kept
        assert ledger["expired"] == ledger["rejected"] == 0
