"""A device under test: virtual board, its settings, its collector, and a client that speaks raw HTTP.

Owns ports and life cycle of one board for one test. Time is the board's: `advance` skips it, nothing sleeps.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from host_tests.virtual_board.board import VirtualBoard
from host_tests.virtual_board.name_server import NameServer
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.time_server import TimeServer
from host_tests.virtual_board.vm import registers as r
from scripts import sim, vfs_image
from scripts.collector import Collector
from scripts.vm import Vm

BOOT_MS = 6000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Answer:
    """An HTTP answer as received; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def read_answer(client: socket.socket, bodyless: bool = False) -> Answer:
    """Read one answer as a client does: to the end its head announces, not until the board closes. AssertionError when
    it breaks the protocol or ends early."""
    with client.makefile("rb") as stream:
        status_line = stream.readline().decode("latin-1").rstrip("\r\n")
        assert status_line.startswith("HTTP/1.1 "), f"not an answer: {status_line!r}"
        status = status_line[9:12]
        headers: dict[str, str] = {}
        while line := stream.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = b"" if bodyless else _read_body(stream, headers)
    return Answer(int(status), headers, body)


def _read_body(stream: BinaryIO, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        size = int(headers["content-length"])
        body = stream.read(size)
        assert len(body) == size, "the body ended early"
        return body
    if headers.get("transfer-encoding") != "chunked":
        return stream.read()
    body = b""
    while size := int(stream.readline() or b"", 16):
        body += stream.read(size)
        assert stream.readline() == b"\r\n", "a chunk without its end"
    assert stream.readline() == b"\r\n"
    return body


class Device:
    """`board` is the chip, `collector` the other end, `names` and `times` the servers that its network has. `start()`
    returns when the pages answer."""

    def __init__(
        self,
        vm: Vm,
        folder: Path,
        heap: str = "64k",
        settings: dict[str, Any] | None = None,
        has: Literal["app", "firmware", "nothing"] = "app",
    ) -> None:
        """`has`: what is in the flash, the application and its settings, MicroPython alone, or nothing at all."""
        self.port = free_port()
        self.collector_port = free_port()
        self.folder = folder
        self.state = BoardState(folder, blank=has == "nothing")
        self.db = folder / "collector.sqlite"
        self.collector: Collector | None = None
        if has == "app":
            sim.install(self.state.flash_path, self.collector_port)
        if settings:
            self.write_settings({**self.read_settings(), **settings})
        sim.set_world(self.state, sim.parser().parse_args(["--port", str(self.port)]))
        self.state[r.TICK_MS] = 1  # the 10 ms tick is tested where it matters; here it would only cost time
        self.board = VirtualBoard(vm, self.state, sim.parse_heap(heap))
        self.names, self.times = NameServer(self.state), TimeServer(self.state)
        self.names.start()
        self.times.start()

    # --- life -----------------------------------------------------------------------------------

    def start(self, collector: bool = True, until: str = r"clock: set by NTP") -> None:
        """Power on and skip through the boot until a log line."""
        if collector:
            self.start_collector()
        self.power_on(until)

    def power_on(self, until: str = r"clock: set by NTP") -> None:
        after = len(self.board.log_lines)
        self.board.start()
        self.wait_booted()
        self.advance(BOOT_MS)
        line = self.board.wait_for_line(f"{until}|^crash ", after=after)
        assert not line.startswith("crash "), self.log()

    def wait_booted(self) -> None:
        """Until main.py runs: before that there is no clock to skip."""
        self.board.wait_for_state(r.STATE_RUNNING)

    def start_collector(self) -> None:
        self.collector = Collector(self.collector_port, self.db)
        self.collector.start()

    def stop_collector(self) -> None:
        if self.collector:
            self.collector.stop()
            self.collector = None

    def close(self) -> None:
        self.board.stop()
        self.stop_collector()
        self.names.stop()
        self.times.stop()
        self.state.close()

    def advance(self, ms: int) -> None:
        self.board.advance(ms)

    # --- files ----------------------------------------------------------------------------------

    def read_settings(self) -> dict[str, Any]:
        with vfs_image.mounted(self.state.flash_path) as fs:
            return json.loads(vfs_image.read_file(fs, sim.SETTINGS_PATH) or b"{}")

    def write_settings(self, settings: dict[str, Any]) -> None:
        self.write_file(sim.SETTINGS_PATH, json.dumps(settings).encode())

    def write_file(self, path: str, content: bytes) -> None:
        with vfs_image.mounted(self.state.flash_path) as fs:
            vfs_image.write_file(fs, path, content)

    # --- network --------------------------------------------------------------------------------

    def connect(self, timeout_s: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout_s)

    def exchange(self, *pieces: bytes) -> Answer:
        """Send pieces as TCP segments of their own and read until the board closes."""
        with self.connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                client.sendall(piece)
            return read_answer(client, pieces[0].startswith(b"HEAD "))

    def get(self, path: str, method: str = "GET", extra: str = "") -> Answer:
        return self.exchange(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{extra}\r\n".encode())

    def post(self, path: str, body: bytes, extra: str = "") -> Answer:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\n{extra}\r\n"
        )
        return self.exchange(head.encode() + body)

    def status(self) -> dict[str, Any]:
        """GET /api/status, asked for again, as people do, when memory is short in the moment."""
        answer = self.get("/api/status")
        for _ in range(3):
            if answer.status != 503:
                break
            self.advance(2000)
            answer = self.get("/api/status")
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def connections_left(self) -> int:
        """Slots in use, the one that tells included, when they have settled: the board sees a little later that a
        client closed a kept connection."""
        until = time.monotonic() + 2
        while True:
            left = self.status()["http"]["open"]
            if left <= 1 or time.monotonic() > until:
                return left

    def log(self) -> str:
        """All that was printed. What the board wrote just now is still in a pipe: this waits until no more comes."""
        seen = -1
        while seen != len(self.board.log_lines):
            seen = len(self.board.log_lines)
            time.sleep(0.02)
        return "\n".join(self.board.log_lines)
