"""The HTTP server alone at work on a board of 24 KB: handlers that fail, slots that are taken, memory over 200
requests, the cost of a request, and clients that others wrote.

After each of them an honest client is served in 0.5 s and no socket or slot stays taken (`leaves_nothing`).
docs/httpd-cases.md lists all cases.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from host_tests.commands import program_path
from host_tests.httpd_board import HttpdBoard, get, leaves_nothing, post
from host_tests.virtual_board.vm import registers as r

pytestmark = pytest.mark.vm

LAST_CHUNK = b"\r\n0\r\n\r\n"
SWEEPS_PER_S = 4
BROWSER = (
    "Connection: keep-alive\r\nCache-Control: max-age=0\r\nUpgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    "Accept-Encoding: gzip, deflate\r\nAccept-Language: en-GB,en;q=0.9\r\n"
)
MIX = [
    (get("/", BROWSER), b"</html>\n"),
    (get("/tips", BROWSER), b"tips\n"),
    (get("/item/seven", BROWSER), b"seven"),
    (post("/form", b"name=K%C3%BCche&a=1&b=2&c=3"), '"Küche"'.encode()),
    (post("/upload", b"x" * 3_000), b"3000\n"),
    (get("/query?a=1&b=%20"), b'"b": " "'),
    (get("/big"), b"abcdef"),
    (get("/secret", "Authorization: Basic eDp5\r\n"), b"secret\n"),
]


def ask_mixed(board: HttpdBoard, number: int) -> None:
    raw, expected = MIX[number % len(MIX)]
    answer = board.ask(raw)
    assert answer.status == 200, (number, answer)
    assert expected in answer.body, (number, answer)


# --- slots --------------------------------------------------------------------------------------


@leaves_nothing
def test_a_browsers_spare_connection_is_no_burden_and_can_be_used_later(board: HttpdBoard) -> None:
    """opens a second, silent connection beside the one it uses -> serve both, the spare one when it speaks"""
    with board.client() as spare, board.client() as used:
        for _ in range(3):
            assert used.ask(get("/tips")).status == 200
            board.check_honest()
            board.advance(1_000)
        assert spare.ask(get("/tips")).status == 200


@leaves_nothing
def test_the_fifth_waits_while_four_handlers_are_slow(board: HttpdBoard) -> None:
    """comes while four handlers take 5 s each -> wait in the backlog, then be served; the four get their answers"""
    with ExitStack() as stack:
        slow = [stack.enter_context(board.client()) for _ in range(4)]
        for client in slow:
            client.send(get("/slow"))
        fifth = stack.enter_context(board.client())
        fifth.send(get("/tips"))
        board.wait_for_sockets(5)
        board.advance(4_500)
        assert not fifth.answered()
        board.advance(1_000)
        assert fifth.read().body == b"tips\n"
        assert [client.read().body for client in slow] == [b"slow\n"] * 4


@leaves_nothing
def test_slow_handlers_leave_the_last_slot_to_all_others(board: HttpdBoard) -> None:
    """comes while three handlers are slow -> be served at once, ten times"""
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(board.client()).send(get("/slow"))
        for _ in range(10):
            board.check_honest()
    board.advance(5_500)


# --- handlers that fail -------------------------------------------------------------------------


@leaves_nothing
def test_a_handler_that_fails_is_felt_by_its_client_alone(board: HttpdBoard) -> None:
    """three clients are served while a fourth's handler raises -> 500 for that one; counted and reported once"""
    before = board.figures()
    with ExitStack() as stack:
        others = [stack.enter_context(board.client()) for _ in range(3)]
        assert board.ask(get("/boom")).status == 500
        for client in others:
            assert client.ask(get("/tips")).body == b"tips\n"
    after = board.figures()
    assert (after["failed"] - before["failed"], after["errors"] - before["errors"]) == (1, 1)


@leaves_nothing
@pytest.mark.parametrize("path", ["/boom-late", "/hungry-late"])
def test_an_answer_that_fails_late_is_seen_to_be_cut(board: HttpdBoard, path: str) -> None:
    """its handler raises, or needs too much memory, when 2 KB are out -> no last chunk, end of the connection"""
    with board.client() as client:
        client.send(get(path))
        data = client.read_raw()
        assert data.startswith(b"HTTP/1.1 200 ")
        assert not data.endswith(LAST_CHUNK)
        assert b"HTTP/1.1 5" not in data


