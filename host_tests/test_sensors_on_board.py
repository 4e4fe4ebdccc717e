"""Compiled sensor drivers on the VM, with their sensors on the virtual board's pins: values, and every fault.

A fault must give the right word, no exception but OSError, and a good value again once it is gone.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from app.sensors import bme280

from host_tests.test_fakes_strict import Lab
from host_tests.virtual_board import sensor_world as world
from host_tests.virtual_board.vm import registers as r
from scripts import build
from scripts.console import ROOT
from scripts.vm import Vm

pytestmark = pytest.mark.vm

SENSORS = ROOT / "device" / "app" / "sensors"
ROMS = [world.rom("0102030405ff"), world.rom("ff641e0c7a12"), world.rom("ff641e0c7a13")]


class Bench(Lab):
    """A lab whose scripts have the compiled drivers."""

    def __init__(self, folder: Path, vm: Vm, drivers: Path) -> None:
        super().__init__(folder, vm)
        self.drivers = drivers

    def start(self, script: str, **words: int) -> None:
        head = f"import sys\nsys.path.append({str(self.drivers)!r})\nfrom sensors_prelude import *\n"
        super().start(head + script, **words)


def compile_driver(source: Path, folder: Path) -> None:
    target = folder / "app" / "sensors" / (source.stem + ".mpy")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(build.compile_mpy(source, f"app/sensors/{source.name}"))


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drivers")
    for source in SENSORS.glob("*.py"):
        compile_driver(source, folder)
    return folder


@pytest.fixture
def bench(tmp_path: Path, vm: Vm, drivers: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "board", vm, drivers)
    yield bench
    bench.close()


# --- every fault of every sensor ----------------------------------------------------------------


def ds18b20s(bench: Bench) -> None:
    world.plug_ds18b20(bench.state, 4, ROMS[:2])
    world.set_ds18b20(bench.state, 0, -10.125)
    world.set_ds18b20(bench.state, 1, 85.0)


def one_ds18b20(bench: Bench) -> None:
    world.plug_ds18b20(bench.state, 4, ROMS[:1])
    world.set_ds18b20(bench.state, 0, 25.0625)


def dht11(bench: Bench) -> None:
    world.plug_dht(bench.state, "dht11", 3)
    world.set_dht(bench.state, bytes.fromhex("35001804"))


def dht22(bench: Bench) -> None:
    world.plug_dht(bench.state, "dht22", 3)
    world.set_dht(bench.state, bytes.fromhex("028c8065"))


def bme(bench: Bench) -> None:
    world.plug_bme280(bench.state)
    world.set_bme280(bench.state)


def bmp(bench: Bench) -> None:
    world.plug_bme280(bench.state, 0x58, 0x77)
    world.set_bme280(bench.state)


def sht(bench: Bench) -> None:
    world.plug_sht3x(bench.state)
    world.set_sht3x(bench.state, 0x6666, 0x8000)


def adc(bench: Bench) -> None:
    world.set_voltage(bench.state, 0, 1_234_000)


def chip(bench: Bench) -> None:
    bench.state[r.TEMPERATURE_C] = 24


ABSENT, STUCK, CRC, LATE, RESTARTED = (
    r.FAULT_ABSENT, r.FAULT_STUCK, r.FAULT_CRC, r.FAULT_LATE, r.FAULT_RESTARTED,
)  # fmt: skip

# setting, world, good values, [(word, value, when, expected)]; when: before the start, or between start and read
FAULTS: list[tuple[str, Callable[[Bench], None], tuple, list[tuple[int, int, str, Any]]]] = [
    (
        "internal", chip, (24,),
        [
            (r.SENSOR_FAIL, 1, "before", "absent"),
            (r.TEMPERATURE_C, 126, "before", "range"),
            (r.TEMPERATURE_C, -41, "before", "range"),
        ],
    ),
    ("adc pin=0", adc, (1.234,), [(r.ADC_UV, 2_501_000, "before", "range")]),
    (
        "ds18b20 pin=4", one_ds18b20, (25.0625,),
        [
            (r.ONEWIRE_FAULT, ABSENT, "before", "absent"),
            (r.ONEWIRE_FAULT, ABSENT, "between", "absent"),
            (r.ONEWIRE_FAULT, STUCK, "before", "timeout"),
            (r.ONEWIRE_FAULT, STUCK, "between", "timeout"),
            (r.PINS_LOW, 1 << 4, "before", "timeout"),
            (r.ONEWIRE_FAULT, CRC, "before", "crc"),
            (r.ONEWIRE_FAULT, LATE, "before", "timeout"),
            (r.ONEWIRE_FAULT, RESTARTED, "before", "range"),
        ],
    ),
    (
        "ds18b20 pin=4", ds18b20s, (-10.125, 85.0),
        [
            (r.ONEWIRE_PRESENT, 2, "before", ("absent", 85.0)),
            (r.ONEWIRE_PRESENT, 1, "between", (-10.125, "absent")),
            (r.ONEWIRE_FAULT, ABSENT, "between", "absent"),
            (r.ONEWIRE_FAULT, STUCK, "between", "timeout"),
            (r.ONEWIRE_FAULT, CRC, "before", "crc"),
            (r.ONEWIRE_FAULT, LATE, "before", "timeout"),
            (r.ONEWIRE_FAULT, RESTARTED, "before", "range"),
        ],
    ),
    *(
        (
            f"{kind} pin=3", plug, values,
            [
                (r.DHT_FAULT, ABSENT, "before", "absent"),
                (r.DHT_FAULT, ABSENT, "between", "absent"),
                (r.DHT_FAULT, STUCK, "before", "timeout"),
                (r.DHT_FAULT, STUCK, "between", "timeout"),
                (r.PINS_LOW, 1 << 3, "between", "timeout"),
                (r.DHT_FAULT, CRC, "between", "crc"),
                (r.DHT_FAULT, LATE, "between", "timeout"),
                (r.DHT_MEASURED, 0, "between", "range"),
            ],
        )
        for kind, plug, values in (("dht11", dht11, (24.4, 53.0)), ("dht22", dht22, (-10.1, 65.2)))
    ),
    (
        "bme280 sda=5 scl=6", bme, (25.08, 1006.533, 40.094),
        [
            (r.BME_FAULT, ABSENT, "before", "absent"),
            (r.BME_FAULT, ABSENT, "between", "absent"),
            (r.I2C_HELD, r.HELD_SCL, "before", "timeout"),
            (r.I2C_HELD, r.HELD_SCL, "between", "timeout"),
            (r.I2C_HELD, r.HELD_SDA, "before", "absent"),
            (r.I2C_HELD, r.HELD_SDA, "between", "absent"),
            (r.BME_FAULT, LATE, "before", "timeout"),
            (r.BME_FAULT, RESTARTED, "between", "absent"),
        ],
    ),
    (
        "bmp280 sda=5 scl=6 addr=0x77", bmp, (25.08, 1006.533),
        [
            (r.BME_FAULT, ABSENT, "before", "absent"),
            (r.I2C_HELD, r.HELD_SCL, "before", "timeout"),
            (r.BME_FAULT, LATE, "before", "timeout"),
            (r.BME_FAULT, RESTARTED, "between", "absent"),
        ],
    ),
    (
        "sht3x sda=5 scl=6", sht, (25.0, 50.0008),
        [
            (r.SHT_FAULT, ABSENT, "before", "absent"),
            (r.SHT_FAULT, ABSENT, "between", "timeout"),
            (r.I2C_HELD, r.HELD_SCL, "before", "timeout"),
            (r.I2C_HELD, r.HELD_SCL, "between", "timeout"),
            (r.I2C_HELD, r.HELD_SDA, "before", "crc"),
            (r.SHT_FAULT, CRC, "before", "crc"),
            (r.SHT_FAULT, LATE, "before", "timeout"),
            (r.SHT_RAW, 0, "before", ("range", 50.0008)),
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("setting", "plug", "good", "faults"), FAULTS, ids=[f"{f[0]}, {len(f[2])}" for f in FAULTS])
def test_every_fault_gives_its_word_and_a_value_once_it_is_gone(
    bench: Bench, setting: str, plug: Callable[[Bench], None], good: tuple, faults: list[tuple[int, int, str, Any]]
) -> None:
    plug(bench)
    plain = [(word, value & 0xFFFFFFFF, when) for word, value, when, _ in faults]
    said = bench.run(f"""
