"""lib/http_client and host names, on the VM: who is asked, how long an address is kept, and that nothing blocks."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tests.udp_lab import SERVER, UdpLab
from scripts.vm import Vm

pytestmark = pytest.mark.vm

NAME = "collector.test"
QUESTION = (SERVER, NAME)
BODY = b"[1,2]"

POST = """
    async def post(host={name!r}, servers=({server!r},), port={port}, size_bytes=5):
        url = "http://%s:%d/readings" % (host, port)
        return (await http_client.post(url, "", size_bytes, iter(("[1", ",2]")), bytearray(200), servers))[0]
    """


class Collector(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        if self.rfile.read(len(BODY)) == BODY:
            self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")


class Server(socketserver.TCPServer):
    allow_reuse_address = True


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that answers every POST with 204."""
    with Server(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class HttpLab(UdpLab):
    port = 0

    def posts(self, script: str, **words: int) -> dict:
        return self.run(POST.format(name=NAME, server=SERVER, port=self.port) + script, **words)


@pytest.fixture
def net(tmp_path: Path, vm: Vm, port: int) -> Iterator[HttpLab]:
    with HttpLab(tmp_path, vm) as net:
        net.port = port
        yield net


def test_a_name_is_looked_up_and_posted_to(net: HttpLab) -> None:
    assert net.posts("run(status=post())\n    ")["status"] == 204
    assert net.names.asked == [QUESTION]


def test_an_address_literal_asks_nobody(net: HttpLab) -> None:
    assert net.posts('run(status=post("127.0.0.1", ()))\n    ')["status"] == 204
    assert net.names.asked == []


@pytest.mark.parametrize("size_bytes", [4, 6])
def test_a_body_that_is_not_what_was_measured_is_broken_off(net: HttpLab, size_bytes: int) -> None:
    assert net.posts(f"run(status=post(size_bytes={size_bytes}))\n    ")["status"] == 113


@pytest.mark.parametrize("host", ["127.0.0.256", "127.0.1", "1"])
def test_digits_that_are_no_address_never_reach_the_blocking_resolver(net: HttpLab, host: str) -> None:
    said = net.posts(f'run(status=post("{host}"))\n    ')
    assert said["status"] == -202
    assert net.names.asked == [(SERVER, host)]


def test_a_name_without_a_server_to_ask_fails_at_once(net: HttpLab) -> None:
    said = net.posts("run(status=post(servers=()))\n    ")
    assert said["status"] == -202
    assert said["status ms"] < 200


def test_a_name_that_is_none_is_a_sentence(net: HttpLab) -> None:
    assert "a host name has labels" in net.posts('run(status=post("a..b"))\n    ')["status"]


TWICE = """
    async def twice():
        first = await post()
        await asyncio.sleep_ms({pause_s} * 1000)
        return first, await post()
    say("status", asyncio.run(twice()))
    """


@pytest.mark.parametrize(
    ("ttl_s", "pause_s", "asked"),
    [(300, 290, 1), (300, 301, 2), (1, 55, 1), (1, 61, 2), (1_000_000, 3_590, 1), (1_000_000, 3_601, 2)],
)
def test_an_address_is_kept_for_its_time_of_a_minute_to_an_hour(
    net: HttpLab, ttl_s: int, pause_s: int, asked: int
) -> None:
    net.names.ttl_s = ttl_s
    assert net.posts(TWICE.format(pause_s=pause_s))["status"] == (204, 204)
    assert net.names.asked == [QUESTION] * asked


def test_another_name_takes_the_place_of_the_one_that_was_kept(net: HttpLab) -> None:
    net.names.names["other.test"] = "127.0.0.1"
    said = net.posts("""
    async def three():
        return await post(), await post("other.test"), await post()
    run(status=three())
    """)
    assert said["status"] == (204, 204, 204)
    assert [name for _, name in net.names.asked] == [NAME, "other.test", NAME]


def test_an_address_that_does_not_connect_is_forgotten(net: HttpLab) -> None:
    said = net.posts("""
    async def after_a_failure():
        await post()
        try:
            await post(port=1)
        except OSError as error:
            say("failure", error.errno)
        return await post()
    run(status=after_a_failure())
    """)
    assert (said["failure"], said["status"]) == (104, 204)
    assert net.names.asked == [QUESTION] * 2


def test_an_address_that_is_given_up_on_is_forgotten(net: HttpLab) -> None:
    """As telemetry gives up on a server that does not answer: it cancels."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = net.posts(f"""
    async def after_a_cancel():
        await post()
        task = asyncio.create_task(post(port={silent.getsockname()[1]}))
        await asyncio.sleep_ms(100)
        task.cancel()
        await asyncio.sleep_ms(0)
        return await post()
    run(status=after_a_cancel())
    """)
    assert said["status"] == 204
    assert net.names.asked == [QUESTION] * 2


def test_dead_name_servers_cost_8_s_in_which_all_else_goes_on(net: HttpLab) -> None:
    said = net.posts("run(status=post())\n    ", DNS_DEAD=1)
    assert said["status"] == -202
    assert 7_900 <= said["status ms"] <= 8_500
