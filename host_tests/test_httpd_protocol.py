"""What clients say, well or badly formed, to the HTTP server alone on a board of 24 KB, and the statuses they get.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`).
docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

import json
import random

import pytest
from http_request import Request

from host_tests.httpd_board import FORM, HOST, HttpdBoard, get, leaves_nothing, line, post, put_in_form

pytestmark = pytest.mark.vm

BUFFER_BYTES = len(Request().buffer)
LONGEST = b'{"a": "%s"}' % (b"x" * (BUFFER_BYTES - 2))
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.Random(1).randbytes(500).replace(b"\n", b"x")


REFUSED = [
    pytest.param(TLS_HELLO + b"\n\n", 400, id="a TLS hello"),
    pytest.param(random.Random(2).randbytes(200) + b"\n\n", 400, id="binary garbage"),
    pytest.param(b"\0" * 300 + b"\r\n\r\n", 400, id="NUL bytes"),
    pytest.param(b"SSH-2.0-OpenSSH_9.7\r\n", 400, id="an SSH banner"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="the preface of HTTP/2"),
    pytest.param(b"GET /tips\r\n\r\n", 400, id="HTTP/0.9"),
    pytest.param(line("GET /tips HTTP/1.2"), 505, id="HTTP/1.2"),
    pytest.param(line("GET /tips http/1.1"), 400, id="a version in lower case"),
    pytest.param(line("get /tips HTTP/1.1"), 501, id="a method in lower case"),
    pytest.param(line("BREW /tips HTTP/1.1"), 501, id="an unknown method"),
    pytest.param(line("CONNECT example.org:443 HTTP/1.1"), 501, id="CONNECT"),
    pytest.param(line(" GET /tips HTTP/1.1"), 400, id="a space before the method"),
    pytest.param(line("GET  /tips HTTP/1.1"), 400, id="two spaces"),
    pytest.param(line("GET\t/tips\tHTTP/1.1"), 400, id="tabs for spaces"),
    pytest.param(line("GET tips HTTP/1.1"), 400, id="a path without slash"),
    pytest.param(line("GET https://127.0.0.1/tips HTTP/1.1"), 400, id="a URI of another scheme"),
    pytest.param(line("OPTIONS * HTTP/1.1"), 400, id="OPTIONS of everything"),
    pytest.param(line("OPTIONS /tips HTTP/1.1"), 405, id="OPTIONS of a page"),
    pytest.param(line("GET /\xff HTTP/1.1").replace(b"\xc3\xbf", b"\xff"), 400, id="a path not in UTF-8"),
    pytest.param(line("GET /" + "x" * BUFFER_BYTES + " HTTP/1.1"), 414, id="a long path"),
    pytest.param(line("GET /query?" + "a=1&" * 500 + " HTTP/1.1"), 414, id="500 query parameters"),
    pytest.param(line("GET /query?" + "&".join(f"k{n}" for n in range(60)) + " HTTP/1.1"), 413, id="60 parameters"),
    pytest.param(line("GET /query?a=%zz HTTP/1.1"), 400, id="a query with a bad percent"),
    pytest.param(line("GET /query?a=%ff HTTP/1.1"), 400, id="a query not in UTF-8"),
    pytest.param(line("GET /nope HTTP/1.1"), 404, id="an unknown path"),
    pytest.param(line("GET /item/../secret HTTP/1.1"), 404, id="a path that goes up"),
    pytest.param(line("GET /item/a/b HTTP/1.1"), 404, id="a parameter with a slash"),
    pytest.param(line("GET //tips HTTP/1.1"), 404, id="two slashes"),
    pytest.param(line("POST /tips HTTP/1.1", "Content-Length: 3", body="a=b"), 405, id="POST to a page"),
    pytest.param(line("GET /form HTTP/1.1"), 405, id="GET of a form"),
    pytest.param(line("DELETE /upload HTTP/1.1"), 405, id="DELETE"),
    pytest.param(line("GET /secret HTTP/1.1"), 401, id="no authorization"),
    pytest.param(b"GET /tips HTTP/1.1\r\n\r\n", 400, id="no Host"),
    pytest.param(line("GET /tips HTTP/1.1", "Host: 127.0.0.1"), 400, id="two Hosts"),
    pytest.param(line("GET /tips HTTP/1.1", "A : b"), 400, id="a space before the colon"),
    pytest.param(line("GET /tips HTTP/1.1", "Content-Length\t: 3"), 400, id="a tab before the colon"),
    pytest.param(line("GET /tips HTTP/1.1", "A: b", " folded"), 400, id="a folded header"),
    pytest.param(line("GET /tips HTTP/1.1", "no colon"), 400, id="a header without colon"),
    pytest.param(line("GET /tips HTTP/1.1", ": b"), 400, id="a header without name"),
    pytest.param(line("GET /tips HTTP/1.1", "A: b\rc"), 400, id="a bare CR"),
    pytest.param(line("GET /tips HTTP/1.1", "A: b\0c"), 400, id="a NUL in a header"),
    pytest.param(line("GET /tips HTTP/1.1", *["A: b"] * 63), 431, id="65 lines"),
    pytest.param(line("POST /form HTTP/1.1", FORM.decode().strip()), 411, id="a body without length"),
    *(
        pytest.param(put_in_form(f"Content-Length: {length}"), 400, id=f"a length of {length or 'nothing'}")
        for length in ("-1", "+3", "0x3", "3, 3", "3 3", "", "9999999999")
    ),
    pytest.param(put_in_form("Content-Length: 3", "Content-Length: 4"), 400, id="two lengths"),
    pytest.param(put_in_form("Content-Length: 4", "content-length: 3"), 400, id="two lengths in two cases"),
    pytest.param(put_in_form("Transfer-Encoding: chunked", body="3\r\na=b\r\n0\r\n\r\n"), 501, id="a body in chunks"),
    pytest.param(put_in_form("Transfer-Encoding: chunked", "Content-Length: 3"), 400, id="chunks and a length"),
    pytest.param(put_in_form("Content-Length: 5000"), 413, id="a form of 5000 bytes"),
    pytest.param(post("/form", b"{}", b"Content-Type: application/json\r\n"), 415, id="a form of another type"),
    pytest.param(post("/form", b"a=%4"), 400, id="a form with half a percent"),
    pytest.param(post("/form", b"a=%c3"), 400, id="a form not in UTF-8"),
    pytest.param(post("/form", b"&".join(b"k%d" % n for n in range(60))), 413, id="60 fields"),
    pytest.param(post("/form", b"a=b", FORM + b"Expect: miracle\r\n"), 417, id="another expectation"),
    pytest.param(post("/form", b"a=b", FORM + b"Origin: http://evil.example\r\n"), 403, id="a form of another origin"),
    pytest.param(post("/form", b"a=b", FORM + b"Sec-Fetch-Site: cross-site\r\n"), 403, id="a form of another site"),
    pytest.param(get("/boom"), 500, id="a page that fails"),
    pytest.param(get("/hungry"), 503, id="a page that needs too much memory"),
]
EXTRA_HEADERS = {
    405: ("allow", ("GET, HEAD", "HEAD, GET", "POST", "POST, PUT", "PUT, POST")),
    401: ("www-authenticate", ('Basic realm="board"',)),
}


@leaves_nothing
@pytest.mark.parametrize(("raw", "status"), REFUSED)
def test_what_can_not_be_served_is_refused_with_its_status(board: HttpdBoard, raw: bytes, status: int) -> None:
    """sends what the case says -> the status named, `Connection: close`, a clean end; no page sees it"""
    with board.client() as client:
        answer = client.ask(raw)
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        if status in EXTRA_HEADERS:
            name, values = EXTRA_HEADERS[status]
            assert answer.headers[name] in values
        if status == 503:
            assert int(answer.headers["retry-after"]) > 0
        client.half_close()  # else it lingers: test_httpd_hostile.py
        assert client.ending() == "eof"


SERVED = [
    pytest.param(get("/item/x"), b"x", id="a parameter"),
    pytest.param(get("/item/"), b"", id="an empty parameter"),
    pytest.param(get("/item/%2e%2e%2fx"), b"%2e%2e%2fx", id="an escaped way up"),
    pytest.param(get("/item/.."), b"..", id="two dots"),
    pytest.param(get("/item/x?y=/a/b"), b"x", id="a query with slashes"),
    pytest.param(get("/query?a=%2B+c&b"), b'{"a": "+ c", "b": ""}', id="a query"),
    pytest.param(b"GET /tips HTTP/1.1\nHost: 127.0.0.1\n\n", b"tips\n", id="lines ended by LF alone"),
    pytest.param(b"\r\n\r\n" + get("/tips"), b"tips\n", id="empty lines before the request"),
    pytest.param(b"GET http://127.0.0.1/tips HTTP/1.1\r\n" + HOST + b"\r\n", b"tips\n", id="an absolute URI"),
    pytest.param(b"GET /tips HTTP/1.0\r\n\r\n", b"tips\n", id="HTTP/1.0 without Host"),
    pytest.param(line("GET /tips HTTP/1.1", *["A: b"] * 50), b"tips\n", id="50 headers"),
    pytest.param(
        line("GET /tips HTTP/1.1", *["X: " + "y" * (BUFFER_BYTES - 50)] * 20), b"tips\n", id="20 long headers"
    ),
    pytest.param(line("GET /item/" + "x" * 300 + " HTTP/1.1"), b"x" * 300, id="a path of 300 letters"),
    pytest.param(get("/secret", "Authorization: Basic eDp5\r\n"), b"secret\n", id="an authorization"),
    pytest.param(put_in_form("Content-Length: 3", "Content-Length: 3"), b'{"a": "b"}', id="the same length twice"),
    pytest.param(put_in_form("CONTENT-LENGTH:3"), b'{"a": "b"}', id="a header in capitals without space"),
    pytest.param(put_in_form("Content-Length: 0", body=""), b"{}", id="an empty form"),
    pytest.param(post("/form", b"a=%C3%BC&b=+"), '{"a": "ü", "b": " "}'.encode(), id="a form"),
    pytest.param(post("/form", b"a=" + b"x" * (BUFFER_BYTES - 2)), LONGEST, id="the longest form"),
    pytest.param(post("/upload", b"x" * 3_000, b""), b"3000\n", id="an upload"),
    pytest.param(post("/upload", b"x" * 100_000, b""), b"100000\n", id="an upload of 100 KB"),
    pytest.param(get("/big"), b"0123456789abcdef" * 2560, id="40 KB"),
]


@leaves_nothing
@pytest.mark.parametrize(("raw", "body"), SERVED)
def test_what_is_odd_but_right_is_served(board: HttpdBoard, raw: bytes, body: bytes) -> None:
    """sends what the case says -> 200 with the right body"""
    answer = board.ask(raw)
    assert (answer.status, answer.body) == (200, body)


@leaves_nothing
def test_every_byte_of_a_request_may_come_in_a_segment_of_its_own(board: HttpdBoard) -> None:
    """sends a form in segments of one byte -> as if it were one"""
    with board.client() as client:
        for n in post("/form", b"name=K%C3%BCche&x=1"):
            client.send(bytes((n,)))
        assert json.loads(client.read().body) == {"name": "Küche", "x": "1"}


@leaves_nothing
@pytest.mark.parametrize("path", ["/", "/tips", "/big", "/item/x"])
def test_head_is_get_without_its_body(board: HttpdBoard, path: str) -> None:
    """HEAD -> the head of GET, no byte of a body, and the connection can go on"""
    with board.client() as client:
        assert client.ask(f"HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()).status == 200
        assert client.ask(get("/tips")).body == b"tips\n"


@leaves_nothing
def test_a_client_that_waits_for_100_continue_is_told_to_go_on(board: HttpdBoard) -> None:
    """Expect: 100-continue, sends the body only then -> 100, then the answer"""
    with board.client() as client:
        client.send(b"POST /upload HTTP/1.1\r\n" + HOST + b"Content-Length: 2000\r\nExpect: 100-continue\r\n\r\n")
        assert client.stream.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"x" * 2000)
        assert client.read().body == b"2000\n"


@leaves_nothing
def test_a_client_of_http_1_0_is_never_told_to_go_on(board: HttpdBoard) -> None:
    """HTTP/1.0 with Expect: 100-continue -> no 100, which it can't know (RFC 9110 10.1.1)"""
    with board.client() as client:
        client.send(post("/upload", b"abc", b"Expect: 100-continue\r\n").replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        assert client.read_raw().startswith(b"HTTP/1.1 200 ")
