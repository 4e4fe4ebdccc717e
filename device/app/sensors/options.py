"""Options of a sensor, text by name: each is taken out of the dict as it is understood, so that what is left is not.

Owns which pins can be used, and the I2C buses, one for each pair of pins. Every function raises ValueError with a
sentence. Imported while sensors are made, then dropped. Must not know any sensor.
"""

from micropython import const

_MOST_PIN = const(21)
_I2C_HZ = const(100000)
_I2C_STRETCH_US = const(2000)  # none of the sensors stretches the clock; this bounds a bus that is stuck
_CLOCKS = const(9)

_buses = {}


def whole(options: dict, name: str, default: "Any", least: int, most: int) -> int:
    """A whole number, decimal or as 0x76. Without a default it must be given."""
    text = options.pop(name, None)
    if text is None and default is not None:
        return default
    try:
        value = int(text or "", 0)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise ValueError("%s= must be given as a whole number from %d to %d" % (name, least, most))
    return value


def decimal(options: dict, name: str, default: float) -> float:
    """A number with a point, such as 2.5 or -0.01."""
    text = options.pop(name, None)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = float("nan")
    if not -1e9 < value < 1e9:  # neither is "nan" or "inf" a number here
        raise ValueError("%s= must be a number such as 2.5" % name)
    return value


def pin(options: dict, name: str = "pin", most: int = _MOST_PIN) -> int:
    """The number of a GPIO that a sensor can be wired to."""
    number = whole(options, name, None, 0, most)
    if 10 < number < 20:
        raise ValueError("%s=%d can't be used: GPIO 11 to 19 belong to the flash and to USB" % (name, number))
    return number


def i2c(options: dict, address: int, last: int) -> tuple:
    """(bus, address) from `sda`, `scl` and `addr`, which is `address` unless given, and at most `last`."""
    from machine import Pin, SoftI2C  # here, so that all else can be used without the chip

    sda = pin(options, "sda")
    scl = pin(options, "scl")
    address = whole(options, "addr", address, address, last)
    if sda == scl:
        raise ValueError("sda= and scl= are the same pin")
    if (sda, scl) not in _buses:
        data = Pin(sda, Pin.OPEN_DRAIN, Pin.PULL_UP, value=1)
        clock = Pin(scl, Pin.OPEN_DRAIN, Pin.PULL_UP, value=1)
        free(data, clock)
        _buses[sda, scl] = SoftI2C(clock, data, freq=_I2C_HZ, timeout=_I2C_STRETCH_US)
    return _buses[sda, scl], address


def free(data: "Any", clock: "Any") -> None:
    """Clock out the byte that a sensor was sending when the chip was reset, or it would hold the data line for ever
    (I2C specification UM10204, 3.1.16)."""
    for _ in range(_CLOCKS):
        if data():
            return
        clock(0)
        clock(1)
