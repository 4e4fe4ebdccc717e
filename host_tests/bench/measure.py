"""What the bench measures of a running app: garbage per request, speed in rounds, the smallest heap that is enough.

Owns the methods; docs/bench.md explains them. Must not know which figures are good ones.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

from host_tests.bench import client, loads
from host_tests.bench.server import App, TooSmall
from host_tests.bench.tree import BENCH_DIR
from scripts.console import Problem
from scripts.vm import Vm

AT_ONCE = (1, 4, 8)
# So much that no collection comes by itself while garbage is counted: 25 KB a request at most.
GARBAGE_HEAP = "2m"
GARBAGE_BATCHES = 5
GARBAGE_REQUESTS = 10
# The board's heap: what a server leaves to the collector is part of its speed there.
SPEED_HEAP = "64k"
BURST_S = 0.2
HEAP_STEP = 512
HEAP_REQUESTS = 200
HEAP_MOST = 96 * 1024


def bare_vm(vm: Vm) -> int:
    """Bytes in use on the VM's heap before anything is imported, which is nobody's work."""
    argv = [*vm.argv, "-X", f"heapsize={GARBAGE_HEAP}", "bench_bare.py", "8200"]
    return int(subprocess.run(argv, cwd=BENCH_DIR, capture_output=True, text=True, timeout=20, check=True).stdout)


def memory(app: App, request: client.Request = client.MEMORY) -> tuple[int, int]:
    """The app's answer to /mem or /gc: bytes the VM has from malloc, bytes in use on the GC heap."""
    malloced, used = client.ask(app.port, request).split()
    return int(malloced), int(used)


def garbage(app: App, request: client.Request) -> int:
    """Bytes one `request` leaves on the heap, the collector not having run in between; the median of several batches.
    Problem when the batches do not agree, which they can't if it did run."""
    for _ in range(GARBAGE_REQUESTS):
        client.ask(app.port, request)
    memory(app, client.SETTLED)
    costs: list[float] = []
    for _ in range(GARBAGE_BATCHES):
        start, again = memory(app)[1], memory(app)[1]
        for _ in range(GARBAGE_REQUESTS):
            client.ask(app.port, request)
        costs.append((memory(app)[1] - again - (again - start)) / GARBAGE_REQUESTS)
    cost = statistics.median(costs)
    if min(costs) < 0.8 * cost or max(costs) > 1.25 * cost:
        raise Problem(f"the {app.name} app collected garbage while it was counted ({costs}). Run it again")
    return round(cost)


class Speed:
    """Bursts of GET / in rounds over all apps, so that what else the machine does meets all of them alike."""

    def __init__(self, vm: Vm, names: Sequence[str], rounds: int) -> None:
        self.bursts: dict[tuple[str, int], list[loads.Load]] = {}
        for at_once in AT_ONCE:
            # New apps each time, on new ports: ports that wait to be used again slow down whoever used most of them.
            with ExitStack() as stack:
                apps = [stack.enter_context(App(vm, name, SPEED_HEAP)) for name in names]
                for k in range(rounds + 1):
                    for app in apps:
                        self._add(k, (app.name, at_once), loads.load(app.port, [client.GET], at_once, seconds=BURST_S))
        with App(vm, "tally", SPEED_HEAP, "keep") as kept:
            for k in range(rounds + 1):
                self._add(k, ("tally", 0), loads.load_kept(kept.port, client.GET, BURST_S))

    def _add(self, k: int, key: tuple[str, int], burst: loads.Load) -> None:
        if k:  # the first round warms up
            self.bursts.setdefault(key, []).append(burst)

    def per_second(self, name: str, at_once: int) -> float:
        """The median; `at_once` 0 is one kept connection."""
        return statistics.median(burst.per_second for burst in self.bursts[name, at_once])

    def ratio(self, name: str, at_once: int, to: str) -> float:
        """Times as fast as `to`: the median of the rounds' ratios, `to` on one connection per request in any case."""
        pairs = zip(self.bursts[name, at_once], self.bursts[to, at_once or 1], strict=True)
        return statistics.median(a.per_second / b.per_second for a, b in pairs)

    def client_share(self) -> float:
        """How busy the client was, in the burst where it was busiest."""
        return max(burst.client_share for bursts in self.bursts.values() for burst in bursts)


def serves(vm: Vm, name: str, heap: int, at_once: int) -> bool:
    """Whether the app answers HEAP_REQUESTS mixed requests of a browser on this heap without one error."""
    try:
        with App(vm, name, str(heap)) as app:
            loads.load(app.port, client.MIX, at_once, count=HEAP_REQUESTS)
    except (TooSmall, client.Wrong):
        return False
    return True


def smallest_heap(vm: Vm, name: str, at_once: int) -> int | None:
    """The smallest heap, in steps of HEAP_STEP bytes, that serves twice running; None when HEAP_MOST is too small."""
    low, high = 4 * 1024, HEAP_MOST  # the VM does not start in 4 KB
    if not serves(vm, name, high, at_once):
        return None
    while high - low > HEAP_STEP:
        middle = (low + high) // 2 // HEAP_STEP * HEAP_STEP
        if serves(vm, name, middle, at_once):
            high = middle
        else:
            low = middle
    # Near the edge luck decides with several at once; a lucky try does not count.
    while high <= HEAP_MOST and not (serves(vm, name, high, at_once) and serves(vm, name, high, at_once)):
        high += HEAP_STEP
    return high
