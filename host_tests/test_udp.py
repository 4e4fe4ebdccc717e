"""Datagrams of the virtual board: what the fake sockets promise of them, and how they pass in the board's time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tests.udp_lab import SERVER, UdpLab
from host_tests.virtual_board.vm import registers as r
from scripts.vm import Vm

pytestmark = pytest.mark.vm

ASKED = """
    def datagrams(port=0):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("0.0.0.0", port))
        return sock
    question = dns.query("collector.test", 1)
    sock = datagrams()
    say("sent", sock.sendto(question, ("127.0.0.53", 53)) == len(question))
    """


@pytest.fixture
def net(tmp_path: Path, vm: Vm) -> Iterator[UdpLab]:
    with UdpLab(tmp_path, vm) as net:
        yield net


def test_an_answer_comes_from_the_address_and_port_that_were_asked(net: UdpLab) -> None:
    said = net.run(
        ASKED
        + """
    data, source = sock.recvfrom(512)
    say("source", source)
    say("address", data[-4:])
    """
    )
    assert said == {"sent": True, "source": (SERVER, 53), "address": b"\x7f\0\0\1"}


def test_a_datagram_is_read_whole_or_cut_and_never_in_pieces(net: UdpLab) -> None:
    said = net.run(
        ASKED
        + """
    sock.sendto(question, ("127.0.0.53", 53))
    buffer = bytearray(5)
    say("readinto", sock.readinto(buffer, 4))
    say("buffer", bytes(buffer))
    say("recv", len(sock.recv(7)))
    say("then", errno_of(sock.recv, 7))
    say("none", sock.readinto(buffer))
    """
    )
    assert said == {"sent": True, "readinto": 4, "buffer": b"\0\1\x81\x80\0", "recv": 7, "then": 11, "none": None}


def test_nothing_is_there_before_its_time(net: UdpLab) -> None:
    net.names.delay_ms = 700
    said = net.run(
        ASKED
        + """
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    say("recv", errno_of(sock.recvfrom, 512))
    say("ready", len(poller.poll(0)))
    time.sleep_ms(690)
    say("still", len(poller.poll(0)))
    time.sleep_ms(20)
    say("at last", len(poller.poll(0)))
    say("bytes", len(sock.recvfrom(512)[0]) > 12)
    """
    )
    assert said == {"sent": True, "recv": 11, "ready": 0, "still": 0, "at last": 1, "bytes": True}


def test_a_blocking_socket_waits_for_its_datagram_or_its_timeout(net: UdpLab) -> None:
    net.names.delay_ms = 700
    said = net.run(
        ASKED
        + """
    sock.settimeout(0.3)
    say("early", errno_of(sock.recvfrom, 512))
    sock.settimeout(None)
    say("ms", took_ms(sock.recv, 512))
    """
    )
    assert said["early"] == 116
    assert 350 <= said["ms"] <= 450


def test_what_is_sent_to_nobody_is_lost(net: UdpLab) -> None:
    net.names.stop()
    said = net.run(
        ASKED
        + """
    say("recv", errno_of(sock.recv, 512))
    """
    )
    assert said == {"sent": True, "recv": 11}


def test_a_host_that_is_gone_costs_a_moment_once(net: UdpLab) -> None:
    """Its port is still in the board's words, as after a simulator that was killed."""
    net.names.stop()
    net.state[r.NAME_SERVER] = 9
    said = net.run(
        ASKED
        + """
    sock.sendto(question, ("127.0.0.53", 53))
    say("recv", errno_of(sock.recv, 512))
    """
    )
    assert said == {"sent": True, "recv": 11}
    assert net.state[r.NAME_SERVER] == 0


def test_a_reply_that_the_link_went_down_before_is_not_seen(net: UdpLab) -> None:
    said = net.run(
        ASKED
        + """
    network.WLAN().disconnect()
    say("recv", errno_of(sock.recvfrom, 512))
    say("send", errno_of(sock.sendto, question, ("127.0.0.53", 53)))
    """
    )
    assert said == {"sent": True, "recv": 11, "send": 118}


def test_datagram_sockets_count_among_the_ten(net: UdpLab) -> None:
    said = net.run(
        ASKED
        + """
    socks = [datagrams() for _ in range(9)]
    say("eleventh", errno_of(datagrams))
    say("open", words[r.SOCKETS_OPEN])
    for s in socks:
        s.close()
    say("left", words[r.SOCKETS_OPEN])
    """
    )
    assert said == {"sent": True, "eleventh": 23, "open": 10, "left": 1}


def test_what_is_not_modelled_is_refused(net: UdpLab) -> None:
    said = net.run(
        ASKED
        + """
    say("connect", error_of(sock.connect, ("127.0.0.53", 53)))
    say("read", error_of(sock.read, 10))
    """
    )
    assert said == {"sent": True, "connect": "ValueError", "read": "ValueError"}


def test_the_board_knows_its_name_server_from_dhcp(net: UdpLab) -> None:
    said = net.run("""
        wlan = network.WLAN()
        say("ifconfig", wlan.ifconfig()[3])
        say("ipconfig", network.ipconfig("dns"))
        say("other", error_of(network.ipconfig, "addr4"))
        wlan.disconnect()
        say("gone", (wlan.ifconfig()[3], network.ipconfig("dns")))
        """)
    assert said == {"ifconfig": SERVER, "ipconfig": SERVER, "other": "ValueError", "gone": ("0.0.0.0", "0.0.0.0")}
