"""lib/http_client against each fault of the fault server: what a post comes to, how long it takes, what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from host_tests import faults
from host_tests.http_lab import (
    ANSWER,
    CONNECT,
    LIMITS_MS,
    RESET,
    REST,
    TIMED_OUT,
    HttpLab,
)
from scripts.vm import Vm

pytestmark = pytest.mark.vm

MANY = 50
LEAST_OBJECT_BYTES = 16
LOOK_MS = 60
SAID = b'{"error": "refused by the fault server"}'
WRONG = "ValueError: the answer is no HTTP, or too long"
WRONG = WRONG

OUTCOMES: dict[str, tuple[int | str, int]] = {
    "refuse": (RESET, CONNECT),
    "black hole": (TIMED_OUT, CONNECT),
    "silent": (TIMED_OUT, ANSWER),
    "silent and unread": (TIMED_OUT, ANSWER),  # the board's own buffer takes a body as small as this one
    "drip": (200, REST),
    "close at once": (RESET, ANSWER),
    "close in the request": (RESET, ANSWER),
    "close in the status line": (RESET, REST),
    "close in the headers": (RESET, REST),
    "close in the body": (200, REST),
    "commit and drop": (RESET, ANSWER),
    "commit and reset": (RESET, ANSWER),
    "endless 1xx": (WRONG, REST),
    "huge by length": (200, REST),
    "huge chunked": (200, REST),
    "huge until close": (200, REST),
    "no HTTP": (WRONG, REST),
    "nothing but a line end": (WRONG, REST),
    "status that is no number": (WRONG, REST),
    "status out of range": (999, REST),
    "status of four digits": (WRONG, REST),
    "no status": (WRONG, REST),
    "negative length": (WRONG, REST),
    "length that is no number": (WRONG, REST),
    "huge length": (200, REST),
    "two lengths": (WRONG, REST),
    "bad chunk size": (200, REST),
    "negative chunk size": (200, REST),
    "huge chunk size": (200, REST),
    "chunk without its end": (200, REST),
    "endless header line": (WRONG, REST),
    "1,000 header lines": (WRONG, REST),
    "header without a colon": (200, REST),
    **dict.fromkeys(faults.STRANGE, (200, REST)),
}
"""What a post comes to, and how far it gets. The status is believed when its head is right, whatever the body is."""

FAULTS = {**faults.STRANGE, **faults.BROKEN, "drip": faults.drip(60)}
"""At one byte in 100 ms a head takes about as long as it may."""

CLOSES = ("close at once", "close in the request")
"""How far it gets there depends on when the board learns of it."""


@pytest.fixture
def lab(tmp_path: Path, vm: Vm) -> Iterator[HttpLab]:
    with HttpLab(tmp_path, vm) as lab:
        yield lab


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_one_outcome_in_its_time_and_leaves_nothing_in_the_heap(lab: HttpLab, name: str) -> None:
    lab.server.fault = FAULTS[name]
    count = MANY if name != "drip" else MANY // 4
    grown, outcomes = lab.script(f"say('many', asyncio.run(many({count})))")["many"]
    got, phase = OUTCOMES[name]
    assert {found[0] for found in outcomes} == {got}
    assert {found[1] for found in outcomes} <= set(range(CONNECT, phase + 1) if name in CLOSES else (phase,))
    assert grown < LEAST_OBJECT_BYTES * count // 2, "each exchange leaves something"
    longest_ms = max(found[-1] for found in outcomes)
    if got == TIMED_OUT:
        assert LIMITS_MS[phase] <= longest_ms
    assert longest_ms <= LIMITS_MS[phase] + 10 * LOOK_MS


@pytest.mark.parametrize("status", faults.STATUSES)
def test_a_refusal_is_told_with_what_the_server_says_of_it(lab: HttpLab, status: int) -> None:
    lab.server.fault = faults.status(status, "Retry-After: 120", "X-More: of the same")
    lab.server.date = "Sat, 31 Jan 2026 12:00:00 GMT"
    kept, closed = lab.posts("keep=True", "keep=False")
    assert (kept.got, kept.said) == (closed.got, closed.said) == (status, SAID)
    lines = kept.head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % status)
    assert lines[1:] == [b"Date: Sat, 31 Jan 2026 12:00:00 GMT", b"Retry-After: 120"]


@pytest.mark.parametrize("name", ["black hole", "silent", "drip"])
def test_all_else_goes_on_while_a_server_is_waited_for(lab: HttpLab, name: str) -> None:
    """Also with the clock at full speed: run() holds the loop to 50 ms."""
    lab.server.fault = FAULTS[name]
    (exchange,) = lab.posts("keep=False")
    assert exchange.got == OUTCOMES[name][0]


def test_a_server_that_drips_its_head_is_given_up_on(lab: HttpLab) -> None:
    lab.server.fault = faults.drip(900)
    (exchange,) = lab.posts("keep=False")
    assert (exchange.got, exchange.phase) == (TIMED_OUT, REST)
    assert LIMITS_MS[REST] <= exchange.ms <= 12_000


def test_a_refusal_counts_though_its_body_never_ends(lab: HttpLab) -> None:
    lab.server.fault = replace(faults.status(503), pieces=faults.CLOSE_MID_BODY.pieces, end="hold")
    (exchange,) = lab.posts("keep=True")
    assert (exchange.got, exchange.phase, exchange.said) == (503, REST, SAID)
    assert LIMITS_MS[REST] <= exchange.ms <= LIMITS_MS[REST] + 10 * LOOK_MS


@pytest.mark.parametrize("name", ["huge by length", "huge chunked", "huge until close"])
def test_of_a_huge_body_only_the_beginning_is_read(lab: HttpLab, name: str) -> None:
    lab.server.fault = replace(faults.BROKEN[name], status=507)
    (exchange,) = lab.posts("keep=True")
    assert (exchange.got, exchange.said) == (507, b"x" * 100)
