"""Takes a sample in every slot of the clock and hands it to the store. Owns the schedule; knows sensors by contract
(docs/sensors.md): `start()` begins a measurement, `read()` gives numbers or words for why there is none.
"""

import asyncio
from time import ticks_diff, ticks_ms

from app import log
from app.board import clock_ms
from app.store import CONFIG, NO_TOTAL, REASONS
from micropython import const

_MOST_SLEEP_MS = const(1000)  # woken this often, so that a new period or a clock that was set is noticed
_MOST_WAIT_MS = const(2000)  # for a sensor to be ready
_LIMIT_MS = const(250)  # a call that takes longer holds up everything, and what it says is not believed
_TEND_MS = const(500)  # an erase is over well within this
_STEP_MS = const(2000)  # a clock that is set by more may be stepped, which the log counts in whole seconds
_ETIMEDOUT = const(116)
_MOST = 3.4e38  # that a 32-bit float holds; what is no number fails the comparison too


class Sampler:
    """`missed` counts slots that were slept through, `failed` samples with a value that could not be had; `states` has
    the word for why by label of the sensor, "" while it works. `sensors` are (label, sensor). `store` and what it has
    counted as `taken` come before it runs."""

    store: "Any"

    def __init__(self, sensors: list, clock: "Any", settings: dict) -> None:
        self.sensors = sensors
        self._clock = clock
        self._settings = settings
        self.taken = self.missed = self.failed = self._slot_ms = self._shift_ms = self._period_ms = 0
        self._is_taking = False
        self.states = {}

    async def run(self, beat: "Any") -> None:
        """Sample once in every slot, for ever. Slots are whole multiples of the period of the chip's clock; when it is
        set, the last slot moves along, so that no slot comes twice or counts as missed."""
        self.missed += self._is_taking  # a sample that died half way, as for want of memory
        self._is_taking = False
        while True:
            beat()
            self._stamp()
            now_ms = clock_ms()
            period_ms = self._settings["sample_period_s"] * 1000
            if period_ms != self._period_ms:
                self._period_ms = period_ms
                self._slot_ms = max(self._slot_ms, now_ms)  # samples begin at a slot's start
                self.store.mark(CONFIG, self._clock.quality, self._clock.stamp(), period_ms // 1000, 0)
            slots = now_ms // period_ms - self._slot_ms // period_ms
            if slots > 0:
                if slots > 1:
                    self.missed += slots - 1
                    log.warning("sampler", "slots missed: %d, the loop was held up", slots - 1)
                self._slot_ms = now_ms - now_ms % period_ms
                self._is_taking = True
                await self._take(now_ms - self._slot_ms)
                self._is_taking = False
                beat()
            next_ms = self._slot_ms // period_ms * period_ms + period_ms
            if next_ms - clock_ms() > _TEND_MS:
                self.store.tend()
            await asyncio.sleep_ms(min(next_ms - clock_ms(), _MOST_SLEEP_MS))

    def _stamp(self) -> int:
        """The time of the last slot as the log wants it, by the clock as it is set now."""
        moved_ms = self._clock.shift_ms - self._shift_ms
        self._shift_ms += moved_ms
        # Of a step by parts of a second the log may count one more, and its next sample must not have the same time.
        self._slot_ms += moved_ms + (999 if abs(moved_ms) > _STEP_MS else 0)
        return self._clock.stamp(self._slot_ms)

    async def _take(self, late_ms: int) -> None:
        """One sample of all sensors: all are started, then waited for together, then read."""
        wait_ms = 0
        started = []
        for label, sensor in self.sensors:
            answer, why = self._call(label, _start, sensor)
            started.append(why)
            wait_ms = max(wait_ms, answer or 0)
        if wait_ms:
            await asyncio.sleep_ms(wait_ms)
        values = []
        failed = False
        for (label, sensor), why in zip(self.sensors, started):
            answer = None
            if not why:
                answer, why = self._call(label, _read, sensor)
            answer = answer or [why] * len(sensor.fields)
            values.extend(answer)
            why = ""
            for value in answer:
                why = why or (value if isinstance(value, str) else "")
            failed = failed or why != ""
            if why != self.states.get(label, ""):
                log.warning("sampler", "%s: %s", label, "no value, " + why if why else "good again")
            self.states[label] = why
        self.taken += 1
        self.failed += failed
        self.store.append(self._stamp(), self._clock.quality, values, late_ms)

    def _call(self, label: str, what: "Any", sensor: "Any") -> tuple:
        """(what a sensor says, "") or (None, why it says nothing): whatever it raises ends here."""
        start = ticks_ms()
        try:
            answer = what(sensor)
        except OSError as error:
            return None, "timeout" if error.errno == _ETIMEDOUT else "absent"
        except Exception as error:
            if self.states.get(label) != "error":
                log.warning("sampler", "%s: %s", label, repr(error))
            return None, "error"
        return (None, "timeout") if ticks_diff(ticks_ms(), start) > _LIMIT_MS else (answer, "")


def _start(sensor: "Any") -> int:
    return min(int(sensor.start()), _MOST_WAIT_MS)


def _read(sensor: "Any") -> list:
    """What a sensor says, one value per field, each a number that can be stored or a word of REASONS. Raises what comes
    of an answer that is none."""
    answer = sensor.read()
    if len(answer) != len(sensor.fields):
        raise ValueError("not one value per field")
    values = []
    for field, value in zip(sensor.fields, answer):
        if isinstance(value, str):
            value = value if value and value in REASONS else "error"
        elif field.endswith("_total"):
            value = int(value)
            value = value if 0 <= value < NO_TOTAL else "range"
        else:
            value = value if abs(value) < _MOST else "range"
        values.append(value)
    return values
