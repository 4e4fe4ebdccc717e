"""A server that commits and loses the answer, and power cuts at any moment: nothing is lost, nothing counts twice.

All on the whole device. A trial of the first kind is one POST that took effect and whose answer did not arrive; of the
second, one power cut in the life of a board that samples and posts. `make test` does some of each;
`TALLY_TRIALS=500 make test TESTS=host_tests/test_commit_and_drop.py JOBS=0 PYTEST_ARGS=-s` does the 500 of the
acceptance, in a few minutes for lost answers and a quarter of an hour for power cuts. `TALLY_SEED` chooses others.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from host_tests import faults
from host_tests.device import Device
from host_tests.faults import Answer, Fault
from host_tests.telemetry_world import LONGEST_PAUSE_MS, World, posting
from host_tests.test_export import host_log
from host_tests.virtual_board.vm import registers as r
from scripts import log_check

pytestmark = pytest.mark.vm

TRIALS = int(os.environ.get("TALLY_TRIALS", "0"))
LOST_ANSWERS, POWER_CUTS = TRIALS or 50, TRIALS or 8
SEED = int(os.environ.get("TALLY_SEED", "6"))
FAST: dict[str, Any] = {"sample_period_s": 1, "telemetry_period_s": 3}
KINDS = ("nothing", "status line", "headers", "500", "503")


class Losing:
    """What the server answers after it has committed: a batch that is new loses its answer nearly always, one that
    comes again one time in four. `lost` counts what was lost, by how."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.lost = dict.fromkeys(KINDS, 0)
        self._known: set[str] = set()

    def count(self) -> int:
        return sum(self.lost.values())

    def __call__(self, answer: Answer) -> Iterator[bytes]:
        key = self.world.server.requests[-1].headers["idempotency-key"]
        share = 0.25 if key in self._known else 0.9
        self._known.add(key)
        if self.dice.random() >= share:
            yield answer.plain()
            return
        kind = self.dice.choice(KINDS)
        self.lost[kind] += 1
        if kind in ("500", "503"):
            answer.status = int(kind)
            yield answer.plain()
        elif kind != "nothing":
            yield answer.plain()[: self.dice.randrange(1, 12) if kind == "status line" else 12 + self.dice.randrange(4)]

    def fault(self) -> Fault:
        return Fault(pieces=self, end=self.dice.choice(("close", "close", "reset")))


@pytest.mark.timeout(60 + 2 * LOST_ANSWERS)
def test_answers_that_are_lost_after_the_commit_lose_nothing_and_nothing_takes_effect_twice(
    make_device: Callable[..., Device],
) -> None:
    began = time.monotonic()
    with posting(make_device, **FAST) as world:
        losing = Losing(world, SEED)
        start_ms = world.now_ms()
        while losing.count() < LOST_ANSWERS:
            world.server.fault = losing.fault()
            world.advance(5000)
        took_ms = world.now_ms() - start_ms
        world.server.fault = faults.NONE
        world.until(lambda: world.post()["waiting"] < 6, LONGEST_PAUSE_MS, 2000)
        count = world.assert_delivered()
        world.assert_sound()
        repeated = sum(times > 1 for times in world.server.ledger.arrived.values())
        print(
            f"{losing.count()} answers lost ({losing.lost}) in {len(world.requests())} posts, {took_ms / 1000:.0f} s; "
            f"{count} samples, {repeated} of them committed more than once; lost 0, double by seq 0, double by key "
            f"{len(world.server.ledger.doubled_by_key())}; {time.monotonic() - began:.0f} s of real time"
        )
        assert repeated >= LOST_ANSWERS


# --- power cuts -----------------------------------------------------------------------------------

MOMENTS = ("flash operation", "request half read", "committed", "answered", "any time")