@leaves_nothing
def test_twenty_requests_beyond_memory_do_not_end_the_service(board: HttpdBoard) -> None:
    """asks 20 times for what memory can't hold -> 503 with Retry-After each time, others are served in between"""
    before = board.figures()
    for _ in range(20):
        answer = board.ask(get("/hungry"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert board.ask(get("/tips")).status == 200
    assert board.figures()["failed"] - before["failed"] == 20


@leaves_nothing
def test_who_is_told_that_memory_is_short_is_told_nothing_else(board: HttpdBoard) -> None:
    """gets a 503 for want of memory while its body is still to come -> one answer, then the end"""
    with board.client() as client:
        client.send(get("/hungry", "Content-Length: 5000\r\n"))
        board.advance(1_600)
        data = client.read_raw()
    assert data.startswith(b"HTTP/1.1 503 ")
    assert data.count(b"HTTP/1.1 ") == 1


@leaves_nothing
def test_a_second_without_memory_does_not_end_the_service(board: HttpdBoard) -> None:
    """three clients come while a handler holds all but 1 KB in small pieces for 1 s -> turn them away, be well again"""
    with ExitStack() as stack:
        stack.enter_context(board.client()).send(get("/hog"))
        time.sleep(0.1)
        for _ in range(3):
            stack.enter_context(board.client()).send(get("/tips"))
        time.sleep(0.1)
        board.advance(2_000)


@leaves_nothing
def test_the_application_may_turn_everything_away_for_a_while(board: HttpdBoard) -> None:
    """comes while the application's check refuses -> 503 with its Retry-After, before routing; then served again"""
    assert board.ask(post("/busy", b"on=1")).status == 200
    try:
        for raw in (get("/tips"), get("/nope"), post("/form", b"a=b")):
            answer = board.ask(raw)
            assert (answer.status, answer.headers["retry-after"]) == (503, "7")
    finally:
        assert board.ask(post("/busy", b"on=0")).status == 200


@leaves_nothing
def test_the_done_hook_sees_every_answer(board: HttpdBoard) -> None:
    """is answered with 200, 404, 400 and 500 -> the application's count by class says so"""
    before = board.figures()["answers"]
    for raw in (get("/tips"), get("/nope"), b"nonsense\r\n", get("/boom")):
        board.ask(raw)
    after = board.figures()["answers"]
    assert [b - a for a, b in zip(before, after, strict=True)] == [0, 0, 2, 0, 2, 1]


@leaves_nothing
def test_the_done_hook_sees_that_memory_was_short(board: HttpdBoard) -> None:
    """is answered with 503 for want of memory -> the application's count by class says so"""
    before = board.figures()["answers"]
    board.ask(get("/hungry"))
    after = board.figures()["answers"]
    assert [b - a for a, b in zip(before, after, strict=True)] == [0, 0, 1, 0, 0, 1]


# --- over time ----------------------------------------------------------------------------------


@leaves_nothing
def test_two_hundred_mixed_requests_leave_the_heap_as_it_was(board: HttpdBoard) -> None:
    """200 mixed requests one after the other, at 24 KB -> no error, and no memory kept after the 50th"""
    allocated = []
    for n in range(200):
        ask_mixed(board, n)
        if n in (49, 199):
            allocated.append(board.figures()["alloc"])
    assert allocated[1] - allocated[0] <= 256, allocated


@leaves_nothing
def test_two_hundred_mixed_requests_four_at_once_leave_the_heap_as_it_was(board: HttpdBoard) -> None:
    """200 mixed requests from four clients at once, at 24 KB -> no error, and no memory kept after the 50th"""
    allocated = []
    with ThreadPoolExecutor(4) as clients:
        for numbers in (range(50), range(50, 200)):
            list(clients.map(lambda n: ask_mixed(board, n), numbers))
            allocated.append(board.figures()["alloc"])
    assert allocated[1] - allocated[0] <= 256, allocated


@leaves_nothing
@pytest.mark.parametrize("kept", [False, True], ids=["a connection each", "on one connection"])
def test_a_request_costs_one_poll_wait_at_most(board: HttpdBoard, kept: bool) -> None:
    """20 small GETs one after the other, with the device's 10 ms tick -> one wait for each at most"""
    with board.client() as client:
        client.ask(get("/tips"))
        begin, before = time.monotonic(), board.state[r.POLL_WAITS]
        for _ in range(20):
            answer = client.ask(get("/tips")) if kept else board.ask(get("/tips", "Connection: close\r\n"))
            assert answer.status == 200
        waits = board.state[r.POLL_WAITS] - before
        sweeps = int((time.monotonic() - begin) * SWEEPS_PER_S) + 1
    assert waits <= 20 + sweeps, waits


# --- other people's clients ---------------------------------------------------------------------


def curl(board: HttpdBoard, path: str, *options: str) -> str:
    command = [
        program_path("curl"),
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "10",
        "--noproxy",
        "*",
        *options,
    ]
    return subprocess.run(
        [*command, f"http://127.0.0.1:{board.port}{path}"], capture_output=True, text=True, check=True, timeout=20
    ).stdout


@leaves_nothing
def test_curl_gets_a_page_sends_a_form_and_uploads(board: HttpdBoard, tmp_path: Path) -> None:
    """is curl: GET, -d, --data-binary with Expect, two pages on one connection, -I -> all as a person expects"""
    upload = tmp_path / "upload"
    upload.write_bytes(b"\0\xff" * 1_000)
    assert curl(board, "/").endswith("</html>\n")
    assert json.loads(curl(board, "/form", "-d", "a=b c", "--data-urlencode", "d=ü&")) == {"a": "b c", "d": "ü&"}
    begin = time.monotonic()
    assert curl(board, "/upload", "--data-binary", f"@{upload}", "-H", "Expect: 100-continue") == "2000\n"
    assert time.monotonic() - begin < 0.9, "curl waits a second for a 100 that does not come"
    twice = curl(board, "/tips", "-w", "%{num_connects}\n", f"http://127.0.0.1:{board.port}/item/x")
    assert twice == "x1\ntips\n0\n"
    assert curl(board, "/tips", "-I").startswith("HTTP/1.1 200 ")


@leaves_nothing
def test_pythons_client_keeps_its_connection(board: HttpdBoard) -> None:
    """is http.client: pages, a form and a 40 KB answer in one session -> one connection for all"""
    session = http.client.HTTPConnection("127.0.0.1", board.port, timeout=10)
    session.connect()
    first = session.sock
    for _ in range(3):
        session.request("GET", "/big")
        assert len(session.getresponse().read()) == 40_960
        session.request("POST", "/form", "a=b", {"Content-Type": "application/x-www-form-urlencoded"})
        assert json.load(session.getresponse()) == {"a": "b"}
        session.request("HEAD", "/")
        assert session.getresponse().read() == b""
    assert session.sock is first
    session.close()