sensor = made({setting!r})
say("good", reading(sensor))
for i, (word, value, when) in enumerate({plain!r}):
    before = words[word]
    if when == "before":
        words[word] = value
        say(i, reading(sensor))
    else:
        say(i, reading(sensor, lambda: put(word, value)))
    words[word] = before
    say((i, "then"), reading(sensor))
""")
    assert said.pop("good") == pytest.approx(good, abs=0.001)
    for i, (_, _, _, expected) in enumerate(faults):
        words = (expected,) * len(good) if isinstance(expected, str) else expected
        assert len(said[i]) == len(good)  # type: ignore[index]
        for got, wanted in zip(said[i], words, strict=True):  # type: ignore[index]
            assert got == wanted if isinstance(wanted, str) else got == pytest.approx(wanted, abs=0.001), faults[i]
        then = said[i, "then"]  # type: ignore[index]
        assert then == pytest.approx(good, abs=0.001), f"after {faults[i]}"


def test_sensors_that_are_not_there_at_start_are_read_when_they_come(bench: Bench) -> None:
    settings = ["ds18b20 pin=4", "dht22 pin=3", "bme280 sda=5 scl=6", "sht3x sda=5 scl=6"]
    bench.start(f"""
sensors = [made(text) for text in {settings!r}]
say("before", [reading(sensor) for sensor in sensors])
wait_for_test()
say("after", [reading(sensor)[0] for sensor in sensors])
""")
    bench.wait_ready()
    for plug in (one_ds18b20, dht22, bme, sht):
        plug(bench)
    bench.go_on()
    said = bench.finish()
    assert {word for values in said["before"] for word in values} == {"absent"}
    assert said["after"] == pytest.approx([25.0625, -10.1, 25.08, 25.0])


# --- single drivers -----------------------------------------------------------------------------


def test_integers_of_the_compensation_are_the_same_on_the_vm(bench: Bench) -> None:
    """Shifts of negative numbers and divisions beyond 32 bits, by two implementations of Python."""
    t = (27504, 26435, -1000)
    p = struct.unpack("<Hhhhhhhhh", world.EXAMPLE_CALIBRATION[6:])
    h = (75, -362, 1, 326, -50, 30)
    raws = range(1_000, 1_000_000, 24_500)
    expected = []
    for raw in raws:
        fine = bme280.fine_temperature(raw, t)
        expected.append((fine, bme280.pressure_256ths(raw, fine, p), bme280.humidity_1024ths(raw >> 4, fine, h)))
    said = bench.run(f"""
