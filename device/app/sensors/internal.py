"""The chip's own temperature sensor, warmer than the room by what the chip wastes. Must not know who asks.

Contract of a sensor module: FIELDS (names for server and pages) and `read()`, which gives a number per field or
None for one that could not be had, and never a made-up or repeated value.
"""

from esp32 import mcu_temperature  # type: ignore  (the stubs are an ESP32's; this is the C3's)
from micropython import const

FIELDS = ("temp_c",)
_LEAST_C = const(-40)
_MOST_C = const(125)


def read() -> tuple:
    """(degrees Celsius or None,), and a reason in words or ""."""
    try:
        value = mcu_temperature()
    except OSError:
        return (None,), "absent"
    if _LEAST_C <= value <= _MOST_C:
        return (value,), ""
    return (None,), "range"
