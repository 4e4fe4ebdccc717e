"""lib/http_client and host names, on the VM: who is asked, how long an address is kept, which address is tried when."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tests import faults
from host_tests.http_lab import ANSWER, CONNECT, NAME, NO_ADDRESS, RESET, TIMED_OUT, Exchange, HttpLab
from host_tests.udp_lab import SERVER
from scripts.vm import Vm

pytestmark = pytest.mark.vm

HOST = "collector.test"
QUESTION = (SERVER, HOST)
GOOD, REFUSES, REFUSES_TOO = "127.0.0.1", "127.0.0.9", "127.0.0.10"
"""The server listens at the first only; nobody does at the others."""

HOLE = """
    real_connect = socket.socket.connect


    def connect(self, address):
        "To 127.0.0.66 nothing gets through, and nothing comes back."
        tried.append(address[0])
        if address[0] == "127.0.0.66":
            address = "127.0.0.1", {hole}
        real_connect(self, address)


    socket.socket.connect = connect
    tried = []
    """
SWALLOWS = "127.0.0.66"


class NamedLab(HttpLab):
    def at(self, host: str = HOST, port: int = 0) -> str:
        return f"http://{host}:{port or self.server.port}/readings"

    def named(self, *arguments: str, before: str = "", host: str = HOST, **words: int) -> list[Exchange]:
        """Posts to a host by its name."""
        return self.posts(*arguments, before=before, url=self.at(host), **words)


@pytest.fixture
def hole() -> Iterator[int]:
    """The port of a listener whose queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@pytest.fixture
def net(tmp_path: Path, vm: Vm) -> Iterator[NamedLab]:
    with NamedLab(tmp_path, vm) as net:
        net.server.keep = False
        yield net


def test_a_name_is_looked_up_and_posted_to(net: NamedLab) -> None:
    (exchange,) = net.named("")
    assert exchange.got == 200
    assert net.names.asked == [QUESTION]
    assert net.server.requests[0].headers["host"] == f"{HOST}:{net.server.port}"


def test_an_address_literal_asks_nobody(net: NamedLab) -> None:
    (exchange,) = net.named("", before="SERVERS = ()", host=GOOD)
    assert exchange.got == 200
    assert net.names.asked == []


@pytest.mark.parametrize("host", ["127.0.0.256", "127.0.1", "1"])
def test_digits_that_are_no_address_never_reach_the_blocking_resolver(net: NamedLab, host: str) -> None:
    (exchange,) = net.named("", host=host)
    assert (exchange.got, exchange.phase) == (NO_ADDRESS, NAME)
    assert net.names.asked == [(SERVER, host)]


def test_a_name_without_a_server_to_ask_fails_at_once(net: NamedLab) -> None:
    (exchange,) = net.named("", before="SERVERS = ()")
    assert exchange.got == NO_ADDRESS
    assert exchange.ms < 200


def test_a_name_that_is_none_is_a_sentence(net: NamedLab) -> None:
    (exchange,) = net.named("", host="a..b")
    assert "a host name has labels" in str(exchange.got)


@pytest.mark.parametrize(
    ("ttl_s", "pause_s", "asked"),
    [(300, 290, 1), (300, 301, 2), (1, 55, 1), (1, 61, 2), (1_000_000, 3_590, 1), (1_000_000, 3_601, 2)],
)
def test_an_address_is_kept_for_its_time_of_a_minute_to_an_hour(
    net: NamedLab, ttl_s: int, pause_s: int, asked: int
) -> None:
    net.names.ttl_s = ttl_s
    script = f"""
    async def twice():
        first = await post()
        await asyncio.sleep_ms({pause_s} * 1000)
        return first[0], (await post())[0]
    say("got", asyncio.run(twice()))
    """
    assert net.script(script, net.at())["got"] == (200, 200)
    assert net.names.asked == [QUESTION] * asked


def test_another_name_takes_the_place_of_the_one_that_was_kept(net: NamedLab) -> None:
    net.names.names["other.test"] = GOOD
    found = net.named("", f"{net.at('other.test')!r}", "")
    assert [exchange.got for exchange in found] == [200, 200, 200]
    assert [name for _, name in net.names.asked] == [HOST, "other.test", HOST]


def test_an_address_that_does_not_connect_is_asked_for_anew(net: NamedLab) -> None:
    found = net.named("", f"{net.at(port=1)!r}", "")
    assert [exchange.got for exchange in found] == [200, RESET, 200]
    assert net.names.asked == [QUESTION] * 2


