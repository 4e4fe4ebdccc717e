"""What the device posts, whole and on the wire: every format, every header, in the order of the numbers."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from host_tests import bodies, faults
from host_tests.device import Device
from host_tests.fault_ledger import Posted, Reading
from host_tests.telemetry_world import MINUTE_MS, World, posting
from host_tests.virtual_board.vm import registers as r
from scripts.build import app_version

pytestmark = pytest.mark.vm

TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "line": "text/plain; charset=utf-8",
    "form": "application/x-www-form-urlencoded",
}
AUTH = {
    "json": ("bearer s3cr3t.~+/=", "authorization", "Bearer s3cr3t.~+/="),
    "ndjson": ("X-Key: abc def", "x-key", "abc def"),
    "line": ("token my-token==", "authorization", "Token my-token=="),
    "form": ("basic anna:pass:word", "authorization", "Basic " + base64.b64encode(b"anna:pass:word").decode()),
}


def reader(name: str) -> Callable[[Posted], list[Reading]]:
    """The ledger's way to read bodies of a format; what is not of that format raises."""

    def read(request: Posted) -> list[Reading]:
        found = bodies.readings(name, request.body.decode())
        return [(reading.device, reading.seq, reading) for reading in found]

    return read


def readings(world: World) -> list[bodies.Reading]:
    return list(world.server.readings.values())


@pytest.mark.parametrize("name", bodies.FORMATS)
def test_every_format_arrives_whole_with_its_type_key_and_authorization(
    make_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(bodies, "APP", app_version())
    setting, header, value = AUTH[name]
    path = "/write?db=tally&precision=ns"
    with posting(make_device, path=path, read=reader(name), telemetry_format=name, telemetry_auth=setting) as world:
        world.advance(2 * MINUTE_MS)
        world.device.state[r.SENSOR_FAIL] = 1
        world.advance(MINUTE_MS)
        world.device.state[r.SENSOR_FAIL] = 0
        world.server.fault = faults.REFUSE
        world.advance(MINUTE_MS)
        world.server.fault = faults.NONE
        world.until(lambda: world.newest() >= 30, 10 * MINUTE_MS)
        got = readings(world)
        assert {reading.boot for reading in got} == {1}
        assert {reading.values.get("temp_c") for reading in got} == {24, None}
        assert {b.unix_s - a.unix_s for a, b in zip(got[3:], got[4:], strict=False)} == {10}  # type: ignore[operator]
        for request in world.requests():
            first, *_, last = (seqs := world.seqs_of(request)) + seqs[-1:]
            assert (request.method, request.path) == ("POST", path)
            assert request.headers["content-type"] == TYPES[name]
            assert request.headers["idempotency-key"] == f"tally-0c3f01-{first}-{last}"
            assert request.headers[header] == value
        assert setting.split(" ", 1)[1] not in world.device.log()
        world.assert_delivered()
        world.assert_sound()


@pytest.mark.parametrize("name", bodies.FORMATS)
def test_a_whole_batch_of_120_goes_out_in_every_format_and_comes_as_one_piece_of_at_most_8_kb(
    make_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(bodies, "APP", app_version())
    with posting(
        make_device, read=reader(name), telemetry_format=name, sample_period_s=1, telemetry_period_s=150
    ) as world:
        world.until(lambda: world.newest() >= 130, 5 * MINUTE_MS)
        sizes = [(len(world.seqs_of(request)), len(request.body)) for request in world.requests()]
        print(f"{name}: samples and bytes of each body: {sizes}")
        assert max(count for count, _ in sizes) == 120 or max(size for _, size in sizes) > 7500
        assert max(size for _, size in sizes) <= 8192
        world.assert_delivered()
        world.assert_sound()


def test_numbers_grow_strictly_in_every_body_and_from_one_to_the_next(make_device: Callable[..., Device]) -> None:
    with posting(make_device, sample_period_s=2, telemetry_period_s=20, telemetry_batch=9) as world:
        for fault in (faults.COMMIT_AND_DROP, faults.status(503), faults.CLOSE_MID_BODY, faults.NONE):
            world.server.fault = fault
            world.advance(3 * MINUTE_MS)
        world.server.fault = faults.NONE
        world.until(lambda: world.post()["waiting"] < 15, 16 * MINUTE_MS, 5000)
        last = 0
        for request in world.requests():
            seqs = world.seqs_of(request)
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
            assert seqs[0] <= last + 1, "none is passed over"
            last = max(last, seqs[-1])
        world.assert_delivered()
        world.assert_sound()


def test_a_batch_is_of_one_boot(make_device: Callable[..., Device]) -> None:
    with posting(make_device, telemetry_period_s=60) as world:
        world.server.fault = faults.REFUSE
        world.advance(2 * MINUTE_MS)
        world.device.board.stop()
        world.device.power_on()
        world.advance(MINUTE_MS)
        world.server.fault = faults.NONE
        world.until(lambda: world.newest() > 15, 16 * MINUTE_MS, 5000)
        boots = [b'"boot":1' in request.body for request in world.requests()]
        assert boots == sorted(boots, reverse=True) and len(set(boots)) == 2
        world.assert_delivered(by_key=False)  # what it had in memory of the cursor is gone
