"""Clients that are slow, silent, endless or gone, against the HTTP server alone on a board of 24 KB and 10 sockets.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`). What is
said badly is in test_httpd_protocol.py. docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from contextlib import ExitStack

import pytest

from host_tests.httpd_board import HOST, SMALL_WINDOW_BYTES, Client, HttpdBoard, get, leaves_nothing, post

pytestmark = pytest.mark.vm

BIG_BYTES = 40_960
FORM_HEAD = b"POST /form HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-www-form-urlencoded\r\n"


def drip(board: HttpdBoard, client: Client, data: bytes, every_ms: int) -> int:
    """Send a byte at a time until the board says something; the time that took."""
    for n in range(len(data)):
        if client.answered():
            return n * every_ms
        client.send(data[n : n + 1])
        board.advance(every_ms)
    return len(data) * every_ms


def stranger(board: HttpdBoard) -> socket.socket:
    """A connection in the making, whether there is room for it or not."""
    client = socket.socket()
    client.setblocking(False)
    assert client.connect_ex(("127.0.0.1", board.port)) in (0, errno.EINPROGRESS)
    return client


# --- silent and slow ----------------------------------------------------------------------------


@leaves_nothing
def test_a_silent_client_is_closed_at_its_deadline(board: HttpdBoard) -> None:
    """connects and sends nothing -> close after 8 s without a word"""
    with board.client() as client:
        board.advance(7_000)
        assert not client.answered()
        board.advance(1_600)
        assert client.ending() == "eof"
        board.wait_for_sockets(1)


@leaves_nothing
@pytest.mark.parametrize("count", [4, 10, 30])
def test_silent_clients_that_sit_there_do_not_lock_an_honest_one_out(board: HttpdBoard, count: int) -> None:
    """several connections say nothing, and an honest client comes later -> serve it in 0.5 s, the oldest has to go"""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(board.client())
            board.advance(120)
        board.advance(500)
        evicted = board.figures()["evicted"]
        board.check_honest()
        assert evicted > 0
    board.wait_for_quiet()


@leaves_nothing
@pytest.mark.parametrize(("count", "limit_s"), [(3, 0.5), (4, 0.7), (10, 1.6)])
def test_an_honest_client_behind_silent_ones_of_the_same_moment(board: HttpdBoard, count: int, limit_s: float) -> None:
    """that many silent connections come in the same moment before it -> serve it after 0.4 s for each four of them"""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(board.client())
        board.check_honest(limit_s)
    board.wait_for_quiet()


@leaves_nothing
def test_thirty_silent_connections_in_one_moment_are_got_over(board: HttpdBoard) -> None:
    """30 silent connections in the same moment, more than the backlog holds -> serve an honest one when they are in"""
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(stranger(board))
        board.check_honest(8)
    board.wait_for_quiet()


@leaves_nothing
def test_a_header_sent_a_byte_at_a_time_is_cut_off_at_the_deadline(board: HttpdBoard) -> None:
    """sends a head, a byte each half second -> 408 at 8 s, though bytes keep coming"""
    with board.client() as client:
        assert 7_500 <= drip(board, client, get("/tips"), 500) <= 9_000
        assert client.read().status == 408
        assert client.ending() == "eof"


@leaves_nothing
def test_a_body_sent_a_byte_at_a_time_is_cut_off_at_the_deadline(board: HttpdBoard) -> None:
    """sends a form, a byte each second -> 408 at 8 s, though bytes keep coming"""
    with board.client() as client:
        client.send(FORM_HEAD + b"Content-Length: 100\r\n\r\n")
        assert 7_500 <= drip(board, client, b"a" * 30, 1_000) <= 10_000
        assert client.read().status == 408
        assert client.ending() == "eof"


@leaves_nothing
def test_an_upload_that_moves_its_deadline_on_may_take_longer(board: HttpdBoard) -> None:
    """uploads 6 KB in 24 s to a handler that moves the deadline on -> take it all"""
    with board.client() as client:
        client.send(b"POST /upload HTTP/1.1\r\n" + HOST + b"Content-Length: 6144\r\n\r\n")
        for _ in range(6):
            client.send(b"x" * 1024)
            board.advance(4_000)
        assert client.read().body == b"6144\n"


# --- endless ------------------------------------------------------------------------------------

HEAD = b"GET /tips HTTP/1.1\r\n" + HOST
ENDLESS = [
    pytest.param(b"GET /" + b"a" * 8_000, 414, id="an endless request line"),
    pytest.param(b"A" * 8_000, 414, id="an endless method"),
    pytest.param(HEAD + b"X: " + b"a" * 40_000, 431, id="an endless header line"),
    pytest.param(HEAD + b"a" * 40_000, 431, id="an endless header name"),
    pytest.param(HEAD + b"X: y\r\n" * 1_200, 431, id="endless headers"),
    pytest.param(b"\r\n" * 4_000, 431, id="endless empty lines"),
    pytest.param(FORM_HEAD + b"Content-Length: 20000\r\n\r\n" + b"a" * 8_000, 413, id="a form longer than allowed"),
    pytest.param(FORM_HEAD + b"Content-Length: 3\r\n\r\na=b" + b"c" * 8_000, 200, id="a body beyond its length"),
    pytest.param(HEAD + b"Content-Length: 9000\r\n\r\n" + b"c" * 8_000, 200, id="a body nobody asked for"),
]


@leaves_nothing
@pytest.mark.parametrize(("raw", "status"), ENDLESS)
def test_what_does_not_end_is_answered_and_the_answer_arrives(board: HttpdBoard, raw: bytes, status: int) -> None:
    """sends 8 or 40 KB more than is wanted and then waits -> answer, read what follows, close without RST"""
    with board.client() as client:
        client.send(raw)
        answer = client.read()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        board.advance(1_600)
        assert client.ending() == "eof"


@leaves_nothing
@pytest.mark.parametrize(("raw", "status"), ENDLESS)
def test_who_goes_on_for_ever_gets_the_answer_and_is_cut_off(board: HttpdBoard, raw: bytes, status: int) -> None:
    """the same, followed by 400 KB and no look at the answer before -> answer first, then cut off"""
    with board.client() as client:
        client.send_as_far_as_taken(raw + b"x\r\n" * 133_000)
        assert client.read().status == status
        board.advance(1_600)
        board.wait_for_sockets(1)


@leaves_nothing
def test_small_segments_after_a_refusal_do_not_cost_the_client_the_answer(board: HttpdBoard) -> None:
    """goes on sending its too long form in 60 small segments, then reads -> the whole 413 is there"""
    with board.client() as client:
        client.send(FORM_HEAD + b"Content-Length: 20000\r\n\r\n")
        for _ in range(60):
            client.send_as_far_as_taken(b"0123456789")
            time.sleep(0.002)
        assert client.read().status == 413


# --- gone ---------------------------------------------------------------------------------------

PHASES = [
    pytest.param(b"", 0, id="after connect"),
    pytest.param(b"GET /ti", 0, id="in the request line"),
    pytest.param(b"GET /tips HTTP/1.1\r\nHost: 127.", 0, id="in the headers"),
    pytest.param(FORM_HEAD + b"Content-Length: 50\r\n\r\na=b", 0, id="in a form"),
    pytest.param(post("/upload", b"x" * 9_000)[:5_000], 0, id="in an upload"),
    pytest.param(get("/tips"), 0, id="before the answer"),
    pytest.param(get("/big"), 0, id="before a long answer"),
    pytest.param(get("/big"), 3_000, id="in the answer"),
    pytest.param(get("/slow"), 0, id="while a handler waits"),
]


@leaves_nothing
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(("sent", "read_bytes"), PHASES)
def test_a_client_that_goes_away_leaves_nothing_behind(
    board: HttpdBoard, sent: bytes, read_bytes: int, how: str
) -> None:
    """closes, or resets, at some point; three times -> be rid of it at once"""
    for _ in range(3):
        client = board.client(SMALL_WINDOW_BYTES if read_bytes else 0)
        client.send(sent)
        assert len(client.stream.read(read_bytes)) == read_bytes
        client.reset() if how == "reset" else client.close()
    board.check_honest()
    board.advance(5_100 if b"slow" in sent else 300)
    board.wait_for_sockets(1)


@leaves_nothing
@pytest.mark.parametrize("how", ["close", "reset"])
def test_fifty_connections_that_vanish_at_once_do_no_harm(board: HttpdBoard, how: str) -> None:
    """connects and vanishes, 50 times in the same moment, again and again -> no trace"""
    for _ in range(3):
        for _ in range(50):
            client = stranger(board)
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        time.sleep(0.05)
    board.wait_for_quiet()


@leaves_nothing
@pytest.mark.parametrize("path", ["/", "/tips", "/big"])
def test_a_half_closed_client_gets_its_whole_answer(board: HttpdBoard, path: str) -> None:
    """sends a request and closes its sending side -> the whole answer"""
    with board.client() as client:
        client.send(get(path))
        client.half_close()
        answer = client.read()
        assert answer.status == 200
        assert path != "/big" or len(answer.body) == BIG_BYTES
        assert client.ending() == "eof"


@leaves_nothing
@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(HEAD, [], id="half a head"),
        pytest.param(FORM_HEAD + b"Content-Length: 50\r\n\r\na=b", [400], id="half a form"),
        pytest.param(post("/upload", b"x" * 9_000)[:5_000], [400], id="half an upload"),
    ],
)
def test_a_half_closed_client_with_half_a_request_is_let_go(
    board: HttpdBoard, sent: bytes, statuses: list[int]
) -> None:
    """sends part of a request and closes its sending side -> close, with 400 if the body is what is missing"""
    with board.client() as client:
        client.send(sent)
        client.half_close()
        assert [answer.status for answer in client.read_all()] == statuses
        board.wait_for_sockets(1)
