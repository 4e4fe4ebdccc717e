"""Holds the fake of `tls` to what the firmware does: checks of certificates, memory, steps, and how all of it ends.

Owns those promises. That the library does TLS is its own affair; the servers are FaultServers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from host_tests import faults
from host_tests.fault_server import FaultServer
from host_tests.test_fakes_strict import Lab
from host_tests.test_fault_server import wait_until
from host_tests.tls_certs import Certificates
from host_tests.virtual_board.vm import registers as r
from scripts.vm import Vm

pytestmark = pytest.mark.vm

NAME_SAID = "\nThe certificate Common Name (CN) does not match with the expected CN\n"
CA_SAID = "\nThe certificate is not correctly signed by the trusted CA\n"
EXPIRED_SAID = "\nThe certificate validity has expired\n"
FUTURE_SAID = "\nThe certificate validity starts in the future\n"
YEAR_S = 365 * 86400
REQUEST = "POST /readings HTTP/1.1\\r\\nContent-Length: 0\\r\\n\\r\\n"

CLIENT = f"""
IP = "127.0.0.1"
REQUEST = b"{REQUEST}"

def context(cadata=None):
    made = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(cadata or CA)
    return made

def connected(blocking=True):
    sock = socket.socket()
    sock.connect(("127.0.0.1", PORT))
    sock.setblocking(blocking)
    return sock

def patiently(call, *args):
    "What a call on a non-blocking socket gives in the end."
    for _ in range(2000):
        result = call(*args)
        if result is not None:
            return result
        time.sleep_ms(1)

def failure(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Exception as error:
        return type(error).__name__, error.args[0]

def wrapped(sock, name="127.0.0.1", ctx=None):
    return (ctx or context()).wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)

def shaken(name="127.0.0.1"):
    sock = connected(False)
    made = wrapped(sock, name)
    patiently(made.write, REQUEST)
    return sock, made
"""


@pytest.fixture(scope="module", params=["ec", "rsa"])
def both(request: pytest.FixtureRequest) -> Certificates:
    return Certificates(request.param)


@pytest.fixture(scope="module")
def certs() -> Certificates:
    return Certificates()


class TlsLab:
    """A board that is online and knows the time, with what a script needs to reach a server."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.since_sync_s = 0
        self.clock_is_set = True

    def run(self, script: str, server: FaultServer, ca: bytes, **words: int) -> dict[str, Any]:
        now = self.lab.state[r.NTP] + self.since_sync_s if self.clock_is_set else 0
        clock = f"import _board\n_board.clock_set(r.RTC, {now})\n"
        head = f"PORT = {server.port}\nCA = {ca!r}\nonline()\n{clock}" + dedent(CLIENT)
        return self.lab.run(head + dedent(script), **words)


@pytest.fixture
def lab(tmp_path: Path, vm: Vm) -> Iterator[TlsLab]:
    lab = Lab(tmp_path / "board", vm)
    yield TlsLab(lab)
    lab.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., FaultServer]]:
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(FaultServer(*args, **kwargs))


@pytest.fixture
def good(certs: Certificates, serve: Callable[..., FaultServer]) -> FaultServer:
    return serve(certs.good)


# --- it works -------------------------------------------------------------------------------------


def test_a_blocking_exchange_goes_through(both: Certificates, lab: TlsLab, serve: Callable[..., FaultServer]) -> None:
    server = serve(both.good)
    said = lab.run(
        """
        s = context().wrap_socket(connected(), server_hostname="127.0.0.1")
        say("sent", s.write(REQUEST) == len(REQUEST))
        say("status", s.read(15))
        say("version", s.cipher()[1])
        s.close()
        """,
        server,
        both.ca_der,
    )
    assert said == {"sent": True, "status": b"HTTP/1.1 200 OK", "version": "TLSv1.2"}
    assert len(server.requests) == 1


