"""lib/http_answer on CPython, fed by a socket made of bytes: what it believes, how much it reads, in any pieces."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

HEAD_BYTES, BODY_BYTES, BUFFER_BYTES = 8192, 4096, 512
ANSWER, REST = 4, 5


@pytest.fixture(scope="module")
def answer() -> types.ModuleType:
    """The module with a stand-in for the wait that it takes from another, which needs MicroPython's asyncio."""

    async def wait(sock: Pieces, to_write: bool = False) -> None:
        sock.has_come = True

    connection = types.ModuleType("http_connection")
    connection.wait = wait  # type: ignore[attr-defined]
    sys.modules["http_connection"] = connection
    try:
        import http_answer

        return http_answer
    finally:
        del sys.modules["http_connection"]


class Pieces:
    """A socket that has each piece after one wait, and then the end."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self.read = 0
        self.has_come = False

    def readinto(self, view: memoryview) -> int | None:
        if not self.has_come:
            return None
        if not self._pieces:
            return 0
        piece = self._pieces[0][: len(view)]
        view[: len(piece)] = piece
        self._pieces[0] = self._pieces[0][len(piece) :]
        if not self._pieces[0]:
            del self._pieces[0]
            self.has_come = False
        self.read += len(piece)
        return len(piece)


class Client:
    """As much of http_client.Client as the module touches."""

    def __init__(self, sock: Pieces) -> None:
        self.sock = sock
        self.buffer = bytearray(b"HTTP/1.1 200 OK\r\n\r\n" * 40)[:BUFFER_BYTES]  # what others left there
        self.phase = ANSWER
        self.status = 0
        self.head = self.said = b""

    def enter(self, phase: int) -> None:
        self.phase = phase


def outcome(answer: Any, pieces: Iterable[bytes], keep: bool = True, broken: OSError | None = None) -> tuple:
    """(whether the connection can be used again or what was raised, status, head, said, bytes read)."""
    client = Client(Pieces(pieces))
    try:
        found = asyncio.run(answer.read(client, keep, broken))
    except (OSError, ValueError) as error:
        found = False if client.status else f"{type(error).__name__} {error}"  # as http_client has it
    assert len(client.head) <= 600 + BUFFER_BYTES + 2 and len(client.said) <= 100
    assert client.sock.read <= HEAD_BYTES + BODY_BYTES
    assert client.phase == (REST if client.sock.read else ANSWER)
    return found, client.status, client.head, client.said, client.sock.read


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in zip(at, at[1:], strict=False)]


def test_the_answer_of_a_well_behaved_server_is_read(answer: types.ModuleType) -> None:
    text = b"HTTP/1.1 200 OK\r\nDate: now\r\nX: y\r\nContent-Length: 2\r\n\r\nok"
    assert outcome(answer, [text]) == (True, 200, b"HTTP/1.1 200 OK\r\nDate: now", b"ok", len(text))


@pytest.mark.parametrize(
    "lines",
    [
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 204",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0",
        "HTTP/1.1 200 OK\r\nContent-Length: 0",
        "HTTP/1.1 200 \r\nCONTENT-LENGTH:000",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive, foo",
        "HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0",
        "HTTP/1.1 503 Busy\r\nContent-Length: 0",
        "HTTP/1.1 200 OK\nContent-Length: 0",
    ],
)
def test_a_connection_stays_when_the_end_of_the_answer_is_known(answer: types.ModuleType, lines: str) -> None:
    found, status, *_ = outcome(answer, [lines.encode() + b"\r\n\r\n"])
    assert found is True and status in (200, 204, 503)


@pytest.mark.parametrize(
    "lines",
    [
        "HTTP/1.1 200 OK",
        "HTTP/1.0 200 OK\r\nContent-Length: 0",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection:foo,Close",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\nConnection: close",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0",
        "HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n" + "x" * 4097,
        "HTTP/1.1 200 OK\r\nContent-Length: 1",
        "HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nno",
    ],
)
def test_a_connection_goes_when_the_end_of_the_answer_is_not_known(answer: types.ModuleType, lines: str) -> None:
    found, status, *_ = outcome(answer, [lines.encode() + b"\r\n\r\n"][:1])
    assert found is False and status in (200, 500)


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n", b"02;a=b\r\nok\r\n000\r\nX: y\r\n\r\n"])
def test_a_connection_stays_behind_chunks(answer: types.ModuleType, body: bytes) -> None:
    text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert outcome(answer, [text])[0] is True
    assert outcome(answer, [text + b"H"])[0] is False


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n\r\n",
        b"-2\r\nok\r\n",
        b"1\r\nok\r\n0\r\n\r\n",
        b"2\r\nok0\r\n\r\n0\r\n\r\n",
        b"f" * 40 + b"\r\n",
        b"2\r\nok\r\n",
    ],
)
def test_a_connection_goes_behind_chunks_that_are_none(answer: types.ModuleType, body: bytes) -> None:
    text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert outcome(answer, [text])[:2] == (False, 200)


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-x",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1x200 OK",
        b"HTTP/2 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"",
        b"\0" * 20,
        b"HTTP/1.1 200 OK\r\nContent-Length: -2",
        b"HTTP/1.1 200 OK\r\nContent-Length: two",
        b"HTTP/1.1 200 OK\r\nContent-Length:",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3",
    ],
)
def test_an_answer_that_is_not_http_is_a_sentence(answer: types.ModuleType, text: bytes) -> None:
    assert outcome(answer, [text + b"\r\n\r\nok"])[:2] == ("ValueError the answer is no HTTP, or too long", 0)


def test_a_line_that_is_longer_than_the_buffer_is_passed_over(answer: types.ModuleType) -> None:
    text = b"HTTP/1.1 200 OK\r\nX: " + b" " * 2000 + b"\r\nContent-Length: 2\r\n\r\nok"
    assert outcome(answer, [text])[:2] == (True, 200)


def test_lines_that_are_kept_are_kept_within_limits(answer: types.ModuleType) -> None:
    dates = b"".join(b"Date: %d\r\n" % n for n in range(500))
    found, status, head, *_ = outcome(answer, [b"HTTP/1.1 200 OK\r\n" + dates + b"Content-Length: 0\r\n\r\n"])
    assert (found, status) == (True, 200)
    assert head.startswith(b"HTTP/1.1 200 OK\r\nDate: 0\r\n") and len(head) < 700


def test_a_line_that_is_not_ascii_is_not_kept(answer: types.ModuleType) -> None:
    text = b"HTTP/1.1 503 Besch\xe4ftigt\r\nRetry-After: \xff\r\nDate: now\r\nContent-Length: 0\r\n\r\n"
    assert outcome(answer, [text])[2] == b"HTTP/1.1 503 Besch\xe4ftigt\r\nDate: now"


def test_more_than_the_answer_costs_the_connection(answer: types.ModuleType) -> None:
    first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert outcome(answer, [first + b"HTTP/1.1 200 OK\r\n\r\n"])[:2] == (False, 200)
    assert outcome(answer, [first, b"HTTP/1.1 200 OK\r\n\r\n"])[:2] == (True, 200), "it has not come yet"


@pytest.mark.parametrize("keep", [True, False])
def test_a_body_is_only_read_for_the_connection_or_for_what_it_says(answer: types.ModuleType, keep: bool) -> None:
    body = b"x" * 200
    lengths = b"Content-Length: 200\r\n\r\n"
    good = outcome(answer, [b"HTTP/1.1 200 OK\r\n" + lengths, body], keep)
    bad = outcome(answer, [b"HTTP/1.1 400 No\r\n" + lengths, body], keep)
    assert good[0] is keep and good[4] == (240 if keep else 40)
    assert bad[0] is keep and bad[3] == b"x" * 100


# --- a server that broke off while it was sent to ---------------------------------------------------


@pytest.mark.parametrize("status", [301, 400, 413, 503])
def test_a_refusal_counts_that_came_before_the_body_had_gone(answer: types.ModuleType, status: int) -> None:
    text = b"HTTP/1.1 %d No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno" % status
    assert outcome(answer, [text], broken=OSError(104))[:2] == (False, status)


@pytest.mark.parametrize(
    "text", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
def test_all_else_before_the_body_had_gone_is_the_error(answer: types.ModuleType, text: bytes) -> None:
    found, status, *_ = outcome(answer, [text], broken=OSError(104, "broken"))
    assert status == 0 and str(found).split()[0] in ("OSError", "ConnectionResetError")


# --- anything -------------------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.0 503 X", b"HTTP/1.1 204", b"HTTP/1.1 20",
        b"HTTP/1.1 400 ", b"Content-Length: 2", b"content-length: 12", b"Content-Length: 5000", b"Date: x", b"X",
        b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive, x", b"Retry-After: 7",
        b"X: " + b"y" * 700, b" ", b"", b"", b"2", b"ok", b"0", b"a;x=y", b"0123456789", b"-1", b"FFFFFFFFFF",
        b"x" * 3000,
    ]
)  # fmt: skip
ANSWERS = st.lists(st.one_of(LINES, st.binary(max_size=40)), max_size=30).map(b"\r\n".join)
PLACES = st.lists(st.integers(0, 20_000), max_size=30)


@settings(max_examples=500)
@given(ANSWERS, PLACES, st.booleans())
@example(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000, [8191, 8192, 8193], True)
@example(b"HTTP/1.1 400 X\r\n\r\n" + b"x" * 5000, [18, 4113, 4114, 4115], True)
@example(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 492 + b"\r\nContent-Length: 0\r\n\r\n", [512, 513, 529], True)
def test_any_bytes_in_any_pieces_come_to_the_same(
    answer: types.ModuleType, text: bytes, places: list[int], keep: bool
) -> None:
    """But for the connection when there is something behind the answer, as that depends on whether it has come."""
    whole = outcome(answer, [text], keep)
    pieces = outcome(answer, cut(text, places), keep)
    assert pieces[1:4] == whole[1:4]
    assert pieces[0] == whole[0] or (whole[0], pieces[0]) == (False, True) and pieces[4] < len(text)


@given(st.binary(max_size=2000), st.booleans())
def test_no_bytes_raise_anything_but_os_error_and_value_error(
    answer: types.ModuleType, text: bytes, keep: bool
) -> None:
    outcome(answer, [text], keep)
    outcome(answer, [b"HTTP/1.1 500 No\r\n" + text], keep)
    outcome(answer, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text], keep)
