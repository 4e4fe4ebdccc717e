"""DHT11 and DHT22 (AM2302) on one data line (Aosong data sheets).

The sensor answers with what it measured when it was last asked. So start() asks, for the measurement, and read() asks
again once the sensor may be asked, which is 1 s (DHT11) or 2 s (DHT22) later, for the answer. The firmware's own
`dht_readinto` would hold up the program for 270 ms; this takes 23 ms (DHT11) or 7 ms a question.
"""

from machine import Pin, disable_irq, enable_irq, time_pulse_us
from micropython import const
from time import sleep_ms, ticks_diff, ticks_ms

_ENODEV = const(19)
_PULSES = const(41)  # the sensor's greeting and 40 bits
_GREETING_US = const(250)
_PULSE_US = const(150)
_ONE_US = const(48)  # 26 us is a 0, 70 us a 1


def values(widths: bytearray, dht11: bool) -> tuple:
    """(Celsius, percent), each a number or a word, from the lengths in us of the sensor's 41 pulses."""
    data = bytearray(5)
    for i in range(40):
        data[i >> 3] = data[i >> 3] << 1 & 0xFF | (widths[i + 1] > _ONE_US)
    if sum(data[:4]) & 0xFF != data[4]:
        return "crc", "crc"
    if not any(data):  # passes the check, but is no air on Earth
        return "range", "range"
    if dht11:  # whole and tenths
        humidity, tenths, negative = data[0] * 10 + data[1], data[2] * 10 + (data[3] & 0x7F), data[3] & 0x80
        least, most = -200, 600
    else:
        humidity, tenths, negative = data[0] << 8 | data[1], (data[2] & 0x7F) << 8 | data[3], data[2] & 0x80
        least, most = -400, 800
    if negative:
        tenths = -tenths
    return tenths / 10 if least <= tenths <= most else "range", humidity / 10 if humidity <= 1000 else "range"


def listen(line: "Any", widths: bytearray) -> int:
    """Let go of the line and time the answer's pulses to high. How many came; -2: no answer, -1: it is held low."""
    pulse = time_pulse_us
    count = 0
    state = disable_irq()  # for 5 ms, as the firmware does: an interrupt would stretch a pulse
    try:
        line(1)
        width = pulse(line, 0, _GREETING_US)
        if width < 0:
            return width
        while count < _PULSES:
            width = pulse(line, 1, _PULSE_US)
            if width < 0:
                break
            widths[count] = width
            count += 1
    finally:
        enable_irq(state)
    return count


class Sensor:
    fields = ("temp_c", "hum_pct")

    def __init__(self, options: dict) -> None:
        from app.sensors.options import pin

        self._dht11 = options["kind"] == "dht11"
        self._interval_ms = 1000 if self._dht11 else 2000
        self._asked_ms = -1
        self._widths = bytearray(_PULSES)
        self._line = Pin(pin(options), Pin.OPEN_DRAIN, Pin.PULL_UP, value=1)

    def _ask(self) -> int:
        self._line(0)
        sleep_ms(18 if self._dht11 else 2)
        count = listen(self._line, self._widths)
        self._asked_ms = ticks_ms() if count > 0 else -1  # one that did not answer has not begun to measure
        return count

    def start(self) -> int:
        if self._asked_ms >= 0:
            age_ms = ticks_diff(ticks_ms(), self._asked_ms)
            if 0 <= age_ms < self._interval_ms:
                return self._interval_ms - age_ms
        if self._ask() == -2:
            raise OSError(_ENODEV)
        return self._interval_ms

    def read(self) -> tuple:
        count = self._ask()
        if count == _PULSES:
            return values(self._widths, self._dht11)
        word = "absent" if count == -2 else "timeout"
        return word, word
