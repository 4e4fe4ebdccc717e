"""The fault server's delays pass on the clock of a board that skips time, to the tick, and in no time outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from host_tests import faults
from host_tests.fault_server import FaultServer
from host_tests.test_fakes_strict import Lab
from host_tests.test_fault_server import wait_until
from host_tests.tls_certs import Certificates
from scripts.vm import Vm

pytestmark = pytest.mark.vm

REQUEST = b"POST /readings HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
CLIENT = """
s = socket.socket()
s.connect(("127.0.0.1", PORT))
s.setblocking(False)
p = select.poll()
p.register(s, select.POLLIN)

def waited(seconds=3600):
    "What came, and after how many ms, for somebody who would wait for hours."
    before = time.ticks_ms()
    ready = p.poll(1000 * seconds)
    return ready and s.read(1000), time.ticks_diff(time.ticks_ms(), before)
"""


@pytest.fixture
def lab(tmp_path: Path, vm: Vm) -> Iterator[Lab]:
    lab = Lab(tmp_path / "board", vm)
    yield lab
    lab.close()


def run(lab: Lab, server: FaultServer, script: str, client: str = CLIENT) -> dict[str, Any]:
    head = f"online()\nPORT = {server.port}\nREQUEST = {REQUEST!r}\n"
    return lab.run(head + dedent(client) + "skip()\n" + dedent(script))


@pytest.mark.parametrize("ms", [300, 60_000, 1_800_000])
def test_a_slow_answer_comes_at_its_tick(lab: Lab, ms: int) -> None:
    with FaultServer(state=lab.state) as server:
        server.fault = faults.slow(ms)
        started_s = time.monotonic()
        said = run(lab, server, 's.write(REQUEST)\nsay("came", waited())')
    answer, took_ms = said["came"]
    assert answer.startswith(b"HTTP/1.1 200 OK") and ms - 100 <= took_ms <= ms + 100
    assert time.monotonic() - started_s < 5


def test_bytes_that_drip_keep_their_distance(lab: Lab) -> None:
    with FaultServer(state=lab.state) as server:
        server.fault = faults.drip(5000)
        said = run(lab, server, 's.write(REQUEST)\nsay("came", [waited() for _ in range(8)])')
    assert b"".join(piece for piece, _ in said["came"]) == b"HTTP/1.1"
    assert all(4900 <= ms <= 5100 for _, ms in said["came"])


def test_a_silent_server_holds_no_time_up(lab: Lab) -> None:
    with FaultServer(state=lab.state) as server:
        server.fault = faults.SILENT
        said = run(lab, server, 's.write(REQUEST)\nsay("came", waited(600))')
    ready, took_ms = said["came"]
    assert ready == [] and 600_000 <= took_ms < 600_200


def test_a_board_that_skips_nothing_waits_as_long(lab: Lab) -> None:
    with FaultServer(state=lab.state) as server:
        server.fault = faults.slow(100)
        said = run(lab, server, 'words[r.SKIP_ON] = 0\ns.write(REQUEST)\nsay("came", waited())')
    assert 95 <= said["came"][1] < 1000


def test_a_slow_server_with_tls_is_slow_by_the_same_clock(lab: Lab) -> None:
    with FaultServer(tls=Certificates().good, state=lab.state) as server:
        server.fault = faults.slow(60_000)
        said = run(
            lab,
            server,
            """
            c = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
            c.verify_mode = tls.CERT_NONE
            w = c.wrap_socket(s, do_handshake_on_connect=False)
            p.unregister(s)
            p.register(w, select.POLLIN | select.POLLOUT)
            while w.write(REQUEST) is None:
                p.poll(1000)
            p.modify(w, select.POLLIN)
            s = w
            before = time.ticks_ms()
            while (answer := waited()[0]) is None:
                pass
            say("took", time.ticks_diff(time.ticks_ms(), before))
            say("came", answer[:15])
            """,
        )
    assert said["came"] == b"HTTP/1.1 200 OK" and 59_900 <= said["took"] < 60_200


PATIENT = """
def attempt():
    "One request of a client that waits 10 s for each thing and reads 20 KB at most; the bytes it got."
    s = socket.socket()
    s.setblocking(False)
    p = select.poll()
    p.register(s, select.POLLOUT)
    got = 0
    try:
        if errno_of(s.connect, ("127.0.0.1", PORT)) not in (None, errno.EINPROGRESS) or not p.poll(10000):
            return got
        s.write(REQUEST)
        p.modify(s, select.POLLIN)
        while got < 20000 and p.poll(10000):
            piece = s.read(1000)
            if not piece:
                break
            got += len(piece)
    except OSError:
        pass
    finally:
        p.unregister(s)
        s.close()
    return got

start = time.ticks_ms()
attempts = 0
while time.ticks_diff(time.ticks_ms(), start) < 600000:
    attempt()
    attempts += 1
    time.sleep_ms(5000)
say("attempts", attempts)
say("sockets", words[r.SOCKETS_OPEN])
"""


@pytest.mark.parametrize("name", {**faults.STRANGE, **faults.BROKEN})
def test_ten_minutes_of_a_fault_pass_in_seconds(lab: Lab, name: str) -> None:
    with FaultServer(state=lab.state) as server:
        server.fault = {**faults.STRANGE, **faults.BROKEN}[name]
        started_s = time.monotonic()
        said = run(lab, server, PATIENT, client="")
        assert time.monotonic() - started_s < 10
        assert 20 <= said["attempts"] <= 121 and said["sockets"] == 0
        wait_until(lambda: server.open == 0)
