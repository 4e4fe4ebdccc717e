"""Holds the fakes of pins and buses to their strictness, as test_fakes_strict.py does the others: a promise a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tests.test_fakes_strict import Lab
from host_tests.virtual_board import sensor_world as world
from host_tests.virtual_board.vm import registers as r
from scripts.vm import Vm

pytestmark = pytest.mark.vm


@pytest.fixture
def lab(tmp_path: Path, vm: Vm) -> Iterator[Lab]:
    lab = Lab(tmp_path / "board", vm)
    yield lab
    lab.close()


def test_words_of_sensors_lie_beside_all_others() -> None:
    """The texts of the board are in the same page as its words."""
    texts = (r.SSID_TEXT, r.PASSWORD_TEXT, r.UNIQUE_ID, r.FIRMWARE_TEXT)
    first_text, last_text = min(texts), max(texts) + r.TEXT_SIZE_BYTES
    mine = range(r.PINS_LOW, r.SHT_HEATER + 1)
    assert not first_text <= r.BASE + 4 * mine[0] < last_text
    names = [name for name, value in vars(r).items() if isinstance(value, int) and value in mine]
    assert names[0] == "PINS_LOW"
    assert names[-1] == "SHT_HEATER"
    assert len(names) == len({getattr(r, name) for name in names}) == 31
    assert r.ONEWIRE_SENSORS + r.ONEWIRE_SENSOR_BYTES * r.ONEWIRE_SENSORS_MOST <= r.BASE + r.SIZE_BYTES


def test_only_the_pins_of_the_c3_that_are_free_exist(lab: Lab) -> None:
    said = lab.run("""
        say("pins", [n for n in range(-1, 30) if error_of(machine.Pin, n) is None])
        say("refused", error_of(machine.Pin, 18))
        say("text", error_of(machine.Pin, "GPIO4"))
        """)
    assert said == {"pins": [*range(14), 20, 21], "refused": "ValueError", "text": "ValueError"}


def test_a_pin_reads_what_the_outside_does_to_it_and_an_open_drain_what_either_does(lab: Lab) -> None:
    said = lab.run(
        """
        pin = machine.Pin(3, machine.Pin.IN, machine.Pin.PULL_UP)
        say("input", (pin.value(), machine.Pin(4)()))
        pin.init(pin.OPEN_DRAIN, value=0)
        say("driven low", pin())
        pin(1)
        say("let go", pin())
        held = machine.Pin(4, machine.Pin.OPEN_DRAIN, value=1)
        say("held", held())
        """,
        PINS_LOW=1 << 4,
    )
    assert said == {"input": (1, 0), "driven low": 0, "let go": 1, "held": 0}


def test_edges_reach_the_handler_that_asked_for_them_and_its_exception_goes_no_further(lab: Lab) -> None:
    said = lab.run("""
        import _pins
        edges = []
        def note(pin):
            edges.append(pin)
            if len(edges) == 2:
                raise ValueError("on the way")
        pin = machine.Pin(3, machine.Pin.IN)
        words[r.PULSES_PIN] = 4
        words[r.PULSES] = 5
        pin.irq(note, pin.IRQ_FALLING)
        time.sleep_ms(1)
        say("before", len(edges))
        class Printer:
            def print_exception(self, error):
                say("printed", str(error))
        _pins.sys = Printer()
        words[r.PULSES] = 8
        time.sleep_ms(1)
        say("falling", (len(edges), edges[0] is pin))
        pin.irq(note)
        words[r.PULSES] = 9
        time.sleep_ms(1)
        say("both", len(edges))
        pin.irq(None)
        words[r.PULSES] = 10
        time.sleep_ms(1)
        say("none", len(edges))
        """)
    assert said["before"] == 0
    assert said["printed"] == "on the way"
    assert said["falling"] == (3, True)
    assert (said["both"], said["none"]) == (5, 5)


def test_an_adc_is_at_pins_0_to_4_and_reads_no_more_than_its_attenuation_lets_through(lab: Lab) -> None:
    world.set_voltage(lab.state, 2, 2_345_678)
    said = lab.run("""
        say("pins", [n for n in range(11) if error_of(machine.ADC, machine.Pin(n)) is None])
        adc = machine.ADC(machine.Pin(2))
        say("0 dB", adc.read_uv())
        adc.init(atten=adc.ATTN_11DB)
        say("11 dB", adc.read_uv())
        say("atten", error_of(adc.init, atten=4))
        """)
    assert said == {"pins": [0, 1, 2, 3, 4], "0 dB": 950_000, "11 dB": 2_345_000, "atten": "ValueError"}


BUS = """
        from machine import Pin, SoftI2C
        bus = SoftI2C(scl=Pin(6), sda=Pin(5), timeout=3000)
        """


def test_an_address_that_nobody_has_is_error_19_and_a_clock_held_low_116(lab: Lab) -> None:
    world.plug_sht3x(lab.state)
    said = lab.run(
        BUS
        + """
        say("scan", bus.scan())
        say("other pins", SoftI2C(scl=Pin(5), sda=Pin(6)).scan())
        say("nobody", (errno_of(bus.writeto, 0x45, b""), errno_of(bus.readfrom, 0x45, 1)))
        words[r.I2C_HELD] = r.HELD_SCL
        say("clock", (errno_of(bus.writeto, 0x44, b""), took_ms(bus.readfrom, 0x44, 1) >= 3))
        words[r.I2C_HELD] = r.HELD_SDA
        say("data", bus.readfrom(0x33, 3))
        """
    )
    assert said == {
        "scan": [0x44],
        "other pins": [],
        "nobody": (19, 19),
        "clock": (116, True),
        "data": b"\0\0\0",
    }


def test_a_bme280_that_was_not_asked_or_is_read_too_soon_has_no_measurement(lab: Lab) -> None:
    world.plug_bme280(lab.state)
    world.set_bme280(lab.state)
    said = lab.run(
        BUS
        + """
        say("id", bus.readfrom_mem(0x76, 0xD0, 1))
        say("at power-on", bus.readfrom_mem(0x76, 0xF3, 12))
        bus.writeto_mem(0x76, 0xF2, b"\\x01")
        bus.writeto_mem(0x76, 0xF4, b"\\x25")
        say("at once", bus.readfrom_mem(0x76, 0xF3, 5))
        time.sleep_ms(9)
        say("then", bus.readfrom_mem(0x76, 0xF3, 12))
        bus.writeto_mem(0x76, 0xF4, b"\\x01")
        time.sleep_ms(9)
        say("skipped", bus.readfrom_mem(0x76, 0xF7, 6))
        say("for ever", error_of(bus.writeto_mem, 0x76, 0xF4, b"\\x27"))
        """
    )
    assert said == {
        "id": b"\x60",
        "at power-on": bytes.fromhex("000000008000008000008000"),
        "at once": bytes.fromhex("0825000080"),
        "then": bytes.fromhex("00240000") + world.bme280_data(519888, 415148, 28000),
        "skipped": bytes.fromhex("800000800000"),
        "for ever": "ValueError",
    }


def test_an_sht3x_refuses_what_it_does_not_know_and_a_read_without_a_measurement(lab: Lab) -> None:
    world.plug_sht3x(lab.state)
    world.set_sht3x(lab.state, 0xBEEF, 0)
    said = lab.run(
        BUS
        + """
        say("unknown", bus.writeto(0x44, b"\\x12\\x34"))
        say("unasked", errno_of(bus.readfrom, 0x44, 6))
        say("known", bus.writeto(0x44, b"\\x24\\x00"))
        say("too soon", errno_of(bus.readfrom, 0x44, 6))
        time.sleep_ms(14)
        say("then", bus.readfrom(0x44, 6))
        say("again", errno_of(bus.readfrom, 0x44, 6))
        """
    )
    assert said == {
        "unknown": 1,
        "unasked": 19,
        "known": 2,
        "too soon": 19,
        "then": bytes.fromhex("beef92000081"),
        "again": 19,
    }


def test_a_one_wire_line_is_silent_until_a_sensor_is_chosen_and_converts_in_its_time(lab: Lab) -> None:
    roms = [world.rom("0102030405ff"), world.rom("ff641e0c7a12")]
    world.plug_ds18b20(lab.state, 4, roms)
    for i in (0, 1):
        world.set_ds18b20(lab.state, i, 25)
    said = lab.run(f"""
        import onewire
        line = onewire.OneWire(machine.Pin(4))
        say("elsewhere", (onewire.OneWire(machine.Pin(3)).reset(), line.reset()))
        say("required", error_of(onewire.OneWire(machine.Pin(3)).reset, True))
        say("roms", [bytes(rom) for rom in line.scan()])
        say("unasked", line.readbyte())
        def pad(rom):
            line.select_rom(rom)
            line.writebyte(0xBE)
            buffer = bytearray(9)
            line.readinto(buffer)
            return bytes(buffer), line.crc8(buffer)
        say("power-on", pad({roms[1]!r}))
        line.select_rom({roms[1]!r})
        line.writebyte(0x44)
        say("busy", line.readbit())
        time.sleep_ms(601)
        say("ready", line.readbit())
        say("chosen", pad({roms[1]!r}))
        say("other", pad({roms[0]!r}))
        say("stranger", pad({world.rom("010203040500")!r}))
        """)
    assert said["elsewhere"] == (False, True)
    assert said["required"] == "OneWireError"
    assert (said["roms"], said["unasked"]) == (roms, 0xFF)
    assert said["power-on"] == said["other"] == (world.POWER_ON_SCRATCHPAD + b"\x1c", 0)
    assert (said["busy"], said["ready"]) == (0, 1)
    assert said["chosen"][0][:2] == b"\x90\x01"
    assert said["chosen"][1] == 0
    assert said["stranger"][0] == b"\xff" * 9


def test_a_dht_that_is_asked_too_short_or_too_soon_keeps_silent(lab: Lab) -> None:
    world.plug_dht(lab.state, "dht11", 3)
    said = lab.run("""
        line = machine.Pin(3, machine.Pin.OPEN_DRAIN, value=1)
        def ask(low_ms):
            line(0)
            time.sleep_ms(low_ms)
            line(1)
            return machine.time_pulse_us(line, 0, 100)
        skip()
        say("unasked", machine.time_pulse_us(line, 0, 100))
        say("too short", ask(17))
        say("asked", ask(18))
        say("pulses", [machine.time_pulse_us(line, 1, 100) for _ in range(42)])
        time.sleep_ms(900)
        say("too soon", ask(18))
        time.sleep_ms(100)
        say("then", ask(18))
        """)
    assert said.pop("pulses") == [80] + [26] * 40 + [-1]
    assert said == {"unasked": -2, "too short": -2, "asked": 80, "too soon": -2, "then": 80}
