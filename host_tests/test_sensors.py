"""Sensor drivers on CPython: golden vectors of the data sheets, and how the setting becomes sensors.

Drivers are imported beside stand-ins for the firmware's modules. What they do on a bus, and with a broken one, is
test_sensors_on_board.py's.
"""

from __future__ import annotations

import importlib
import struct
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests.virtual_board import sensor_world as world

KINDS = ("adc", "bme280", "dht", "ds18b20", "internal", "make", "options", "pulse", "sht3x")


class Pin:
    """A pin of the stand-in chip; `level` is what it reads."""

    IN, OUT, OPEN_DRAIN, PULL_UP, IRQ_FALLING = 1, 3, 7, 2, 2
    level = 1

    def __init__(self, number: int, mode: int = 0, pull: int = 0, value: int | None = None) -> None:
        self.number = number

    def __call__(self, value: int | None = None) -> int:
        return self.level

    def irq(self, handler: Any, trigger: int) -> None:
        self.handler = handler


class ADC:
    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = range(4)
    readings_uv: list[int] = []

    def __init__(self, pin: Pin) -> None:
        self.pin = pin

    def init(self, *, atten: int) -> None:
        self.atten = atten

    def read_uv(self) -> int:
        return self.readings_uv.pop()


class OneWire:
    """A line with nothing on it."""

    def __init__(self, pin: Pin) -> None:
        self.found: list[bytes] = []

    def reset(self) -> bool:
        return False

    def crc8(self, data: bytes) -> int:
        return world.crc8(data)


def stand_ins() -> dict[str, types.ModuleType]:
    parts: dict[str, dict[str, Any]] = {
        "machine": {
            "Pin": Pin,
            "ADC": ADC,
            "SoftI2C": lambda scl, sda, freq, timeout: (scl.number, sda.number),
            "disable_irq": lambda: True,
            "enable_irq": lambda state: None,
            "time_pulse_us": lambda pin, level, timeout_us: -2,
        },
        "esp32": {"mcu_temperature": lambda: 24},
        "onewire": {"OneWire": OneWire},
    }
    modules = {}
    for name, members in parts.items():
        modules[name] = types.ModuleType(name)
        vars(modules[name]).update(members)
    return modules


@pytest.fixture(scope="module", autouse=True)
def device_time() -> Iterator[None]:
    """What MicroPython's `time` has beyond CPython's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep_ms", lambda ms: None, raising=False)
        patch.setattr(time, "ticks_ms", lambda: 0, raising=False)
        patch.setattr(time, "ticks_diff", lambda a, b: a - b, raising=False)
        yield


@pytest.fixture(scope="module")
def drivers(device_time: None) -> Iterator[types.SimpleNamespace]:
    """All modules of app.sensors by name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stand_ins().items():
            patch.setitem(sys.modules, name, module)
        found = {kind: importlib.import_module(f"app.sensors.{kind}") for kind in KINDS}
        yield types.SimpleNamespace(**found)
        for kind in KINDS:
            del sys.modules[f"app.sensors.{kind}"]


# --- BME280 and BMP280 --------------------------------------------------------------------------

EXAMPLE = struct.unpack("<HhhHhhhhhhhh", world.EXAMPLE_CALIBRATION)


def test_the_bmp280s_data_sheet_example_comes_out(drivers: types.SimpleNamespace) -> None:
    """BST-BMP280-DS001, 3.12: 519888 is 25.08 C, and 415148 is 100653.27 Pa."""
    fine = drivers.bme280.fine_temperature(world.EXAMPLE_TEMPERATURE, EXAMPLE[:3])
    assert fine == 128422
    assert fine * 5 + 128 >> 8 == 2508
    pascal = drivers.bme280.pressure_256ths(world.EXAMPLE_PRESSURE, fine, EXAMPLE[3:]) / 256
    assert pascal == pytest.approx(100653.27, abs=0.05)


def reference_fine(raw: int, t: tuple) -> float:
    """t_fine by the data sheet's formulas for floating point (8.1 of the BMP280's, 4.2.3 of the BME280's)."""
    first = (raw / 16384 - t[0] / 1024) * t[1]
    return first + (raw / 131072 - t[0] / 8192) ** 2 * t[2]


