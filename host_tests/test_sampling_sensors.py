"""The whole device with sensors on its pins: readings, faults, restarts, other settings. All in 64 KB of heap."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from host_tests.device import Device
from host_tests.test_export import as_board_has_it, host_rows, with_log
from host_tests.test_read_log import Dump, sample
from host_tests.virtual_board import sensor_world as world
from host_tests.virtual_board.vm import registers as r

pytestmark = pytest.mark.vm

MINUTE_MS = 60_000
TANK = world.rom("ff641e0c7a12")
FIRST = f"internal name=chip; ds18b20 pin=4 ids={TANK.hex()} name=tank; pulse pin=1 name=gas"
SECOND = "dht22 pin=3 name=air; sht3x sda=5 scl=6 name=out; adc pin=0 name=bat"
THIRD = "bme280 sda=5 scl=6 name=room; pulse pin=1 name=gas"
TANK_C = f"tank_temp_{TANK[1]:02x}{TANK[4]:02x}{TANK[7]:02x}_c"
FIRST_VALUES = {"chip_temp_c": 24, TANK_C: 20.5, "gas_pulse_total": 0}
SECOND_VALUES = {"air_temp_c": -10.1, "air_hum_pct": 65.2, "out_temp_c": 25, "out_hum_pct": 50.00076, "bat_v": 1.234}
THIRD_VALUES = {"room_temp_c": 25.08, "room_press_hpa": 1006.533, "room_hum_pct": 40.09375, "gas_pulse_total": 0}
ROOM = {"room_temp_c", "room_press_hpa", "room_hum_pct"}
ABSENT, STUCK, CRC, LATE = r.FAULT_ABSENT, r.FAULT_STUCK, r.FAULT_CRC, r.FAULT_LATE


def plug_tank(device: Device) -> None:
    world.plug_ds18b20(device.state, 4, [TANK])
    world.set_ds18b20(device.state, 0, 20.5)


def plug_room(device: Device) -> None:
    world.plug_bme280(device.state)
    world.set_bme280(device.state)


def plug_second(device: Device) -> None:
    world.plug_dht(device.state, "dht22", 3)
    world.set_dht(device.state, bytes.fromhex("028c8065"))
    world.plug_sht3x(device.state)
    world.set_sht3x(device.state, 0x6666, 0x8000)
    world.set_voltage(device.state, 0, 1_234_000)


def running(make_device: Callable[..., Device], sensors: str, *plugs: Callable[[Device], None]) -> Device:
    device = make_device(settings={"sensors": sensors, "telemetry_period_s": 10})
    for plug in plugs:
        plug(device)
    device.start()
    return device


def between_samples(device: Device) -> None:
    """Go on to the middle of a slot: what breaks in the middle of a measurement may have another reason first."""
    device.advance((5000 - device.times.truth_ms()) % 10_000)


def last_values(device: Device) -> dict[str, Any]:
    """Of the newest reading that the collector has."""
    assert device.collector
    return device.collector.readings(limit=10_000)[-1]["values"]


def last_row(device: Device) -> dict[str, Any]:
    return json.loads(device.get("/export?fmt=ndjson").text.splitlines()[-1])


def warnings(device: Device) -> list[str]:
    return [line.partition("WARNING sampler: ")[2] for line in device.log().splitlines() if "WARNING sampler" in line]


def assert_nothing_stopped(device: Device) -> dict[str, Any]:
    status = device.status()
    ledger = status["ledger"]
    assert ledger["taken"] == ledger["stored"] + ledger["rejected"]
    assert ledger["stored"] == ledger["acknowledged"] + ledger["pending"] + ledger["expired"]
    assert (ledger["rejected"], ledger["expired"], status["sampling"]["missed_slots"]) == (0, 0, 0)
    assert status["restarts"] == {}
    assert status["http"]["failed"] == 0
    assert device.board.resets == []
    return status


# label, what breaks it, the word for it, the fields that have no value then
FIRST_FAULTS: list[tuple[str, int, int, str, set[str]]] = [
    ("chip", r.SENSOR_FAIL, 1, "absent", {"chip_temp_c"}),
    ("chip", r.TEMPERATURE_C, 126, "range", {"chip_temp_c"}),
    ("tank", r.ONEWIRE_FAULT, ABSENT, "absent", {TANK_C}),
    ("tank", r.ONEWIRE_FAULT, CRC, "crc", {TANK_C}),
    ("tank", r.ONEWIRE_FAULT, LATE, "timeout", {TANK_C}),
    ("tank", r.ONEWIRE_FAULT, STUCK, "timeout", {TANK_C}),
    ("tank", r.ONEWIRE_FAULT, r.FAULT_RESTARTED, "range", {TANK_C}),
]
THIRD_FAULTS: list[tuple[str, int, int, str, set[str]]] = [
    ("room", r.BME_FAULT, ABSENT, "absent", ROOM),
    ("room", r.BME_FAULT, LATE, "timeout", ROOM),
    ("room", r.I2C_HELD, r.HELD_SCL, "timeout", ROOM),
    ("room", r.I2C_HELD, r.HELD_SDA, "absent", ROOM),
]
SECOND_FAULTS: list[tuple[str, int, int, str, set[str]]] = [
    ("air", r.DHT_FAULT, ABSENT, "absent", {"air_temp_c", "air_hum_pct"}),
    ("air", r.DHT_FAULT, CRC, "crc", {"air_temp_c", "air_hum_pct"}),
    ("air", r.DHT_FAULT, LATE, "timeout", {"air_temp_c", "air_hum_pct"}),
    ("air", r.DHT_FAULT, STUCK, "timeout", {"air_temp_c", "air_hum_pct"}),
    ("out", r.SHT_FAULT, CRC, "crc", {"out_temp_c", "out_hum_pct"}),
    ("out", r.SHT_FAULT, ABSENT, "absent", {"out_temp_c", "out_hum_pct"}),
    ("out", r.SHT_RAW, 0, "range", {"out_temp_c"}),
    ("bat", r.ADC_UV, 2_501_000, "range", {"bat_v"}),
]


@pytest.mark.parametrize(
    ("sensors", "plugs", "good", "faults"),
    [
        pytest.param(FIRST, (plug_tank,), FIRST_VALUES, FIRST_FAULTS, id="chip, tank, gas"),
        pytest.param(SECOND, (plug_second,), SECOND_VALUES, SECOND_FAULTS, id="air, out, bat"),
        pytest.param(THIRD, (plug_room,), THIRD_VALUES, THIRD_FAULTS, id="room, gas"),
    ],
)
def test_readings_arrive_and_a_fault_is_null_with_its_reason_and_stops_nothing_else(
    make_device: Callable[..., Device],
    sensors: str,
    plugs: tuple[Callable[[Device], None], ...],
    good: dict[str, float],
    faults: list[tuple[str, int, int, str, set[str]]],
) -> None:
    device = running(make_device, sensors, *plugs)
    device.advance(40_000)
    assert last_values(device) == pytest.approx(good, abs=0.001)
    expected = []
    for label, word, value, why, nulls in faults:
        between_samples(device)
        before = device.state[word]
        device.state[word] = value
        device.advance(30_000)
        status = device.status()["sampling"]["sensors"]
        assert status == {name: why if name == label else "" for name in status}, (label, why)
        row = last_row(device)
        assert row["status"] == {field: why for field in nulls}
        assert row["values"] == pytest.approx({**good, **dict.fromkeys(nulls)}, abs=0.001)
        assert last_values(device) == pytest.approx(row["values"], abs=0.001)
        between_samples(device)
        device.state[word] = before
        device.advance(20_000)
        assert last_row(device)["status"] == {}
        expected += [f"{label}: no value, {why}", f"{label}: good again"]
    device.advance(20_000)
    assert last_values(device) == pytest.approx(good, abs=0.001)
    assert warnings(device) == expected
    status = assert_nothing_stopped(device)
    print("gc_settled", status["memory"]["gc_settled"], "peak", status["memory"]["gc_peak"], "of 64,000:", sensors)


def test_a_sensor_that_is_plugged_in_later_is_read_from_then_on(make_device: Callable[..., Device]) -> None:
    device = running(make_device, f"ds18b20 pin=4 name=tank; {THIRD}")
    device.advance(40_000)
    assert last_values(device) == {"tank_temp_c": None, **dict.fromkeys(ROOM), "gas_pulse_total": 0}
    between_samples(device)
    plug_tank(device)
    plug_room(device)
    device.advance(40_000)
    assert last_values(device) == pytest.approx({"tank_temp_c": 20.5, **THIRD_VALUES}, abs=0.001)
    words = ["no value, absent", "good again"]
    assert warnings(device) == [f"{label}: {word}" for word in words for label in ("tank", "room")]
    assert_nothing_stopped(device)


# --- totals -------------------------------------------------------------------------------------


def totals(device: Device) -> list[int]:
    lines = device.get("/export?fmt=ndjson").text.splitlines()
    return [row["values"]["gas_pulse_total"] for row in map(json.loads, lines)]


def test_a_total_never_decreases_over_resets_and_power_cuts(make_device: Callable[..., Device]) -> None:
    device = running(make_device, "internal; pulse pin=1 name=gas")
    for i, restart in enumerate((device.board.press_reset, device.board.power_cycle, device.board.power_cycle)):
        world.pulse(device.state, 1, 7 + i)
        device.advance(25_000)
        world.pulse(device.state, 1, 2)  # may come too late to be stored
        before = len(device.board.log_lines)
        restart()
        device.wait_booted()
        device.advance(10_000)
        device.board.wait_for_line("web: up", after=before)
    world.pulse(device.state, 1, 5)
    device.advance(25_000)
    found = totals(device)
    assert found == sorted(found)
    assert 7 + 8 + 9 + 5 <= found[-1] <= 7 + 8 + 9 + 5 + 3 * 2


def test_a_total_goes_on_when_other_sensors_are_configured(make_device: Callable[..., Device]) -> None:
    device = running(make_device, "pulse pin=1 name=gas")
    world.pulse(device.state, 1, 11)
    device.advance(25_000)
    device.board.stop()
    device.write_settings({**device.read_settings(), "sensors": "internal; pulse pin=1 name=gas"})
    device.power_on()
    device.advance(25_000)
    found = totals(device)
    assert found == sorted(found)
    assert found[-1] == 11


def test_a_total_that_was_last_null_does_not_hinder_the_start(make_device: Callable[..., Device]) -> None:
    dump = Dump(256, 4096)
    dump.sector(1, sample(1, 1_790_000_000, 2, 41), sample(2, 1_790_000_010, 2, 0xFFFFFFF4), names="gas_pulse_total")
    device = with_log(make_device, dump, sensors="pulse pin=1 name=gas")
    device.start(collector=False)
    device.advance(25_000)
    assert totals(device)[:2] == [41, None]
    assert totals(device)[-1] >= 0
    assert device.board.resets == []


# --- settings -----------------------------------------------------------------------------------


def test_another_list_of_sensors_keeps_the_old_samples(make_device: Callable[..., Device]) -> None:
    """In exports with all columns, and for the server in batches with their own fields and boot."""
    device = running(make_device, "internal; adc pin=0 name=bat", plug_second)
    device.stop_collector()
    device.advance(MINUTE_MS)
    device.board.stop()
    device.write_settings({**device.read_settings(), "sensors": "adc pin=0 name=bat; sht3x sda=5 scl=6 name=out"})
    device.power_on()
    device.advance(25_000)
    table = list(csv.DictReader(io.StringIO(device.get("/export").text)))
    assert list(table[0])[5:] == ["temp_c", "bat_v", "out_temp_c", "out_hum_pct", "status"]
    assert {(row["boot"], bool(row["temp_c"]), bool(row["out_temp_c"])) for row in table} == {
        ("1", True, False), ("2", False, True),
    }  # fmt: skip
    assert {row["bat_v"] for row in table} == {"1.234"}
    lines = device.get("/export?fmt=ndjson").text.splitlines()
    host = host_rows(device, "ndjson").splitlines()
    assert [json.loads(line) for line in lines] == [as_board_has_it(line) for line in host[: len(lines)]]
    device.start_collector()
    device.advance(20 * MINUTE_MS)
    assert device.collector
    got = device.collector.readings(limit=10_000)
    assert [reading["seq"] for reading in got] == list(range(1, len(got) + 1))
    assert {(reading["boot"], tuple(sorted(reading["values"]))) for reading in got} == {
        (1, ("bat_v", "temp_c")), (2, ("bat_v", "out_hum_pct", "out_temp_c")),
    }  # fmt: skip
    assert device.status()["ledger"]["pending"] <= 3


BAD = [
    ("thermometer pin=4", "There is no kind of sensor thermometer"),
    ("ds18b20 pin=99", "ds18b20: "),
    ("adc pin=0 pin=1", "adc: pin=1 is not one option=value"),
    ("internal name=UP", "internal: name= may have small letters"),
    ("internal colour=red", "internal: there is no option colour"),
    ("internal", "internal: another sensor has the field temp_c"),
]


def test_a_bad_entry_is_left_out_with_a_warning_and_the_others_run(make_device: Callable[..., Device]) -> None:
    entries = "; ".join(entry for entry, _ in BAD)
    device = running(make_device, f"internal; {entries}; adc pin=0 name=bat", plug_second)
    device.advance(30_000)
    assert last_values(device) == {"temp_c": 24, "bat_v": pytest.approx(1.234)}
    lines = [line for line in device.log().splitlines() if "WARNING sensors:" in line]
    assert len(lines) == len(BAD)
    for line, (_, sentence) in zip(lines, BAD, strict=True):
        assert sentence in line
        assert line.endswith("The sensor is left out.")
    assert_nothing_stopped(device)


def test_a_board_without_sensors_runs_and_says_so(make_device: Callable[..., Device]) -> None:
    device = running(make_device, "")
    device.advance(MINUTE_MS)
    assert "WARNING sensors: No sensor is configured." in device.log()
    status = assert_nothing_stopped(device)
    assert status["ledger"]["taken"] == 0
    assert status["last"]["values"] == {}
    assert device.get("/export").text == "seq,boot,unix_s,time_utc,quality,status\n"
    assert device.get("/export?fmt=ndjson").text == ""


ALL = f"{FIRST}; bme280 sda=5 scl=6 name=room; dht22 pin=3 name=air; adc pin=0 name=bat; adc pin=2 name=sun"


def test_more_sensors_than_fit_into_memory_leave_a_board_that_can_be_told_otherwise(
    make_device: Callable[..., Device],
) -> None:
    device = make_device(settings={"sensors": ALL})
    for plug in (plug_tank, plug_room, plug_second):
        plug(device)
    device.board.start()
    device.wait_booted()
    for _ in range(12):
        device.advance(20_000)
        if any("web: up" in line for line in device.board.log_lines[-8:]):
            break
    device.advance(30_000)
    assert device.get("/").status == 200, device.log()
