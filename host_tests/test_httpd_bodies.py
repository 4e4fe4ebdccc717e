"""Handlers that return a generator, a file, bytes, text or nothing; and what helps handlers: cookies, query, headers.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`).
docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from host_tests.httpd_board import SMALL_WINDOW_BYTES, HttpdBoard, get, leaves_nothing, line

pytestmark = pytest.mark.vm

LAST_CHUNK = b"\r\n0\r\n\r\n"
PIECE_BYTES = 256
LONG = random.Random(1).randbytes(40_000)
SIZES = 0, 1, 500, 505, 506, 3_000
FILES = {"/www/40000.bin": LONG, **{f"/www/{size}.bin": LONG[:size] for size in SIZES}}


def pieces(count: int) -> bytes:
    """What the page of that name yields, text and bytes in turn."""
    return b"".join((b"%03d " if n & 1 else b"%03d\n") % n * 64 for n in range(count))


def fate(board: HttpdBoard) -> dict[str, Any]:
    """How many generators were opened and closed, and whether the file is open."""
    return json.loads(board.ask(get("/made/fate", "Connection: close\r\n")).body)


def check_closed(board: HttpdBoard, opened: int) -> None:
    """`opened` more generators have run, all are closed, and so is the file."""
    now = fate(board)
    assert (now["opened"], now["closed"], now["open_file"]) == (opened, opened, False)


# --- bodies -------------------------------------------------------------------------------------

WHOLE = [
    pytest.param("bytes", b"\x00\xff\r\n\r\n", id="bytes"),
    pytest.param("text", "Küche\n".encode(), id="text"),
    pytest.param("nothing", b"", id="None"),
]


@leaves_nothing
@pytest.mark.parametrize(("name", "body"), WHOLE)
def test_a_body_that_is_there_has_a_length(board: HttpdBoard, name: str, body: bytes) -> None:
    """asks for a page whose handler returns bytes, text or None -> length and body; the connection goes on"""
    with board.client() as client:
        for _ in range(2):
            answer = client.ask(get(f"/made/{name}"))
            assert (answer.status, answer.headers["content-length"], answer.body) == (200, str(len(body)), body)
            assert "transfer-encoding" not in answer.headers


@leaves_nothing
@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_a_generator_is_sent_in_chunks(board: HttpdBoard, count: int) -> None:
    """asks for a page whose handler returns a generator -> all its pieces in chunks; closed; the connection goes on"""
    before = fate(board)["opened"]
    with board.client() as client:
        for _ in range(2):
            answer = client.ask(get(f"/made/pieces?{count}"))
            assert (answer.status, answer.headers["transfer-encoding"]) == (200, "chunked")
            assert "content-length" not in answer.headers
            assert answer.body == pieces(count)
        assert client.ask(get("/tips")).body == b"tips\n"
    check_closed(board, before + 2)


@leaves_nothing
def test_a_generator_of_nothing_is_an_empty_body(board: HttpdBoard) -> None:
    """asks for a page whose generator yields nothing -> an empty body; closed; the connection goes on"""
    before = fate(board)["opened"]
    with board.client() as client:
        for _ in range(2):
            answer = client.ask(get("/made/pieces?0"))
            assert (answer.status, answer.body) == (200, b"")
        assert client.ask(get("/tips")).body == b"tips\n"
    check_closed(board, before + 2)


@leaves_nothing
@pytest.mark.parametrize("size_bytes", [*SIZES, 40_000])
def test_an_open_file_is_sent_in_chunks(board: HttpdBoard, size_bytes: int) -> None:
    """asks for a page whose handler returns an open file -> all of it in chunks; closed; the connection goes on"""
    before = fate(board)["opened"]
    with board.client() as client:
        answer = client.ask(get(f"/made/opened-file?{size_bytes}.bin"))
        assert (answer.status, answer.headers["transfer-encoding"]) == (200, "chunked")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.body == LONG[:size_bytes]
        assert client.ask(get("/tips")).body == b"tips\n"
    check_closed(board, before)


STREAMED = [
    pytest.param("pieces?40", pieces(40), id="a generator"),
    pytest.param("pieces?0", b"", id="an empty generator"),
    pytest.param("opened-file?3000.bin", LONG[:3_000], id="a file"),
]


@leaves_nothing
@pytest.mark.parametrize(("name", "body"), STREAMED)
def test_a_client_of_http_1_0_gets_it_unchunked(board: HttpdBoard, name: str, body: bytes) -> None:
    """HTTP/1.0 asks for such a page -> no chunks, and the end of the connection is that of the body"""
    with board.client() as client:
        client.send(b"GET /made/%s HTTP/1.0\r\n\r\n" % name.encode())
        head, _, received = client.read_raw().partition(b"\r\n\r\n")
        assert b"Transfer-Encoding" not in head
        assert b"Connection: close" in head
        assert received == body
    check_closed(board, fate(board)["opened"])


WITHOUT_BODY = [
    pytest.param("pieces?40", id="a generator"),
    pytest.param("pieces?0", id="an empty generator"),
    pytest.param("opened-file?3000.bin", id="a file"),
    pytest.param("opened-file?0.bin", id="an empty file"),
    pytest.param("text", id="text"),
    pytest.param("nothing", id="None"),
]


@leaves_nothing
@pytest.mark.parametrize("name", WITHOUT_BODY)
def test_head_of_such_a_page_has_no_body(board: HttpdBoard, name: str) -> None:
    """HEAD of such a page -> the type that GET has, no byte of a body; closed; the connection goes on"""
    whole = board.ask(get(f"/made/{name}"))
    with board.client() as client:
        for _ in range(2):
            head = client.ask(line(f"HEAD /made/{name} HTTP/1.1"))
            assert (head.status, head.headers["content-type"]) == (200, whole.headers["content-type"])
            assert client.ask(get("/tips")).body == b"tips\n"
    check_closed(board, fate(board)["opened"])


# --- bodies that end early ----------------------------------------------------------------------


@leaves_nothing
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("name", ["pieces?200", "opened-file?40000.bin"])
def test_what_is_sent_is_closed_when_its_client_goes(board: HttpdBoard, name: str, way: str) -> None:
    """closes, or resets, in the middle of a generator's or a file's body; three times -> it is closed, no slot taken"""
    opened = fate(board)["opened"] + (3 if name.startswith("pieces") else 0)
    for _ in range(3):
        with board.client(SMALL_WINDOW_BYTES) as client:
            client.send(get(f"/made/{name}"))
            client.stream.read(2_000)
            getattr(client, way)()
        board.wait_for_sockets(1)
    check_closed(board, opened)


@leaves_nothing
@pytest.mark.parametrize("name", ["pieces?200", "opened-file?40000.bin"])
def test_what_is_sent_is_closed_when_its_client_does_not_read(board: HttpdBoard, name: str) -> None:
    """reads nothing of a generator's or a file's body -> dropped at the deadline of 15 s, cut; it is closed"""
    opened = fate(board)["opened"] + (1 if name.startswith("pieces") else 0)
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get(f"/made/{name}"))
        board.advance(14_000)
        assert board.sockets() == 2
        board.advance(2_000)
        board.wait_for_sockets(1)
        assert not client.read_raw().endswith(LAST_CHUNK)
    check_closed(board, opened)


@leaves_nothing
@pytest.mark.parametrize("count_and_bad", ["3&0", "0&0"])
def test_a_generator_that_fails_at_its_start_is_a_500(board: HttpdBoard, count_and_bad: str) -> None:
    """its generator raises before anything was sent -> 500, nothing of the body; closed, counted and reported once"""
    opened, before = fate(board)["opened"], board.figures()
    with board.client() as client:
        answer = client.ask(get(f"/made/pieces?{count_and_bad}"))
        assert (answer.status, answer.headers["connection"]) == (500, "close")
        assert answer.body == b"500: failed, see the log\n"
        assert client.ending() == "eof"
    after = board.figures()
    assert (after["failed"] - before["failed"], after["errors"] - before["errors"]) == (1, 1)
    check_closed(board, opened + 1)


CUT = [
    pytest.param("pieces?40&20", id="a generator in the middle"),
    pytest.param("pieces?8&8", id="a generator at its end"),
    pytest.param("failing-file", id="a file"),
]


@leaves_nothing
@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_body_that_fails_later_is_cut_off(board: HttpdBoard, name: str, version: str) -> None:
    """its generator, or reading its file, raises when some is out -> no last chunk, end of the connection; closed"""
    opened, before = fate(board)["opened"], board.figures()
    with board.client() as client:
        client.send(line(f"GET /made/{name} HTTP/{version}"))
        data = client.read_raw()
        assert data.startswith(b"HTTP/1.1 200 ")
        assert not data.endswith(LAST_CHUNK)
        assert b"HTTP/1.1 5" not in data
    after = board.figures()
    assert (after["failed"] - before["failed"], after["errors"] - before["errors"]) == (1, 1)
    check_closed(board, opened + 1)


@leaves_nothing
def test_four_generators_at_once_do_not_mix(board: HttpdBoard) -> None:
    """four ask for a generator's body at the same time -> each gets all of its own"""
    with board.client() as first, board.client() as second, board.client() as third, board.client() as fourth:
        clients = first, second, third, fourth
        for n, client in enumerate(clients):
            client.send(get(f"/made/pieces?{20 + n}"))
        assert [client.read().body for client in clients] == [pieces(20 + n) for n in range(4)]


