"""lib/http_client on the VM: one connection for several posts, bodies in any pieces, and what an end leaves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from host_tests import faults
from host_tests.faults import Answer, Fault
from host_tests.http_lab import (
    ABORTED,
    ANSWER,
    BODY,
    NAME,
    RESET,
    REST,
    SEND,
    TIMED_OUT,
    Exchange,
    HttpLab,
)
from scripts.vm import Vm

pytestmark = pytest.mark.vm

HOST = "collector.test"
LONG = "0123456789" * 2000
STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def lab(tmp_path: Path, vm: Vm) -> Iterator[HttpLab]:
    with HttpLab(tmp_path, vm) as lab:
        yield lab


def in_turn(lab: HttpLab, *turns: Fault) -> None:
    """The n-th request meets the n-th fault, all others the last."""

    def then_next(fault: Fault, rest: tuple[Fault, ...]) -> Fault:
        def pieces(answer: Answer) -> Iterator[bytes]:
            if rest:
                lab.server.fault = then_next(rest[0], rest[1:])
            yield from fault.pieces(answer) if fault.pieces else ()

        return replace(fault, pieces=pieces)

    lab.server.fault = then_next(turns[0], turns[1:])


def got(exchanges: list[Exchange]) -> list[int | str]:
    return [exchange.got for exchange in exchanges]


# --- one connection -------------------------------------------------------------------------------


def test_posts_that_follow_each_other_share_a_connection(lab: HttpLab) -> None:
    assert got(lab.posts("", "", "", "keep=False")) == [200] * 4
    assert lab.server.connections == 1
    assert [request.headers.get("connection") for request in lab.server.requests] == [None] * 3 + ["close"]
    assert [request.body.decode() for request in lab.server.requests] == [BODY] * 4


@pytest.mark.parametrize("name", ["chunked", "lower case", "continue first"])
def test_the_answer_behind_any_answer_is_read_from_its_start(lab: HttpLab, name: str) -> None:
    in_turn(lab, faults.STRANGE[name], faults.status(503, commits=True), faults.STRANGE[name])
    assert got(lab.posts("", "", "")) == [200, 503, 200]
    assert lab.server.connections == 1


def test_a_204_has_no_body_to_wait_for(lab: HttpLab) -> None:
    lab.server.fault = faults.status(204, commits=True)
    found = lab.posts("", "")
    assert got(found) == [204, 204] and max(exchange.ms for exchange in found) < 200
    assert lab.server.connections == 1


def test_a_kept_connection_that_the_server_closed_is_replaced_before_anything_is_sent(lab: HttpLab) -> None:
    lab.server.fault = faults.KEEP_THEN_CLOSE
    assert got(lab.posts("", "", "")) == [200] * 3
    assert (lab.server.connections, len(lab.server.requests)) == (3, 3)
    assert lab.server.bad == []


def test_a_kept_connection_that_breaks_under_the_request_is_replaced_and_all_is_sent_once_more(lab: HttpLab) -> None:
    in_turn(lab, faults.NONE, faults.COMMIT_AND_DROP, faults.NONE)
    found = lab.posts("", "")
    assert got(found) == [200, 200] and found[1].ms < 300
    assert lab.server.connections == 2
    assert [request.body.decode() for request in lab.server.requests] == [BODY] * 3


def test_a_new_connection_that_breaks_under_the_request_is_not_replaced(lab: HttpLab) -> None:
    in_turn(lab, faults.NONE, faults.COMMIT_AND_DROP)
    assert got(lab.posts("", "")) == [200, RESET]
    assert (lab.server.connections, len(lab.server.requests)) == (2, 3)


def test_a_kept_connection_that_breaks_in_the_answer_is_not_replaced(lab: HttpLab) -> None:
    in_turn(lab, faults.NONE, faults.CLOSE_MID_HEADERS)
    assert got(lab.posts("", "")) == [200, RESET]
    assert len(lab.server.requests) == 2


def test_a_kept_connection_that_falls_silent_is_not_asked_twice(lab: HttpLab) -> None:
    """It may have taken effect, and the server may be slow because of it."""
    in_turn(lab, faults.NONE, faults.SILENT)
    found = lab.posts("", "")
    assert got(found) == [200, TIMED_OUT] and found[1].ms < 16_000
    assert len(lab.server.requests) == 2


@pytest.mark.parametrize("stray", [STRAY, b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", b"\r\n"])
@pytest.mark.parametrize("apart", [False, True])
def test_what_comes_behind_an_answer_is_never_the_next_one(lab: HttpLab, stray: bytes, apart: bool) -> None:
    def pieces(answer: Answer) -> Iterator[bytes]:
        yield answer.plain() if apart else answer.plain() + stray
        if apart:
            yield stray

    in_turn(lab, Fault(pieces=pieces), faults.status(503, commits=True))
    assert got(lab.posts("", "")) == [200, 503]
    assert lab.server.connections == 2


def test_a_post_to_another_origin_closes_the_connection(lab: HttpLab) -> None:
    other = f"http://{HOST}:{lab.server.port}/readings"
    said = lab.script(f"""
    async def both():
        found = [await post(), await post(url={other!r})]
        say("open", words[r.SOCKETS_OPEN])
        return found + await all_of(post(url={other!r} + "/more"))
    run(found=both())
    """)
    assert [one[0] for one in said["found"]] == [200] * 3
    assert said["open"] == 1
    assert [request.connection for request in lab.server.requests] == [1, 2, 2]


def test_close_closes_and_may_be_called_at_any_time(lab: HttpLab) -> None:
    said = lab.script("""
    async def closing():
        client.close()
        first = await post()
        before = words[r.SOCKETS_OPEN]
        client.close()
        client.close()
        after = words[r.SOCKETS_OPEN]
        return before, after, first[0], (await post(keep=False))[0]
    run(found=closing())
    """)
    assert said["found"] == (1, 0, 200, 200)
    assert lab.server.connections == 2


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param(LONG, 20_000, id="one"),
        pytest.param(LONG, 40, id="many"),
        pytest.param(LONG, 1999, id="odd"),
        pytest.param("°C " * 500, 7, id="not ASCII"),
    ],
)
@pytest.mark.parametrize("write_max", [0, 1000])
def test_a_body_arrives_whole_in_whatever_pieces(lab: HttpLab, text: str, size: int, write_max: int) -> None:
    pieces = f"pieces=lambda: body({text!r}, {size}), size_bytes={len(text.encode())}"
    assert got(lab.posts(pieces, WRITE_MAX=write_max)) == [200]
    assert lab.server.requests[0].body.decode() == text


def test_a_request_arrives_whole_byte_by_byte(lab: HttpLab) -> None:
    assert got(lab.posts("url=URL + '/größe?a=b'", WRITE_MAX=1)) == [200]
    (request,) = lab.server.requests
    assert request.body.decode() == BODY and request.headers["content-type"] == "application/json"
    assert request.path.encode("latin-1").decode() == "/readings/größe?a=b"


@pytest.mark.parametrize("off", [-1, 1])
def test_a_body_that_is_not_what_was_measured_is_broken_off(lab: HttpLab, off: int) -> None:
    (exchange,) = lab.posts(f"size_bytes=len(BODY) + {off}")
    assert (exchange.got, exchange.phase) == (ABORTED, SEND)
    assert exchange.ms < 200
    assert lab.server.requests == []


def test_what_the_pieces_raise_is_what_the_post_raises(lab: HttpLab) -> None:
    said = lab.script("""
    def raising(error):
        yield BODY[:7]
        raise error


    async def each():
        for error in (OSError(5), ValueError("no"), MemoryError("full"), KeyError("key")):
            try:
                await client.post(URL, lines, len(BODY), lambda: raising(error), True, beat)
            except Exception as raised:
                say(type(error).__name__, (raised is error, client.phase, words[r.SOCKETS_OPEN]))
    run(found=each())
    """)
    assert {said[name] for name in ("OSError", "ValueError", "MemoryError", "KeyError")} == {(True, SEND, 0)}
    assert said["found ms"] < 500


@pytest.mark.parametrize("module", ["dns", "udp", "http_answer"])
def test_no_memory_for_an_import_ends_the_post_and_the_next_one_works(lab: HttpLab, module: str) -> None:
    said = lab.script(f"""
    import builtins
    real = builtins.__import__


    def failing(name, *rest):
        if name == {module!r} and not failed:
            failed.append(name)
            raise MemoryError("no room")
        return real(name, *rest)


    failed = []
    for name in ("dns", "udp", "http_answer"):
        sys.modules.pop(name, None)
    builtins.__import__ = failing
    run(found=all_of(post(), post(keep=False)))
    """)
    first, second = (Exchange(*one) for one in said["found"])
    assert (first.got, first.phase) == ("MemoryError: no room", ANSWER if module == "http_answer" else NAME)
    assert second.got == 200


def test_a_server_that_refuses_before_it_has_read_all_is_heard(lab: HttpLab) -> None:
    """As it closes on unread input, the connection is reset under the body."""
    for refusal, expected in ((b"413 No", (413, REST)), (b"200 OK", (RESET, REST))):
        with early(b"HTTP/1.1 " + refusal + b"\r\nContent-Length: 8\r\n\r\ntoo much") as url:
            (exchange,) = lab.posts(f"pieces=lambda: body({LONG!r}), size_bytes=20000", url=url)
        assert (exchange.got, exchange.phase) == expected
        assert exchange.ms < 2_000


class early:
    """A server that answers when it has the first bytes of a request, and closes."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.listener.settimeout(20)
        self.thread = threading.Thread(target=self.serve)

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/readings"

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        self.listener.close()

    def serve(self) -> None:
        client = self.listener.accept()[0]
        with client:
            client.recv(100)
            client.sendall(self.text)