from app.sensors import bme280
values = []
for raw in {list(raws)!r}:
    fine = bme280.fine_temperature(raw, {t!r})
    pressure = bme280.pressure_256ths(raw, fine, {p!r})
    values.append((fine, pressure, bme280.humidity_1024ths(raw >> 4, fine, {h!r})))
say("values", values)
""")
    assert said["values"] == expected


def test_a_bmp280_in_a_bme280s_place_has_no_humidity_and_the_other_way_round_none_is_asked_for(bench: Bench) -> None:
    world.plug_bme280(bench.state, 0x58)
    world.set_bme280(bench.state)
    assert bench.run('say("v", reading(made("bme280 sda=5 scl=6")))')["v"][2] == "absent"
    world.plug_bme280(bench.state, 0x60)
    assert len(bench.run('say("v", reading(made("bmp280 sda=5 scl=6")))')["v"]) == 2


def test_a_chip_that_is_no_bme280_is_absent(bench: Bench) -> None:
    world.plug_bme280(bench.state, 0x61)
    assert bench.run('say("v", reading(made("bme280 sda=5 scl=6")))')["v"] == ("absent",) * 3


@pytest.mark.parametrize(
    ("raws", "expected"),
    [
        pytest.param({"temperature": 0x80000}, ("range", "range", "range"), id="no temperature"),
        pytest.param({"temperature": 0xFFFFF}, ("range", "range", "range"), id="a temperature that is none"),
        pytest.param({"pressure": 0x80000}, (25.08, "range", 40.094), id="no pressure"),
        pytest.param({"humidity": 0x8000}, (25.08, 1006.533, "range"), id="no humidity"),
        pytest.param({"pressure": 0}, (25.08, "range", 40.094), id="a pressure that is none"),
    ],
)
def test_a_quantity_that_was_skipped_is_not_made_up(bench: Bench, raws: dict[str, int], expected: tuple) -> None:
    world.plug_bme280(bench.state)
    world.set_bme280(bench.state, **raws)
    values = bench.run('say("v", reading(made("bme280 sda=5 scl=6")))')["v"]
    for got, wanted in zip(values, expected, strict=True):
        assert got == wanted if isinstance(wanted, str) else got == pytest.approx(wanted, abs=0.001)


def test_another_bme280_in_its_place_is_read_with_its_own_calibration(bench: Bench) -> None:
    bme(bench)
    bench.start("""
