"""What can be wrong with a server: the faults of fault_server.FaultServer, and the bytes of their answers.

Owns the catalogue. A fault is a record of what the server does otherwise at each step of an exchange, so that a test
can make one of its own with `dataclasses.replace`. Must not know sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import repeat
from typing import Literal

HUGE_BYTES = 10_000_000
_PIECE = b"x" * 16384


@dataclass
class Answer:
    """What a server without faults would answer. `keep`: the connection stays open for another request."""

    status: int = 200
    headers: list[str] = field(default_factory=list)  # lines without their ends
    body: bytes = b'{"stored": 0, "repeated": 0}'
    keep: bool = True

    def head(self, *framing: str, version: str = "1.1") -> bytes:
        """Status line, header lines with those of the framing, and the empty line."""
        known = self.status in HTTPStatus._value2member_map_
        lines = [f"HTTP/{version} {self.status} {HTTPStatus(self.status).phrase if known else 'Whatever'}"]
        lines += [*self.headers, *framing, f"Connection: {'keep-alive' if self.keep else 'close'}", "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def plain(self) -> bytes:
        if self.status == 204 or self.status == 304:
            return self.head()
        return self.head(f"Content-Length: {len(self.body)}") + self.body


Pieces = Callable[[Answer], Iterable[bytes]]


def _plain(answer: Answer) -> Iterator[bytes]:
    yield answer.plain()


@dataclass(frozen=True)
class Fault:
    """What a server does otherwise, from the first packet to the last. Without arguments: nothing."""

    listen: Literal["", "refuse", "black hole", "small window"] = ""
    """refuse: nobody listens; black hole: a SYN is not answered; small window: connections take about 1 KB unread."""
    accept: Literal["", "close", "unread"] = ""
    """close: at once, with nothing read; unread: nothing is read and nothing said."""
    handshake: Literal["", "stall", "close", "plain"] = ""
    """Of a server with TLS; stall: it does not answer the ClientHello; plain: it speaks http, as if it had no TLS."""
    cuts: bool = False
    """The connection is closed when the first part of a request has come."""
    commits: bool = True
    """Whether the request takes effect, whatever is answered."""
    wait_ms: int = 0
    """Before the answer."""
    gap_ms: int = 0
    """Between one byte of the answer and the next."""
    status: int = 200
    headers: tuple[str, ...] = ()
    """More lines for the answer's head."""
    pieces: Pieces | None = _plain
    """What goes out; None: nothing."""
    most_bytes: int = 0
    """Of the answer that go out before the end; 0: all."""
    end: Literal["", "close", "reset", "hold"] = ""
    """close and reset, whatever was announced; hold: the connection stays open and nothing more is said."""
    idle_ms: int = 0
    """How long the connection is idle before such an end."""


def status(number: int, *headers: str, commits: bool = False) -> Fault:
    """Answered with another status; `headers` are lines such as "Retry-After: 120"."""
    return Fault(status=number, headers=headers, commits=commits)


def slow(ms: int) -> Fault:
    """A correct answer after `ms`."""
    return Fault(wait_ms=ms)


def drip(ms: int) -> Fault:
    """A correct answer, one byte every `ms`."""
    return Fault(gap_ms=ms)


def keep_then_close(idle_ms: int = 0) -> Fault:
    """Promises to keep the connection and closes it when it was idle for `idle_ms`."""
    return Fault(end="close", idle_ms=idle_ms)


# --- odd, but correct -----------------------------------------------------------------------------