def test_an_exchange_on_a_non_blocking_socket_goes_through(
    both: Certificates, lab: TlsLab, serve: Callable[..., FaultServer]
) -> None:
    server = serve(both.good)
    said = lab.run(
        """
        s = connected(False)
        w = wrapped(s, "collector.test")
        say("at first", w.write(REQUEST))
        say("sent", patiently(w.write, REQUEST) == len(REQUEST))
        buffer = bytearray(15)
        say("read", patiently(w.readinto, buffer))
        say("status", bytes(buffer))
        rest = w.read()
        say("nothing more", w.read(1))
        w.close()
        say("closed", s.fileno())
        """,
        server,
        both.ca_pem,
    )
    assert said["at first"] is None and said["sent"] is True
    assert (said["read"], said["status"]) == (15, b"HTTP/1.1 200 OK")
    assert said["nothing more"] is None and said["closed"] == -1


def test_asyncio_streams_speak_tls(lab: TlsLab, good: FaultServer, certs: Certificates) -> None:
    said = lab.run(
        """
        sys.path.append(".frozen")
        import asyncio
        async def main():
            reader, writer = await asyncio.open_connection(IP, PORT, ssl=context(), server_hostname=IP)
            writer.write(REQUEST)
            await writer.drain()
            say("status", await reader.readline())
            writer.close()
            await writer.wait_closed()
        asyncio.run(main())
        say("sockets", words[r.SOCKETS_OPEN])
        """,
        good,
        certs.ca_der,
    )
    assert said == {"status": b"HTTP/1.1 200 OK\r\n", "sockets": 0}


def test_a_long_text_goes_out_in_records_of_4096(lab: TlsLab, good: FaultServer, certs: Certificates) -> None:
    said = lab.run(
        """
        s, w = shaken()
        patiently(w.read, 1)
        w.read(1000)
        body = b"POST / HTTP/1.1\\r\\nContent-Length: 20000\\r\\n\\r\\n" + b"x" * 20000
        sent = []
        done = 0
        while done < len(body):
            n = w.write(memoryview(body)[done:])
            if n is None:
                time.sleep_ms(1)
            else:
                done += n
                sent.append(n)
        say("steps", len(sent))
        say("part", w.write(b"abcGET / HTTP/1.1\\r\\n\\r\\n", 3, 18))
        patiently(w.read, 1)
        """,
        good,
        certs.ca_der,
    )
    assert said["steps"] > 1 and said["part"] == 18
    assert good.requests[1].body == b"x" * 20000


# --- certificates ---------------------------------------------------------------------------------

REFUSED = {
    "wrong_name": NAME_SAID,
    "no_address": NAME_SAID,
    "expired": EXPIRED_SAID,
    "not_yet_valid": FUTURE_SAID,
    "unknown_ca": CA_SAID,
}
BOTH_WAYS = """
say("blocking", failure(context().wrap_socket, connected(), server_hostname="127.0.0.1"))
s = connected(False)
w = wrapped(s)
say("else", failure(patiently, w.write, REQUEST))
"""


@pytest.mark.parametrize("which", REFUSED)
def test_a_certificate_is_refused_with_a_sentence(
    both: Certificates, lab: TlsLab, serve: Callable[..., FaultServer], which: str
) -> None:
    server = serve(getattr(both, which))
    said = lab.run(BOTH_WAYS, server, both.ca_der)
    assert said == {"blocking": ("ValueError", REFUSED[which]), "else": ("ValueError", REFUSED[which])}
    wait_until(lambda: len(server.refused_handshakes) == 2)
    assert server.requests == []


def test_an_address_needs_a_certificate_for_the_address(
    certs: Certificates, lab: TlsLab, serve: Callable[..., FaultServer]
) -> None:
    said = lab.run('shaken("collector.test")\nsay("well", True)', serve(certs.no_address), certs.ca_der)
    assert said == {"well": True}


def test_a_certificate_is_not_checked_without_verification(
    certs: Certificates, lab: TlsLab, serve: Callable[..., FaultServer]
) -> None:
    lab.clock_is_set = False
    said = lab.run(
        """
        c = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        say("at first", c.verify_mode)
        c.verify_mode = tls.CERT_NONE
        s = c.wrap_socket(connected())
        say("sent", s.write(REQUEST) == len(REQUEST))
        """,
        serve(certs.wrong_name),
        certs.ca_der,
    )
    assert said == {"at first": 2, "sent": True}


