"""lib/http_client on the VM when a post is ended: cancelled, cut off from its link, or by its limits, in each phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from host_tests import faults
from host_tests.faults import Fault
from host_tests.http_lab import ANSWER, CONNECT, NAME, REST, SEND, TIMED_OUT, Exchange, HttpLab
from scripts.vm import Vm

pytestmark = pytest.mark.vm

HOST = "collector.test"
LONG = "0123456789" * 2000


@pytest.fixture
def lab(tmp_path: Path, vm: Vm) -> Iterator[HttpLab]:
    with HttpLab(tmp_path, vm) as lab:
        yield lab


BIG = f"pieces=lambda: body({LONG!r}), size_bytes=20000"
SILENCES: dict[str, tuple[int, str, Fault]] = {
    "its name": (NAME, "", faults.NONE),
    "connecting": (CONNECT, "", faults.BLACK_HOLE),
    "sending": (SEND, BIG, faults.SILENT_UNREAD),
    "waiting for its answer": (ANSWER, "", faults.SILENT),
    "its answer": (REST, "", faults.drip(100)),
}
"""A fault that makes the phase last, and the post that meets it."""


@pytest.fixture(params=SILENCES)
def lasting(request: pytest.FixtureRequest, lab: HttpLab) -> tuple[int, Callable[..., dict]]:
    """(a phase that does not end by itself, how to run a script in which `begin()` is a post that gets there)."""
    phase, arguments, lab.server.fault = SILENCES[request.param]
    url = f"http://{HOST}:{lab.server.port}/readings"
    begin = f"""
    async def begin():
        return await post({arguments})
    """

    def run(script: str) -> dict:
        return lab.script(dedent(begin) + dedent(script), url, DNS_DEAD=int(phase == NAME))

    return phase, run


def test_a_post_that_is_cancelled_leaves_no_socket_and_no_task(lasting: tuple[int, Callable[..., dict]]) -> None:
    phase, run = lasting
    said = run("""
    from asyncio import core


    async def cancelled():
        task = asyncio.create_task(begin())
        await asyncio.sleep_ms(400)
        before = words[r.SOCKETS_OPEN]
        task.cancel()
        await asyncio.sleep_ms(0)
        await asyncio.sleep_ms(0)
        queue = core._task_queue
        return client.phase, before, words[r.SOCKETS_OPEN], bool(queue.peek()), len(core._io_queue.map), task.done()
    say("found", asyncio.run(cancelled()))
    """)
    assert said["found"] == (phase, 1, 0, False, 0, True)


def test_a_link_that_is_lost_ends_the_post_in_its_time(lasting: tuple[int, Callable[..., dict]]) -> None:
    phase, run = lasting
    said = run("""
    async def unplug():
        await asyncio.sleep_ms(400)
        words[r.AP_PRESENT] = 0


    async def both():
        task = asyncio.create_task(unplug())
        return await begin(), await post()
    run(found=both())
    """)
    first, second = (Exchange(*one) for one in said["found"])
    limit_ms = 400 + 15_000
    assert first.got in (TIMED_OUT, -202, 118, 200) and first.ms <= limit_ms + 600
    assert second.got in (-202, 118) and second.ms <= 10_000
    assert first.got != 200 or phase == REST


def test_it_beats_in_every_phase(lasting: tuple[int, Callable[..., dict]]) -> None:
    _, run = lasting
    said = run('run(found=begin())\nsay("beats", beats)')
    assert said["beats"] >= said["found"][2] // 100


def test_all_of_it_has_a_limit_besides_that_of_each_phase(lab: HttpLab) -> None:
    lab.server.fault = faults.SILENT
    said = lab.script(
        """
    asked = 0


    async def dial(client, url):
        global asked
        asked += 1
        client.ips = ("127.0.0.1",) * (4 - asked)
        client.enter(2)
        await asyncio.sleep_ms(14000)
        if asked < 3:
            raise OSError(104)
        await http_dial.dial(client, url, SERVERS, None)


    client = http_client.Client(bytearray(512), dial)
    run(found=all_of(post()))
    """
    )
    exchange = Exchange(*said["found"][0])
    assert exchange.got == TIMED_OUT
    assert 30_000 <= exchange.ms <= 30_200