def reference_pascal(raw: int, fine: float, p: tuple) -> float:
    x = fine / 2 - 64000
    offset = x * x * p[5] / 32768 + x * p[4] * 2
    offset = offset / 4 + p[3] * 65536
    slope = (p[2] * x * x / 524288 + p[1] * x) / 524288
    slope = (1 + slope / 32768) * p[0]
    pascal = (1048576 - raw - offset / 4096) * 6250 / slope
    return pascal + (p[8] * pascal * pascal / 2147483648 + pascal * p[7] / 32768 + p[6]) / 16


def reference_percent(raw: int, fine: float, h: tuple) -> float:
    x = fine - 76800
    x = (raw - (h[3] * 64 + h[4] / 16384 * x)) * (h[1] / 65536 * (1 + h[5] / 67108864 * x * (1 + h[2] / 67108864 * x)))
    return min(max(x * (1 - h[0] * x / 524288), 0), 100)


raw_temperatures = st.integers(380_000, 620_000)
temperature_calibrations = st.tuples(st.integers(26_000, 29_000), st.integers(25_000, 28_000), st.integers(-1200, 100))
pressure_calibrations = st.tuples(
    st.integers(34_000, 39_500), st.integers(-11_500, -9_500), st.integers(2_900, 3_100), st.integers(0, 12_000),
    st.integers(-500, 500), st.just(-7), st.sampled_from([9900, 15500]), st.sampled_from([-14600, -10230]),
    st.sampled_from([4285, 6000]),
)  # fmt: skip
humidity_calibrations = st.tuples(
    st.integers(70, 80), st.integers(340, 400), st.just(0), st.integers(280, 360), st.integers(-100, 100), st.just(30)
)


@given(raw_temperatures, temperature_calibrations)
def test_integer_temperature_is_the_floating_ones_to_a_hundredth(
    drivers: types.SimpleNamespace, raw: int, t: tuple
) -> None:
    fine = drivers.bme280.fine_temperature(raw, t)
    assert (fine * 5 + 128 >> 8) / 100 == pytest.approx(reference_fine(raw, t) / 5120, abs=0.0101)


@given(st.integers(150_000, 700_000), st.integers(-204_800, 435_200), pressure_calibrations)
def test_integer_pressure_is_the_floating_ones_to_a_pascal(
    drivers: types.SimpleNamespace, raw: int, fine: int, p: tuple
) -> None:
    expected = reference_pascal(raw, fine, p)
    if 30_000 <= expected <= 110_000:
        assert drivers.bme280.pressure_256ths(raw, fine, p) / 256 == pytest.approx(expected, abs=1)


@given(st.integers(0, 65_535), st.integers(-204_800, 435_200), humidity_calibrations)
def test_integer_humidity_is_the_floating_ones_to_a_tenth(
    drivers: types.SimpleNamespace, raw: int, fine: int, h: tuple
) -> None:
    percent = drivers.bme280.humidity_1024ths(raw, fine, h) / 1024
    assert 0 <= percent <= 100
    assert percent == pytest.approx(reference_percent(raw, fine, h), abs=0.1)


def test_a_calibration_of_zeros_divides_by_nothing(drivers: types.SimpleNamespace) -> None:
    assert drivers.bme280.pressure_256ths(415148, 128422, (0,) * 9) == -1


@given(
    st.tuples(
        st.integers(0, 255), st.integers(-32768, 32767), st.integers(0, 255), st.integers(-2048, 2047),
        st.integers(-2048, 2047), st.integers(-128, 127),
    )
)  # fmt: skip
def test_the_calibration_of_humidity_is_unpacked_with_its_signs(drivers: types.SimpleNamespace, h: tuple) -> None:
    first, rest = world.humidity_registers(*h)
    assert drivers.bme280.humidity_calibration(first[0], rest) == h


# --- SHT3x --------------------------------------------------------------------------------------


def test_the_sht3xs_crc_is_the_data_sheets(drivers: types.SimpleNamespace) -> None:
    """4.12: CRC of BEEF is 92."""
    assert drivers.sht3x.crc8(b"\xbe\xef\x92", 0) == 0
    assert drivers.sht3x.crc8(b"\xbe\xef\x93", 0) != 0
    assert drivers.sht3x.crc8(b"\xbe\xef\x00", 0) == 0x92