def test_an_address_that_does_not_answer_is_asked_for_anew(net: NamedLab) -> None:
    net.server.fault = faults.SILENT
    found = net.named("", "")
    assert [(exchange.got, exchange.phase) for exchange in found] == [(TIMED_OUT, ANSWER)] * 2
    assert net.names.asked == [QUESTION] * 2


def test_dead_name_servers_cost_8_s_in_which_all_else_goes_on(net: NamedLab) -> None:
    (exchange,) = net.named("", DNS_DEAD=1)
    assert (exchange.got, exchange.phase) == (NO_ADDRESS, NAME)
    assert 7_900 <= exchange.ms <= 8_500


def test_a_name_that_can_not_be_looked_up_again_is_not_looked_up_for_each_old_address(net: NamedLab) -> None:
    net.names.names[HOST] = f"{GOOD} {REFUSES}"
    net.names.ttl_s = 60
    script = """
    async def later():
        first = await post()
        await asyncio.sleep_ms(61000)
        words[r.DNS_DEAD] = 1
        return first, await post()
    run(found=later())
    """
    first, second = (Exchange(*one) for one in net.script(script, net.at())["found"])
    assert (first.got, second.got) == (200, NO_ADDRESS)
    assert second.ms <= 8_500


# --- several addresses ----------------------------------------------------------------------------


def test_the_next_address_is_tried_when_one_refuses(net: NamedLab) -> None:
    net.names.names[HOST] = f"{REFUSES} {REFUSES_TOO} {GOOD}"
    (exchange,) = net.named("")
    assert exchange.got == 200
    assert exchange.ms < 500
    assert net.names.asked == [QUESTION]


def test_the_address_that_took_it_is_the_first_of_the_next_post(net: NamedLab) -> None:
    net.names.names[HOST] = f"{REFUSES} {GOOD}"
    script = HOLE.format(hole=1) + "run(found=all_of(post(), post()))\n    say('tried', tried)"
    said = net.script(script, net.at())
    assert [one[0] for one in said["found"]] == [200, 200]
    assert said["tried"] == [REFUSES, GOOD, GOOD]


def test_the_next_address_is_tried_when_one_swallows_everything(net: NamedLab, hole: int) -> None:
    net.names.names[HOST] = f"{SWALLOWS} {GOOD}"
    script = HOLE.format(hole=hole) + "run(found=all_of(post(), post()))"
    first, second = (Exchange(*one) for one in net.script(script, net.at(), SKIP_SOCKETS=1000)["found"])
    assert (first.got, second.got) == (200, 200)
    assert 5_000 <= first.ms <= 5_600
    assert second.ms < 500


def test_all_addresses_are_tried_once_within_the_limit_of_all_of_it(net: NamedLab, hole: int) -> None:
    net.names.names[HOST] = " ".join([SWALLOWS] * 4)
    script = HOLE.format(hole=hole) + "run(found=all_of(post()))\n    say('tried', tried)"
    said = net.script(script, net.at(), SKIP_SOCKETS=1000)
    exchange = Exchange(*said["found"][0])
    assert (exchange.got, exchange.phase) == (TIMED_OUT, CONNECT)
    assert said["tried"] == [SWALLOWS] * 4
    assert 20_000 <= exchange.ms <= 21_000
    assert net.names.asked == [QUESTION]


def test_a_name_is_looked_up_anew_when_no_address_was_left(net: NamedLab) -> None:
    net.names.names[HOST] = f"{REFUSES} {REFUSES_TOO}"
    found = net.named("", "")
    assert [exchange.got for exchange in found] == [RESET, RESET]
    assert net.names.asked == [QUESTION] * 2


def test_an_address_that_takes_a_post_and_does_not_answer_is_left_out_of_the_next(net: NamedLab) -> None:
    """It is not tried at another address at once, since it may have taken effect."""
    net.names.names[HOST] = f"{GOOD} {REFUSES}"
    net.server.fault = faults.COMMIT_AND_DROP
    script = HOLE.format(hole=1) + "run(found=all_of(post(), post(), post()))\n    say('tried', tried)"
    said = net.script(script, net.at())
    assert [one[:2] for one in said["found"]] == [(RESET, ANSWER), (RESET, CONNECT), (RESET, ANSWER)]
    assert said["tried"] == [GOOD, REFUSES, GOOD]
    assert net.names.asked == [QUESTION] * 2
