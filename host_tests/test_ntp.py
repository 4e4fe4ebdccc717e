"""lib/ntp on the VM, against time servers of the virtual board's network: how right it is, and each of their faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tests.udp_lab import UdpLab
from host_tests.virtual_board.state import EPOCH_2000_S
from host_tests.virtual_board.time_server import FORGERIES, Behaviour, Fault
from host_tests.virtual_board.vm import registers as r
from scripts.vm import Vm

pytestmark = pytest.mark.vm

POOL = "127.0.123.1"
OTHER = "127.0.123.2"
TIMED_OUT, REFUSED, NO_ROUTE = 116, 111, 118

ASK = """
    import _board
    def truth_ms():
        return (_board.clock_read(r.NTP) + 946684800) * 1000 + words[r.NTP + 1]
    async def ask():
        offset_ms, delay_ms = await ntp.ask({ip!r}, time.ticks_ms)
        say("error ms", time.ticks_ms() + offset_ms - truth_ms())
        return delay_ms
    run(delay=ask())
    """


@pytest.fixture
def net(tmp_path: Path, vm: Vm) -> Iterator[UdpLab]:
    with UdpLab(tmp_path, vm) as net:
        yield net


def ask(net: UdpLab, ip: str = POOL, **words: int) -> dict[str, Any]:
    """What one exchange said: `delay` in ms, or what was raised; `delay ms` it took; `error ms` of the time got."""
    return net.run(ASK.format(ip=ip), **words)


def test_the_time_is_got_at_once_and_right_to_20_ms(net: UdpLab) -> None:
    said = ask(net)
    assert 0 <= said["delay"] <= 40
    assert abs(said["error ms"]) <= 20
    assert net.times.asked == [POOL]


@pytest.mark.parametrize("delay_ms", [40, 300, 1_000])
def test_the_error_is_a_fraction_of_a_long_delay(net: UdpLab, delay_ms: int) -> None:
    """The answer is found up to an eighth of the delay and 10 ms late, of which half goes into the time."""
    net.times.all.delay_ms = delay_ms
    said = ask(net)
    assert delay_ms <= said["delay"] <= delay_ms * 9 // 8 + 40
    assert abs(said["error ms"]) <= delay_ms // 16 + 20


@pytest.mark.parametrize("year", [2024, 2036, 2050, 2090])
def test_the_time_is_right_in_every_year(net: UdpLab, year: int) -> None:
    net.state.set_clock(r.NTP, (year - 2000) * 31556952)
    assert abs(ask(net)["error ms"]) <= 20
    assert net.times.truth_ms() // 1000 - EPOCH_2000_S >= (year - 2000) * 31556952


@pytest.mark.parametrize("fault", FORGERIES)
def test_a_forgery_is_dropped_and_the_honest_answer_behind_it_counts(net: UdpLab, fault: Fault) -> None:
    net.times.all.fault = fault
    assert abs(ask(net)["error ms"]) <= 20


def test_a_dead_server_times_out_after_2_s(net: UdpLab) -> None:
    net.times.all.fault = "dead"
    said = ask(net)
    assert said["delay"] == TIMED_OUT
    assert 2_000 <= said["delay ms"] <= 2_200


def test_an_answer_after_2_s_is_too_late(net: UdpLab) -> None:
    net.times.all.delay_ms = 2_300
    assert ask(net)["delay"] == TIMED_OUT


def test_a_kiss_of_death_is_told_apart(net: UdpLab) -> None:
    net.times.all.fault = "kiss of death"
    said = ask(net)
    assert said["delay"] == REFUSED
    assert said["delay ms"] < 200


@pytest.mark.parametrize("fault", ["unsynchronised", "stratum 16", "zero transmit", "backwards"])
def test_an_answer_that_is_no_good_is_refused_in_words(net: UdpLab, fault: Fault) -> None:
    net.times.all.fault = fault
    said = ask(net)
    assert said["delay"].startswith("the time server")
    assert said["delay ms"] < 200


def test_one_of_several_servers_can_be_wrong(net: UdpLab) -> None:
    """What it takes to find that out: each tells its own time."""
    net.times.at[OTHER] = Behaviour(offset_ms=90_000)
    assert abs(ask(net, POOL)["error ms"]) <= 20
    assert abs(ask(net, OTHER)["error ms"] - 90_000) <= 20


def test_without_a_link_it_fails_at_once(net: UdpLab) -> None:
    said = net.run("network.WLAN().disconnect()\nrun(found=ntp.ask('127.0.123.1', time.ticks_ms))\n")
    assert said["found"] == NO_ROUTE
    assert said["found ms"] < 200


def test_without_a_socket_to_be_had_it_says_so(net: UdpLab) -> None:
    assert ask(net, SOCKETS_TAKEN=10)["delay"] == 23


def test_the_names_of_time_servers_lead_to_them(net: UdpLab) -> None:
    said = net.run("""
        async def ask(name):
            ips, _ = await dns.resolve(name, (network.WLAN().ifconfig()[3],))
            return await ntp.ask(ips[0], time.ticks_ms)
        run(pool=ask("pool.ntp.org"), other=ask("time.cloudflare.com"))
        """)
    assert [type(said["pool"]), type(said["other"])] == [tuple, tuple]
    assert sorted(net.times.asked) == [POOL, OTHER]