@pytest.mark.parametrize(("raw", "celsius"), [(0x6666, 25.0), (0x0000, "range"), (0xFFFF, "range"), (0x4000, -1.249)])
def test_the_sht3xs_temperatures(drivers: types.SimpleNamespace, raw: int, celsius: Any) -> None:
    """4.13: -45 + 175 * raw / 65535, of which the sensor measures -40 to 125."""
    data = raw.to_bytes(2, "big")
    data += bytes([drivers.sht3x.crc8(data + b"\0", 0)])
    value = drivers.sht3x.value(data, 0, -45, 175, -40, 125)
    assert value == celsius if celsius == "range" else value == pytest.approx(celsius, abs=0.001)


def test_any_wrong_bit_of_an_sht3xs_word_is_found(drivers: types.SimpleNamespace) -> None:
    for bit in range(24):
        data = (0xBEEF92 ^ 1 << bit).to_bytes(3, "big")
        assert drivers.sht3x.value(data, 0, 0, 100, 0, 100) == "crc"


# --- DS18B20 ------------------------------------------------------------------------------------


def scratchpad(raw: int, config: int = 0x7F, mark: int | None = None) -> bytes:
    """9 bytes as after a conversion to `raw`."""
    low = raw & 0xFF
    start = bytes([low, raw >> 8 & 0xFF, 0x4B, 0x46, config, 0xFF, 16 - (low & 15) if mark is None else mark, 0x10])
    return start + bytes([world.crc8(start)])


@pytest.mark.parametrize(
    ("raw", "celsius"),
    [
        (0x07D0, 125), (0x0550, 85), (0x0191, 25.0625), (0x00A2, 10.125), (0x0008, 0.5), (0x0000, 0),
        (0xFFF8, -0.5), (0xFF5E, -10.125), (0xFE6F, -25.0625), (0xFC90, -55),
    ],
)  # fmt: skip
def test_the_ds18b20s_table_of_temperatures(drivers: types.SimpleNamespace, raw: int, celsius: float) -> None:
    assert drivers.ds18b20.celsius(bytearray(scratchpad(raw)), 0) == celsius


@pytest.mark.parametrize(
    ("pad", "word"),
    [
        pytest.param(world.POWER_ON_SCRATCHPAD, "range", id="85.0 of the power-on"),
        pytest.param(scratchpad(0x07D1), "range", id="over 125"),
        pytest.param(scratchpad(0xFC8F), "range", id="under -55"),
        pytest.param(bytes(9), "crc", id="zeros, whose CRC is right"),
        pytest.param(b"\xff" * 9, "absent", id="nobody there"),
        pytest.param(b"\x91\x01\x4b\x46\x7f\xff\x0c\x10\x26", "crc", id="a wrong bit"),
    ],
)
def test_a_scratchpad_that_is_no_measurement(drivers: types.SimpleNamespace, pad: bytes, word: str) -> None:
    whole = pad if len(pad) == 9 else pad + bytes([world.crc8(pad)])
    assert drivers.ds18b20.celsius(bytearray(whole), world.crc8(whole)) == word


def test_undefined_bits_of_a_lower_resolution_are_cut_off(drivers: types.SimpleNamespace) -> None:
    for config, celsius in ((0x1F, 25.0), (0x3F, 25.25), (0x5F, 25.375), (0x7F, 25.4375)):
        assert drivers.ds18b20.celsius(bytearray(scratchpad(0x0197, config)), 0) == celsius


def test_fields_of_several_ds18b20_are_named_after_their_roms(drivers: types.SimpleNamespace) -> None:
    ids = [world.rom("ff641e0c7a12").hex(), world.rom("0102030405ff").hex()]
    sensor = drivers.ds18b20.Sensor({"pin": "4", "ids": ",".join(ids)})
    assert sensor.fields == (f"temp_ff0c{ids[0][-2:]}_c", f"temp_0104{ids[1][-2:]}_c")
    swapped = drivers.ds18b20.Sensor({"pin": "4", "ids": ",".join(reversed(ids))})
    assert swapped.fields == sensor.fields[::-1]


