"""A virtual board that runs nothing but the HTTP server and the small application of vm_scripts/httpd_app.py, and
clients that may misbehave.

Owns the flash image, the 24 KB board and its port. While a test acts, the board runs in real time with the device's
10 ms tick; deadlines are skipped to with `advance`. `check_aftermath` says what every hostile client must leave behind.
"""

from __future__ import annotations

import functools
import json
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from host_tests.device import Answer, free_port, read_answer
from host_tests.httpd_parts import LIB, SELDOM, core_bundle
from host_tests.virtual_board.board import VirtualBoard
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import registers as r
from scripts import build, sim, vfs_image
from scripts.console import ROOT
from scripts.vm import Vm

# 24 KB for asyncio, the server and all garbage. Not counted are the prompt and name pools of the board (6,482 bytes)
# and the code of the test application; what then is left of the board's 36,000 bytes main.py takes away.
HEAP_BYTES = 24 * 1024
APP_BYTES = 3_600
BODIES_BYTES = 3_000  # the same for httpd_bodies, which is loaded in tests that have files of their own
BOARD_HEAP_BYTES = 36 * 1024
BALLAST_BYTES = 36_000 - HEAP_BYTES - APP_BYTES - 6_482
HONEST_S = 0.5
TIMEOUT_S = 5
LINGER_MS = 1_500
SMALL_WINDOW_BYTES = 2_048  # of a client that takes little at a time
VM_SCRIPTS = ROOT / "host_tests" / "vm_scripts"
APPS = "httpd_app", "httpd_bodies"  # the latter is loaded by the former when a page of it is asked for
MAIN = f"""ballast = bytearray({BALLAST_BYTES})
import gc
gc.threshold(2048)
import asyncio
import httpd
import httpd_app
asyncio.run(httpd_app.run({sim.SSID!r}, {sim.PASSWORD!r}))
"""
HOST = b"Host: 127.0.0.1\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def tree() -> dict[str, bytes]:
    """The files of the board: the server bundled and compiled as a build does it, and the application."""
    bundle = core_bundle([(VM_SCRIPTS / f"{name}.py").read_text() for name in APPS])
    files = {"/main.py": MAIN.encode(), "/lib/httpd.mpy": build.compile_text(bundle, "httpd.py")}
    for name in SELDOM:
        files[f"/lib/{name}.mpy"] = build.compile_mpy(LIB / f"{name}.py", f"lib/{name}.py")
    for name in APPS:
        files[f"/lib/{name}.mpy"] = build.compile_mpy(VM_SCRIPTS / f"{name}.py", f"lib/{name}.py")
    return files


