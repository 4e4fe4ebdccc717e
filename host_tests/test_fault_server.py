"""The fault server does to a plain client what each fault says, and counts what the client did."""

from __future__ import annotations

import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from host_tests import faults
from host_tests.fault_server import FaultServer
from host_tests.tls_certs import Certificates
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import registers as r

PATIENCE_S = 5


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


def body_of(*seqs: int) -> bytes:
    batch = {
        "device": "tally-1",
        "app": "1",
        "boot": 1,
        "fields": ["temp_c"],
        "readings": [[n, 0, 2, 21] for n in seqs],
    }
    return json.dumps(batch).encode()


def connect(server: FaultServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)


def send(client: socket.socket, body: bytes = b"", extra: str = "") -> None:
    head = f"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    client.sendall(head.encode() + body)


def read_all(client: socket.socket, most: int = 1 << 30) -> bytes:
    received = b""
    while len(received) < most and (piece := client.recv(65536)):
        received += piece
    return received


def exchange(server: FaultServer, body: bytes = b"", extra: str = "Connection: close\r\n") -> bytes:
    """Everything that comes back until the server closes."""
    with connect(server) as client:
        send(client, body, extra)
        return read_all(client)


def ask(server: FaultServer, body: bytes = b"") -> tuple[int, bytes]:
    """Status and body as the standard library understands them."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/readings", body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def silent_for(client: socket.socket, ms: int) -> bool:
    return not select.select([client], [], [], ms / 1000)[0]


# --- without faults -------------------------------------------------------------------------------


def test_a_request_is_answered_and_counted(server: FaultServer) -> None:
    assert ask(server, body_of(7, 8)) == (200, b'{"stored": 0, "repeated": 0}')
    (request,) = server.requests
    assert (request.method, request.path, request.connection) == ("POST", "/readings", 1)
    assert request.headers["content-length"] == str(len(request.body)) and request.body == body_of(7, 8)
    assert server.ledger.readings == {("tally-1", 7): [7, 0, 2, 21], ("tally-1", 8): [8, 0, 2, 21]}


def test_a_connection_serves_many_requests(server: FaultServer) -> None:
    with connect(server) as client:
        for _ in range(3):
            send(client)
            answer = client.recv(4096)
            assert b"Connection: keep-alive\r\n" in answer and b"\r\nDate:" not in answer
    assert [request.connection for request in server.requests] == [1, 1, 1]
    assert server.connections == 1
    wait_until(lambda: server.open == 0)


def test_a_connection_is_closed_when_either_end_wants_it(server: FaultServer) -> None:
    assert b"Connection: close\r\n" in exchange(server)
    server.keep = False
    assert b"Connection: close\r\n" in exchange(server, extra="")


def test_the_date_is_told_when_it_is_set(server: FaultServer) -> None:
    server.date = "Sat, 31 Jan 2026 12:00:00 GMT"
    assert b"\r\nDate: Sat, 31 Jan 2026 12:00:00 GMT\r\n" in exchange(server)


@pytest.mark.parametrize(
    "text",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_what_is_no_request_is_noted(server: FaultServer, text: bytes) -> None:
    with connect(server) as client:
        client.sendall(text)
        assert read_all(client).startswith(b"HTTP/1.1 400 ")
    assert len(server.bad) == 1 and server.requests == []


def test_nothing_is_left_when_it_ends() -> None:
    before = threading.active_count()
    with FaultServer() as server:
        idle, silent = connect(server), connect(server)
        send(silent)
        wait_until(lambda: server.open == 2)
    assert threading.active_count() == before
    for client in (idle, silent):
        with client:
            read_all(client)
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", server.port)):
        pass


# --- what is committed ----------------------------------------------------------------------------


def test_a_batch_that_comes_again_takes_effect_once(server: FaultServer) -> None:
    for _ in range(2):
        exchange(server, body_of(1, 2), "Connection: close\r\nIdempotency-Key: t-1-2\r\n")
    ledger = server.ledger
    assert ledger.arrived == {("tally-1", 1): 2, ("tally-1", 2): 2}
    assert ledger.doubled_by_key() == [] and len(ledger.readings) == 2


def test_a_reading_that_comes_again_under_another_key_is_told(server: FaultServer) -> None:
    for last in (2, 3):
        exchange(server, body_of(*range(1, last + 1)), f"Connection: close\r\nIdempotency-Key: t-1-{last}\r\n")
    assert server.ledger.doubled_by_key() == [("tally-1", 1), ("tally-1", 2)]
    exchange(server, body_of(9), "Connection: close\r\nIdempotency-Key: t-1-3\r\n")
    assert server.ledger.conflicts == ["t-1-3"] and ("tally-1", 9) in server.ledger.readings


def test_batches_without_a_key_all_take_effect_by_key(server: FaultServer) -> None:
    for _ in range(2):
        exchange(server, body_of(1))
    assert server.ledger.doubled_by_key() == [("tally-1", 1)] and server.ledger.conflicts == []


def test_another_commit_can_be_set(server: FaultServer) -> None:
    bodies = []
    server.commit = lambda request: bodies.append(request.body)
    exchange(server, b"temp_c=21")
    assert bodies == [b"temp_c=21"]


def test_a_poisoned_reading_spoils_its_request(server: FaultServer) -> None:
    server.poison([5])
    assert ask(server, body_of(4, 5))[0] == 400
    server.poison([5], status=422)
    assert ask(server, body_of(5))[0] == 422
    assert ask(server, body_of(4))[0] == 200
    assert list(server.ledger.readings) == [("tally-1", 4)]


def test_what_is_too_large_is_refused_with_413(server: FaultServer) -> None:
    server.most_readings = 2
    assert [ask(server, body_of(*range(1, n + 1)))[0] for n in (3, 2)] == [413, 200]
    server.most_bytes = 100
    assert [ask(server, b"x" * n)[0] for n in (101, 100)] == [413, 200]
    assert len(server.ledger.readings) == 2


# --- before an answer -----------------------------------------------------------------------------


def test_nobody_listens_until_it_heals(server: FaultServer) -> None:
    for _ in range(3):
        server.fault = faults.REFUSE
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        server.fault = faults.NONE
        assert ask(server)[0] == 200


def test_a_black_hole_answers_no_connect_until_it_heals(server: FaultServer) -> None:
    server.fault = faults.BLACK_HOLE
    with socket.socket() as client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.connect(("127.0.0.1", server.port))
    assert server.connections == 0
    server.fault = faults.NONE
    assert ask(server)[0] == 200


def test_a_kept_connection_feels_that_the_server_died(server: FaultServer) -> None:
    with connect(server) as client:
        send(client)
        client.recv(4096)
        server.fault = faults.REFUSE
        send(client)
        assert client.recv(4096) == b""


def test_a_kept_connection_into_a_black_hole_hears_nothing(server: FaultServer) -> None:
    with connect(server) as client:
        send(client)
        client.recv(4096)
        server.fault = faults.BLACK_HOLE
        send(client)
        assert silent_for(client, 50)
    assert len(server.requests) == 1


def test_a_silent_server_reads_and_never_answers(server: FaultServer) -> None:
    server.fault = faults.SILENT
    with connect(server) as client:
        send(client, body_of(1))
        wait_until(lambda: len(server.requests) == 1)
        assert silent_for(client, 50)
    assert not server.ledger.arrived


def test_a_server_that_does_not_read_lets_the_window_fill(server: FaultServer) -> None:
    server.fault = faults.SILENT_UNREAD
    with connect(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5760)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            send(client, b"x" * 100_000)


def test_a_connection_is_closed_at_once(server: FaultServer) -> None:
    server.fault = faults.CLOSE_AT_ONCE
    with connect(server) as client:
        assert client.recv(1) == b""
    assert server.connections == 1 and server.requests == []


def test_a_connection_is_closed_in_the_request(server: FaultServer) -> None:
    server.fault = faults.CLOSE_MID_REQUEST
    with connect(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n")
        assert client.recv(1) == b""
    assert server.requests == []


def test_the_fault_is_the_one_set_when_the_request_comes(server: FaultServer) -> None:
    with connect(server) as client:
        for status in (503, 200, 401):
            server.fault = faults.status(status)
            send(client)
            assert client.recv(4096).startswith(b"HTTP/1.1 %d " % status)


# --- the answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", faults.STATUSES)
def test_a_status_is_answered_and_nothing_committed(server: FaultServer, status: int) -> None:
    server.fault = faults.status(status, "Retry-After: 120")
    answer = exchange(server, body_of(1))
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b"\r\nRetry-After: 120\r\n" in answer
    assert not server.ledger.arrived


def test_a_status_can_be_answered_though_all_is_committed(server: FaultServer) -> None:
    server.fault = faults.status(500, commits=True)
    assert ask(server, body_of(1))[0] == 500
    server.fault = faults.status(204, commits=True)
    assert ask(server, body_of(2)) == (204, b"")
    assert len(server.ledger.readings) == 2


def test_other_answers_may_come_before_the_answer(server: FaultServer) -> None:
    server.fault = faults.CONTINUE_FIRST
    *heads, body = exchange(server, body_of(1)).split(b"\r\n\r\n")
    assert [head[:12] for head in heads] == [b"HTTP/1.1 100", b"HTTP/1.1 103", b"HTTP/1.1 200"]
    assert body == faults.Answer().body


@pytest.mark.parametrize("name", [name for name in faults.STRANGE if name != "continue first"])
def test_a_strange_answer_is_right(server: FaultServer, name: str) -> None:
    server.fault = replace(faults.STRANGE[name], wait_ms=0)
    assert ask(server, body_of(1)) == (200, b'{"stored": 0, "repeated": 0}')
    assert ask(server, body_of(2)) == (200, b'{"stored": 0, "repeated": 0}')
    assert len(server.ledger.readings) == 2


def test_an_answer_is_committed_and_dropped(server: FaultServer) -> None:
    server.fault = faults.COMMIT_AND_DROP
    assert exchange(server, body_of(1)) == b""
    server.fault = faults.COMMIT_AND_RESET
    with pytest.raises(ConnectionResetError):
        exchange(server, body_of(2))
    assert list(server.ledger.readings) == [("tally-1", 1), ("tally-1", 2)]


@pytest.mark.parametrize(
    ("fault", "received", "committed"),
    [
        (faults.CLOSE_MID_HEAD, b"HTTP/1.1 20", False),
        (faults.CLOSE_MID_HEADERS, b"HTTP/1.1 200 OK\r\nConte", True),
    ],
)
def test_an_answer_is_cut_in_its_head(
    server: FaultServer, fault: faults.Fault, received: bytes, committed: bool
) -> None:
    server.fault = fault
    assert exchange(server, body_of(1)) == received
    assert bool(server.ledger.arrived) == committed


def test_an_answer_is_cut_in_its_body(server: FaultServer) -> None:
    server.fault = faults.CLOSE_MID_BODY
    with pytest.raises(http.client.IncompleteRead):
        ask(server)


def test_an_answer_comes_byte_by_byte(server: FaultServer) -> None:
    server.fault = faults.drip(1)
    with connect(server) as client:
        send(client)
        pieces = [client.recv(4096) for _ in range(20)]
    came = b"".join(pieces)
    assert came.startswith(b"HTTP/1.1 200 OK\r\n") and len(came) <= 80, "more than some bytes at a time"


def test_a_slow_answer_comes_when_its_time_has_come(server: FaultServer) -> None:
    server.fault = faults.slow(100)
    start = time.monotonic()
    assert ask(server)[0] == 200
    assert time.monotonic() - start >= 0.1


def test_a_promise_to_keep_the_connection_is_broken_later(server: FaultServer) -> None:
    server.fault = faults.keep_then_close(50)
    with connect(server) as client:
        send(client)
        assert b"Connection: keep-alive\r\n" in client.recv(4096)
        assert client.recv(1) == b""


@pytest.mark.parametrize("name", [name for name in faults.WRONG_BODY if "endless" not in name])
def test_a_wrong_answer_is_said_and_nothing_is_committed(server: FaultServer, name: str) -> None:
    server.fault = faults.WRONG_BODY[name]
    assert exchange(server, body_of(1)) == b"".join(server.fault.pieces(faults.Answer()))  # type: ignore[misc]
    assert not server.ledger.arrived


@pytest.mark.parametrize("fault", [faults.WRONG_BODY["endless header line"], faults.ENDLESS_CONTINUE])
def test_what_is_endless_goes_on_until_the_client_leaves(server: FaultServer, fault: faults.Fault) -> None:
    server.fault = fault
    with connect(server) as client:
        send(client)
        assert len(read_all(client, 1_000_000)) >= 1_000_000
    wait_until(lambda: server.open == 0)


@pytest.mark.parametrize("fault", [faults.HUGE_BY_LENGTH, faults.HUGE_CHUNKED, faults.HUGE_UNTIL_CLOSE])
def test_a_huge_body_comes_whole(server: FaultServer, fault: faults.Fault) -> None:
    server.fault = fault
    status, body = ask(server, body_of(1))
    assert status == 200 and len(body) == faults.HUGE_BYTES


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["ec", "rsa"])
def certs(request: pytest.FixtureRequest) -> Certificates:
    return Certificates(request.param)


def trusting(certs: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=certs.ca_pem.decode())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_ciphers("DEFAULT:AES256-GCM-SHA384")
    return context


def ask_safely(server: FaultServer, context: ssl.SSLContext, name: str = "127.0.0.1") -> bytes:
    with connect(server) as plain, context.wrap_socket(plain, server_hostname=name) as client:
        send(client, body_of(1), "Connection: close\r\n")
        return read_all(client)


@pytest.mark.parametrize("name", ["127.0.0.1", "collector.test"])
def test_a_server_with_tls_is_the_same_server(certs: Certificates, name: str) -> None:
    with FaultServer(tls=certs.good) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert ask_safely(server, trusting(certs), name).startswith(b"HTTP/1.1 200 OK")
        server.fault = faults.status(503)
        assert ask_safely(server, trusting(certs), name).startswith(b"HTTP/1.1 503 ")
        server.fault = faults.CLOSE_MID_BODY
        assert b"Content-Length: 128\r\n" in ask_safely(server, trusting(certs), name)
        assert len(server.requests) == 3


def test_the_authority_is_there_in_both_forms(certs: Certificates) -> None:
    assert ssl.PEM_cert_to_DER_cert(certs.ca_pem.decode()) == certs.ca_der


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("wrong_name", "IP address mismatch"),
        ("no_address", "IP address mismatch"),
        ("expired", "has expired"),
        ("not_yet_valid", "not yet valid"),
        ("unknown_ca", "verify failed"),
    ],
)
def test_a_bad_certificate_is_bad_for_others_too(certs: Certificates, which: str, why: str) -> None:
    with FaultServer(tls=getattr(certs, which)) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match=why):
            ask_safely(server, trusting(certs))
        wait_until(lambda: server.open == 0)
        assert len(server.refused_handshakes) == 1 and server.requests == []


def test_a_handshake_is_stalled(certs: Certificates) -> None:
    with FaultServer(tls=certs.good) as server:
        server.fault = faults.STALL_HANDSHAKE
        with connect(server) as client:
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                trusting(certs).wrap_socket(client, server_hostname="127.0.0.1")


def test_a_handshake_is_broken_off(certs: Certificates) -> None:
    with FaultServer(tls=certs.good) as server:
        server.fault = faults.CLOSE_IN_HANDSHAKE
        with pytest.raises(ssl.SSLEOFError):
            ask_safely(server, trusting(certs))


def test_a_server_without_tls_answers_the_handshake_in_http(certs: Certificates) -> None:
    with FaultServer(tls=certs.good) as server:
        server.fault = faults.PLAIN_HTTP
        with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER|HTTP"):
            ask_safely(server, trusting(certs))
        assert exchange(server).startswith(b"HTTP/1.1 200 OK")


# --- a board's time -------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Iterator[BoardState]:
    state = BoardState(tmp_path / "board", blank=True)
    yield state
    state.close()


def skip(state: BoardState, ms: int) -> None:
    """What the board does when it skips time."""
    state[r.SKIPPED_MS] += ms
    state[r.TICKS_OFFSET] += ms


def is_due_in(state: BoardState, ms: int) -> bool:
    return state[r.PEER_DUE] != 0 and due_ms(state) > ms


def due_ms(state: BoardState) -> int:
    return (state[r.PEER_DUE] - state.ticks_ms() + (1 << 29)) % (1 << 30) - (1 << 29)


def test_a_delay_goes_by_the_clock_of_the_board(state: BoardState) -> None:
    with FaultServer(state=state) as server, connect(server) as client:
        server.fault = faults.slow(3_600_000)
        send(client)
        wait_until(lambda: is_due_in(state, 3_500_000))
        skip(state, 3_500_000)
        assert silent_for(client, 50) and 0 < due_ms(state) <= 100_000
        skip(state, 100_000)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: state[r.PEER_DUE] == 0)


def test_a_board_that_is_reset_gets_its_answer_still(state: BoardState) -> None:
    with FaultServer(state=state) as server, connect(server) as client:
        skip(state, 50_000_000)
        server.fault = faults.slow(60_000)
        send(client)
        wait_until(lambda: is_due_in(state, 50_000))
        state.prepare_boot(0)
        skip(state, 60_000)
        assert client.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_is_not_waited_for(state: BoardState) -> None:
    with FaultServer(state=state) as server:
        server.fault = faults.slow(3_600_000)
        with connect(server) as client:
            send(client)
            wait_until(lambda: is_due_in(state, 3_500_000))
        wait_until(lambda: server.open == 0)
        assert state[r.PEER_DUE] == 0