# --- what helps a handler -----------------------------------------------------------------------

COOKIES = [
    pytest.param("session=abc", "abc", id="alone"),
    pytest.param("a=1; session=abc; b=2", "abc", id="among others"),
    pytest.param("a=1;session=abc", "abc", id="without a space"),
    pytest.param("session=a=b==", "a=b==", id="with equal signs"),
    pytest.param("xsession=1; session2=2; Session=3", "", id="others with like names"),
    pytest.param("session", "", id="a name alone"),
    pytest.param("", "", id="none"),
]


@leaves_nothing
@pytest.mark.parametrize(("sent", "value"), COOKIES)
def test_a_handler_gets_a_cookie(board: HttpdBoard, sent: str, value: str) -> None:
    """sends cookies -> the handler gets the one it asks for, or nothing"""
    assert board.ask(get("/made/cookie?session", f"Cookie: {sent}\r\n" if sent else "")).text == value


@leaves_nothing
def test_a_handler_gets_the_query_as_fields(board: HttpdBoard) -> None:
    """sends a query with escapes, signs and empty values -> the handler gets the fields decoded"""
    answer = board.ask(get("/query?a=1&b=%C3%BC+x%26y&c=&d&a=2&&e=f=g"))
    assert json.loads(answer.body) == {"a": "2", "b": "ü x&y", "c": "", "d": "", "e": "f=g"}
    assert json.loads(board.ask(get("/query")).body) == {}


@leaves_nothing
def test_a_handler_gets_what_stood_for_the_star(board: HttpdBoard) -> None:
    """asks for paths under a route with a star -> the handler gets the last segment, undecoded, without the query"""
    for name in ("seven", "a%20b", "%2F", "..", "a.b;c=d", "x" * 200):
        assert board.ask(get(f"/item/{name}?a=b")).text == name
    assert board.ask(get("/item")).status == 404
    assert board.ask(get("/item/a/b")).status == 404


@leaves_nothing
def test_a_handler_gets_the_header_it_wants(board: HttpdBoard) -> None:
    """sends a header that a page's module asked for when it was imported -> the next request's handler has it"""
    board.ask(get("/made/last-event"))
    for name in ("Last-Event-ID", "last-event-id", "LAST-EVENT-ID"):
        assert board.ask(get("/made/last-event", f"{name}: 42\r\n")).text == "42"
    assert board.ask(get("/made/last-event", "Lost-Event-ID: 42\r\n")).text == "unknown"
    assert board.ask(get("/made/last-event")).text == "unknown"
