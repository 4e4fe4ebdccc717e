"""A voltage at GPIO 0 to 4: the mean of 16 readings with the chip's own calibration, times `scale` plus `offset`.

`atten` is the attenuation in dB. Each is good up to the voltage that the ESP32-C3's data sheet (section 5.5, ADC
characteristics) calibrates it for; more than that is "range", as the number would be wrong by an unknown amount.
"""

from machine import ADC, Pin
from micropython import const

_READINGS = const(16)
_MOST_MV = {
    "0": (ADC.ATTN_0DB, 750),
    "2.5": (ADC.ATTN_2_5DB, 1050),
    "6": (ADC.ATTN_6DB, 1300),
    "11": (ADC.ATTN_11DB, 2500),
}


class Sensor:
    fields = ("v",)

    def __init__(self, options: dict) -> None:
        from app.sensors.options import decimal, pin

        self._adc = ADC(Pin(pin(options, "pin", 4)))
        self._scale = decimal(options, "scale", 1.0)
        self._offset = decimal(options, "offset", 0.0)
        atten_db = options.pop("atten", "11")
        if atten_db not in _MOST_MV:
            raise ValueError("atten=%s is none of 0, 2.5, 6 and 11" % atten_db)
        atten, self._most_mv = _MOST_MV[atten_db]
        self._adc.init(atten=atten)

    def start(self) -> int:
        return 0

    def read(self) -> tuple:
        total_uv = 0  # 16 readings of 3.1 V still fit into a small int
        for _ in range(_READINGS):
            total_uv += self._adc.read_uv()
        if total_uv > self._most_mv * 1000 * _READINGS:
            return ("range",)
        return (total_uv / (_READINGS * 1000000) * self._scale + self._offset,)