sensor = made("bme280 sda=5 scl=6")
say("first", reading(sensor))
wait_for_test()
say("second", reading(sensor))
""")
    bench.wait_ready()
    other = bytearray(world.EXAMPLE_CALIBRATION)
    struct.pack_into("<H", other, 0, 27000)
    world.plug_bme280(bench.state, calibration=bytes(other))
    bench.go_on()
    said = bench.finish()
    assert said["first"][0] == 25.08
    fine = bme280.fine_temperature(world.EXAMPLE_TEMPERATURE, struct.unpack_from("<Hhh", other))
    assert said["second"][0] == (fine * 5 + 128 >> 8) / 100


def test_a_dht_gives_what_it_measured_at_this_start_and_not_at_the_last(bench: Bench) -> None:
    dht22(bench)
    bench.start("""
sensor = made("dht22 pin=3")
say("first", reading(sensor))
time.sleep_ms(600000)
wait_for_test()
say("second", reading(sensor))
""")
    bench.wait_ready()
    world.set_dht(bench.state, bytes.fromhex("028c015f"))
    bench.go_on()
    said = bench.finish()
    assert (said["first"], said["second"]) == ((-10.1, 65.2), (35.1, 65.2))


@pytest.mark.parametrize(("kind", "plug", "interval_ms"), [("dht11", dht11, 1000), ("dht22", dht22, 2000)])
def test_a_dht_is_never_asked_sooner_than_it_may_be(
    bench: Bench, kind: str, plug: Callable[[Bench], None], interval_ms: int
) -> None:
    """The model keeps silent then."""
    plug(bench)
    said = bench.run(f"""
sensor = made("{kind} pin=3")
waits = []
for pause_ms in (0, 0, 300, 999, 1999, 3000, 0):
    time.sleep_ms(pause_ms)
    waits.append(started(sensor))
    say(pause_ms, sensor.read())
say("waits", waits)
""")
    waits = said.pop("waits")
    assert all("absent" not in values for values in said.values())
    assert max(waits) <= interval_ms
    assert waits[0] == interval_ms


def test_sensors_on_one_line_are_found_and_named_by_rom(bench: Bench) -> None:
    world.plug_ds18b20(bench.state, 4, ROMS)
    for i in range(3):
        world.set_ds18b20(bench.state, i, 20 + i)
    said = bench.run(f"""
found = made("ds18b20 pin=4")
say("found", (found.fields, reading(found)))
named = made("ds18b20 pin=4 ids={ROMS[2].hex()},{ROMS[0].hex()}")
say("named", (named.fields, reading(named)))
""")
    names = tuple(f"temp_{rom[1]:02x}{rom[4]:02x}{rom[7]:02x}_c" for rom in ROMS)
    assert said["found"] == (names, (20, 21, 22))
    assert said["named"] == ((names[2], names[0]), (22, 20))


def test_two_on_a_line_where_one_was_at_start_are_not_taken_for_one(bench: Bench) -> None:
    one_ds18b20(bench)
    bench.start("""
