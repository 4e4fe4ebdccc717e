"""The bench's apps answer what the bench believes they answer; figures are `make bench`'s. See docs/bench.md."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from host_tests.bench import client, loads, long, measure, tree
from host_tests.bench.report import HEAP_AFTER_START, Row, missed, table
from host_tests.bench.server import App, TooSmall
from scripts.console import ROOT
from scripts.vm import Vm

pytestmark = pytest.mark.vm
ALL = (*client.MIX, client.MEMORY, client.SETTLED)


@pytest.fixture(scope="module", autouse=True)
def built() -> tree.Sizes:
    """Without microdot: it is installed for `make bench` only."""
    return tree.build(microdot=False)


@pytest.fixture(scope="module", params=["tally", "floor"])
def app(request: pytest.FixtureRequest, vm: Vm) -> Iterator[App]:
    with App(vm, request.param, "64k") as running:
        yield running


@pytest.mark.parametrize("request_", ALL, ids=lambda r: r.name)
def test_every_route_answers_a_browser_and_closes(app: App, request_: client.Request) -> None:
    assert request_.is_right(client.ask(app.port, request_))


def test_four_at_once_are_all_answered(app: App) -> None:
    assert loads.load(app.port, client.MIX, 4, count=60).answers == 60


def test_a_kept_connection_serves_all_routes(vm: Vm) -> None:
    with App(vm, "tally", "64k", "keep") as app:
        kept = client.Kept(app.port)
        for request in ALL:
            kept.ask(request)
        kept.close()
        client.ask(app.port, client.closing(client.GET))


def test_the_page_and_the_request_are_as_long_as_the_published_ones() -> None:
    assert len(client.INDEX) == 1050
    assert client.GET.data.count(b"\r\n") == 1 + 11 + 1
    assert 600 <= len(client.GET.data) <= 640


def test_the_heap_after_start_is_small(vm: Vm) -> None:
    with App(vm, "tally", "64k") as app:
        heap = app.ready - measure.bare_vm(vm)
    # The collector takes some numbers on the stack for addresses: what stays differs by some hundred bytes.
    assert heap <= (HEAP_AFTER_START + 256) * vm.word_bits // 32


HELD = """
import gc, sys
from httpd import Server

def held():
    gc.collect()
    gc.collect()
    return gc.mem_alloc() - before

gc.collect()
before = gc.mem_alloc()
server = Server("127.0.0.1", 80, {})
print(held())
head = b"GET / HTTP/1.1\\r\\nHost: 192.168.4.1\\r\\nConnection: keep-alive\\r\\nAccept-Encoding: gzip\\r\\n\\r\\n"
for http in server.slots:
    http.begin(1)
    http.view[: len(head)] = head
    http.feed(len(head))
    http.sock = http.task = http.parameter = http._start = None
print(held())
"""


def test_the_server_holds_what_its_documentation_says(vm: Vm) -> None:
    argv = [*vm.argv, "-X", "heapsize=512k", "-c", HELD]
    path = {**os.environ, "MICROPYPATH": f"{ROOT / 'device' / 'lib'}:.frozen"}
    done = subprocess.run(argv, env=path, capture_output=True, text=True, timeout=20, check=True)
    at_start, in_use = (int(line) * 32 // vm.word_bits for line in done.stdout.split())
    said = (ROOT / "device" / "lib" / "httpd.py").read_text()
    assert "2.7 KB from the start, 660 bytes a connection" in said
    assert "3.8 KB, 940 bytes a connection" in said
    assert 2_400 < at_start <= 4 * 660 + 60
    assert 3_400 < in_use <= 4 * 940 + 60


def test_garbage_is_counted_alike_every_time(vm: Vm) -> None:
    with App(vm, "floor", measure.GARBAGE_HEAP) as app:
        first, second = (measure.garbage(app, client.GET) for _ in range(2))
        assert 1000 < first < 10_000
        assert abs(first - second) < first / 10


def test_a_heap_too_small_is_told_from_one_that_serves(vm: Vm) -> None:
    assert not measure.serves(vm, "floor", 6 * 1024, 1)
    assert measure.serves(vm, "floor", 32 * 1024, 1)
    with pytest.raises(TooSmall, match="floor app ended before it listened"):
        App(vm, "floor", "6k")


def test_a_long_run_settles(capsys: pytest.CaptureFixture[str]) -> None:
    assert long.main(["--requests", "600", "--heap", "64k", "--no-keep"]) == 0
    assert " 0 errors, drift " in capsys.readouterr().out


def test_what_is_missed_is_named_and_only_that() -> None:
    rows = [
        Row("bytes", {"tally": 10, "microdot": 20}, most=10),
        Row("heap", {"tally": None}, most=10),
        Row("speed", {"tally": 4.4}, least=4.5, is_ratio=True),
        Row("context", {"tally": 1}),
        Row("heap here", {"tally": 99}, most=10, word_bits=64),
    ]
    assert missed(rows) == ["heap", "speed"]
    shown = table(rows)
    assert ">= 4.5x  MISSED" in shown and "64-bit: not judged" in shown
