"""What is wired to the pins of a virtual board: plugs sensors in, sets what they would measure, breaks them.

Owns the words of registers.py that the fakes of pins and buses read. All of it may be called while the board runs. Raw
values are those on the wire: what they mean is for the drivers to find out.
"""

from __future__ import annotations

import struct

from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import registers as r

SDA, SCL = 5, 6
DHT_LOW_MS = {"dht11": 18, "dht22": 1}
DHT_INTERVAL_MS = {"dht11": 1000, "dht22": 2000}
POWER_ON_SCRATCHPAD = bytes.fromhex("50054b467fff0c10")


def hold_low(state: BoardState, pin: int, held: bool = True) -> None:
    """Something outside pulls the pin low, or lets go of it."""
    state[r.PINS_LOW] = state[r.PINS_LOW] & ~(1 << pin) | held << pin


def pulse(state: BoardState, pin: int, count: int = 1) -> None:
    """Short pulses to low. They all have to come at one pin."""
    state[r.PULSES_PIN] = pin + 1
    state[r.PULSES] = state[r.PULSES] + count


def set_voltage(state: BoardState, pin: int, microvolts: int) -> None:
    state[r.ADC_UV + pin] = microvolts


# --- 1-Wire -------------------------------------------------------------------------------------


def crc8(data: bytes) -> int:
    """The 1-Wire CRC, x^8 + x^5 + x^4 + 1 with the lowest bit first."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


def rom(serial: str) -> bytes:
    """The 8 bytes of a DS18B20 with that serial number, 12 hex digits."""
    start = b"\x28" + bytes.fromhex(serial)
    return start + bytes([crc8(start)])


def plug_ds18b20(state: BoardState, pin: int, roms: list[bytes]) -> None:
    """These sensors, and no others, are on the line at `pin`, just powered."""
    state[r.ONEWIRE_PIN] = pin + 1
    state[r.ONEWIRE_PRESENT] = (1 << len(roms)) - 1
    for i, each in enumerate(roms):
        state.put_bytes(_ds18b20(i), each + POWER_ON_SCRATCHPAD)


def set_ds18b20(state: BoardState, i: int, celsius: float) -> None:
    """What the i-th sensor would measure now."""
    state.put_bytes(_ds18b20(i) + 16, struct.pack("<h", round(celsius * 16)))


def _ds18b20(i: int) -> int:
    return r.ONEWIRE_SENSORS + i * r.ONEWIRE_SENSOR_BYTES


# --- DHT ----------------------------------------------------------------------------------------


def plug_dht(state: BoardState, kind: str, pin: int) -> None:
    state[r.DHT_PIN] = pin + 1
    state[r.DHT_LOW_MS] = DHT_LOW_MS[kind]
    state[r.DHT_INTERVAL_MS] = DHT_INTERVAL_MS[kind]
    state[r.DHT_ASKED] = 0


def set_dht(state: BoardState, raw: bytes) -> None:
    """The four bytes it would measure now; the answer to the next question has those before."""
    state[r.DHT_NOW] = int.from_bytes(raw, "big")


# --- I2C ----------------------------------------------------------------------------------------

# The example of the BMP280's data sheet, section 3.12; the humidity's are those of a BME280.
EXAMPLE_CALIBRATION = struct.pack(
    "<HhhHhhhhhhhh", 27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000
)
EXAMPLE_TEMPERATURE = 519888
EXAMPLE_PRESSURE = 415148
EXAMPLE_HUMIDITY_CALIBRATION = (75, 362, 0, 326, 0, 30)  # H1 to H6


def _i2c(state: BoardState) -> None:
    state[r.I2C_SDA] = SDA + 1
    state[r.I2C_SCL] = SCL + 1


def humidity_registers(h1: int, h2: int, h3: int, h4: int, h5: int, h6: int) -> tuple[bytes, bytes]:
    """The calibration of humidity as it lies at 0xA1 and from 0xE1 on: H4 and H5 share a byte."""
    shared = (h4 & 15) | (h5 & 15) << 4
    return bytes([h1]), struct.pack("<hBbBbb", h2, h3, h4 >> 4, shared, h5 >> 4, h6)


def plug_bme280(
    state: BoardState,
    chip_id: int = 0x60,
    address: int = 0x76,
    calibration: bytes = EXAMPLE_CALIBRATION,
    humidity: tuple[int, int, int, int, int, int] = EXAMPLE_HUMIDITY_CALIBRATION,
) -> None:
    """A BME280, or with id 0x58 a BMP280, that has just got its power."""
    _i2c(state)
    memory = bytearray(256)
    memory[0xD0] = chip_id
    memory[0x88:0xA0] = calibration
    if chip_id == 0x60:
        first, rest = humidity_registers(*humidity)
        memory[0xA1:0xA2] = first
        memory[0xE1:0xE8] = rest
    memory[0xF7:0xFF] = bytes.fromhex("8000008000008000")
    state.put_bytes(r.BME_REGISTERS, bytes(memory))
    state[r.BME_STATE] = 0
    state[r.BME_ADDRESS] = address


def set_bme280(
    state: BoardState, temperature: int = EXAMPLE_TEMPERATURE, pressure: int = EXAMPLE_PRESSURE, humidity: int = 28000
) -> None:
    """The raw values of the next measurement: 20, 20 and 16 bits."""
    state.put_bytes(r.BME_NOW, bme280_data(temperature, pressure, humidity))


def bme280_data(temperature: int, pressure: int, humidity: int) -> bytes:
    """As they lie from 0xF7 on."""
    return (pressure << 4).to_bytes(3, "big") + (temperature << 4).to_bytes(3, "big") + humidity.to_bytes(2, "big")


def plug_sht3x(state: BoardState, address: int = 0x44) -> None:
    _i2c(state)
    state[r.SHT_ADDRESS] = address
    state[r.SHT_STATE] = 0


def set_sht3x(state: BoardState, temperature: int, humidity: int) -> None:
    """The raw values of the next measurement, 16 bits each."""
    state[r.SHT_RAW] = temperature
    state[r.SHT_RAW + 1] = humidity