def get(path: str, extra: str = "") -> bytes:
    """A GET as bytes; `extra` is header lines, each ended by CR LF."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{extra}\r\n".encode()


def post(path: str, body: bytes, extra: bytes = FORM) -> bytes:
    """A POST as bytes, with its body."""
    return b"POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n%s\r\n%s" % (path.encode(), HOST, len(body), extra, body)


def line(text: str, *headers: str, body: str = "") -> bytes:
    """A request with a Host, from its first line and header lines."""
    return "\r\n".join((text, "Host: 127.0.0.1", *headers, "", body)).encode()


def put_in_form(*headers: str, body: str = "a=b") -> bytes:
    return line("POST /form HTTP/1.1", FORM.decode().strip(), *headers, body=body)


class Client:
    """One TCP connection to the board, used raw. Closes when the `with` ends."""

    def __init__(self, port: int, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def makefile(self, mode: str) -> Any:
        """The same stream at each call, so that one answer after the other can be read."""
        return nullcontext(self.stream)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_as_far_as_taken(self, data: bytes) -> None:
        """Send, and do not mind that the board closed."""
        with suppress(OSError):
            self.socket.sendall(data)

    def read(self, bodyless: bool = False) -> Answer:
        """One whole answer; AssertionError when it is not."""
        return read_answer(cast(socket.socket, self), bodyless)

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        return self.read(data.startswith(b"HEAD "))

    def ending(self) -> str:
        """What the connection does next: "eof" for a clean end, "reset", or the bytes that came instead."""
        try:
            rest = self.stream.read(64)
        except ConnectionResetError:
            return "reset"
        return "eof" if not rest else repr(rest)

    def answered(self) -> bool:
        """True when something can be read, be it the end."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def read_all(self) -> list[Answer]:
        """Whole answers, one after the other, to a clean end."""
        answers = []
        while self.stream.peek(1):
            answers.append(self.read())
        return answers

    def read_raw(self) -> bytes:
        """All bytes to the end, a clean one or not."""
        data = b""
        with suppress(ConnectionResetError):
            while piece := self.stream.read1(65536):
                data += piece
        return data

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def reset(self) -> None:
        """Close with RST, as a crashed or firewalled peer does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class HttpdBoard:
    """The board, up and serving after `start()`. With `files`, further ones of its flash by path, it has the memory for
    the code of httpd_bodies as well."""

    def __init__(self, vm: Vm, folder: Path, files: Mapping[str, bytes] | None = None) -> None:
        self.port = free_port()
        self.state = BoardState(folder)
        self.write_files({**tree(), **(files or {})})
        sim.set_world(self.state, sim.parser().parse_args(["--port", str(self.port)]))
        self.state[r.SKIP_SOCKETS] = 1  # counts while time is skipped only
        self.board = VirtualBoard(vm, self.state, BOARD_HEAP_BYTES + (BODIES_BYTES if files else 0))

    def start(self) -> None:
        self.board.start()
        self.board.wait_for_state(r.STATE_RUNNING)
        self.board.advance(2_000)
        self.board.wait_for_line("^serving ", 10)

    def close(self) -> None:
        self.board.stop()
        self.state.close()

    def restart(self, files: Mapping[str, bytes] | None = None) -> None:
        """Power off and on; files that are given change while it is off."""
        self.board.stop()
        self.write_files(files or {})
        self.board.log_lines.clear()
        self.board.resets.clear()
        self.start()

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Put files on the flash, by path, while the board is off."""
        with vfs_image.mounted(self.state.flash_path, format_blank=True) as fs:
            for path, content in files.items():
                vfs_image.write_file(fs, path, content)

    def well(self) -> HttpdBoard:
        """The board itself, started anew if a failed test left it in pieces."""
        if self.state[r.STATE] != r.STATE_RUNNING or self.sockets() != 1 or not self.board.is_on():
            self.restart()
        return self

    def advance(self, ms: int) -> None:
        """Let the board's time pass, not ours."""
        self.board.advance(ms)

    def client(self, receive_bytes: int = 0) -> Client:
        """A new connection; with `receive_bytes` its window is as small, so that the board can't be rid of all."""
        return Client(self.port, receive_bytes)

    def ask(self, data: bytes) -> Answer:
        """One exchange on a connection of its own."""
        with self.client() as client:
            return client.ask(data)

    def figures(self) -> dict[str, Any]:
        """The server's counters, and the heap after a collect."""
        answer = self.ask(get("/figures", "Connection: close\r\n"))
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def sockets(self) -> int:
        return self.state[r.SOCKETS_OPEN]

    def wait_until(self, true: Callable[[], bool], timeout_s: float = 2) -> None:
        """Until the board, in real time, has come there; AssertionError otherwise."""
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, f"not within {timeout_s} s; {self.sockets()} sockets are open"
            time.sleep(0.002)

    def wait_for_sockets(self, count: int) -> None:
        """Until that many are open, the listener among them."""
        self.wait_until(lambda: self.sockets() == count)

    def wait_for_quiet(self) -> None:
        """Until a crowd is gone, those in the backlog as well, which show as a socket only one after the other."""
        for _ in range(3):
            self.wait_for_sockets(1)
            time.sleep(0.02)

    def check_honest(self, limit_s: float = HONEST_S) -> None:
        """A client that does all right is served, and soon."""
        begin = time.monotonic()
        answer = self.ask(get("/tips", "Connection: close\r\n"))
        took_s = time.monotonic() - begin
        assert (answer.status, answer.body) == (200, b"tips\n")
        assert took_s < limit_s, f"an honest client waited {took_s:.2f} s"

    def check_aftermath(self, deadline_ms: int = LINGER_MS) -> None:
        """An honest client is served at once; after the deadlines no socket is open but the listener's, and no slot
        is taken."""
        self.check_honest()
        self.advance(deadline_ms)
        self.wait_for_sockets(1)
        figures = self.figures()
        assert figures["slots"] == 1, figures
        self.wait_for_sockets(1)
        assert not [line for line in self.board.log_lines if "Traceback" in line or "Error" in line]
        assert self.board.resets == []


def running(vm: Vm, folder: Path, files: Mapping[str, bytes] | None = None) -> Iterator[HttpdBoard]:
    """For a fixture: a board that serves, with further files on its flash; switched off at the end."""
    board = HttpdBoard(vm, folder, files)
    try:
        board.start()
        yield board
    finally:
        board.close()


def leaves_nothing(test: Callable[..., None]) -> Callable[..., None]:
    """Decorator of a test: afterwards, its clients gone, the server must be as before it."""

    @functools.wraps(test)
    def checked(board: HttpdBoard, **arguments: Any) -> None:
        test(board, **arguments)
        board.check_aftermath()

    return checked
