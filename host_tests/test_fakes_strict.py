"""Holds each fake of the chip to its strictness: small scripts on the real VM, a promise a test.

Owns the promises: what the stock v1.24.1 image was measured or read to do, and to refuse. Names
and parameters are test_fakes_stubs.py's. The words that scripts share: vm_scripts/prelude.py.
"""

from __future__ import annotations

import ast
import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from host_tests.virtual_board.board import VirtualBoard
from host_tests.virtual_board.fakes import build_fakes
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import _names
from host_tests.virtual_board.vm import registers as r
from scripts import partitions, vfs_image
from scripts.vm import Vm, find_vm

pytestmark = pytest.mark.vm

SCRIPTS = Path(__file__).parent / "vm_scripts"
VM_TIMEOUT_S = 20
TICKS = 1 << 30


class Lab:
    """A board's state and the VM runs on it. `said` is what the last script told by say()."""

    def __init__(self, folder: Path, vm: Vm) -> None:
        self.vm = vm
        self.state = BoardState(folder)
        self.state.put_text(r.SSID_TEXT, "air")
        self.state.put_text(r.PASSWORD_TEXT, "password")
        self.said: dict[str, Any] = {}
        self.output = ""
        self._process: subprocess.Popen[str] | None = None
        self.state.power_off()

    def start(self, script: str, **words: int) -> None:
        """Reset the chip, set the words and boot the VM with the prelude and `script`."""
        source = "from prelude import *\n" + dedent(script)
        self.state.prepare_boot(0)
        for name, value in words.items():
            self.state[getattr(r, name)] = value
        self._process = subprocess.Popen(
            [*self.vm.argv, "-X", "heapsize=512k", "-c", source],
            env={
                **os.environ,
                "MICROPYPATH": f"{build_fakes()}:{SCRIPTS}",
                "TALLY_BOARD": str(self.state.board_path),
                "TALLY_FLASH": str(self.state.flash_path),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def wait_ready(self) -> None:
        """Return when the script is at wait_for_test()."""
        assert self._process and self._process.stdout
        for line in self._process.stdout:
            self.output += line
            if line == "READY\n":
                return
        pytest.fail(f"the script ended before it was ready:\n{self.output}")

    def go_on(self, word: str = "go") -> None:
        assert self._process and self._process.stdin
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """Wait for the VM to end; what the script said. Its traceback fails the test."""
        assert self._process
        output, _ = self._process.communicate(timeout=VM_TIMEOUT_S)
        self._process = None
        self.output += output
        assert "Traceback" not in self.output, self.output
        lines = [line[4:] for line in self.output.splitlines() if line.startswith("SAY ")]
        self.said = dict(ast.literal_eval(line) for line in lines)
        return self.said

    def run(self, script: str, **words: int) -> dict[str, Any]:
        self.start(script, **words)
        return self.finish()

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
        self.state.close()


@pytest.fixture(scope="module")
def vm() -> Vm:
    return find_vm()


@pytest.fixture
def lab(tmp_path: Path, vm: Vm) -> Iterator[Lab]:
    lab = Lab(tmp_path / "board", vm)
    yield lab
    lab.close()


@pytest.fixture
def web_port(lab: Lab) -> int:
    """The host's port that the board's port 80 is reached at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab.state[r.PORT_MAP], lab.state[r.PORT_MAP + 1] = 80, port
    return port


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A listener on the host, for the board to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(VM_TIMEOUT_S)
        yield listener


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- errno --------------------------------------------------------------------------------------


def test_errno_has_lwips_numbers_under_22_names_and_no_other(lab: Lab) -> None:
    said = lab.run("""
        say("names", [n for n in dir(errno) if n[0] == "E"])
        say("numbers", {n: getattr(errno, n) for n in dir(errno) if n[0] == "E"})
        say("code", errno.errorcode)
        """)
    assert len(said["names"]) == 22
    expected = {
        "EAGAIN": 11, "ENOMEM": 12, "ECONNRESET": 104, "ENOBUFS": 105, "ECONNREFUSED": 111,
        "EADDRINUSE": 112, "ECONNABORTED": 113, "ETIMEDOUT": 116, "EHOSTUNREACH": 118,
        "EINPROGRESS": 119, "EALREADY": 120, "ENOTCONN": 128,
    }  # fmt: skip
    assert {name: said["numbers"][name] for name in expected} == expected
    assert said["code"] == {v: k for k, v in said["numbers"].items()}


# --- sockets: the budget ------------------------------------------------------------------------


def test_the_eleventh_socket_raises_23_and_closing_one_frees_it(lab: Lab) -> None:
    said = lab.run("""
        held = [socket.socket() for _ in range(10)]
        say("eleventh", errno_of(socket.socket))
        held.pop().close()
        say("after a close", errno_of(socket.socket))
        say("full again", errno_of(socket.socket))
        """)
    assert said == {"eleventh": 23, "after a close": None, "full again": 23}


def test_closing_a_socket_twice_frees_it_once(lab: Lab) -> None:
    said = lab.run("""
        held = [socket.socket() for _ in range(10)]
        held[0].close()
        held[0].close()
        held[0] = socket.socket()
        say("eleventh", errno_of(socket.socket))
        """)
    assert said["eleventh"] == 23


def test_sockets_that_others_hold_count(lab: Lab) -> None:
    said = lab.run(
        """
        held = [socket.socket() for _ in range(3)]
        say("fourth", errno_of(socket.socket))
        """,
        SOCKETS_TAKEN=7,
    )
    assert said["fourth"] == 23


def test_accept_at_the_limit_closes_the_peer_with_no_byte_and_raises_23(lab: Lab, web_port: int) -> None:
    lab.start("""
        online()
        s = listener()
        held = [socket.socket() for _ in range(9)]
        wait_for_test()
        poller = select.poll()
        poller.register(s, select.POLLIN)
        poller.poll(2000)
        say("accept", errno_of(s.accept))
        held.pop().close()
        wait_for_test()
        say("with room", accepted(s)[1][0])
        """)
    lab.wait_ready()
    with socket.create_connection(("127.0.0.1", web_port), VM_TIMEOUT_S) as client:
        lab.go_on()
        assert client.recv(10) == b""
    lab.wait_ready()
    with socket.create_connection(("127.0.0.1", web_port), VM_TIMEOUT_S):
        lab.go_on()
        assert lab.finish() == {"accept": 23, "with room": "127.0.0.1"}


def test_a_closed_socket_answers_every_call_with_9(lab: Lab) -> None:
    said = lab.run("""
        s = socket.socket()
        s.close()
        say("recv", errno_of(s.recv, 1))
        say("write", errno_of(s.write, b"x"))
        say("accept", errno_of(s.accept))
        say("setblocking", errno_of(s.setblocking, False))
        say("connect", errno_of(s.connect, ("127.0.0.1", 9)))
        say("fileno", s.fileno())
        """)
    assert said.pop("fileno") == -1
    assert set(said.values()) == {9}


def test_only_ipv4_streams_and_datagrams_can_be_made(lab: Lab) -> None:
    said = lab.run("""
        say("ipv6", error_of(socket.socket, socket.AF_INET6))
        say("raw", error_of(socket.socket, socket.AF_INET, socket.SOCK_RAW))
        say("open", words[r.SOCKETS_OPEN])
        """)
    assert said == {"ipv6": "OSError", "raw": "OSError", "open": 0}


def test_only_the_options_that_the_device_knows_can_be_set(lab: Lab) -> None:
    said = lab.run("""
        s = socket.socket()
        set = s.setsockopt
        say("reuse", errno_of(set, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))
        say("nodelay", errno_of(set, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
        say("keepalive", error_of(set, socket.SOL_SOCKET, 8, 1))
        say("linger", error_of(set, socket.SOL_SOCKET, 128, 1))
        say("Linux's level", error_of(set, 1, socket.SO_REUSEADDR, 1))
        """)
    assert said == {
        "reuse": None,
        "nodelay": None,
        "keepalive": "OSError",
        "linger": "OSError",
        "Linux's level": "OSError",
    }


# --- sockets: connecting ------------------------------------------------------------------------


def test_a_refused_connect_raises_104(lab: Lab) -> None:
    said = lab.run(f"""
        online()
        say("blocking", errno_of(socket.socket().connect, ("127.0.0.1", {unused_port()})))
        """)
    assert said["blocking"] == 104


def test_a_refused_non_blocking_connect_raises_119_and_then_104(lab: Lab) -> None:
    said = lab.run(f"""
        online()
        s = socket.socket()
        s.setblocking(False)
        say("connect", errno_of(s.connect, ("127.0.0.1", {unused_port()})))
        poller = select.poll()
        poller.register(s, select.POLLOUT)
        say("flags", poller.poll(1000)[0][1])
        say("write", errno_of(s.write, b"x"))
        """)
    assert (said["connect"], said["write"]) == (119, 104)
    assert said["flags"] & 4, "lwIP reports a failed connect as writable"
    assert not said["flags"] & 8, "lwIP never sets POLLERR"


@pytest.mark.parametrize("host", ["8.8.8.8", "10.0.0.1", "128.0.0.1", "0.0.0.0", "192.168.4.2"])
def test_only_127_can_be_reached(lab: Lab, host: str) -> None:
    said = lab.run(f"""
        online()
        say("connect", errno_of(socket.socket().connect, ("{host}", 53)))
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        say("sendto", errno_of(datagram.sendto, b"x", ("{host}", 53)))
        """)
    assert said == {"connect": 118, "sendto": 118}


def test_a_name_in_an_address_is_never_looked_up_on_the_host(lab: Lab) -> None:
    said = lab.run("""
        online()
        say("connect", errno_of(socket.socket().connect, ("127.rebind.example", 80)))
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        say("sendto", errno_of(datagram.sendto, b"x", ("127.rebind.example", 80)))
        """)
    assert said == {"connect": -202, "sendto": -202}


def test_nothing_is_reached_without_a_link(lab: Lab, server: socket.socket) -> None:
    port = server.getsockname()[1]
    said = lab.run(f"""
        say("connect", errno_of(socket.socket().connect, ("127.0.0.1", {port})))
        """)
    assert said["connect"] == 118


def test_connects_time_out_when_the_idf_heap_starves_though_the_link_stays_up(lab: Lab, server: socket.socket) -> None:
    said = lab.run(f"""
        wlan = online()
        s = socket.socket()
        words[r.IDF_TAKEN] = 114000 - 7000
        say("connect", errno_of(s.connect, ("127.0.0.1", {server.getsockname()[1]})))
        say("link", wlan.isconnected())
        """)
    assert said == {"connect": 116, "link": True}


def test_addresses_are_tuples_of_text_and_port_and_nothing_else(lab: Lab) -> None:
    said = lab.run("""
        online()
        raw = b"\\x02\\x00\\x00\\x50\\x7f\\x00\\x00\\x01" + bytes(8)
        for name, address in (("raw", raw), ("text", "127.0.0.1"), ("bytes", (b"127.0.0.1", 80))):
            say("connect " + name, error_of(socket.socket().connect, address))
            say("bind " + name, error_of(socket.socket().bind, address))
        say("lookup", socket.getaddrinfo("127.0.0.1", 80)[0][-1])
        """)
    assert said.pop("lookup") == ("127.0.0.1", 80)
    assert set(said.values()) == {"TypeError"}


def test_accept_and_recvfrom_give_address_tuples(lab: Lab, web_port: int) -> None:
    lab.start("""
        online()
        s = listener()
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagram.bind(("0.0.0.0", 80))
        wait_for_test()
        client, address = accepted(s)
        say("accept", address)
        say("recvfrom", datagram.recvfrom(10))
        """)
    lab.wait_ready()
    with (
        socket.create_connection(("127.0.0.1", web_port)) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
    ):
        datagram.sendto(b"hello", ("127.0.0.1", web_port))
        lab.go_on()
        said = lab.finish()
        assert said["accept"] == client.getsockname()
        assert said["recvfrom"] == (b"hello", ("127.0.0.1", datagram.getsockname()[1]))


def test_bind_always_lands_on_loopback(lab: Lab, web_port: int) -> None:
    lab.start("""
        online()
        s = listener(80)
        wait_for_test()
        """)
    lab.wait_ready()
    listening = Path("/proc/net/tcp").read_text().split()
    lab.go_on()
    lab.finish()
    assert f"0100007F:{web_port:04X}" in listening
    assert f"00000000:{web_port:04X}" not in listening


def test_a_port_in_use_raises_112(lab: Lab, web_port: int) -> None:
    said = lab.run("""
        s = listener()
        other = socket.socket()
        say("bind", errno_of(other.bind, ("0.0.0.0", 80)))
        """)
    assert said["bind"] == 112


# --- sockets: data ------------------------------------------------------------------------------


def test_accept_without_a_client_raises_11(lab: Lab) -> None:
    said = lab.run("""
        online()
        say("accept", errno_of(listener().accept))
        """)
    assert said["accept"] == 11


def test_reading_without_data_gives_none_and_recv_raises_11(lab: Lab, server: socket.socket) -> None:
    lab.start(f"""
        online()
        s = socket.socket()
        s.connect(("127.0.0.1", {server.getsockname()[1]}))
        s.setblocking(False)
        say("read", s.read(10))
        say("readinto", s.readinto(bytearray(10)))
        say("readline", s.readline())
        say("recv", errno_of(s.recv, 10))
        """)
    with server.accept()[0]:
        said = lab.finish()
    assert said == {"read": None, "readinto": None, "readline": None, "recv": 11}


def test_the_end_of_a_stream_reads_as_no_bytes(lab: Lab, server: socket.socket) -> None:
    lab.start(f"""
        online()
        s = socket.socket()
        s.connect(("127.0.0.1", {server.getsockname()[1]}))
        say("read", s.read())
        say("recv", s.recv(5))
        buffer = bytearray(5)
        say("readinto", s.readinto(buffer))
        """)
    with server.accept()[0] as peer:
        peer.sendall(b"all of it")
        peer.shutdown(socket.SHUT_WR)
        said = lab.finish()
    assert said == {"read": b"all of it", "recv": b"", "readinto": 0}


def test_a_read_after_a_reset_raises_104(lab: Lab, server: socket.socket) -> None:
    lab.start(f"""
        online()
        s = socket.socket()
        s.connect(("127.0.0.1", {server.getsockname()[1]}))
        s.write(b"never read")
        wait_for_test()
        say("recv", errno_of(s.recv, 10))
        """)
    peer = server.accept()[0]
    lab.wait_ready()
    peer.close()  # with unread data: Linux sends RST, as lwIP does
    lab.go_on()
    assert lab.finish()["recv"] == 104


@pytest.mark.parametrize("call", ["recv(1)", "read(1)", "readline()", "accept()"])
def test_a_timeout_of_a_blocking_call_raises_116(lab: Lab, server: socket.socket, call: str) -> None:
    lab.start(f"""
        online()
        s = listener() if "{call}" == "accept()" else socket.socket()
        if "{call}" != "accept()":
            s.connect(("127.0.0.1", {server.getsockname()[1]}))
        s.settimeout(0.1)
        say("error", errno_of(lambda: s.{call}))
        """)
    assert lab.finish()["error"] == 116


def test_calls_on_a_socket_that_was_never_connected_raise_128(lab: Lab) -> None:
    said = lab.run("""
        online()
        say("recv", errno_of(socket.socket().recv, 1))
        """)
    assert said["recv"] == 128


WRITE_UNTIL_FULL = """
    online()
    s = socket.socket()
    s.connect(("127.0.0.1", {port}))
    s.setblocking(False)
    taken = []
    while True:
        n = s.write(bytes(20000))
        if n is None:
            time.sleep_ms(100)  # the other end may acknowledge a little late
            n = s.write(bytes(20000))
            if n is None:
                break
        taken.append(n)
    say("taken", taken)
    say("send", errno_of(s.send, b"x"))
    poller = select.poll()
    poller.register(s, select.POLLOUT)
    say("ready when full", [flags for _, flags in poller.poll(30)])
    wait_for_test()
    say("ready again", [flags for _, flags in poller.poll(2000)])
    say("write again", s.write(b"x"))
    """


def test_writes_are_cut_at_the_send_buffer_and_give_none_when_it_is_full(lab: Lab, server: socket.socket) -> None:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5760)
    lab.start(WRITE_UNTIL_FULL.format(port=server.getsockname()[1]))
    with server.accept()[0] as peer:
        lab.wait_ready()
        peer.setblocking(False)
        lab.go_on()
        with contextlib.suppress(BlockingIOError):
            while peer.recv(65536):
                time.sleep(0.01)
        said = lab.finish()
    assert max(said["taken"]) == 5760
    assert said["send"] == 11
    assert said["ready when full"] == [], "a full buffer must not look writable"
    assert said["ready again"] == [4]
    assert said["write again"] == 1


def test_write_max_cuts_writes(lab: Lab, server: socket.socket) -> None:
    said = lab.run(
        f"""
        online()
        s = socket.socket()
        s.connect(("127.0.0.1", {server.getsockname()[1]}))
        say("write", s.write(bytes(1000)))
        say("send", s.send(bytes(1000)))
        """,
        WRITE_MAX=7,
    )
    assert said == {"write": 7, "send": 7}


def test_sendall_raises_116_when_a_non_blocking_socket_takes_a_part(lab: Lab, server: socket.socket) -> None:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5760)
    said = lab.run(f"""
        online()
        s = socket.socket()
        s.connect(("127.0.0.1", {server.getsockname()[1]}))
        s.setblocking(False)
        say("sendall", errno_of(s.sendall, bytes(200000)))
        """)
    assert said["sendall"] == 116


def test_a_link_that_goes_down_stops_data_and_does_not_spin_a_poller(lab: Lab, server: socket.socket) -> None:
    lab.start(f"""
        wlan = online()
        s = socket.socket()
        s.connect(("127.0.0.1", {server.getsockname()[1]}))
        s.setblocking(False)
        poller = select.poll()
        poller.register(s, select.POLLIN | select.POLLOUT)
        wait_for_test()
        words[r.AP_PRESENT] = 0
        say("connected", wlan.isconnected())
        say("read", s.read(1))
        say("write", s.write(b"x"))
        say("ready", [flags for _, flags in poller.poll(30)])
        words[r.AP_PRESENT] = 1
        skip()
        wlan.isconnected()
        time.sleep_ms(1300)
        words[r.SKIP_ON] = 0
        say("back", wlan.isconnected())
        say("ready then", [flags for _, flags in poller.poll(1000)])
        say("read then", s.read(1))
        """)
    with server.accept()[0] as peer:
        lab.wait_ready()
        peer.sendall(b"!")
        time.sleep(0.02)
        lab.go_on()
        said = lab.finish()
    assert said == {
        "connected": False,
        "read": None,
        "write": None,
        "ready": [],
        "back": True,
        "ready then": [5],
        "read then": b"!",
    }


# --- sockets: names -----------------------------------------------------------------------------


def test_a_name_that_is_unknown_raises_minus_202_at_once(lab: Lab) -> None:
    said = lab.run("""
        online()
        say("error", errno_of(socket.getaddrinfo, "collector.example", 80))
        say("ms", took_ms(socket.getaddrinfo, "collector.example", 80))
        """)
    assert said["error"] == -202
    assert said["ms"] < 1000


def test_a_dead_dns_blocks_14_s_of_the_boards_time_and_raises_minus_202(lab: Lab) -> None:
    said = lab.run(
        """
        online()
        skip()
        say("error", errno_of(socket.getaddrinfo, "pool.ntp.org", 80))
        say("ms", took_ms(socket.getaddrinfo, "pool.ntp.org", 80))
        say("literal", errno_of(socket.getaddrinfo, "127.0.0.1", 80))
        """,
        DNS_DEAD=1,
    )
    assert (said["error"], said["literal"]) == (-202, None)
    assert 14000 <= said["ms"] < 15000


# --- time ---------------------------------------------------------------------------------------


def test_the_clock_is_an_int_that_starts_at_0_after_power_on(lab: Lab) -> None:
    said = lab.run("""
        say("time", time.time())
        say("gmtime", time.gmtime(0))
        say("now", len(time.gmtime()))
        say("localtime", time.localtime(86400))
        skip()
        time.sleep(100)
        say("later", time.time())
        say("ns", time.time_ns() // 1000000000)
        """)
    assert said["time"] in (0, 1)
    assert type(said["time"]) is int
    assert said["gmtime"] == (2000, 1, 1, 0, 0, 0, 5, 1)
    assert said["localtime"] == (2000, 1, 2, 0, 0, 0, 6, 2)
    assert said["now"] == 8
    assert said["later"] in (100, 101, 102)
    assert said["ns"] == said["later"]


def test_mktime_inverts_gmtime_and_knows_every_leap_year(lab: Lab) -> None:
    said = lab.run("""
        wrong = []
        t = 0
        while t < 1 << 31:
            if time.mktime(time.gmtime(t)) != t or time.gmtime(t)[6] != (t // 86400 + 5) % 7:
                wrong.append(t)
            t += 86400 * 11 + 3607
        say("wrong", wrong)
        say("dates", [time.gmtime(d * 86400)[:3] for d in (59, 60, 13879, 24855)])
        """)
    assert said["wrong"] == []
    assert said["dates"] == [
        (2000, 2, 29),
        (2000, 3, 1),
        (2037, 12, 31),
        (2068, 1, 19),
    ]


def test_times_that_the_device_refuses_are_refused(lab: Lab) -> None:
    said = lab.run("""
        say("gmtime", error_of(time.gmtime, 1.5))
        say("sleep_ms", error_of(time.sleep_ms, 1.5))
        say("sleep_us", error_of(time.sleep_us, 1.5))
        say("short tuple", error_of(time.mktime, (2024, 1, 1, 0, 0, 0)))
        say("float in a tuple", error_of(time.mktime, (2024, 1, 1, 0, 0, 1.5, 0, 0)))
        say("strftime", hasattr(time, "strftime"))
        say("clock", hasattr(time, "clock"))
        """)
    assert (said.pop("strftime"), said.pop("clock")) == (False, False)
    assert set(said.values()) == {"TypeError"}


def test_rtc_datetime_sets_the_clock_and_reads_it_back(lab: Lab) -> None:
    said = lab.run("""
        rtc = machine.RTC()
        rtc.datetime((2024, 2, 29, 4, 23, 59, 59, 999000))
        say("time", time.time())
        say("read", rtc.datetime())
        t = rtc.datetime()
        say("weekday is not believed", t[3] == 3 + (t[2] == 1))  # a slow machine is in the next day already
        say("short", error_of(rtc.datetime, (2024, 2, 29, 23, 59)))
        say("float", error_of(rtc.datetime, (2024, 2, 29, 4, 23, 59, 59.5, 0)))
        say("id", error_of(machine.RTC, 0))
        skip()
        time.sleep_ms(1)
        say("next second", time.gmtime()[:6])
        """)
    assert said["time"] - 762566399 in (0, 1)
    assert said["read"][:3] in ((2024, 2, 29), (2024, 3, 1))
    assert len(said["read"]) == 8
    assert said["weekday is not believed"] is True
    assert (said["short"], said["float"], said["id"]) == ("ValueError", "TypeError", "TypeError")
    assert said["next second"][:3] == (2024, 3, 1)


def test_the_clock_survives_a_reset_and_not_a_power_cut(lab: Lab) -> None:
    lab.run("""
        machine.RTC().datetime((2024, 6, 1, 0, 12, 0, 0, 0))
        machine.reset()
        """)
    assert lab.run('say("y", time.gmtime()[0])\n') == {"y": 2024}
    lab.state.power_off()
    assert lab.run('say("y", time.gmtime()[0])\n') == {"y": 2000}


def test_ticks_wrap_at_2_to_the_30(lab: Lab) -> None:
    offset = -(lab.state.ticks_ms() + 500) % TICKS  # half a second before the wrap
    said = lab.run(
        """
        skip()
        start = time.ticks_ms()
        us = time.ticks_us()
        time.sleep_ms(700)
        end = time.ticks_ms()
        say("start", start)
        say("end", end)
        say("diff", time.ticks_diff(end, start))
        say("add", time.ticks_add(start, 700))
        say("us", time.ticks_diff(time.ticks_us(), us))
        """,
        TICKS_OFFSET=offset,
    )
    assert TICKS - 500 <= said["start"] < TICKS
    assert 0 <= said["end"] < 700
    assert 700 <= said["diff"] < 1200
    assert 0 <= said["add"] < 700
    assert 700_000 <= said["us"] < 1_200_000


def test_ntp_sets_the_true_time_or_times_out(lab: Lab) -> None:
    lab.state.set_clock(r.NTP, 800_000_000)
    script = """
        online()
        skip()
        say("ms", took_ms(ntptime.settime))
        say("error", errno_of(ntptime.settime))
        say("time", time.time())
        """
    said = lab.run(script)
    assert said["error"] is None
    assert 0 <= said["time"] - 800_000_000 < 20
    lab.state.power_off()
    said = lab.run(script, NTP_OK=0)
    assert (said["error"], said["time"] < 60) == (116, True)
    assert 1000 <= said["ms"] < 2000
    assert lab.run('say("error", errno_of(ntptime.settime))\n') == {"error": -202}  # no link


# --- select -------------------------------------------------------------------------------------


def test_a_poll_wakes_at_ticks_of_10_ms_and_never_between(lab: Lab, server: socket.socket) -> None:
    lab.start(f"""
        online()
        s = socket.socket()
        s.connect(("127.0.0.1", {server.getsockname()[1]}))
        poller = select.poll()
        poller.register(s, select.POLLIN)
        late = []
        for _ in range(15):
            while time.ticks_ms() % 10 != 2:
                pass
            start = time.ticks_ms()
            s.write(b"?")  # answered well before the next tick
            assert poller.poll(1000)
            late.append(time.ticks_diff(time.ticks_ms(), start))
            s.recv(1)
        say("late", late)
        say("timeout", took_ms(poller.poll, 1))
        """)
    with server.accept()[0] as peer:
        echo = threading.Thread(target=_echo, args=(peer,))
        echo.start()
        said = lab.finish()
        echo.join()
    assert 7 <= sorted(said["late"])[7] <= 12, "data must not wake a poll before the next tick"
    assert said["timeout"] >= 1


def _echo(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := peer.recv(1):
            time.sleep(0.003)  # when the poll has begun
            peer.sendall(data)


def test_a_poll_skips_time_only_when_asked_and_nobody_real_is_at_the_other_end(lab: Lab, server: socket.socket) -> None:
    lab.start(f"""
        online()
        poller = select.poll()
        s = listener(0)
        poller.register(s, select.POLLIN)
        def skipped(ms):
            before = words[r.SKIPPED_MS]
            poller.poll(ms)
            return words[r.SKIPPED_MS] - before
        say("not asked", skipped(30))
        skip()
        say("asked", skipped(3600000))
        peer = socket.socket()
        peer.connect(("127.0.0.1", {server.getsockname()[1]}))
        poller.register(peer, select.POLLIN)
        say("with a connection", skipped(30))
        words[r.SKIP_SOCKETS] = 1
        say("allowed", skipped(3600000))
        say("for ever", poller.poll(0))
        """)
    with server.accept()[0]:
        said = lab.finish()
    assert said["not asked"] == 0
    assert 3_590_000 < said["asked"] <= 3_600_000
    assert said["with a connection"] == 0
    assert 3_590_000 < said["allowed"] <= 3_600_000


def test_a_skip_ends_where_the_host_asked(lab: Lab) -> None:
    said = lab.run("""
        start = time.ticks_ms()
        words[r.SKIP_UNTIL] = (start + 5000) & 0x3FFFFFFF
        words[r.SKIP_ON] = 1
        time.sleep_ms(4000)
        say("on", words[r.SKIP_ON])
        time.sleep_ms(1005)
        say("off", words[r.SKIP_ON])
        say("real", time.ticks_diff(time.ticks_ms(), start) >= 5005)
        say("skipped", words[r.SKIPPED_MS])
        """)
    assert said["on"] == 1
    assert said["off"] == 0
    assert said["real"] is True
    assert said["skipped"] <= 5000


def test_pollers_refuse_what_the_device_refuses(lab: Lab) -> None:
    said = lab.run("""
        online()
        s = socket.socket()
        poller = select.poll()
        say("modify", errno_of(poller.modify, s, select.POLLIN))
        say("fresh", poller.poll(0) or None)
        poller.register(s)
        say("never connected", poller.poll(0)[0][1] & select.POLLHUP)
        poller.unregister(s)
        say("gone", poller.poll(0))
        say("select", hasattr(select, "select"))
        """)
    assert said["modify"] == 2
    assert said["fresh"] is None
    assert said["never connected"] == 16
    assert said["gone"] == []


# --- Wi-Fi --------------------------------------------------------------------------------------


def test_joining_goes_from_1000_by_1001_to_1010_with_an_address(lab: Lab) -> None:
    said = lab.run("""
        skip()
        wlan = network.WLAN(network.STA_IF)
        say("before", wlan.status())
        wlan.active(True)
        say("active", wlan.status())
        wlan.connect("air", "password")
        say("at once", wlan.status())
        say("no address", wlan.ifconfig()[0])
        time.sleep_ms(1100)
        say("at 1.1 s", (wlan.status(), wlan.isconnected()))
        time.sleep_ms(150)
        say("at 1.25 s", (wlan.status(), wlan.isconnected()))
        say("address", wlan.ifconfig()[0])
        say("addr4", wlan.ipconfig("addr4"))
        say("one object", network.WLAN(network.STA_IF) is wlan)
        """)
    assert (said["before"], said["active"], said["at once"]) == (1000, 1000, 1001)
    assert said["no address"] == "0.0.0.0"
    assert said["at 1.1 s"] == (1001, False)
    assert said["at 1.25 s"] == (1010, True)
    assert said["address"] == "127.0.0.1"
    assert said["addr4"] == ("127.0.0.1", "255.0.0.0")
    assert said["one object"] is True


def test_the_status_constants_are_the_devices_numbers(lab: Lab) -> None:
    said = lab.run("""
        say("n", {n: getattr(network, n) for n in dir(network) if n[:5] == "STAT_"})
        """)
    assert said["n"] == {
        "STAT_IDLE": 1000,
        "STAT_CONNECTING": 1001,
        "STAT_GOT_IP": 1010,
        "STAT_BEACON_TIMEOUT": 200,
        "STAT_NO_AP_FOUND": 201,
        "STAT_WRONG_PASSWORD": 202,
        "STAT_ASSOC_FAIL": 203,
        "STAT_HANDSHAKE_TIMEOUT": 204,
        "STAT_NO_AP_FOUND_W_COMPATIBLE_SECURITY": 210,
        "STAT_NO_AP_FOUND_IN_AUTHMODE_THRESHOLD": 211,
        "STAT_NO_AP_FOUND_IN_RSSI_THRESHOLD": 212,
    }


def test_a_second_connect_raises_wifi_internal_error_until_disconnect(lab: Lab) -> None:
    said = lab.run("""
        wlan = station()
        say("second", errno_of(wlan.connect, "air", "password"))
        wlan.disconnect()
        say("after disconnect", errno_of(wlan.connect, "air", "password"))
        """)
    assert said == {"second": "Wifi Internal Error", "after disconnect": None}


def test_an_interface_that_is_not_active_refuses_to_work(lab: Lab) -> None:
    said = lab.run("""
        wlan = network.WLAN(network.STA_IF)
        say("connect", error_of(wlan.connect, "air", "password"))
        say("disconnect", error_of(wlan.disconnect))
        say("scan", error_of(wlan.scan))
        say("txpower", error_of(wlan.config, txpower=8.5))
        say("pm", error_of(wlan.config, pm=0))
        wlan.active(True)
        say("active txpower", error_of(wlan.config, txpower=8.5))
        say("value", wlan.config("txpower"))
        """)
    refused = [said[name] for name in ("connect", "disconnect", "scan", "txpower")]
    assert refused == ["OSError"] * 4
    assert said["active txpower"] is None
    assert said["value"] == 8.5


def samples(password: str, ms: int) -> str:
    """A script that says the set of states seen while joining."""
    return f"""
        skip()
        wlan = station("{password}")
        seen = []
        for _ in range({ms} // 100):
            state = wlan.status()
            assert (state == 1010) == wlan.isconnected()
            seen.append(state)
            time.sleep_ms(100)
        say("seen", seen)
        """


def test_a_wrong_password_flickers_between_1001_and_202_for_ever(lab: Lab) -> None:
    seen = lab.run(samples("not this", 60_000))["seen"]
    assert set(seen) == {1001, 202}
    assert seen.count(1001) > seen.count(202) > 20
    assert 202 in seen[-40:]


def test_without_an_access_point_status_flickers_between_1001_and_201(lab: Lab) -> None:
    assert set(lab.run(samples("password", 20_000), AP_PRESENT=0)["seen"]) == {1001, 201}


def test_without_dhcp_the_status_stays_1001(lab: Lab) -> None:
    assert set(lab.run(samples("password", 60_000), DHCP_OK=0)["seen"]) == {1001}


def test_too_much_power_for_a_ceramic_antenna_never_joins_and_less_does(lab: Lab) -> None:
    said = lab.run(
        """
        skip()
        wlan = station()
        time.sleep(60)
        say("at 20 dBm", wlan.status())
        wlan.disconnect()
        wlan.config(txpower=8.5)
        wlan.connect("air", "password")
        time.sleep(2)
        say("at 8.5 dBm", wlan.status())
        """,
        TXPOWER_MAX=34,
    )
    assert said == {"at 20 dBm": 1001, "at 8.5 dBm": 1010}


def test_an_access_point_that_vanishes_gives_200_and_its_return_reconnects(lab: Lab) -> None:
    said = lab.run("""
        wlan = online()
        skip()
        words[r.AP_PRESENT] = 0
        say("gone", wlan.status())
        say("link", wlan.isconnected())
        seen = []
        for _ in range(100):
            time.sleep_ms(100)
            seen.append(wlan.status())
        say("while gone", sorted(set(seen)))
        words[r.AP_PRESENT] = 1
        say("back", wlan.status())
        time.sleep_ms(1300)
        say("by itself", wlan.status())
        """)
    assert said == {
        "gone": 200,
        "link": False,
        "while gone": [201, 1001],
        "back": 1001,
        "by itself": 1010,
    }


def test_rssi_is_negative_with_a_link_and_raises_without(lab: Lab) -> None:
    said = lab.run("""
        skip()
        wlan = network.WLAN(network.STA_IF)
        say("inactive", error_of(wlan.status, "rssi"))
        wlan.active(True)
        wlan.connect("air", "password")
        say("joining", error_of(wlan.status, "rssi"))
        time.sleep_ms(1300)
        say("joined", wlan.status("rssi"))
        say("unknown", error_of(wlan.status, "rssl"))
        """)
    assert said == {
        "inactive": "OSError",
        "joining": "OSError",
        "joined": -58,
        "unknown": "ValueError",
    }


def test_a_scan_blocks_for_2500_ms_and_lists_the_access_point(lab: Lab) -> None:
    said = lab.run("""
        skip()
        wlan = network.WLAN(network.STA_IF)
        wlan.active(True)
        say("ms", took_ms(wlan.scan))
        say("found", wlan.scan())
        words[r.AP_PRESENT] = 0
        say("nothing", wlan.scan())
        """)
    assert 2500 <= said["ms"] < 3000
    assert said["found"] == [(b"air", b"\x02\x00\x00\x00\x00\x01", 6, -58, 3, False)]
    assert said["nothing"] == []


def test_unknown_settings_are_refused(lab: Lab) -> None:
    said = lab.run("""
        wlan = network.WLAN(network.STA_IF)
        wlan.active(True)
        say("get", error_of(wlan.config, "powersave"))
        say("set", error_of(wlan.config, powersave=1))
        say("both", error_of(wlan.config, "pm", pm=1))
        say("ipconfig", error_of(wlan.ipconfig, "address"))
        say("interface", error_of(network.WLAN, 2))
        say("hostname", error_of(network.hostname, "x" * 33))
        say("country", error_of(network.country, "GER"))
        say("secret", error_of(network.WLAN(network.AP_IF).config, "key"))
        say("reconnects", wlan.config("reconnects"))
        say("pm", wlan.config("pm"))
        say("name", network.hostname())
        say("mac", len(wlan.config("mac")))
        """)
    assert said.pop("reconnects") == -1
    assert said.pop("pm") == 1
    assert said.pop("name") == "mpy-esp32c3"
    assert said.pop("mac") == 6
    assert said.pop("both") == "TypeError"
    assert set(said.values()) == {"ValueError"}


# --- memory outside Python ----------------------------------------------------------------------

IDF = """
    def free():
        return sum(h[1] for h in esp32.idf_heap_info(esp32.HEAP_DATA))
    def largest():
        return max(h[2] for h in esp32.idf_heap_info(esp32.HEAP_DATA))
    """


def test_the_idf_heap_has_the_figures_that_were_measured(lab: Lab) -> None:
    said = lab.run(
        dedent(IDF)
        + dedent("""
        skip()
        say("boot", (free(), largest()))
        wlan = network.WLAN(network.STA_IF)
        say("WLAN()", (free(), largest()))
        wlan.active(True)
        say("active", (free(), largest()))
        wlan.connect("air", "password")
        time.sleep_ms(1300)
        wlan.isconnected()
        say("connected", (free(), largest()))
        base = free()
        first = socket.socket()
        say("first", base - free())
        second = socket.socket()
        say("second", base - free())
        first.close()
        second.close()
        say("closed", base - free())
        wlan.active(False)
        say("inactive", free())
        say("shape", [len(h) for h in esp32.idf_heap_info(esp32.HEAP_DATA)])
        """)
    )
    assert said == {
        "boot": (159_216, 114_688),
        "WLAN()": (122_816, 106_496),
        "active": (120_892, 102_400),
        "connected": (114_972, 98_304),
        "first": 532,
        "second": 928,
        "closed": 0,
        "inactive": 114_972,  # Wi-Fi never gives its buffers back
        "shape": [4, 4, 4, 4],
    }


def test_an_exhausted_idf_heap_refuses_sockets_with_105(lab: Lab) -> None:
    said = lab.run("""
        say("enough", errno_of(socket.socket))
        words[r.IDF_TAKEN] = 159216 - 2000
        say("exhausted", errno_of(socket.socket))
        say("counted", words[r.SOCKETS_OPEN])
        """)
    assert said == {"enough": None, "exhausted": 105, "counted": 1}


def test_a_hole_in_the_idf_heap_caps_the_largest_block_and_gc_mem_free(lab: Lab) -> None:
    said = lab.run(
        dedent(IDF)
        + dedent("""
        say("largest", largest())
        say("free", free())
        gc.collect()
        words[r.IDF_LARGEST_CAP] = 0
        before = gc.mem_free()
        words[r.IDF_LARGEST_CAP] = 9000
        say("fell by", before - gc.mem_free())
        say("collect", gc.collect())
        """),
        IDF_LARGEST_CAP=9000,
    )
    assert (said["largest"], said["free"]) == (9000, 159_216)
    assert abs(said["fell by"] - (114_688 - 9000)) < 200
    assert said["collect"] is None


# --- machine ------------------------------------------------------------------------------------


def test_reset_ends_the_vm_at_once_and_leaves_cause_2(lab: Lab) -> None:
    said = lab.run("""
        say("cause", machine.reset_cause())
        try:
            machine.reset()
        finally:
            say("finally", True)
        """)
    assert said == {"cause": 1}
    assert lab.state[r.STATE] == r.STATE_RESET
    assert lab.run('say("cause", machine.reset_cause())\n') == {"cause": 2}


def test_rtc_memory_survives_a_reset_and_not_a_power_cut(lab: Lab) -> None:
    lab.run("""
        machine.RTC().memory(b"3 breadcrumbs")
        machine.reset()
        """)
    script = 'say("memory", machine.RTC().memory())\n'
    assert lab.run(script) == {"memory": b"3 breadcrumbs"}
    lab.state.power_off()
    assert lab.run(script) == {"memory": b""}


def test_rtc_memory_takes_2048_bytes_and_not_one_more(lab: Lab) -> None:
    said = lab.run("""
        memory = machine.RTC().memory
        content = bytes(i & 255 for i in range(2048))
        memory(content)
        say("full", memory() == content)
        say("longer", error_of(memory, bytes(2049)))
        say("kept", memory() == content)
        say("text", error_of(memory, 5))
        memory(b"")
        say("empty", memory())
        """)
    assert said == {
        "full": True,
        "longer": "ValueError",
        "kept": True,
        "text": "TypeError",
        "empty": b"",
    }


def test_a_watchdog_refuses_other_ids_and_no_time_at_all(lab: Lab) -> None:
    said = lab.run("""
        say("id", error_of(machine.WDT, id=1))
        say("timeout", error_of(machine.WDT, timeout=0))
        say("stop", hasattr(machine.WDT, "stop"))
        say("armed", words[r.WDT_TIMEOUT_MS])
        """)
    assert said == {"id": "ValueError", "timeout": "ValueError", "stop": False, "armed": 0}


def test_machine_lacks_what_the_c3_lacks(lab: Lab) -> None:
    said = lab.run("""
        absent = ("I2S", "SDCard", "TouchPad", "DAC")
        say("has", [name for name in absent if hasattr(machine, name)])
        say("id", machine.unique_id())
        say("temperature", esp32.mcu_temperature())
        words[r.TEMPERATURE_C] = -7 & 0xFFFFFFFF
        say("frost", esp32.mcu_temperature())
        words[r.SENSOR_FAIL] = 1
        say("broken", error_of(esp32.mcu_temperature))
        say("raw", hasattr(esp32, "raw_temperature"))
        """)
    assert said["has"] == []
    assert said["id"] == b"\x70\xb8\xf6\x0c\x3f\x01"
    assert (said["temperature"], said["frost"], said["broken"]) == (24, -7, "OSError")
    assert said["raw"] is False


# --- flash --------------------------------------------------------------------------------------

LOG = """
    log = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="log")[0]
    def read(block, offset=0, size=4):
        buffer = bytearray(size)
        log.readblocks(block, buffer, offset)
        return bytes(buffer)
    """


def run_log(lab: Lab, script: str, **words: int) -> dict[str, Any]:
    return lab.run(dedent(LOG) + dedent(script), **words)


def test_programming_only_clears_bits(lab: Lab) -> None:
    said = run_log(lab, """
        say("blank", read(0))
        log.writeblocks(0, b"\\xf0\\x0f\\xaa\\xff", 0)
        log.writeblocks(0, b"\\x3c\\xff\\x55\\x81", 0)
        say("both", read(0))
        log.writeblocks(0, bytes(300), 4)
        log.writeblocks(0, b"\\xff" * 300, 4)
        say("stays 0", read(0, 4, 300) == bytes(300))
        """)  # fmt: skip
    assert said["blank"] == b"\xff" * 4
    assert said["both"] == b"\x30\x0f\x00\x81"
    assert said["stays 0"] is True


def test_erasing_sets_one_sector_of_4_kb_to_ff_and_its_neighbours_stay(lab: Lab) -> None:
    said = run_log(lab, """
        for block in range(3):
            log.writeblocks(block, bytes(4096), 0)
        log.ioctl(6, 1)
        say("erased", read(1, 0, 4096) == b"\\xff" * 4096)
        say("before", read(0, 4092))
        say("after", read(2))
        """)  # fmt: skip
    assert said == {"erased": True, "before": bytes(4), "after": bytes(4)}


def test_a_write_without_an_offset_erases_first(lab: Lab) -> None:
    said = run_log(lab, """
        log.writeblocks(5, bytes(4096))
        log.writeblocks(5, b"\\xa5" * 4096)
        say("written", read(5, 0, 4096) == b"\\xa5" * 4096)
        say("part of a sector", error_of(log.writeblocks, 5, b"x"))
        """)  # fmt: skip
    assert said == {"written": True, "part of a sector": "ValueError"}


def test_blocks_outside_the_partition_raise_22(lab: Lab) -> None:
    said = run_log(lab, """
        n = log.ioctl(4, 0)
        say("blocks", (n, log.ioctl(5, 0)))
        say("read", errno_of(read, n))
        say("last", read(n - 1, 4092))
        say("over the end", errno_of(read, n - 1, 4093))
        say("negative", errno_of(read, -1))
        say("write", errno_of(log.writeblocks, n, b"x", 0))
        say("erase", errno_of(log.ioctl, 6, n))
        """)  # fmt: skip
    assert said.pop("blocks") == (256, 4096)
    assert said.pop("last") == b"\xff" * 4
    assert set(said.values()) == {22}


def test_partitions_are_what_the_table_in_flash_says(lab: Lab) -> None:
    script = """
        find = esp32.Partition.find
        DATA = esp32.Partition.TYPE_DATA
        say("apps", [p.info()[4] for p in find()])
        say("data", [p.info()[4] for p in find(DATA)])
        say("nobody", find(DATA, label="nobody"))
        say("subtype", [p.info()[4] for p in find(DATA, 0x40)])
        say("info", find(DATA, label="log")[0].info() if find(DATA, label="log") else None)
        say("missing", errno_of(esp32.Partition, "nobody"))
        """
    said = lab.run(script)
    assert said == {
        "apps": ["factory"],
        "data": ["nvs", "phy_init", "vfs", "log"],
        "nobody": [],
        "subtype": ["log"],
        "info": (1, 0x40, 0x300000, 0x100000, "log", False),
        "missing": 2,
    }
    rows = [p for p in partitions.read_csv() if p.name != "log"]
    with open(lab.state.flash_path, "r+b") as flash:
        flash.seek(partitions.TABLE_OFFSET)
        flash.write(partitions.to_bytes(rows))
    assert lab.run(script)["info"] is None


def test_a_power_cut_leaves_half_of_the_flash_operation_and_stops_the_vm(lab: Lab) -> None:
    said = run_log(lab, """
        log.writeblocks(0, b"whole...", 0)
        log.writeblocks(1, b"halfHALF", 0)
        say("survived", True)
        """, CUT_AT_FLASH_OP=2, FLASH_OPS=0)  # fmt: skip
    assert said == {}
    assert lab.state[r.STATE] == r.STATE_POWER_CUT
    lab.state.power_off()
    said = run_log(lab, """
        say("first", read(0, 0, 8))
        say("second", read(1, 0, 8))
        for block in (0, 1):
            log.writeblocks(block, bytes(4096), 0)
        """, CUT_AT_FLASH_OP=0)  # fmt: skip
    assert said == {"first": b"whole...", "second": b"half" + b"\xff" * 4}
    run_log(lab, "log.ioctl(6, 0)\n", CUT_AT_FLASH_OP=1, FLASH_OPS=0)
    said = run_log(lab, 'say("half", (read(0, 2044, 8), read(1)))\n', CUT_AT_FLASH_OP=0)
    assert said == {"half": (b"\xff" * 4 + bytes(4), bytes(4))}


def test_a_flash_that_fails_raises_5_and_changes_nothing(lab: Lab) -> None:
    said = run_log(lab, """
        say("write", errno_of(log.writeblocks, 0, b"x", 0))
        say("erase", errno_of(log.ioctl, 6, 0))
        say("kept", read(0))
        """, FLASH_FAIL=1)  # fmt: skip
    assert said == {"write": 5, "erase": 5, "kept": b"\xff" * 4}


# --- NVS ----------------------------------------------------------------------------------------


def test_nvs_raises_minus_0x1102_for_a_missing_key_and_refuses_a_long_one(lab: Lab) -> None:
    said = lab.run("""
        nvs = esp32.NVS("tally")
        say("get", errno_of(nvs.get_i32, "boots"))
        say("erase", errno_of(nvs.erase_key, "boots"))
        say("long key", errno_of(nvs.set_i32, "sixteen_letters_", 1))
        say("longest key", errno_of(nvs.set_i32, "fifteen_letters", 1))
        say("long name", errno_of(esp32.NVS, "sixteen_letters_"))
        say("huge", error_of(nvs.set_i32, "boots", 1 << 31))
        say("float", error_of(nvs.set_i32, "boots", 1.5))
        """)
    assert said == {
        "get": -0x1102,
        "erase": -0x1102,
        "long key": -0x1109,
        "longest key": None,
        "long name": -0x1109,
        "huge": "OverflowError",
        "float": "TypeError",
    }


NVS_READ = """
    nvs = esp32.NVS("tally")
    say("boots", errno_of(nvs.get_i32, "boots") or nvs.get_i32("boots"))
    """


def test_nvs_loses_what_was_not_committed(lab: Lab) -> None:
    said = lab.run("""
        nvs = esp32.NVS("tally")
        nvs.set_i32("boots", 7)
        say("seen", nvs.get_i32("boots"))
        """)
    assert said == {"seen": 7}
    assert lab.run(NVS_READ) == {"boots": -0x1102}


def test_nvs_keeps_what_was_committed_through_a_power_cut(lab: Lab) -> None:
    lab.run("""
        nvs = esp32.NVS("tally")
        nvs.set_i32("boots", -7)
        nvs.commit()
        """)
    lab.state.power_off()
    assert lab.run(NVS_READ) == {"boots": -7}


def test_nvs_survives_hundreds_of_commits_and_keeps_other_keys(lab: Lab) -> None:
    said = lab.run("""
        nvs = esp32.NVS("tally")
        other = esp32.NVS("other")
        other.set_i32("boots", -1)
        other.commit()
        nvs.set_i32("gone", 1)
        nvs.commit()
        nvs.erase_key("gone")
        for i in range(350):
            nvs.set_i32("boots", i)
            nvs.commit()
        say("boots", nvs.get_i32("boots"))
        say("other", other.get_i32("boots"))
        say("gone", errno_of(nvs.get_i32, "gone"))
        """)
    assert said == {"boots": 349, "other": -1, "gone": -0x1102}


def test_nvs_gives_the_last_value_after_every_commit(lab: Lab) -> None:
    said = lab.run("""
        nvs = esp32.NVS("tally")
        wrong = []
        for i in range(250):
            nvs.set_i32("boots", i)
            nvs.commit()
            if esp32.NVS("tally").get_i32("boots") != i:
                wrong.append(i)
        say("wrong", wrong)
        """)
    assert said["wrong"] == []


def test_nvs_keeps_old_or_new_value_at_a_power_cut_also_while_it_moves_its_keys(lab: Lab) -> None:
    """As the IDF's, which erases an old page when the new one is whole. 99 slots are a sector."""
    write = """
        nvs = esp32.NVS("tally")
        for i in range({first}, {last}):
            nvs.set_i32("boots", i)
            nvs.commit()
        """
    lab.run("""
        nvs = esp32.NVS("tally")
        nvs.set_i32("kept", 5)
        nvs.commit()
        """)
    lab.run(write.format(first=0, last=97), CUT_AT_FLASH_OP=0)
    flash = lab.state.flash_path.read_bytes()
    lab.run(write.format(first=97, last=101), FLASH_OPS=0)
    operations = lab.state[r.FLASH_OPS]
    assert operations > 4 * 2, "the keys must have moved"
    for cut in range(1, operations + 1):
        with open(lab.state.flash_path, "r+b") as file:
            file.write(flash)
        lab.run(write.format(first=97, last=101), FLASH_OPS=0, CUT_AT_FLASH_OP=cut)
        said = lab.run(
            """
            nvs = esp32.NVS("tally")
            say("kept", nvs.get_i32("kept"))
            say("boots", nvs.get_i32("boots"))
            nvs.set_i32("boots", 500)
            nvs.commit()
            say("then", esp32.NVS("tally").get_i32("boots"))
            nvs.erase_key("boots")
            say("erased", errno_of(nvs.get_i32, "boots"))
            """,
            CUT_AT_FLASH_OP=0,
        )
        assert said.pop("boots") in range(96, 101), f"cut at operation {cut}"
        assert said == {"kept": 5, "then": 500, "erased": -0x1102}, f"cut at operation {cut}"


# --- os and files -------------------------------------------------------------------------------


def test_os_has_nothing_that_only_unix_has(lab: Lab) -> None:
    said = lab.run("""
        unix = ("getenv", "putenv", "unsetenv", "system", "errno", "VfsPosix")
        say("unix", [n for n in unix if hasattr(os, n)])
        say("random", len(os.urandom(8)))
        say("sysname", os.uname().sysname)
        """)
    assert said == {"unix": [], "random": 8, "sysname": "esp32"}


# --- a whole board ------------------------------------------------------------------------------


@pytest.fixture
def boot(tmp_path: Path, vm: Vm) -> Iterator[Callable[..., VirtualBoard]]:
    """Power on a board with `source` as its main.py."""
    made: list[VirtualBoard] = []

    def power_on(source: str) -> VirtualBoard:
        state = BoardState(tmp_path / "board")
        with vfs_image.mounted(state.flash_path, format_blank=True) as fs:
            vfs_image.write_file(fs, "/main.py", dedent(source).encode())
        made.append(VirtualBoard(vm, state))
        made[-1].start()
        return made[-1]

    yield power_on
    for board in made:
        board.stop()
        board.state.close()


def test_a_watchdog_that_is_not_fed_resets_the_board_with_cause_3(
    boot: Callable[..., VirtualBoard],
) -> None:
    board = boot("""
        import machine
        print("cause", machine.reset_cause())
        if machine.reset_cause() == 1:
            machine.WDT(timeout=150)
            while True:
                pass
        """)
    board.wait_for_line("cause 3")
    assert board.resets == ["watchdog reset"]


def test_a_watchdog_made_again_has_the_new_timeout_and_feeding_keeps_it_quiet(
    boot: Callable[..., VirtualBoard],
) -> None:
    board = boot("""
        import machine, time
        wdt = machine.WDT(timeout=400)
        for _ in range(4):
            time.sleep_ms(120)
            wdt.feed()
        machine.WDT(timeout=60000)
        time.sleep_ms(500)
        print("alive")
        """)
    board.wait_for_line("alive")
    assert board.resets == []


def test_reset_restarts_the_board_with_cause_2_and_its_rtc_memory(
    boot: Callable[..., VirtualBoard],
) -> None:
    board = boot("""
        import machine
        rtc = machine.RTC()
        print("boot", machine.reset_cause(), rtc.memory())
        if machine.reset_cause() == 1:
            rtc.memory(b"note")
            machine.reset()
        """)
    board.wait_for_line(r"boot 1 b''")
    board.wait_for_line(r"boot 2 b'note'")
    after = len(board.log_lines)
    board.power_cycle()
    board.wait_for_line(r"boot 1 b''", after=after)


def test_the_app_sees_64000_bytes_of_heap_with_1952_in_use_and_a_littlefs_of_1_mb(
    boot: Callable[..., VirtualBoard],
) -> None:
    board = boot("""
        import gc
        gc.collect(); a = gc.mem_alloc(); f = gc.mem_free(); print("gc", a, f)
        import os
        print("fs", os.statvfs("/")[:3], os.getcwd())
        """)
    if board.vm.word_bits != 32:
        pytest.skip("a 64-bit VM's heap is not judged")
    _, used, free = board.wait_for_line(r"^gc ").split()
    gc_free = int(free) - 114_688  # what it could grow by is in mem_free, as on the device
    have = board.state[r.HEAP_HAVE_BYTES]
    assert abs(have - 64_000) <= 48
    assert abs(int(used) + gc_free - have) <= 32  # what reading the two figures took
    at_boot = 1952 + _names.DEVICE_POOLS_BYTES  # the stock image's figure, and what the application's names will take
    assert at_boot <= int(used) <= at_boot + 600
    assert board.wait_for_line("^fs ") == "fs (4096, 4096, 256) /"


def test_a_board_that_lost_power_at_a_flash_operation_is_off(
    boot: Callable[..., VirtualBoard],
) -> None:
    board = boot("""
        import time
        time.sleep_ms(100)
        with open("/x", "w") as f:
            f.write("x" * 3000)
        print("written")
        """)
    board.state[r.CUT_AT_FLASH_OP] = 1
    board.wait_for_line("power cut")
    assert not any("written" in line for line in board.log_lines)
    deadline = time.monotonic() + 5
    while board.is_on() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not board.is_on()
