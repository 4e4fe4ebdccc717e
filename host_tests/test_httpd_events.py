"""Streams of events: what they look like, how long they live, how many there may be, and clients that go.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`).
docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise

import pytest

from host_tests.device import Answer
from host_tests.httpd_board import SMALL_WINDOW_BYTES, Client, HttpdBoard, get, leaves_nothing, line

pytestmark = pytest.mark.vm

POLL_MS = 500
COMMENT_MS = 10_000
COMMENT = b":\n\n"
FILES = {"/www/file.bin": b"file\n"}


def read_head(client: Client) -> dict[str, str]:
    """Header lines of an answer that goes on, in lower case, and the status."""
    lines = []
    while (received := client.stream.readline()) not in (b"\r\n", b""):
        lines.append(received.decode().rstrip())
    return {"status": lines[0].split()[1], **dict(text.lower().split(": ", 1) for text in lines[1:])}


def read_event(client: Client) -> bytes:
    """The next chunk, which is an event or a comment; b"" at the end of the stream."""
    size_bytes = int(client.stream.readline(), 16)
    event = client.stream.read(size_bytes)
    assert client.stream.read(2) == b"\r\n"
    return event


def subscribe(client: Client) -> None:
    """A stream that has begun."""
    client.send(get("/made/events"))
    assert read_head(client)["status"] == "200"
    assert read_event(client) == COMMENT


def say(board: HttpdBoard, text: str) -> None:
    """Have all streams tell it at their next poll, which comes."""
    assert board.ask(get(f"/made/say?{text}", "Connection: close\r\n")).status == 200
    board.advance(POLL_MS)


def ask_one_more(board: HttpdBoard) -> Answer:
    """What a client gets that is one too many."""
    return board.ask(get("/made/events"))


# --- one stream ---------------------------------------------------------------------------------


@leaves_nothing
def test_a_stream_begins_at_once_and_brings_messages_in_order(board: HttpdBoard) -> None:
    """asks for events -> text/event-stream and a comment at once, then each message within a poll, none lost"""
    with board.client() as client:
        client.send(get("/made/events"))
        head = read_head(client)
        assert (head["status"], head["content-type"]) == ("200", "text/event-stream")
        assert head["cache-control"] == "no-store"
        assert "content-length" not in head
        assert read_event(client) == COMMENT
        texts = [f"message-{n}" for n in range(4)]
        for text in texts:
            say(board, text)
        assert [read_event(client) for _ in texts] == [b"data: %s\n\n" % text.encode() for text in texts]
        assert not client.answered()


@leaves_nothing
def test_a_message_may_be_longer_than_the_buffer(board: HttpdBoard) -> None:
    """gets messages of 600 bytes -> each whole, in several chunks"""
    with board.client() as client:
        client.send(get("/made/flood"))
        read_head(client)
        for _ in range(3):
            message = b""
            while not message.endswith(b"\n\n"):
                message += read_event(client)
            assert message == b"data: " + b"x" * 600 + b"\n\n"


@leaves_nothing
def test_a_client_of_http_1_0_gets_the_stream_unchunked(board: HttpdBoard) -> None:
    """HTTP/1.0 asks for events -> messages without chunks"""
    with board.client() as client:
        client.send(b"GET /made/events HTTP/1.0\r\n\r\n")
        head = read_head(client)
        assert (head["connection"], head.get("transfer-encoding")) == ("close", None)
        assert client.stream.read(3) == COMMENT
        say(board, "one")
        assert client.stream.read(11) == b"data: one\n\n"


@leaves_nothing
def test_head_of_a_stream_ends(board: HttpdBoard) -> None:
    """HEAD of events -> the head and the end of the connection, no slot held"""
    with board.client() as client:
        client.send(line("HEAD /made/events HTTP/1.1"))
        assert read_head(client)["content-type"] == "text/event-stream"
        board.advance(2 * POLL_MS)
        assert client.answered()


@leaves_nothing
def test_two_streams_live_long_on_comments(board: HttpdBoard) -> None:
    """two are silent for 2 minutes, other answers having 15 s -> a comment each 10 s, then a message still"""
    with board.client() as first, board.client() as second:
        for client in (first, second):
            subscribe(client)
        for _ in range(120_000 // COMMENT_MS):
            board.advance(COMMENT_MS + POLL_MS)
            for client in (first, second):
                assert read_event(client) == COMMENT
                assert not client.answered()
        say(board, "still-here")
        for client in (first, second):
            assert read_event(client) == b"data: still-here\n\n"


@leaves_nothing
def test_comments_come_in_silence_only(board: HttpdBoard) -> None:
    """gets a message 6 s after the last comment -> the next comment 10 s after the message"""
    with board.client() as client:
        subscribe(client)
        board.advance(6_000)
        say(board, "word")
        assert read_event(client) == b"data: word\n\n"
        board.advance(9_000)
        assert not client.answered()
        board.advance(1_000 + POLL_MS)
        assert read_event(client) == COMMENT


# --- several ------------------------------------------------------------------------------------


@leaves_nothing
def test_a_third_stream_is_refused(board: HttpdBoard) -> None:
    """asks for events while two have them -> 503 with Retry-After; the two go on"""
    with board.client() as first, board.client() as second:
        for client in (first, second):
            subscribe(client)
        for _ in range(3):
            answer = ask_one_more(board)
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
        say(board, "both")
        assert [read_event(client) for client in (first, second)] == [b"data: both\n\n"] * 2


WAYS = [pytest.param(way, id=way.replace("_", " ")) for way in ("close", "reset", "half_close")]


@leaves_nothing
@pytest.mark.parametrize("way", WAYS)
def test_a_stream_whose_client_went_makes_room(board: HttpdBoard, way: str) -> None:
    """closes, resets or half-closes one of two streams; three times -> its slot is free within a poll, for the next"""
    with board.client() as first, ExitStack() as stack:
        subscribe(first)
        for _ in range(3):
            client = stack.enter_context(board.client())
            subscribe(client)
            assert ask_one_more(board).status == 503
            getattr(client, way)()
            board.advance(POLL_MS)
            board.wait_for_sockets(2)
            if way == "half_close":
                assert read_event(client) == b""
                assert client.ending() == "eof"
        say(board, "left")
        assert read_event(first) == b"data: left\n\n"


@leaves_nothing
def test_pages_are_served_while_two_streams_run(board: HttpdBoard) -> None:
    """asks for pages, one after the other and two at once, while two have streams -> each in 0.5 s"""
    with board.client() as first, board.client() as second, board.client() as third:
        for client in (first, second):
            subscribe(client)
        for _ in range(10):
            board.check_honest()
        assert third.ask(get("/tips")).status == 200
        board.check_honest()
        assert len(board.ask(get("/big")).body) == 40_960
        assert third.ask(get("/tips")).status == 200


@leaves_nothing
def test_streams_are_not_evicted(board: HttpdBoard) -> None:
    """comes when two streams and two silent ones, younger than these, have all slots -> served; a silent one goes"""
    with ExitStack() as stack:
        streams = [stack.enter_context(board.client()) for _ in range(2)]
        for client in streams:
            subscribe(client)
        board.advance(1_000)
        evicted = board.figures()["evicted"]
        silent = [stack.enter_context(board.client()) for _ in range(2)]
        board.wait_for_sockets(5)
        board.advance(500)
        board.check_honest()
        assert any(client.answered() for client in silent)
        assert board.figures()["evicted"] > evicted
        say(board, "here")
        assert [read_event(client) for client in streams] == [b"data: here\n\n"] * 2


@leaves_nothing
def test_one_that_comes_while_streams_and_handlers_have_all_slots_waits(board: HttpdBoard) -> None:
    """comes when two streams and two slow handlers have all slots -> wait for a handler; the streams stay"""
    with ExitStack() as stack:
        streams = [stack.enter_context(board.client()) for _ in range(2)]
        for client in streams:
            subscribe(client)
        slow = [stack.enter_context(board.client()) for _ in range(2)]
        for client in slow:
            client.send(get("/slow"))
        fifth = stack.enter_context(board.client())
        fifth.send(get("/tips"))
        board.advance(4_000)
        assert not fifth.answered()
        board.advance(1_500)
        assert fifth.read().body == b"tips\n"
        assert [client.read().body for client in slow] == [b"slow\n"] * 2
        say(board, "too")
        assert [read_event(client) for client in streams] == [b"data: too\n\n"] * 2


@leaves_nothing
def test_who_does_not_read_its_stream_is_dropped(board: HttpdBoard) -> None:
    """reads nothing of much -> dropped when its window has been full for 5 s; a reader beside it is not"""
    with board.client(SMALL_WINDOW_BYTES) as deaf, board.client() as reader:
        subscribe(reader)
        deaf.send(get("/made/flood"))
        board.advance(4_000)
        assert board.sockets() == 3
        board.advance(8_000)
        board.wait_for_sockets(2)
        say(board, "read")
        assert read_event(reader) == COMMENT
        assert read_event(reader) == b"data: read\n\n"
        assert not deaf.read_raw().endswith(b"\r\n0\r\n\r\n")


@leaves_nothing
def test_what_a_client_sends_into_its_stream_does_no_harm(board: HttpdBoard) -> None:
    """sends requests into the answer that is its stream -> none is answered, the stream goes on"""
    with board.client() as client:
        subscribe(client)
        for _ in range(3):
            client.send(get("/item/inner"))
            board.advance(POLL_MS)
        say(board, "on")
        assert read_event(client) == b"data: on\n\n"


@leaves_nothing
def test_thirty_streams_one_after_the_other_leave_the_heap_as_it_was(board: HttpdBoard) -> None:
    """begins a stream and goes, 30 times -> no memory kept after the 10th"""
    allocated = []
    for n in range(30):
        with board.client() as client:
            subscribe(client)
            client.reset() if n & 1 else client.close()
        board.advance(POLL_MS)
        board.wait_for_sockets(1)
        if n in (9, 29):
            allocated.append(board.figures()["alloc"])
    assert all(later - earlier <= 256 for earlier, later in pairwise(allocated)), allocated
