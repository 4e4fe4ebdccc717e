"""Minutes of each thing that can be wrong with a server: the pages answer, no slot is missed, nothing leaks.

Then the server is well again, and everything arrives within one step of the backoff: once, and in order where no
sample was refused. In `make test` a fault lasts two minutes of the board's time, or one minute where it is one of
many that are alike, and a page may take longer, since other tests run beside. The acceptance is
`TALLY_FAULT_MINUTES=10 make test TESTS=host_tests/test_server_faults.py JOBS=0 PYTEST_ARGS=-s`: all of them for ten
minutes, with the figures.
"""

from __future__ import annotations

import os
import re
import time
from binascii import crc32
from collections.abc import Callable
from dataclasses import replace

import pytest
from timing import backoff_ms

from host_tests import faults
from host_tests.device import Device
from host_tests.faults import Fault
from host_tests.telemetry_world import (
    LONGEST_PAUSE_MS,
    MINUTE_MS,
    PAGE_BESIDE_OTHERS_MS,
    PAGE_P99_MS,
    PAUSE_LINE,
    World,
    posting,
)
from host_tests.virtual_board.vm import registers as r

pytestmark = pytest.mark.vm

MINUTES = int(os.environ.get("TALLY_FAULT_MINUTES", "0"))
PAGE_EVERY_MS = 10_000
FIRST_BYTES = 1024
"""Of the heap in use after a collect: what failing costs the first time, names of modules mostly."""
LEAK_BYTES = 256
"""What it may cost from the second time on."""
WHOLE_POST_MS = 35_000
"""The most that a POST takes that began before the server was well."""

BELIEVED = (
    "huge length", "bad chunk size", "negative chunk size", "huge chunk size", "chunk without its end",
    "header without a colon",
)  # fmt: skip
"""A 200 is believed once its head is whole, whatever comes behind: here the server means it."""
ALL: dict[str, Fault] = {
    **faults.BROKEN,
    **{name: replace(faults.BROKEN[name], commits=True) for name in BELIEVED},
    **faults.STRANGE,
    **{f"status {status}": faults.status(status) for status in faults.STATUSES},
}
ALIKE = [*faults.WRONG_BODY, *faults.STRANGE, *(name for name in ALL if name.startswith("status"))]


def minutes(name: str) -> int:
    return MINUTES or (1 if name in ALIKE else 2)


def browse(world: World, ms: int) -> None:
    """Let time pass with a page every 10 s, at another moment of a POST each time."""
    end_ms = world.now_ms() + ms
    n = 0
    while world.now_ms() < end_ms:
        world.advance(PAGE_EVERY_MS - 997 * (n % 10))
        world.page()
        n += 1


def settled(world: World) -> tuple[int, int]:
    """(sockets open but for the listener, heap bytes in use after a collect) in a moment without a POST or a page."""
    world.until(lambda: world.device.state[r.SOCKETS_OPEN] <= 1, 2 * MINUTE_MS, 1000)
    sockets = world.device.state[r.SOCKETS_OPEN]
    told = []
    for _ in range(4):
        world.advance(7300)  # in which the guard looks
        told.append(world.status()["memory"]["gc_settled"])
    return sockets, min(told)


def step_ms(world: World) -> int:
    """The most until a POST that begins when the server is well: the pause the board is in; or, while a POST is under
    way, the rest of it and the pause after it."""
    status = world.status()
    failures = status["post"]["failures"]
    counts = [failures, failures + 1] if world.device.state[r.SOCKETS_OPEN] > 1 else [failures]
    seeds = [crc32(b"%s %d %d" % (status["device"].encode(), status["boot"], count)) for count in counts]
    pauses = [backoff_ms(n, 2000, LONGEST_PAUSE_MS, seed) for n, seed in zip(counts, seeds, strict=True)]
    return max(MINUTE_MS, *pauses) + WHOLE_POST_MS


@pytest.mark.parametrize("name", ALL)
def test_with_a_fault_of_the_server_pages_answer_no_slot_is_missed_and_all_arrives_afterwards(
    make_device: Callable[..., Device], name: str
) -> None:
    began = time.monotonic()
    with posting(make_device) as world:
        browse(world, MINUTE_MS)
        _, before = settled(world)
        world.server.fault = ALL[name]
        browse(world, minutes(name) * MINUTE_MS)
        world.assert_sound()
        requests, connections = len(world.server.requests), world.server.connections
        world.server.fault = faults.NONE
        allowed_ms = step_ms(world)
        waiting = world.status()["storage"]["next_seq"] - 1
        took_ms = world.until(lambda: world.newest() >= waiting, 2 * LONGEST_PAUSE_MS)
        assert took_ms <= allowed_ms
        world.until(lambda: not world.post()["held"], MINUTE_MS)
        browse(world, MINUTE_MS)
        world.assert_sound()
        assert sorted(world.arrived()) == list(range(1, world.newest() + 1))
        assert world.server.ledger.doubled_by_key() == world.server.ledger.conflicts == []
        sockets, after = settled(world)
        print(
            f"{name}: {minutes(name)} min, {requests} requests over {connections} connections, well again after "
            f"{took_ms / 1000:.0f} s; {len(world.page_ms)} pages, p99 {world.page_p99_ms():.0f} ms, most "
            f"{max(world.page_ms):.0f} ms; heap {after - before:+d} bytes; {time.monotonic() - began:.1f} s real time"
        )
        assert sockets <= 1
        assert after - before <= FIRST_BYTES
        assert world.page_p99_ms() <= (PAGE_P99_MS if MINUTES else PAGE_BESIDE_OTHERS_MS)


def test_what_is_wrong_with_a_server_is_said_in_words_with_the_time(make_device: Callable[..., Device]) -> None:
    sentences = {
        "refuse": "connecting failed: it refused or broke off",
        "black hole": "connecting failed: took too long",
        "silent": "waiting for its answer failed: took too long",
        "close at once": "it refused or broke off",
        "no HTTP": "the answer is no HTTP",
        "status 500": "the server answers 500",
    }
    with posting(make_device) as world:
        for name, sentence in sentences.items():
            world.server.fault = ALL[name]
            already = sum(bool(PAUSE_LINE.search(line)) for line in world.log_lines())
            world.device.post("/telemetry", b"do=send")
            world.until(lambda already=already: len(world.pauses_s()) > already, LONGEST_PAUSE_MS, 2000)
            post = world.post()
            assert sentence in post["state"], name
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ .*", post["error"])
            assert sentence in world.page()


CYCLES = 4


def test_faults_that_come_again_and_again_cost_no_memory(make_device: Callable[..., Device]) -> None:
    """The first time, a fault may leave a name or two behind."""
    told = []
    with posting(make_device) as world:
        for _ in range(CYCLES):
            for name in ("refuse", "silent", "close in the headers", "no HTTP", "status 404", "status 500"):
                world.server.fault = ALL[name]
                world.advance(2 * MINUTE_MS)
                world.server.fault = faults.NONE
                world.device.post("/telemetry", b"do=send")
                world.until(lambda: world.post()["waiting"] < 4 and not world.post()["held"], LONGEST_PAUSE_MS, 2000)
            told.append(settled(world)[1])
        print(f"heap in use after each of {CYCLES} rounds of six faults: {told}")
        assert max(told[1:]) - told[0] <= LEAK_BYTES
        assert sorted(world.arrived()) == list(range(1, world.newest() + 1))
        world.assert_sound()