class Cutter:
    """Takes the power away at a moment that the dice choose. `cuts` counts by moment."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.cuts = dict.fromkeys(MOMENTS, 0)
        self._now = threading.Event()

    def _pull(self) -> None:
        """Wait for the moment and pull the plug, or see that the board is off; then time need not pass any more."""
        board = self.world.device.board
        while board.is_on() and not self._now.wait(0.002):
            pass
        board.stop()
        self.world.device.state[r.SKIP_ON] = 0

    def cut(self) -> None:
        """Let the board live for some seconds, at the end of which it is off."""
        world, dice = self.world, self.dice
        server, state = world.server, world.device.state
        moment = dice.choice(MOMENTS)
        self.cuts[moment] += 1
        self._now.clear()
        if moment == "flash operation":
            state[r.CUT_AT_FLASH_OP] = state[r.FLASH_OPS] + dice.randrange(1, 12)
        elif moment == "request half read":
            server.fault = Fault(cuts=True, accept="close" if dice.random() < 0.3 else "", commits=False)
        else:
            server.fault = Fault(pieces=lambda answer: self._at(moment, answer))
        after = len(server.requests) + server.connections + dice.randrange(1, 3)
        plug = threading.Thread(target=self._pull)
        plug.start()
        for _ in range(60):
            world.advance(dice.randrange(50, 2000))
            seen = len(server.requests) + server.connections > after
            if moment in ("request half read", "any time") and seen:
                self._now.set()
            if not world.device.board.is_on() or not plug.is_alive():
                break
        self._now.set()
        plug.join()
        state[r.CUT_AT_FLASH_OP] = 0
        server.fault = faults.NONE

    def _at(self, moment: str, answer: Answer) -> Iterator[bytes]:
        if moment == "committed":
            self._now.set()
            return
        yield answer.plain()
        if moment == "answered":
            self._now.set()


def assert_nothing_lost(world: World) -> int:
    """What lies in the log has arrived or waits, what arrived was in it once; how many arrived."""
    storage = world.status()["storage"]
    log = host_log(world.device)
    assert log_check.check(log)[1] == []
    stored = [entry.record.seq for entry in log.samples()]
    assert stored == sorted(set(stored)), "a number came twice"
    arrived = set(world.arrived())
    assert [seq for seq in stored if seq <= storage["cursor"] and seq not in arrived] == [], "lost"
    assert arrived <= set(stored), "nobody took that sample"
    return len(arrived)


@pytest.mark.timeout(60 + 10 * POWER_CUTS)
def test_power_cuts_at_any_moment_lose_nothing_and_no_number_is_used_twice(make_device: Callable[..., Device]) -> None:
    began = time.monotonic()
    with posting(make_device, **FAST) as world:
        seen: dict[int, tuple] = {}
        double: list[int] = []
        commit = world.server.commit

        def watch(request: object) -> None:
            for _, seq, reading in world.server.ledger.read(request):  # type: ignore[arg-type]
                if reading[2] == 2 and seen.setdefault(seq, tuple(reading)) != tuple(reading):
                    double.append(seq)
            commit(request)  # type: ignore[arg-type]

        world.server.commit = watch
        cutter = Cutter(world, SEED)
        for _ in range(POWER_CUTS):
            cutter.cut()
            world.device.power_on()
            ledger = world.status()["ledger"]
            assert ledger["taken"] == ledger["stored"] + ledger["rejected"], ledger
            assert ledger["stored"] == ledger["acknowledged"] + ledger["pending"] + ledger["expired"], ledger
            assert ledger["expired"] == ledger["rejected"] == 0, ledger
            assert_nothing_lost(world)
        world.advance(5000)
        world.until(lambda: world.post()["waiting"] < 6, LONGEST_PAUSE_MS, 2000)
        count = assert_nothing_lost(world)
        repeated = sum(times > 1 for times in world.server.ledger.arrived.values())
        print(
            f"{POWER_CUTS} power cuts ({cutter.cuts}), {len(world.requests())} posts, {count} samples, {repeated} "
            f"committed more than once; lost 0, numbers used twice {len(double)}; "
            f"{time.monotonic() - began:.0f} s of real time"
        )
        assert double == []
