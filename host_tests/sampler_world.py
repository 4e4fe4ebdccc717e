"""A sampler on CPython in a world with a true time: the device's own sampler, clock and store on a model of flash.

Stand-ins are the chip, the event loop and the sensors. Time passes while the sampler sleeps, while a sensor is slow and
when `busy` says so; what is to happen in between is told with `at`.
"""

from __future__ import annotations

import importlib
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from app.store import Store
from app.store_open import open_store
from ring_log import PAGE_BYTES

from host_tests import clock_world
from host_tests.clock_world import EPOCH_MS, World
from host_tests.nor import Nor

LABEL = "thermo"
SECTORS = 64


@contextmanager
def stand_ins() -> Iterator[None]:
    """The sampler and the clock, loaded on stand-ins; both are gone from sys.modules afterwards."""
    with clock_world.stand_ins():
        board = types.ModuleType("time")
        vars(board).update(vars(time), ticks_ms=lambda: world().true_ms, ticks_diff=lambda a, b: a - b)
        before = sys.modules.pop("app.sampler", None)
        sys.modules["time"] = board
        try:
            importlib.import_module("app.sampler")
        finally:
            sys.modules["time"] = time
        loop = types.SimpleNamespace(sleep_ms=lambda ms: world().sleep_ms(ms))
        sys.modules["app.sampler"].asyncio = loop  # type: ignore[attr-defined]
        try:
            yield
        finally:
            del sys.modules["app.sampler"]
            if before:
                sys.modules["app.sampler"] = before


def world() -> Plant:
    assert isinstance(clock_world.now, Plant)
    return clock_world.now


@types.coroutine
def pause(ms: int) -> Iterator[int]:
    """What the stand-in of asyncio.sleep_ms waits for: its time, for `Plant.run` to let pass."""
    yield ms


class Sensor:
    """Says what the test put into `says`: a value, or an exception to raise. `slow_ms` is how long a call takes."""

    def __init__(self, *fields: str, says: Any = (21.5,)) -> None:
        self.fields = fields or ("temp_c",)
        self.says: Any = says
        self.wait: Any = 0
        self.slow_ms = {"start": 0, "read": 0}
        self.calls: list[tuple[str, int]] = []

    def _called(self, what: str) -> None:
        self.calls.append((what, world().true_ms))
        world().busy(self.slow_ms[what])

    def start(self) -> Any:
        self._called("start")
        if isinstance(self.wait, Exception):
            raise self.wait
        return self.wait

    def read(self) -> Any:
        self._called("read")
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class Plant(World):
    """A board with a sampler. `sensors` by label; `oversleeps` are ms by which the next sleeps are too long, the first
    one first. The world is still before `run`."""

    def __init__(self, period_s: int = 10, sensors: dict[str, Sensor] | None = None, **how: Any) -> None:
        super().__init__(**how)
        self.sensors = sensors or {LABEL: Sensor()}
        self.period = {"sample_period_s": period_s}
        names = ",".join(field for sensor in self.sensors.values() for field in sensor.fields)
        self.nvs: dict[str, int] = {}
        self.flash = Nor(SECTORS * 4096)
        self.store: Store = open_store(self.flash, names, 1, self.clock, self.count_up)
        self.clock.on_sync = self.store.synced
        kind = sys.modules["app.sampler"].Sampler  # type: ignore[attr-defined]
        self.sampler: Any = kind(list(self.sensors.items()), self.clock, self.period)
        self.sampler.store = self.store
        self.task: Any = None
        self.events: list[tuple[int, Callable[[], object]]] = []
        self.oversleeps: list[int] = []
        self.tended: list[int] = []
        self.tend_ms = 0
        self.store.tend = self.tend

    def count_up(self, key: str, by: int) -> int:
        self.nvs[key] = self.nvs.get(key, 0) + by
        return self.nvs[key] - by

    # --- time -------------------------------------------------------------------------------------

    def sleep_ms(self, ms: int) -> Any:  # type: ignore[override]
        return pause(ms)

    def busy(self, ms: int) -> None:
        """Let so much pass; what is due meanwhile happens in its moment, as another task would do it."""
        until = self.true_ms + ms
        while self.events and self.events[0][0] <= until:
            at_ms, event = self.events.pop(0)
            self.wait(max(0, at_ms - self.true_ms))
            event()
        self.wait(max(0, until - self.true_ms))

    def at(self, ms: int, event: Callable[[], object]) -> None:
        """Have `event` happen in `ms` from now."""
        self.events.append((self.true_ms + ms, event))
        self.events.sort(key=lambda each: each[0])

    def run(self, ms: int) -> None:
        """Have the sampler's task run on for so long; it is asleep then."""
        until = self.true_ms + ms
        while self.true_ms < until:
            if not self.task:
                self.task = self.sampler.run(self.beat)
            self.busy(max(1, self.task.send(None)) + (self.oversleeps.pop(0) if self.oversleeps else 0))

    def restart(self) -> None:
        """The task dies, and is started again by the next `run`."""
        self.task.close()
        self.task = None

    def tend(self) -> None:
        self.tended.append(self.chip_ms())
        self.busy(self.tend_ms)

    # --- the clock --------------------------------------------------------------------------------

    def sync(self, off_ms: int = 0) -> None:
        """NTP says, and again if need be, that the time is by so much other than the chip's clock has it; the first
        time, other than the truth."""
        unix_ms = self.true_ms if self.clock.quality < 2 else self.chip_ms() + EPOCH_MS
        for _ in range(2):
            taken, _ = self.timesync.set_time(self.clock, unix_ms + off_ms, "ntp", 10)
            if taken:
                return
        raise AssertionError("the clock does not take that")

    # --- what came of it --------------------------------------------------------------------------

    def samples(self) -> list[tuple[Any, ...]]:
        """(seq, unix_s, quality, boot, names, values) as a reader gets them now."""
        return list(self.store.samples(1, bytearray(PAGE_BYTES)))

    def times(self) -> list[int]:
        return [unix_s for _, unix_s, *_ in self.samples()]

    def lates(self) -> list[int]:
        """late_ms of each sample, as it is in the log."""
        from scripts import log_format

        return [entry.record.extra for entry in log_format.parse(bytes(self.flash.cells)).samples()]

    def values(self) -> list[tuple[Any, ...]]:
        return [sample[-1] for sample in self.samples()]

    def warnings(self) -> list[str]:
        return [line for line in self.lines if " sampler: " in line]

    def assert_one_a_slot(self) -> None:
        """In re-stamped time no slot comes twice, and time goes on; but for steps back, which are told."""
        sampler = self.sampler
        assert sampler.taken == self.store.stored + self.store.rejected
        pairs = list(pairwise(self.times()))
        assert all(before < after for before, after in pairs), [pair for pair in pairs if pair[0] >= pair[1]]
