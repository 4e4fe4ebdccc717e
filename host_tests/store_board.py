"""The store on a model of NOR flash, as app.compose opens it: what the tests of the store start from."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from app import held
from app.store import BOOT, Store
from app.store_open import newest, open_store
from ring_log import PAGE_BYTES

from host_tests.nor import Nor, PowerCut

SECTOR = 512
SECTORS = 6
NAMES = "a,b"
PER_SECTOR = (SECTOR - 12 - 36 - len(NAMES) - 4) // 23
UNIX_S = 1_750_000_000


class Clock:
    """The clock's figures as the store reads them; `synced` from the start, so that times are what they are."""

    def __init__(self) -> None:
        self.quality, self.base_s, self.steps_s, self.shift_ms = 2, UNIX_S, 0, 0
        self.uptime_s = 0

    def stamp(self, ms: int = 0) -> int:
        return self.base_s + self.steps_s + self.uptime_s if self.quality == 2 else self.uptime_s


class Files:
    """The files of app.held, as LittleFS keeps them: what is written counts when it is closed. Each step is one more
    operation in which `flash` may lose its power, before or after it had its effect; `failing` says it is refused."""

    def __init__(self, flash: Nor) -> None:
        self.flash = flash
        self.texts: dict[str, str] = {}
        self.failing = False

    def install(self) -> None:
        setattr(held, "open", self.open)  # noqa: B010  (the module has none of its own)
        setattr(held, "os", SimpleNamespace(rename=self.rename))  # noqa: B010

    def open(self, path: str, mode: str = "r") -> io.StringIO:
        if mode == "w":
            self.step(lambda: self.texts.setdefault(path, ""))
            return _Writing(self, path)
        if path not in self.texts:
            raise OSError(2)
        return io.StringIO(self.texts[path])

    def rename(self, old: str, new: str) -> None:
        self.step(lambda: self.texts.update({new: self.texts.pop(old)}))

    def step(self, effect: Any) -> None:
        if self.failing:
            raise OSError(28)
        is_cut = self.flash._is_cut("file")
        if not is_cut or self.flash._rng.random() < 0.5:
            effect()
        if is_cut:
            raise PowerCut


class _Writing(io.StringIO):
    def __init__(self, files: Files, path: str) -> None:
        super().__init__()
        self.files, self.path = files, path

    def __exit__(self, *_: object) -> None:
        self.files.step(lambda: self.files.texts.update({self.path: self.getvalue()}))


class Board:
    """A flash, numbers in NVS, and the store as app.compose opens it; `start()` is a boot."""

    def __init__(self, sectors: int = SECTORS, sector_bytes: int = SECTOR, names: str = NAMES, seed: int = 0) -> None:
        self.flash = Nor(sectors * sector_bytes, sector_bytes, seed)
        self.files = Files(self.flash)
        self.nvs: dict[str, int] = {}
        self.nvs_fails = False
        self.names = names
        self.clock = Clock()
        self.store: Store
        self.start()

    def count_up(self, key: str, by: int) -> int:
        if self.nvs_fails:
            raise OSError(5)
        self.nvs[key] = self.nvs.get(key, 0) + by
        return self.nvs[key] - by

    def start(self, mark: bool = True) -> Store:
        self.flash.power_on()
        return self.open(mark)

    def open(self, mark: bool = True) -> Store:
        """A boot in which the power may go."""
        self.files.install()
        boot = self.count_up("boot", 1) + 1
        self.store = open_store(self.flash, self.names, boot, self.clock, self.count_up)
        if mark:
            newest(self.store)
            self.store.mark(BOOT, self.clock.quality, self.clock.base_s, self.store.boot, 1)
        return self.store

    def take(self, count: int = 1) -> list[int]:
        """Take samples whose first value is their number; the numbers of those that were stored."""
        taken = []
        for _ in range(count):
            seq, stored = self.store.next_seq, self.store.stored
            self.clock.uptime_s += 10
            values = [seq % 4096, *range(self.names.count(","))]
            self.store.append(self.clock.stamp(), self.clock.quality, values)
            if self.store.stored > stored:
                taken.append(seq)
        return taken

    def deliver(self, count: int) -> list[int]:
        """Have the server take the next `count` samples, as telemetry does; their numbers."""
        got = [sample[0] for sample, _ in zip(self.scan(self.store.cursor + 1), range(count), strict=False)]
        if got:
            self.store.acknowledge(got[-1], self.store.settled() + len(got))
        return got

    def hold(self, count: int) -> list[int]:
        """Have the server refuse the next `count` samples, each alone; their numbers."""
        seqs = self.seqs(self.store.cursor + 1)[:count]
        assert held.hold(self.store, seqs, seqs[-1], self.store.settled() + count)
        return seqs

    def scan(self, first: int = 1) -> list[tuple[Any, ...]]:
        return list(self.store.samples(first, bytearray(PAGE_BYTES)))

    def seqs(self, first: int = 1) -> list[int]:
        return [sample[0] for sample in self.scan(first)]

    def ledger(self) -> tuple[int, int, int, int, int]:
        store = self.store
        return store.stored, store.acknowledged, store.pending(), store.expired, store.rejected