@pytest.mark.parametrize("ids", ["x", "28", "", "10" + world.rom("ff641e0c7a12").hex()[2:], "28ff641e0c7a1200", ","])
def test_an_id_that_is_no_ds18b20s_is_refused(drivers: types.SimpleNamespace, ids: str) -> None:
    with pytest.raises(ValueError, match="not the id of a DS18B20"):
        drivers.ds18b20.Sensor({"pin": "4", "ids": ids or "28ff,"})


# --- DHT ----------------------------------------------------------------------------------------


def pulses(data: bytes) -> bytearray:
    """Lengths of the pulses of four bytes and their check byte."""
    bits = "".join(f"{byte:08b}" for byte in [*data, sum(data) & 0xFF])
    return bytearray([80, *(70 if bit == "1" else 26 for bit in bits)])


@pytest.mark.parametrize(
    ("data", "values"),
    [
        pytest.param("028c015f", (35.1, 65.2), id="the data sheet's"),
        pytest.param("028c8065", (-10.1, 65.2), id="the data sheet's below zero"),
        pytest.param("03e80320", (80.0, 100.0), id="the most"),
        pytest.param("00008190", (-40.0, 0.0), id="the least"),
        pytest.param("03e90321", ("range", "range"), id="more than the most"),
        pytest.param("028cff9b", ("range", 65.2), id="below zero in another way, as some copies have it"),
        pytest.param("00000000", ("range", "range"), id="zeros, whose check is right"),
    ],
)
def test_a_dht22s_answers(drivers: types.SimpleNamespace, data: str, values: tuple) -> None:
    assert drivers.dht.values(pulses(bytes.fromhex(data)), False) == values


@pytest.mark.parametrize(
    ("data", "values"),
    [
        pytest.param("35001804", (24.4, 53.0), id="the data sheet's"),
        pytest.param("35000a81", (-10.1, 53.0), id="the data sheet's below zero"),
        pytest.param("35003d00", ("range", 53.0), id="61 degrees"),
    ],
)
def test_a_dht11s_answers(drivers: types.SimpleNamespace, data: str, values: tuple) -> None:
    assert drivers.dht.values(pulses(bytes.fromhex(data)), True) == values


def test_any_wrong_bit_of_a_dhts_answer_is_found(drivers: types.SimpleNamespace) -> None:
    for bit in range(1, 41):
        widths = pulses(bytes.fromhex("028c015f"))
        widths[bit] = 96 - widths[bit]
        assert drivers.dht.values(widths, False) == ("crc", "crc")


# --- ADC, pulses, chip --------------------------------------------------------------------------


def test_a_voltage_is_the_mean_of_16_readings_scaled(drivers: types.SimpleNamespace) -> None:
    sensor = drivers.adc.Sensor({"pin": "2", "scale": "-2.5", "offset": "0.5"})
    ADC.readings_uv = [1_000_000, 1_002_000] * 8
    assert sensor.read() == (pytest.approx(1.001 * -2.5 + 0.5),)
    assert ADC.readings_uv == []


@pytest.mark.parametrize(
    ("atten", "most_uv"), [("0", 750_000), ("2.5", 1_050_000), ("6", 1_300_000), ("11", 2_500_000)]
)
def test_a_voltage_over_the_calibrated_range_is_none(drivers: types.SimpleNamespace, atten: str, most_uv: int) -> None:
    sensor = drivers.adc.Sensor({"pin": "0", "atten": atten})
    ADC.readings_uv = [most_uv] * 16
    assert sensor.read() == (pytest.approx(most_uv / 1e6),)
    ADC.readings_uv = [most_uv] * 15 + [most_uv + 1000]
    assert sensor.read() == ("range",)


@pytest.mark.parametrize(("chip", "value"), [(-41, "range"), (-40, -40), (125, 125), (126, "range")])
def test_the_chips_temperature_has_a_range(
    drivers: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, chip: int, value: Any
) -> None:
    monkeypatch.setattr(drivers.internal, "mcu_temperature", lambda: chip)
    assert drivers.internal.Sensor({}).read() == (value,)