def test_a_clock_that_was_never_set_is_before_every_certificate(
    certs: Certificates, lab: TlsLab, good: FaultServer
) -> None:
    lab.clock_is_set = False
    said = lab.run(
        BOTH_WAYS
        + """
say("then", failure(w.read, 1))
p = select.poll()
p.register(w, select.POLLIN)
say("poll", [flags for _, flags in p.poll(0)])
w.close()
say("open", s.fileno() > 0)
say("sessions", words[r.TLS_OPEN])
""",
        good,
        certs.ca_der,
    )
    assert said["blocking"] == said["else"] == ("ValueError", FUTURE_SAID)
    assert said["then"] == ("OSError", -9984) and said["poll"] == [32]
    assert said["open"] is True and said["sessions"] == 0


def test_dates_go_by_the_clock_of_the_board(certs: Certificates, lab: TlsLab, good: FaultServer) -> None:
    lab.since_sync_s = 19 * YEAR_S
    assert lab.run('shaken()\nsay("well", True)', good, certs.ca_der) == {"well": True}
    lab.since_sync_s = 21 * YEAR_S
    assert lab.run(BOTH_WAYS, good, certs.ca_der)["else"] == ("ValueError", EXPIRED_SAID)


def test_all_that_is_wrong_is_said_in_the_librarys_order(
    certs: Certificates, lab: TlsLab, serve: Callable[..., FaultServer]
) -> None:
    server = serve(certs.wrong_name)
    lab.since_sync_s = 21 * YEAR_S
    assert lab.run(BOTH_WAYS, server, certs.ca_der)["else"] == ("ValueError", EXPIRED_SAID + NAME_SAID)
    lab.clock_is_set = False
    assert lab.run(BOTH_WAYS, server, certs.ca_der)["else"] == ("ValueError", NAME_SAID + FUTURE_SAID)


def test_what_is_no_certificate_is_an_invalid_one(lab: TlsLab, good: FaultServer) -> None:
    said = lab.run(
        """
        c = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        say("text", failure(c.load_verify_locations, b"no certificate"))
        say("bytearray", failure(c.load_verify_locations, bytearray(10))[0])
        say("keyword", failure(c.load_verify_locations, cadata=b"")[0])
        say("nobody", failure(c.wrap_socket, connected()))
        say("nothing", failure(tls.SSLContext)[0])
        """,
        good,
        b"",
    )
    assert said["text"] == ("ValueError", "invalid cert")
    assert said["bytearray"] == said["keyword"] == said["nothing"] == "TypeError"
    assert said["nobody"] == ("ValueError", "CERT_REQUIRED requires server_hostname")


def test_an_application_can_look_at_certificates_itself(lab: TlsLab, good: FaultServer, certs: Certificates) -> None:
    said = lab.run(
        """
        seen = []
        c = context()
        c.verify_callback = lambda der, depth: seen.append((depth, len(der) > 200)) or 0
        s = connected(False)
        w = wrapped(s, ctx=c)
        patiently(w.write, REQUEST)
        say("seen", seen)
        say("shown", len(w.getpeercert(True)) > 200)
        """,
        good,
        certs.ca_der,
    )
    assert said == {"seen": [(1, True), (0, True)], "shown": True}


# --- how it ends ----------------------------------------------------------------------------------

AFTERWARDS = """
s = connected(False)
w = wrapped(s)
say("error", failure(patiently, w.write, REQUEST))
say("again", failure(w.write, REQUEST))
p = select.poll()
p.register(w, select.POLLIN | select.POLLOUT)
say("poll", [flags for _, flags in p.poll(0)])
w.close()
say("open", s.fileno() > 0)
s.close()
say("left", (words[r.TLS_OPEN], words[r.TLS_HANDSHAKES], words[r.SOCKETS_OPEN]))
"""


