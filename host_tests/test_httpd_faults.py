"""Answers that nobody takes, and the board's own troubles: sockets, link and memory that are gone for a while.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`).
docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from host_tests.httpd_board import SMALL_WINDOW_BYTES, HttpdBoard, get, leaves_nothing
from host_tests.virtual_board.vm import registers as r

pytestmark = pytest.mark.vm

BIG_BYTES = 40_960


# --- answers nobody takes -----------------------------------------------------------------------


@leaves_nothing
def test_a_client_that_does_not_read_is_dropped_at_its_deadline(board: HttpdBoard) -> None:
    """asks for 40 KB and reads nothing -> drop it after 15 s; the answer is seen to be cut"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/big"))
        board.advance(14_000)
        assert board.sockets() == 2
        board.advance(2_000)
        board.wait_for_sockets(1)
        assert not client.read_raw().endswith(b"\r\n0\r\n\r\n")


@leaves_nothing
def test_a_slow_reader_gets_all_of_a_long_answer(board: HttpdBoard) -> None:
    """asks for 40 KB and takes 10 s to read it -> all of it"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/big", "Connection: close\r\n"))
        data = b""
        while piece := client.stream.read(2_048):
            data += piece
            board.advance(400)
        assert len(data) > BIG_BYTES
        assert data.endswith(b"\r\n0\r\n\r\n")


@leaves_nothing
def test_a_client_that_reads_byte_by_byte_gets_all_of_a_page(board: HttpdBoard) -> None:
    """reads a page a byte at a time -> all of it"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/", "Connection: close\r\n"))
        data = b""
        while byte := client.socket.recv(1):
            data += byte
        assert data.endswith(b"</html>\n\r\n0\r\n\r\n")


@leaves_nothing
@pytest.mark.parametrize("write_max", [1, 90])
def test_a_socket_that_takes_little_at_a_time_gets_all_of_a_page(board: HttpdBoard, write_max: int) -> None:
    """the board's socket takes only that many bytes at a time -> a whole page all the same"""
    board.state[r.WRITE_MAX] = write_max
    try:
        assert board.ask(get("/")).text.endswith("</html>\n")
    finally:
        board.state[r.WRITE_MAX] = 0


# --- the board's own troubles -------------------------------------------------------------------


@leaves_nothing
@pytest.mark.parametrize("taken", [7, 9])
def test_it_serves_again_when_sockets_were_short(board: HttpdBoard, taken: int) -> None:
    """comes while others hold the board's sockets -> refuse without harm, serve when they are free again"""
    board.state[r.SOCKETS_TAKEN] = taken
    try:
        with ExitStack() as stack:
            for _ in range(6):
                stack.enter_context(board.client())
            time.sleep(0.1)
            assert board.sockets() + taken <= 10
    finally:
        board.state[r.SOCKETS_TAKEN] = 0


@leaves_nothing
def test_an_answer_goes_on_when_the_link_was_away_for_a_while(board: HttpdBoard) -> None:
    """is reading 40 KB when the access point goes and comes back after 2 s -> the rest of the answer"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/big", "Connection: close\r\n"))
        data = client.stream.read(3_000)
        board.state[r.AP_PRESENT] = 0
        board.advance(2_000)
        board.state[r.AP_PRESENT] = 1
        board.advance(3_000)
        data += client.stream.read()
        assert len(data) > BIG_BYTES
        assert data.endswith(b"\r\n0\r\n\r\n")


@leaves_nothing
def test_a_link_that_stays_away_costs_the_connection_and_no_more(board: HttpdBoard) -> None:
    """is reading 40 KB when the access point goes for 20 s -> drop it at its deadline, serve when the link is back"""
    with board.client(SMALL_WINDOW_BYTES) as client:
        client.send(get("/big"))
        client.stream.read(3_000)
        board.state[r.AP_PRESENT] = 0
        board.advance(20_000)
        board.wait_for_sockets(1)
        board.state[r.AP_PRESENT] = 1
        board.advance(3_000)