@given(
    st.lists(st.tuples(st.integers(0, 2**30), st.booleans()), max_size=30), st.one_of(st.none(), st.integers(0, 2**31))
)
def test_a_total_never_decreases_over_restarts(
    drivers: types.SimpleNamespace, events: list[tuple[int, bool]], first: int | None
) -> None:
    """Pulses at any ticks, and restarts that know what was read last."""
    sensor = drivers.pulse.Sensor({"pin": "1", "debounce_ms": "20"})
    sensor.restore((first,))
    last = first or 0
    with pytest.MonkeyPatch.context() as patch:
        for ticks, restart in events:
            if restart:
                sensor = drivers.pulse.Sensor({"pin": "1", "debounce_ms": "20"})
                sensor.restore((last,))
            patch.setattr(drivers.pulse, "ticks_ms", lambda ticks=ticks: ticks)
            sensor._edge(None)
            (total,) = sensor.read()
            assert last <= total <= last + 1
            last = total


def test_a_contact_that_bounces_is_one_pulse(drivers: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = drivers.pulse.Sensor({"pin": "1", "debounce_ms": "20"})
    for ticks in (0, 3, 19, 20, 30, 1000, 1001, 5):  # the last one days later
        monkeypatch.setattr(drivers.pulse, "ticks_ms", lambda ticks=ticks: ticks)
        sensor._edge(None)
    assert sensor.read() == (4,)


def test_a_total_that_no_longer_fits_is_none(drivers: types.SimpleNamespace) -> None:
    sensor = drivers.pulse.Sensor({"pin": "1"})
    sensor.restore((4294967279,))
    assert sensor.read() == (4294967279,)
    sensor._edge(None)
    assert sensor.read() == ("range",)


# --- the setting --------------------------------------------------------------------------------


def test_a_setting_becomes_kinds_and_options(drivers: types.SimpleNamespace) -> None:
    assert drivers.make.parse(" internal ;; ds18b20  pin=4 name=tank; ") == [
        ("internal", {}),
        ("ds18b20", {"pin": "4", "name": "tank"}),
    ]
    assert drivers.make.parse("") == []


BAD_TEXTS = [
    ("humidity", "There is no kind of sensor humidity, only internal, adc,"),
    ("adc 4", "adc: 4 is not one option=value"),
    ("adc pin=", "adc: pin= is not one option=value"),
    ("adc =4", "adc: =4 is not one option=value"),
    ("adc pin=1 pin=2", "adc: pin=2 is not one option=value, each given once"),
    ("adc kind=dht", "adc: kind=dht is not one option=value"),
    ("adc pin=1 name=Küche", "adc: name= may have small letters, digits and _ only"),
    ("adc pin=1 name=a-b", "adc: name= may have small letters, digits and _ only"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD_TEXTS)
def test_a_setting_that_can_not_be_read_is_refused_in_words(
    drivers: types.SimpleNamespace, text: str, sentence: str
) -> None:
    with pytest.raises(ValueError) as caught:
        drivers.make.parse("internal; " + text)
    assert str(caught.value).startswith(sentence)


BAD_OPTIONS = [
    ("adc", "adc: pin= must be given as a whole number from 0 to 4."),
    ("adc pin=5", "adc: pin= must be given as a whole number from 0 to 4."),
    ("pulse pin=x", "pulse: pin= must be given as a whole number from 0 to 21."),
    ("pulse pin=22", "pulse: pin= must be given as a whole number from 0 to 21."),
    ("pulse pin=18", "pulse: pin=18 can't be used: GPIO 11 to 19 belong to the flash and to USB."),
    ("pulse pin=1 debounce_ms=-1", "pulse: debounce_ms= must be given as a whole number from 0 to 10000."),
    ("adc pin=1 atten=12", "adc: atten=12 is none of 0, 2.5, 6 and 11."),
    ("adc pin=1 scale=a", "adc: scale= must be a number such as 2.5."),
    ("adc pin=1 offset=nan", "adc: offset= must be a number such as 2.5."),
    ("adc pin=1 scale=inf", "adc: scale= must be a number such as 2.5."),
    ("adc pin=1 sclae=2", "adc: there is no option sclae."),
    ("sht3x sda=5 scl=5", "sht3x: sda= and scl= are the same pin."),
    ("sht3x sda=5 scl=6 addr=0x46", "sht3x: addr= must be given as a whole number from 68 to 69."),
    ("bme280 sda=5", "bme280: scl= must be given as a whole number from 0 to 21."),
    ("dht22 pin=3 name=a_very_long_name_of_it", "dht22: the field a_very_long_name_of_it_temp_c is longer than 24"),
    ("internal", "internal: another sensor has the field temp_c, give one of them a name=."),
]


@pytest.mark.parametrize(("text", "sentence"), [*BAD_TEXTS, *BAD_OPTIONS])
def test_a_sensor_that_can_not_be_made_is_left_out_and_the_others_work(
    drivers: types.SimpleNamespace, text: str, sentence: str
) -> None:
    sensors, fields, problems = drivers.make.make(f"internal; {text}; pulse pin=7")
    assert [label for label, _ in sensors] == ["internal", "pulse"]
    assert fields == ("temp_c", "pulse_total")
    assert len(problems) == 1
    assert problems[0].startswith(sentence)
    assert problems[0].endswith(". The sensor is left out.")


def test_a_name_is_the_label_and_the_start_of_each_field(drivers: types.SimpleNamespace) -> None:
    sensors, fields, problems = drivers.make.make("internal name=chip; dht22 pin=3 name=room; dht11 pin=4")
    assert [label for label, _ in sensors] == ["chip", "room", "dht11"]
    assert fields == ("chip_temp_c", "room_temp_c", "room_hum_pct", "temp_c", "hum_pct")
    assert problems == []
    assert [sensor._dht11 for _, sensor in sensors[1:]] == [False, True]


def test_no_sensor_at_all_is_said(drivers: types.SimpleNamespace) -> None:
    assert drivers.make.make(" ; ") == ([], (), ["No sensor is configured."])


def test_there_are_twelve_fields_at_most(drivers: types.SimpleNamespace) -> None:
    text = "; ".join(f"pulse pin={i} name=p{i}" for i in range(11))
    sensors, fields, problems = drivers.make.make(text + "; dht22 pin=20; pulse pin=21 name=last; pulse pin=0 name=x")
    assert len(sensors) == len(fields) == 12
    assert problems == [
        "dht22: there would be more than 12 fields. The sensor is left out.",
        "pulse: there would be more than 12 fields. The sensor is left out.",
    ]


def test_every_kind_has_a_module_and_every_module_a_kind(drivers: types.SimpleNamespace) -> None:
    modules = {drivers.make._MODULES.get(kind, kind) for kind in drivers.make.KINDS}
    assert modules == {*KINDS} - {"make", "options"}


def test_sensors_on_the_same_pins_share_a_bus(drivers: types.SimpleNamespace) -> None:
    i2c = drivers.options.i2c
    first, address = i2c({"sda": "5", "scl": "6"}, 0x76, 0x77)
    assert (first, address) == ((6, 5), 0x76)
    again, address = i2c({"sda": "5", "scl": "6", "addr": "0x77"}, 0x76, 0x77)
    assert again is first
    assert address == 0x77
    assert i2c({"sda": "6", "scl": "5"}, 0x76, 0x77)[0] is not first


@pytest.mark.parametrize("bits_left", [0, 1, 5, 8])
def test_a_sensor_that_was_cut_off_in_a_byte_is_clocked_free(drivers: types.SimpleNamespace, bits_left: int) -> None:
    edges: list[int] = []
    drivers.options.free(lambda: int(edges.count(1) >= bits_left), edges.append)
    assert edges == [0, 1] * bits_left


def test_a_bus_that_stays_held_is_given_up_after_a_byte(drivers: types.SimpleNamespace) -> None:
    edges: list[int] = []
    drivers.options.free(lambda: 0, edges.append)
    assert edges == [0, 1] * 9


@given(st.text(max_size=60))
def test_no_text_makes_the_parser_raise_anything_but_value_error(drivers: types.SimpleNamespace, text: str) -> None:
    _, fields, problems = drivers.make.make(text)
    assert fields or problems
    try:
        drivers.make.parse(text)
    except ValueError as error:
        assert str(error).endswith(".")
