"""lib/dns on the VM, against name servers of the virtual board's network: each of their faults, in the board's time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tests.udp_lab import SERVER, UdpLab
from host_tests.virtual_board.name_server import FORGERIES, Fault
from scripts.vm import Vm

pytestmark = pytest.mark.vm

FAILED = -202
OTHER = "127.0.0.54"
FOUND = (("127.0.0.1",), 300)


@pytest.fixture
def net(tmp_path: Path, vm: Vm) -> Iterator[UdpLab]:
    with UdpLab(tmp_path, vm) as net:
        yield net


def test_a_name_is_resolved_at_once(net: UdpLab) -> None:
    found, took_ms = net.resolve()
    assert found == FOUND
    assert took_ms < 200
    assert net.names.asked == [(SERVER, "collector.test")]


def test_an_address_needs_no_server(net: UdpLab) -> None:
    said = net.run("""
        run(
            literal=dns.resolve("192.168.1.255", ()),
            not_one=dns.resolve("192.168.1.256", ("127.0.0.53",)),
            short=dns.resolve("192.168.1", ("127.0.0.53",)),
            sign=dns.resolve("192.168.1.-1", ("127.0.0.53",)),
        )
        """)
    assert said["literal"] == (("192.168.1.255",), 86400)
    assert (said["not_one"], said["short"], said["sign"]) == (FAILED, FAILED, FAILED)
    assert len(net.names.asked) == 3


def test_a_name_that_is_none_is_a_value_error(net: UdpLab) -> None:
    found, _ = net.resolve("a..b")
    assert "a host name has labels" in found
    assert net.names.asked == []


@pytest.mark.parametrize("servers", [(), ("",), ("0.0.0.0",)])
def test_without_a_server_a_name_fails_at_once(net: UdpLab, servers: tuple) -> None:
    found, took_ms = net.resolve(servers=servers)
    assert found == FAILED
    assert took_ms < 200


@pytest.mark.parametrize("fault", FORGERIES)
def test_a_forgery_is_dropped_and_the_honest_answer_behind_it_counts(net: UdpLab, fault: Fault) -> None:
    net.names.fault = fault
    assert net.resolve()[0] == FOUND
    assert len(net.names.asked) == 1, "it was not asked again"


def test_a_flood_of_forgeries_delays_the_honest_answer_little(net: UdpLab) -> None:
    net.names.fault = "forged id"
    net.names.lies = 50
    found, took_ms = net.resolve()
    assert found == FOUND
    assert took_ms < 300


@pytest.mark.parametrize("fault", FORGERIES)
def test_forgeries_alone_end_like_a_dead_server(net: UdpLab, fault: Fault) -> None:
    net.names.fault = fault
    net.names.lies_only = True
    found, took_ms = net.resolve()
    assert found == FAILED
    assert 7_900 <= took_ms <= 8_500


@pytest.mark.parametrize("fault", ["truncated", "cname chain", "cname backwards"])
def test_what_has_an_address_is_taken(net: UdpLab, fault: Fault) -> None:
    net.names.fault = fault
    assert net.resolve()[0][0] == ("127.0.0.1",)


@pytest.mark.parametrize(
    "fault",
    ["nxdomain", "servfail", "no address", "truncated empty", "cname loop", "compression loop", "cut off"],
)
def test_an_answer_without_an_address_fails_at_once(net: UdpLab, fault: Fault) -> None:
    net.names.fault = fault
    found, took_ms = net.resolve()
    assert found == FAILED
    assert took_ms < 200
    assert len(net.names.asked) == 1, "it was not asked again"


def test_a_dead_server_costs_8_s_and_four_questions(net: UdpLab) -> None:
    net.names.fault = "dead"
    found, took_ms = net.resolve()
    assert found == FAILED
    assert 7_900 <= took_ms <= 8_500
    assert len(net.names.asked) == 4


def test_no_limit_of_the_caller_is_more_than_10_s(net: UdpLab) -> None:
    net.names.fault = "dead"
    said = net.run("""
        run(long=dns.resolve("a.test", ("127.0.0.53",) * 3, 60000), short=dns.resolve("a.test", ("127.0.0.53",), 300))
        """)
    assert (said["long"], said["short"]) == (FAILED, FAILED)
    assert 9_900 <= said["long ms"] <= 10_500
    assert 290 <= said["short ms"] <= 500


def test_the_second_server_helps_when_the_first_is_dead(net: UdpLab) -> None:
    net.names.faults[SERVER] = "dead"
    found, took_ms = net.resolve(servers=(SERVER, OTHER))
    assert found == FOUND
    assert 1_000 <= took_ms <= 1_500


@pytest.mark.parametrize("fault", ["servfail", "nxdomain", "compression loop"])
def test_the_second_server_helps_when_the_first_knows_nothing(net: UdpLab, fault: Fault) -> None:
    net.names.faults[SERVER] = fault
    found, took_ms = net.resolve(servers=(SERVER, OTHER))
    assert found == FOUND
    assert took_ms < 300


def test_a_server_that_said_no_is_not_asked_again(net: UdpLab) -> None:
    net.names.faults = {SERVER: "servfail", OTHER: "dead"}
    assert net.resolve(servers=(SERVER, OTHER))[0] == FAILED
    assert [ip for ip, _ in net.names.asked].count(SERVER) == 1


@pytest.mark.parametrize(("delay_ms", "asked"), [(800, 1), (1_500, 2), (3_500, 3)])
def test_a_slow_server_is_waited_for_longer_each_time(net: UdpLab, delay_ms: int, asked: int) -> None:
    net.names.delay_ms = delay_ms
    found, took_ms = net.resolve()
    assert found == FOUND
    assert delay_ms <= took_ms <= 8_000
    assert len(net.names.asked) == asked


def test_an_empty_datagram_costs_one_try(net: UdpLab) -> None:
    net.names.fault = "empty datagram"
    found, took_ms = net.resolve()
    assert found == FAILED
    assert took_ms <= 8_500


def test_every_question_has_its_own_id_and_port(net: UdpLab) -> None:
    net.names.fault = "dead"
    said = net.run(f"""
        ports = []
        bind = socket.socket.bind
        def spy(self, address):
            ports.append(address[1])
            bind(self, address)
        socket.socket.bind = spy
        run(found=dns.resolve("collector.test", {(SERVER, OTHER)!r}))
        say("ports", ports)
        """)
    assert len(net.names.asked) == 5
    assert len(set(net.names.ids)) == len(set(said["ports"])) == 5
    assert all(49152 <= port <= 65535 for port in said["ports"])


def test_without_a_link_it_fails_at_once(net: UdpLab) -> None:
    said = net.run("""
        network.WLAN().disconnect()
        run(found=dns.resolve("collector.test", ("127.0.0.53",)))
        """)
    assert said["found"] == 118
    assert said["found ms"] < 200


def test_without_a_socket_to_be_had_it_says_so(net: UdpLab) -> None:
    assert net.resolve(SOCKETS_TAKEN=10)[0] == 23


def test_a_cancelled_question_leaves_no_socket(net: UdpLab) -> None:
    net.names.fault = "dead"
    said = net.run("""
        async def impatient():
            task = asyncio.create_task(dns.resolve("collector.test", ("127.0.0.53",)))
            await asyncio.sleep_ms(500)
            say("before", words[r.SOCKETS_OPEN])
            task.cancel()
            await asyncio.sleep_ms(0)
        run(gone=impatient())
        """)
    assert said["before"] == 1


def test_questions_side_by_side_get_their_own_answers(net: UdpLab) -> None:
    net.names.names["other.test"] = "127.0.0.7"
    net.names.delay_ms = 300
    said = net.run("""
        async def both():
            names = ("collector.test", "other.test", "collector.test")
            return await asyncio.gather(*[dns.resolve(name, ("127.0.0.53",)) for name in names])
        run(found=both())
        """)
    assert [ips for ips, _ in said["found"]] == [("127.0.0.1",), ("127.0.0.7",), ("127.0.0.1",)]


def test_a_day_of_dead_name_servers_takes_seconds(net: UdpLab) -> None:
    net.names.fault = "dead"
    said = net.run("""
        async def day():
            for _ in range(96):
                await asyncio.sleep_ms(900000)
                try:
                    await dns.resolve("collector.test", ("127.0.0.53",))
                except OSError:
                    pass
        before = words[r.SKIPPED_MS]
        asyncio.run(day())
        say("h", (words[r.SKIPPED_MS] - before) // 3600000)
        """)
    assert said["h"] >= 24
