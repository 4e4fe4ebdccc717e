"""More than one request on a connection: pipelining, request smuggling, and connections that are kept.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`).
docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from host_tests.httpd_board import HttpdBoard, get, leaves_nothing, line, post, put_in_form

pytestmark = pytest.mark.vm


@leaves_nothing
@pytest.mark.parametrize("count", [2, 5, 40])
def test_pipelined_requests_are_answered_in_order_or_cleanly_cut(board: HttpdBoard, count: int) -> None:
    """sends several GETs in one segment -> whole answers in order, at least the first, then a clean end"""
    with board.client() as client:
        client.send(b"".join(get(f"/item/{n}") for n in range(count)))
        board.advance(4_500)
        bodies = [answer.body for answer in client.read_all()]
        assert bodies
        assert bodies == [b"%d" % n for n in range(len(bodies))]


INNER = get("/item/inner")
SMUGGLED = [
    pytest.param(line("GET /item/outer HTTP/1.1", f"Content-Length: {len(INNER)}") + INNER, 200, id="GET with a body"),
    pytest.param(post("/form", INNER, b""), 415, id="a form of no type"),
    pytest.param(post("/form", INNER), 200, id="a form"),
    pytest.param(post("/tips", INNER), 405, id="a method not allowed"),
    pytest.param(post("/nope", INNER), 404, id="an unknown path"),
    pytest.param(put_in_form("Transfer-Encoding: chunked", body="0\r\n\r\n") + INNER, 501, id="chunks"),
    pytest.param(line("GET / HTTP/1.1", "A : b") + INNER, 400, id="a malformed head"),
    pytest.param(line("GET / HTTP/1.1", "Transfer-Encoding: chunked") + INNER, 501, id="GET in chunks"),
]


@leaves_nothing
@pytest.mark.parametrize(("raw", "status"), SMUGGLED)
def test_a_body_is_never_taken_for_a_request(board: HttpdBoard, raw: bytes, status: int) -> None:
    """hides a request in a body, in one segment, and another behind it -> the inner one is never answered"""
    with board.client() as client:
        client.send(raw + get("/item/after"))
        board.advance(4_500)
        answers = client.read_all()
        assert answers[0].status == status
        assert b"inner" not in [answer.body for answer in answers]


@leaves_nothing
def test_a_body_that_comes_after_the_answer_is_never_taken_for_a_request(board: HttpdBoard) -> None:
    """sends GET with a length, reads the answer, then a request as its body -> no second answer"""
    with board.client() as client:
        assert client.ask(line("GET /item/outer HTTP/1.1", f"Content-Length: {len(INNER)}")).body == b"outer"
        client.send(INNER)
        board.advance(1_500)
        assert client.ending() == "eof"


@leaves_nothing
def test_twenty_requests_share_a_connection(board: HttpdBoard) -> None:
    """20 requests, forms and pages in turn, one after the other on one connection -> 20 answers"""
    with board.client() as client:
        for n in range(10):
            assert client.ask(get(f"/item/{n}")).body == b"%d" % n
            assert client.ask(post("/form", b"n=%d" % n)).body == b'{"n": "%d"}' % n
        assert not client.answered()


@leaves_nothing
def test_an_idle_connection_is_closed_without_a_word(board: HttpdBoard) -> None:
    """keeps a connection and is silent -> still served after 2 s, closed after 3 s without 408"""
    with board.client() as client:
        client.ask(get("/tips"))
        board.advance(2_000)
        assert client.ask(get("/tips")).status == 200
        board.advance(3_500)
        assert client.ending() == "eof"


CLOSED = [
    pytest.param(get("/tips", "Connection: close\r\n"), id="close"),
    pytest.param(get("/tips", "Connection: Close\r\n"), id="Close"),
    pytest.param(get("/tips", "Connection: TE, close\r\n"), id="TE, close"),
    pytest.param(get("/big", "Connection: close\r\n"), id="close of a long answer"),
    pytest.param(b"GET /tips HTTP/1.0\r\n\r\n", id="HTTP/1.0"),
    pytest.param(b"GET /big HTTP/1.0\r\n\r\n", id="HTTP/1.0 and a long answer"),
    pytest.param(b"GET /tips HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", id="HTTP/1.0 that would go on"),
]


@leaves_nothing
@pytest.mark.parametrize("raw", CLOSED)
def test_a_connection_that_is_not_to_be_kept_is_closed(board: HttpdBoard, raw: bytes) -> None:
    """asks for the end of the connection, or speaks HTTP/1.0 -> say and do so at once"""
    with board.client() as client:
        answer = client.ask(raw)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert "transfer-encoding" not in answer.headers or b"HTTP/1.1" in raw
        assert client.ending() == "eof"


@leaves_nothing
def test_kept_connections_make_room_at_once(board: HttpdBoard) -> None:
    """four connections are open, three of them kept and idle -> a new client is served in 0.25 s, the oldest goes"""
    with ExitStack() as stack:
        kept = [stack.enter_context(board.client()) for _ in range(3)]
        for client in kept:
            assert client.ask(get("/tips")).headers["connection"] == "keep-alive"
            board.advance(20)
        stack.enter_context(board.client())
        board.wait_for_sockets(5)
        board.check_honest(0.25)
        assert [client.answered() for client in kept] == [True, False, False]
        assert kept[1].ask(get("/tips")).status == 200


@leaves_nothing
def test_with_no_slot_free_connections_are_not_kept(board: HttpdBoard) -> None:
    """is the fourth to be served at the same time -> `Connection: close`"""
    with ExitStack() as stack:
        clients = [stack.enter_context(board.client()) for _ in range(4)]
        board.wait_for_sockets(5)
        assert clients[0].ask(get("/tips")).headers["connection"] == "close"