def _chunked(answer: Answer) -> Iterator[bytes]:
    """Chunks of 7 bytes with extensions, sizes in both cases and with zeros, and a trailer."""
    yield answer.head("Transfer-Encoding: chunked", "Trailer: X-Sum")
    for at in range(0, len(answer.body), 7):
        piece = answer.body[at : at + 7]
        yield b'%03X;part=%d;name="a;b"\r\n%s\r\n' % (len(piece), at // 7, piece)
    yield b"00\r\nX-Sum: 1\r\n\r\n"


def _no_length(answer: Answer) -> Iterator[bytes]:
    answer.keep = False
    yield answer.head() + answer.body


def _http_1_0(answer: Answer) -> Iterator[bytes]:
    answer.keep = False
    yield answer.head(f"Content-Length: {len(answer.body)}", version="1.0") + answer.body


def _lower_case(answer: Answer) -> Iterator[bytes]:
    first, rest = answer.head(f"Content-Length: {len(answer.body)}").split(b"\r\n", 1)
    yield first + b"\r\n" + rest.lower() + answer.body


def _continue_first(answer: Answer) -> Iterator[bytes]:
    yield b"HTTP/1.1 100 Continue\r\n\r\n"
    yield b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nContent-Length: 7\r\n\r\n"
    yield answer.plain()


# --- too much -------------------------------------------------------------------------------------


def _huge_body() -> Iterator[bytes]:
    for at in range(0, HUGE_BYTES, len(_PIECE)):
        yield _PIECE[: HUGE_BYTES - at]


def _huge_by_length(answer: Answer) -> Iterator[bytes]:
    yield answer.head(f"Content-Length: {HUGE_BYTES}")
    yield from _huge_body()


def _huge_chunked(answer: Answer) -> Iterator[bytes]:
    yield answer.head("Transfer-Encoding: chunked")
    for piece in _huge_body():
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _huge_until_close(answer: Answer) -> Iterator[bytes]:
    answer.keep = False
    yield answer.head()
    yield from _huge_body()


def _endless_continue(answer: Answer) -> Iterator[bytes]:
    yield from repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def _endless_header(answer: Answer) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    yield from repeat(_PIECE)


# --- wrong ----------------------------------------------------------------------------------------


def _said(text: bytes) -> Fault:
    """The same bytes whatever is asked, then the end of the connection; what they tell of is not known to be done."""
    return Fault(pieces=lambda answer: [text], commits=False, end="close")


def _longer_than_said(answer: Answer) -> Iterator[bytes]:
    yield answer.head(f"Content-Length: {len(answer.body) + 100}") + answer.body


_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\nok"
_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\nok\r\n0\r\n\r\n"

NONE = Fault()
REFUSE = Fault(listen="refuse", commits=False)
BLACK_HOLE = Fault(listen="black hole", commits=False)
SILENT = Fault(pieces=None, end="hold", commits=False)
SILENT_UNREAD = Fault(listen="small window", accept="unread", commits=False)
DRIP = drip(100)
CLOSE_AT_ONCE = Fault(accept="close", commits=False)
CLOSE_MID_REQUEST = Fault(cuts=True, commits=False)
CLOSE_MID_HEAD = Fault(most_bytes=len("HTTP/1.1 20"), commits=False, end="close")
CLOSE_MID_HEADERS = Fault(most_bytes=len("HTTP/1.1 200 OK\r\nConte"), end="close")
CLOSE_MID_BODY = Fault(pieces=_longer_than_said, end="close")
COMMIT_AND_DROP = Fault(pieces=None, end="close")
COMMIT_AND_RESET = Fault(pieces=None, end="reset")
CONTINUE_FIRST = Fault(pieces=_continue_first)
ENDLESS_CONTINUE = Fault(pieces=_endless_continue, commits=False)
CHUNKED = Fault(pieces=_chunked)
NO_LENGTH = Fault(pieces=_no_length, end="close")
KEEP_THEN_CLOSE = keep_then_close()
HTTP_1_0 = Fault(pieces=_http_1_0, end="close")
LOWER_CASE = Fault(pieces=_lower_case)
HUGE_BY_LENGTH = Fault(pieces=_huge_by_length)
HUGE_CHUNKED = Fault(pieces=_huge_chunked)
HUGE_UNTIL_CLOSE = Fault(pieces=_huge_until_close, end="close")
STALL_HANDSHAKE = Fault(handshake="stall", commits=False)
CLOSE_IN_HANDSHAKE = Fault(handshake="close", commits=False)
PLAIN_HTTP = Fault(handshake="plain", commits=False)

WRONG_BODY: dict[str, Fault] = {
    "no HTTP": _said(b"220 mail.example ESMTP ready\r\n"),
    "nothing but a line end": _said(b"\r\n\r\n"),
    "status that is no number": _said(b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n"),
    "status out of range": _said(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"),
    "status of four digits": _said(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    "no status": _said(b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
    "negative length": _said(_LENGTHS % b"-2"),
    "length that is no number": _said(_LENGTHS % b"two"),
    "huge length": _said(_LENGTHS % (b"9" * 40)),
    "two lengths": _said(_LENGTHS % b"2\r\nContent-Length: 3"),
    "bad chunk size": _said(_CHUNKS % b"zz"),
    "negative chunk size": _said(_CHUNKS % b"-2"),
    "huge chunk size": _said(_CHUNKS % (b"F" * 40)),
    "chunk without its end": _said(_CHUNKS % b"1"),
    "endless header line": Fault(pieces=_endless_header, commits=False),
    "1,000 header lines": _said(b"HTTP/1.1 200 OK\r\n" + b"X-More: of the same\r\n" * 1000 + b"\r\n"),
    "header without a colon": _said(b"HTTP/1.1 200 OK\r\nnot a header\r\nContent-Length: 0\r\n\r\n"),
}

STRANGE: dict[str, Fault] = {
    "continue first": CONTINUE_FIRST,
    "chunked": CHUNKED,
    "no length": NO_LENGTH,
    "keep, then close": KEEP_THEN_CLOSE,
    "HTTP/1.0": HTTP_1_0,
    "lower case": LOWER_CASE,
    "slow": slow(300),
}
"""Odd, but right: a client has to understand these."""

BROKEN: dict[str, Fault] = {
    "refuse": REFUSE,
    "black hole": BLACK_HOLE,
    "silent": SILENT,
    "silent and unread": SILENT_UNREAD,
    "drip": DRIP,
    "close at once": CLOSE_AT_ONCE,
    "close in the request": CLOSE_MID_REQUEST,
    "close in the status line": CLOSE_MID_HEAD,
    "close in the headers": CLOSE_MID_HEADERS,
    "close in the body": CLOSE_MID_BODY,
    "commit and drop": COMMIT_AND_DROP,
    "commit and reset": COMMIT_AND_RESET,
    "endless 1xx": ENDLESS_CONTINUE,
    "huge by length": HUGE_BY_LENGTH,
    "huge chunked": HUGE_CHUNKED,
    "huge until close": HUGE_UNTIL_CLOSE,
    **WRONG_BODY,
}
"""What no client gets an answer out of that it could trust, or that costs more than it is worth."""

STATUSES = (301, 302, 400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 507)
