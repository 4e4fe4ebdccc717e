"""The chip's own temperature sensor, warmer than the room by what the chip wastes. Whole degrees."""

from esp32 import mcu_temperature  # type: ignore  (the stubs are an ESP32's; this is the C3's)
from micropython import const

_LEAST_C = const(-40)
_MOST_C = const(125)


class Sensor:
    fields = ("temp_c",)

    def __init__(self, options: dict) -> None:
        pass

    def start(self) -> int:
        return 0

    def read(self) -> tuple:
        celsius = mcu_temperature()
        return (celsius if _LEAST_C <= celsius <= _MOST_C else "range",)