def test_a_refused_session_leaves_its_socket_open(
    certs: Certificates, lab: TlsLab, serve: Callable[..., FaultServer]
) -> None:
    said = lab.run(AFTERWARDS, serve(certs.unknown_ca), certs.ca_der)
    assert said["again"] == ("OSError", -9984) and said["poll"] == [32]
    assert said["open"] is True and said["left"] == (0, 0, 0)


def test_a_server_that_closes_in_the_handshake_is_an_end_of_file(
    certs: Certificates, lab: TlsLab, good: FaultServer
) -> None:
    good.fault = faults.CLOSE_IN_HANDSHAKE
    said = lab.run(AFTERWARDS, good, certs.ca_der)
    assert said["error"] == said["again"] == ("OSError", -0x7280)
    assert said["open"] is False and said["left"] == (0, 0, 0)


def test_a_server_without_tls_is_an_invalid_record(certs: Certificates, lab: TlsLab, good: FaultServer) -> None:
    good.fault = faults.PLAIN_HTTP
    said = lab.run(AFTERWARDS, good, certs.ca_der)
    assert said["error"][0] == "OSError" and said["error"][1] in (-0x7200, -0x7180)
    assert said["left"] == (0, 0, 0)


def test_a_server_that_stalls_says_nothing_and_costs_no_time(
    certs: Certificates, lab: TlsLab, good: FaultServer
) -> None:
    good.fault = faults.STALL_HANDSHAKE
    said = lab.run(
        """
        s = connected(False)
        w = wrapped(s)
        say("writes", [w.write(REQUEST) for _ in range(5)])
        p = select.poll()
        p.register(w, select.POLLOUT)
        say("poll", p.poll(20))
        say("held", (words[r.TLS_OPEN], words[r.TLS_HANDSHAKES]))
        w.close()
        say("left", (words[r.TLS_OPEN], words[r.TLS_HANDSHAKES], words[r.SOCKETS_OPEN]))
        """,
        good,
        certs.ca_der,
    )
    assert said["writes"] == [None] * 5 and said["poll"] == [], "room to write is not what it waits for"
    assert said["held"] == (1, 1) and said["left"] == (0, 0, 0)


def test_a_reset_after_the_handshake_has_a_negative_number(certs: Certificates, lab: TlsLab, good: FaultServer) -> None:
    good.fault = faults.COMMIT_AND_RESET
    said = lab.run(
        """
        s, w = shaken()
        say("error", failure(patiently, w.read, 1))
        w.close()
        say("left", (words[r.TLS_OPEN], s.fileno()))
        """,
        good,
        certs.ca_der,
    )
    assert said == {"error": ("OSError", -104), "left": (0, -1)}


def test_a_clean_end_is_an_empty_read(certs: Certificates, lab: TlsLab, good: FaultServer) -> None:
    good.fault = faults.COMMIT_AND_DROP
    said = lab.run('s, w = shaken()\nsay("read", patiently(w.read, 1))', good, certs.ca_der)
    assert said == {"read": b""}


def test_nothing_comes_and_nothing_goes_while_the_link_is_down(
    certs: Certificates, lab: TlsLab, good: FaultServer
) -> None:
    said = lab.run(
        """
        s, w = shaken()
        patiently(w.read, 1)
        w.read(1000)
        network.WLAN(network.STA_IF).disconnect()
        say("read", w.read(1))
        """,
        good,
        certs.ca_der,
    )
    assert said == {"read": None}


# --- polling --------------------------------------------------------------------------------------


def test_what_is_decrypted_already_is_something_to_read(certs: Certificates, lab: TlsLab, good: FaultServer) -> None:
    said = lab.run(
        """
        s, w = shaken()
        patiently(w.read, 1)
        p = select.poll()
        p.register(w, select.POLLIN)
        say("pending", [(o is w, flags) for o, flags in p.poll(100)])
        while w.read(100):
            pass
        say("empty", p.poll(0))
        p.modify(w, select.POLLOUT)
        say("room", [flags for _, flags in p.poll(0)])
        p.unregister(w)
        say("left", p.poll(0))
        """,
        good,
        certs.ca_der,
    )
    assert said == {"pending": [(True, 1)], "empty": [], "room": [4], "left": []}


