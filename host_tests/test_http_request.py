"""The request parser, without a socket: every message whole, byte by byte, in random splits and with trailing bytes."""

from __future__ import annotations

import http_request
import pytest
from http_request import BUFFER_BYTES, Reject, Request
from hypothesis import given
from hypothesis import strategies as st

BROWSER = (
    b"GET /index?tab=2 HTTP/1.1\r\nHost: 192.168.1.7\r\nConnection: keep-alive\r\n"
    b'sec-ch-ua: "Chromium";v="156"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n'
    b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: de-DE,de;q=0.9\r\n\r\n"
)
FORM = b"POST /settings HTTP/1.1\r\nhost:tally\r\ncontent-length: 6\r\nCONTENT-TYPE: text/x; charset=utf-8 \r\n\r\n"
LONG = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Pad: " + b"p" * 900 + b"\r\n" + b"X-More: " + b"q" * 900 + b"\r\n\r\n"

GOOD = [
    pytest.param(BROWSER, ("GET", "/index", "tab=2", 0), id="a browser's GET"),
    pytest.param(FORM, ("POST", "/settings", "", 6), id="a form with headers in any case"),
    pytest.param(LONG, ("GET", "/", "", 0), id="a head longer than the buffer"),
    pytest.param(b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", ("GET", "/", "", 0), id="empty lines first, HTTP/1.0"),
    pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", ("GET", "/", "", 0), id="bare LF as line end"),
    pytest.param(b"GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/x", "y", 0), id="an absolute target"),
    pytest.param(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ("PUT", "/x", "", 0), id="an empty body"),
]


def feed(request: Request, message: bytes, sizes: list[int]) -> int:
    """Feed a message in pieces of these sizes (the last one repeats); how much was fed when the head was complete."""
    fed = 0
    turn = 0
    while fed < len(message):
        room = len(request.view) - request.end
        assert room > 0, "the parser left no room for more"
        n = min(sizes[min(turn, len(sizes) - 1)], room, len(message) - fed)
        request.view[request.end : request.end + n] = message[fed : fed + n]
        fed += n
        turn += 1
        if request.feed(n):
            return fed
    return fed


def facts(request: Request) -> tuple:
    return request.method, request.path, request.query, request.content_length


@pytest.mark.parametrize(("message", "expected"), GOOD)
@pytest.mark.parametrize("sizes", [[100_000], [1], [3, 1, 7]], ids=["whole", "byte by byte", "in odd pieces"])
def test_a_message_means_the_same_however_it_arrives(message: bytes, expected: tuple, sizes: list[int]) -> None:
    request = Request()
    feed(request, message, sizes)
    assert request.complete
    assert facts(request) == expected


@pytest.mark.parametrize(("message", "expected"), GOOD)
def test_bytes_after_the_head_stay_for_the_body(message: bytes, expected: tuple) -> None:
    request = Request()
    tail = b"a=b&c=d"
    fed = feed(request, message + tail, [100_000])
    assert facts(request) == expected
    held = bytes(request.view[request.start : request.end])
    assert held == (message + tail)[:fed][-len(held) :] if held else True
    assert tail.startswith(held)


@given(st.sampled_from([p.values for p in GOOD]), st.lists(st.integers(1, 400), min_size=1, max_size=20))
def test_any_split_gives_the_same_request(case: tuple, sizes: list[int]) -> None:
    message, expected = case
    request = Request()
    feed(request, message, sizes)
    assert facts(request) == expected


def test_only_the_wanted_headers_are_kept_and_by_lower_case_name() -> None:
    request = Request()
    feed(request, BROWSER, [1000])
    assert request.headers == {
        b"host": "192.168.1.7",
        b"sec-fetch-site": "same-origin",
        b"accept-encoding": "gzip, deflate, br",
    }


def test_a_request_leaves_nothing_behind_for_the_next_one() -> None:
    request = Request()
    feed(request, FORM, [1000])
    request.reset()
    feed(request, b"GET / HTTP/1.0\r\n\r\n", [1000])
    assert facts(request) == ("GET", "/", "", 0)
    assert request.headers == {}
    assert request.http10


REJECTED = [
    (b"GET / HTTP/1.1\r\n\r\n", 400, "no Host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "two Hosts, even equal"),
    (b"GET  / HTTP/1.1\r\n\r\n", 400, "two spaces"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, "obs-fold"),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "space before colon"),
    (b"GET / HTTP/1.1\r\n: a\r\n\r\n", 400, "empty name"),
    (b"GET / HTTP/1.1\r\nnonsense\r\n\r\n", 400, "no colon"),
    (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, "bare CR"),
    (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400, "NUL"),
    (b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", 400, "a wanted header not in UTF-8"),
    (b"GET / HTTPS/1.1\r\n\r\n", 400, "no HTTP"),
    (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "a method in lower case is another method"),
    (b"G3T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a method that is no word"),
    (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", 411, "POST without length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400, "signed length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400, "list of lengths"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400, "empty length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n", 400, "length of ten digits"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "two lengths"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501, "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n", 400, "length and chunks"),
    (b"GET /" + b"x" * 600 + b" HTTP/1.1\r\n", 414, "long target"),
    (b"x" * 5000, 414, "endless request line"),
    (b"GET / HTTP/1.1\r\nX: " + b"y" * 5000, 431, "endless header"),
    (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200, 431, "endless headers"),
    (b"\r\n" * 200, 431, "endless empty lines"),
    (b"GET / HTTP/2.0\r\n\r\n", 505, "version 2"),
]


@pytest.mark.parametrize(("message", "status"), [pytest.param(m, s, id=i) for m, s, i in REJECTED])
@pytest.mark.parametrize("sizes", [[100_000], [1]], ids=["whole", "byte by byte"])
def test_what_is_wrong_is_rejected_with_the_right_status(message: bytes, status: int, sizes: list[int]) -> None:
    with pytest.raises(Reject) as rejected:
        feed(Request(), message, sizes)
    assert rejected.value.status == status


PIECES = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"POST /s HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n", b"\n", b":", b" ", b"\0", b"\xff", b"\r"]
    + [
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"x" * 700,
        b"Cookie: a\r\n",
        b"Expect: 100-continue",
    ]
)


@given(st.lists(PIECES | st.binary(max_size=40), max_size=30), st.lists(st.integers(1, 300), min_size=1, max_size=9))
def test_no_input_makes_the_parser_raise_anything_but_reject_or_hold_more_than_its_buffer(
    pieces: list[bytes], sizes: list[int]
) -> None:
    request = Request()
    try:
        feed(request, b"".join(pieces), sizes)
    except Reject as reject:
        assert reject.status in (400, 411, 414, 431, 501, 505)
    assert len(request.buffer) == BUFFER_BYTES
    assert 0 <= request.start <= request.end <= BUFFER_BYTES
    assert len(request.headers) <= len(http_request.WANTED)
