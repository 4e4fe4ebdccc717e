"""Ranges of files, and clients that go away, or take their time, while a file is sent.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`).
docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

import random
import time

import pytest

from host_tests.device import Answer
from host_tests.httpd_board import SMALL_WINDOW_BYTES, HttpdBoard, get, leaves_nothing

pytestmark = pytest.mark.vm

BUFFER_BYTES = 505  # what of the connection's 512 may be filled
SIZE_BYTES = 3_000
LONG_BYTES = 40_000
LONG = random.Random(1).randbytes(LONG_BYTES)
DATA = LONG[:SIZE_BYTES]
FILES = {"/www/file.bin": DATA, "/www/long.bin": LONG, "/www/empty.bin": b""}


def ask_range(board: HttpdBoard, ranges: str, name: str = "file.bin", extra: str = "") -> Answer:
    return board.ask(get(f"/files/{name}", f"Range: {ranges}\r\n{extra}"))


PARTS = [
    pytest.param("bytes=0-0", 0, 1, id="the first byte"),
    pytest.param("bytes=0-99", 0, 100, id="the first bytes"),
    pytest.param("bytes=1000-1999", 1_000, 2_000, id="the middle"),
    pytest.param("bytes=0-2998", 0, 2_999, id="all but the last byte"),
    pytest.param("bytes=2999-2999", 2_999, 3_000, id="the last byte"),
    pytest.param("bytes=1-", 1, 3_000, id="all but the first byte"),
    pytest.param("bytes=2999-", 2_999, 3_000, id="from the last byte on"),
    pytest.param("bytes=2000-9999", 2_000, 3_000, id="beyond the end"),
    pytest.param("bytes=-1", 2_999, 3_000, id="the last one"),
    pytest.param("bytes=-600", 2_400, 3_000, id="the last 600"),
]


@leaves_nothing
@pytest.mark.parametrize(("ranges", "first", "end"), PARTS)
def test_a_range_gives_these_bytes_and_no_others(board: HttpdBoard, ranges: str, first: int, end: int) -> None:
    """asks for one range -> 206 with Content-Range, length and the bytes of it; the connection goes on"""
    with board.client() as client:
        for _ in range(2):
            answer = client.ask(get("/files/file.bin", f"Range: {ranges}\r\n"))
            assert (answer.status, answer.body) == (206, DATA[first:end])
            assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{SIZE_BYTES}"
            assert "etag" in answer.headers


ALL = [
    pytest.param("bytes=0-", id="from the first byte on"),
    pytest.param("bytes=0-2999", id="first to last byte"),
    pytest.param("bytes=0-9999", id="first byte to beyond the end"),
    pytest.param("bytes=-3000", id="the last 3000"),
    pytest.param("bytes=-99999", id="a suffix longer than the file"),
]


@leaves_nothing
@pytest.mark.parametrize("ranges", ALL)
def test_a_range_of_all_gives_all(board: HttpdBoard, ranges: str) -> None:
    """asks for a range that is the whole file -> all of it, as 200 or as a right 206"""
    answer = ask_range(board, ranges)
    assert answer.body == DATA
    assert (answer.status, answer.headers.get("content-range")) in [(200, None), (206, "bytes 0-2999/3000")]


IGNORED = [
    pytest.param("bytes=0-9,20-29", id="two ranges"),
    pytest.param("bytes=0-9, -5", id="two ranges with a space"),
    pytest.param("bytes=9-0", id="reversed"),
    pytest.param("bytes=2999-1000", id="reversed from the last byte"),
    pytest.param("bytes=", id="no range"),
    pytest.param("bytes=-", id="a dash"),
    pytest.param("bytes=--5", id="two dashes"),
    pytest.param("bytes=5", id="a number"),
    pytest.param("bytes=a-b", id="letters"),
    pytest.param("bytes=1-2x", id="a number and a letter"),
    pytest.param("bytes=+1-2", id="a sign"),
    pytest.param("bytes=0x1-2", id="hex"),
    pytest.param("bytes=1 -2", id="a space"),
    pytest.param("bytes=1-2-3", id="three numbers"),
    pytest.param("lines=1-2", id="another unit"),
    pytest.param("0-9", id="no unit"),
    pytest.param("", id="nothing"),
    pytest.param("bytes=²-³", id="digits that are none"),
]


@leaves_nothing
@pytest.mark.parametrize("ranges", IGNORED)
def test_what_is_not_one_range_is_ignored(board: HttpdBoard, ranges: str) -> None:
    """asks for several ranges, a reversed one or nonsense -> 200 with the whole file"""
    answer = ask_range(board, ranges)
    assert (answer.status, answer.body) == (200, DATA)
    assert "content-range" not in answer.headers


OUTSIDE = [
    pytest.param("bytes=3000-", "file.bin", id="from the end on"),
    pytest.param("bytes=3000-3000", "file.bin", id="the byte after the last"),
    pytest.param("bytes=99999-", "file.bin", id="far beyond the end"),
    pytest.param("bytes=99999999999999999999-", "file.bin", id="beyond a machine word"),
    pytest.param("bytes=-0", "file.bin", id="the last 0"),
    pytest.param("bytes=0-0", "empty.bin", id="of nothing"),
]


@leaves_nothing
@pytest.mark.parametrize(("ranges", "name"), OUTSIDE)
def test_a_range_outside_the_file_is_refused(board: HttpdBoard, ranges: str, name: str) -> None:
    """asks for a range that begins behind the last byte -> 416 that tells the size"""
    answer = ask_range(board, ranges, name)
    size_bytes = len(FILES[f"/www/{name}"])
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{size_bytes}")


@leaves_nothing
def test_a_range_goes_with_the_right_file_only(board: HttpdBoard) -> None:
    """asks for a range if the file is still that of a tag -> 206 if so; 200, or 304, with no range else"""
    tag = ask_range(board, "bytes=0-9").headers["etag"]
    answer = ask_range(board, "bytes=0-9", extra=f"If-Range: {tag}\r\n")
    assert (answer.status, answer.body) == (206, DATA[:10])
    for wrong in ('"x-y"', f"W/{tag}", "Wed, 21 Oct 2015 07:28:00 GMT", ""):
        for ranges in ("bytes=0-9", "bytes=3000-"):
            answer = ask_range(board, ranges, extra=f"If-Range: {wrong}\r\n")
            assert (answer.status, answer.body) == (200, DATA)
    with board.client() as client:
        client.send(get("/files/file.bin", f"Range: bytes=0-9\r\nIf-None-Match: {tag}\r\n"))
        answer = client.read(bodyless=True)
        assert (answer.status, answer.headers.get("content-range")) == (304, None)


@leaves_nothing
def test_a_range_of_any_length_around_the_buffers_is_exact(board: HttpdBoard) -> None:
    """asks for ranges that end at the buffer's end, its head counted in, and some bytes on either side -> each right"""
    with board.client() as client:
        client.send(get("/files/file.bin", "Range: bytes=7-206\r\n"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.stream.readline()
        assert client.stream.read(200) == DATA[7:207]
        room_bytes = BUFFER_BYTES - len(head)
        for full in (room_bytes, room_bytes + BUFFER_BYTES, 2 * BUFFER_BYTES):
            for length in range(full - 3, full + 4):
                answer = client.ask(get("/files/file.bin", f"Range: bytes=7-{6 + length}\r\n"))
                assert (answer.status, answer.body) == (206, DATA[7 : 7 + length])


@leaves_nothing
def test_a_download_that_was_cut_can_be_resumed(board: HttpdBoard) -> None:
    """goes away in the middle of 40,000 bytes and asks for the rest -> both together are the file"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/files/long.bin"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.stream.readline()
        begun = client.stream.read(12_345)
        client.reset()
    tag = head.decode().partition("ETag: ")[2].partition("\r\n")[0]
    rest = ask_range(board, f"bytes={len(begun)}-", "long.bin", f"If-Range: {tag}\r\n")
    assert (rest.status, rest.headers["content-range"]) == (206, "bytes 12345-39999/40000")
    assert begun + rest.body == LONG


# --- clients that go, or dawdle -----------------------------------------------------------------


@leaves_nothing
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("taken_bytes", [100, 9_000])
def test_a_client_that_goes_in_the_middle_of_a_file_leaves_nothing(
    board: HttpdBoard, way: str, taken_bytes: int
) -> None:
    """closes, or resets, when some of 40,000 bytes are there; three times -> be rid of it at once"""
    for _ in range(3):
        with board.client(SMALL_WINDOW_BYTES) as client:
            client.send(get("/files/long.bin"))
            board.wait_for_sockets(2)
            client.stream.read(taken_bytes)
            getattr(client, way)()
        board.wait_for_sockets(1)


@leaves_nothing
def test_a_client_that_goes_when_the_send_buffer_is_full_leaves_nothing(board: HttpdBoard) -> None:
    """reads nothing of 40,000 bytes and resets when the board can send no more -> be rid of it at once"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/files/long.bin"))
        time.sleep(0.2)
        assert board.sockets() == 2
        client.reset()
        board.wait_until(lambda: board.sockets() == 1, 1)


@leaves_nothing
def test_a_slow_reader_of_a_file_is_dropped_at_its_deadline(board: HttpdBoard) -> None:
    """takes 1,000 of 40,000 bytes a second -> drop it after 20 s, as the file's size allows; the answer is short"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/files/long.bin"))
        taken_bytes = 0
        for _ in range(9):
            taken_bytes += len(client.stream.read(2_000))
            board.advance(2_000)
        assert board.sockets() == 2
        board.advance(3_000)
        board.wait_for_sockets(1)
        assert taken_bytes + len(client.read_raw()) < LONG_BYTES


@leaves_nothing
def test_a_reader_at_four_kilobytes_a_second_gets_all_of_a_file(board: HttpdBoard) -> None:
    """takes 4,000 of 40,000 bytes a second -> all of it"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/files/long.bin", "Connection: close\r\n"))
        data = b""
        while piece := client.stream.read(4_000):
            data += piece
            board.advance(1_000)
        assert data.endswith(LONG)