def test_a_poll_follows_the_handshake_whatever_the_call_was(
    certs: Certificates, lab: TlsLab, good: FaultServer
) -> None:
    """Who waits for room to write is woken by what the handshake has to read."""
    said = lab.run(
        """
        s = connected(False)
        w = wrapped(s)
        p = select.poll()
        p.register(w, select.POLLOUT)
        turns = 0
        while w.write(REQUEST) is None:
            say("woken", bool(p.poll(2000)))
            turns += 1
        say("few", turns <= 12)
        """,
        good,
        certs.ca_der,
    )
    assert said == {"woken": True, "few": True}


# --- memory and time ------------------------------------------------------------------------------


def test_a_session_takes_idf_memory_and_more_while_it_begins(
    certs: Certificates, lab: TlsLab, good: FaultServer
) -> None:
    said = lab.run(
        """
        import _idf
        def figures():
            return _idf.free_bytes(), _idf.largest_bytes()
        s = connected(False)
        before = figures()
        w = wrapped(s)
        beginning = figures()
        patiently(w.write, REQUEST)
        open = figures()
        w.close()
        after = figures()
        say("largest", (before[1], beginning[1], open[1], after[1]))
        say("taken", (before[0] - beginning[0], before[0] - open[0], after[0] >= before[0]))
        """,
        good,
        certs.ca_der,
    )
    assert said["taken"] == (31900, 25700, True)
    assert said["largest"] == (98304, 65536, 65536, 65536)


@pytest.mark.parametrize(("word", "value"), [("IDF_TAKEN", 83_000), ("IDF_LARGEST_CAP", 16_999)])
def test_a_session_without_memory_is_refused_at_once(
    certs: Certificates, lab: TlsLab, good: FaultServer, word: str, value: int
) -> None:
    said = lab.run(
        """
        s = connected(False)
        say("error", failure(wrapped, s))
        say("left", (words[r.TLS_OPEN], words[r.TLS_EVER]))
        """,
        good,
        certs.ca_der,
        **{word: value},
    )
    assert said == {"error": ("OSError", 12), "left": (0, 0)}


def test_the_steps_of_a_handshake_block(certs: Certificates, lab: TlsLab, good: FaultServer) -> None:
    said = lab.run(
        """
        words[r.TLS_STEP_MS] = 400
        s = connected(False)
        w = wrapped(s)
        skip()
        took = []
        n = None
        while n is None:
            before = time.ticks_ms()
            n = w.write(REQUEST)
            took.append(time.ticks_diff(time.ticks_ms(), before))
            time.sleep_ms(1)
        say("longest", max(took))
        say("steps", len([ms for ms in took if ms >= 400]))
        say("shortest", min(took))
        """,
        good,
        certs.ca_der,
    )
    assert 400 <= said["longest"] < 600 and 2 <= said["steps"] <= 6 and said["shortest"] < 100


def test_a_soft_reset_keeps_the_memory_in_pieces_and_a_hard_one_does_not(
    certs: Certificates, lab: TlsLab, good: FaultServer
) -> None:
    lab.run("shaken()", good, certs.ca_der)
    words = lab.lab.state
    assert (words[r.TLS_OPEN], words[r.TLS_EVER]) == (1, 1)
    assert lab.run('say("ever", words[r.TLS_EVER])', good, certs.ca_der, RESET_CAUSE=5) == {"ever": 1}
    assert words[r.TLS_OPEN] == 0
    assert lab.run('say("ever", words[r.TLS_EVER])', good, certs.ca_der, RESET_CAUSE=2) == {"ever": 0}


def test_what_would_end_the_firmware_is_refused(certs: Certificates, lab: TlsLab, good: FaultServer) -> None:
    said = lab.run(
        """
        s = connected(False)
        w = wrapped(s)
        say("before", failure(w.cipher)[0])
        w.close()
        say("after", failure(w.cipher)[0])
        """,
        good,
        certs.ca_der,
    )
    assert said == {"before": "RuntimeError", "after": "RuntimeError"}