sensor = made("ds18b20 pin=4")
say("one", reading(sensor))
wait_for_test()
say("two", reading(sensor))
""")
    bench.wait_ready()
    ds18b20s(bench)
    bench.go_on()
    assert bench.finish() == {"one": (25.0625,), "two": ("crc",)}


def test_more_sensors_on_a_line_than_can_be_read_in_time_are_a_problem_in_words(bench: Bench) -> None:
    world.plug_ds18b20(bench.state, 4, [world.rom(f"0102030405{i:02x}") for i in range(5)])
    said = bench.run('say("made", make("ds18b20 pin=4"))')
    assert said["made"] == (
        [], (),
        ["ds18b20: 5 sensors are on the line, at most 4 can be read: name them in ids=. The sensor is left out."],
    )  # fmt: skip


def test_a_line_that_is_held_low_at_start_does_not_hold_up_the_boot(bench: Bench) -> None:
    said = bench.run("""
words[r.PINS_LOW] = 1 << 4
say("took", took_ms(made, "ds18b20 pin=4"))
words[r.PINS_LOW] = 0
""")
    assert said["took"] < 30


def test_pulses_are_counted_wherever_the_program_waits(bench: Bench) -> None:
    bench.start("""
sensor = made("pulse pin=1")
sensor.restore((1000,))
wait_for_test()
for expected in (1003, 1004):
    time.sleep_ms(50)
    say(expected, sensor.read())
    wait_for_test()
""")
    bench.wait_ready()
    world.pulse(bench.state, 1, 3)
    bench.go_on()
    bench.wait_ready()
    world.pulse(bench.state, 2)  # another pin: nobody's
    bench.go_on()
    bench.wait_ready()
    bench.go_on()
    assert bench.finish() == {1003: (1003,), 1004: (1003,)}


def test_a_heater_that_was_on_is_switched_off(bench: Bench) -> None:
    sht(bench)
    bench.state[r.SHT_HEATER] = 1
    bench.run('reading(made("sht3x sda=5 scl=6"))')
    assert bench.state[r.SHT_HEATER] == 0


ALL = (
    "internal; adc pin=0; dht11 pin=3 name=d; ds18b20 pin=4 name=o; bme280 sda=5 scl=6 name=b; "
    "sht3x sda=5 scl=6 name=s; pulse pin=1"
)


def everything(bench: Bench) -> None:
    for plug in (chip, adc, dht11, one_ds18b20, bme, sht):
        plug(bench)


@pytest.mark.parametrize("held", [0, r.HELD_SCL, r.HELD_SDA])
def test_no_start_and_no_read_holds_up_the_program_for_30_ms(bench: Bench, held: int) -> None:
    everything(bench)
    said = bench.run(
        f"""
for label, sensor in make({ALL!r})[0]:
    for _ in range(2):
        start_ms = took_ms(sensor.start)
        time.sleep_ms(2000)
        say(label, (start_ms, took_ms(sensor.read)))
""",
        I2C_HELD=held,
    )
    assert len(said) == 7
    assert all(max(times) < 30 for times in said.values()), said


def test_reading_all_of_them_keeps_no_memory(bench: Bench) -> None:
    everything(bench)
    said = bench.run(f"""
sensors = [sensor for _, sensor in make({ALL!r})[0]]
def settled():
    for sensor in sensors:
        reading(sensor)
    gc.collect()
    return gc.mem_alloc()
settled()
first = settled()
for _ in range(20):
    last = settled()
say("grown", last - first)
""")
    assert said["grown"] <= 0


# --- the example of the documentation ------------------------------------------------------------


def test_the_example_of_the_documentation_is_a_sensor(bench: Bench, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "sensors.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    assert len(example.splitlines()) <= 30
    source = tmp_path / "level.py"
    source.write_text(example)
    bench.drivers = shutil.copytree(bench.drivers, tmp_path / "drivers")
    compile_driver(source, bench.drivers)
    said = bench.run("""
from app.sensors import make as module
module.KINDS += ("level",)
sensors, fields, problems = make("level pin=7 name=door; level pin=8 invert=1 name=lid; level pin=9 invert=2 name=x")
say("fields", (fields, problems))
say("high", [reading(sensor) for _, sensor in sensors])
words[r.PINS_LOW] = 1 << 7 | 1 << 8
say("low", [reading(sensor) for _, sensor in sensors])
words[r.PINS_LOW] = 0
""")
    assert said["fields"][0] == ("door_level", "lid_level")
    assert said["fields"][1][0].startswith("x: invert= must be given as a whole number from 0 to 1.")
    assert (said["high"], said["low"]) == ([(1,), (0,)], [(0,), (1,)])
