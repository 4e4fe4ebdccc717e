"""One connection of the fault server, plain or TLS, and the clock that its delays go by.

Owns the socket's calls: none blocks longer than a look at whether the server stops or the client left. Must not know
HTTP.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import registers as r

_LOOK_MS = 20
_TICKS_MASK = (1 << 30) - 1
_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR

_T = TypeVar("_T")


class Gone(Exception):
    """The client left, or the server stops."""


class Clock:
    """Time as the board has it, or as it is outside when there is no board.

    A board that skips time does so only when this server has dealt with all that the board sent, and never past the
    next moment at which the server does something: vm/_lockstep.py has the board's side of it. PEER_DUE is the tick of
    that moment, in the past while the server is at work; PEER_READ says up to where it has dealt with what came.
    """

    def __init__(self, state: BoardState | None) -> None:
        self._state = state
        self._due: dict[int, int] = {}  # by thread, as now_ms() tells it
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """Unlike the board's ticks it goes on over a reset."""
        return time.monotonic_ns() // 1_000_000 + (self._state[r.SKIPPED_MS] if self._state else 0)

    def look_ms(self, left_ms: int) -> int:
        """How long to sleep, in real time, when there are `left_ms` to wait."""
        return 1 if self._state else min(_LOOK_MS, left_ms)

    def sent(self) -> int:
        """How much the board has told of so far."""
        return self._state[r.PEER_SENT] if self._state else 0

    def dealt_with(self, sent: int) -> None:
        """There is nothing more to do for what the board sent until it had told of so much."""
        if self._state:
            self._state[r.PEER_READ] = sent

    def serves(self, port: int) -> None:
        """The board is in step with the server at that port; 0: with none."""
        if self._state:
            self._state[r.PEER_PORT] = port
            self._state[r.PEER_DUE] = 0
            self.dealt_with(self.sent())

    def due(self, in_ms: int | None) -> None:
        """This thread does something in `in_ms`, 0 is now; None: nothing before the client does."""
        if not self._state:
            return
        with self._lock:
            now_ms = self.now_ms()
            if in_ms is None:
                self._due.pop(threading.get_ident(), None)
            else:
                self._due[threading.get_ident()] = now_ms + in_ms
            word = 0
            if self._due:
                word = (self._state.ticks_ms() + min(self._due.values()) - now_ms) & _TICKS_MASK or 1
            self._state[r.PEER_DUE] = word


class Link:
    """The server's end of a connection. All calls raise `Gone` when there is nobody to talk to any more."""

    def __init__(self, sock: socket.socket, clock: Clock, stopping: threading.Event) -> None:
        self.sock = sock
        self.clock = clock
        self._stopping = stopping
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handshake(self, context: ssl.SSLContext) -> None:
        """TLS from now on. Raises ssl.SSLError when the two do not agree or the client refuses the certificate."""
        tls = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self.sock = tls
        self._until(tls.do_handshake)

    def read(self, most: int = 65536) -> bytes:
        """What has come, at least a byte. It is the client's turn until then."""
        data = self._until(lambda: self.sock.recv(most))
        if not data:
            raise Gone
        return data

    def write(self, data: bytes) -> None:
        """All of it, however long the client takes."""
        rest = memoryview(data)
        while rest:
            sent = self._until(lambda rest=rest: self.sock.send(rest), select.POLLOUT)
            rest = rest[sent:]

    def wait(self, ms: int) -> None:
        """Until that much time has passed on the board's clock."""
        until_ms = self.clock.now_ms() + ms
        self.clock.due(ms)
        while (left_ms := until_ms - self.clock.now_ms()) > 0:
            self.clock.dealt_with(self.clock.sent())
            if self._poll(select.POLLRDHUP, self.clock.look_ms(left_ms)) & _LEFT:
                raise Gone
        self.clock.due(0)

    def hold(self) -> NoReturn:
        """Neither read nor say anything until the client leaves."""
        self.clock.due(None)
        while True:
            self.clock.dealt_with(self.clock.sent())
            if self._poll(select.POLLRDHUP) & _LEFT:
                raise Gone

    def end(self, reset: bool = False) -> None:
        """Close it, without having been asked to: with a FIN, after TLS's own words of farewell, or with a RST."""
        sent = self.clock.sent()
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif isinstance(self.sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self.sock.unwrap()
        self.close()
        self.clock.dealt_with(sent)

    def close(self) -> None:
        self.sock.close()
        self.clock.due(None)

    def _until(self, call: Callable[[], _T], events: int = select.POLLIN) -> _T:
        """The result of a call that may have to wait for the client, whose time may pass meanwhile."""
        while True:
            sent = self.clock.sent()
            try:
                return call()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                self.clock.due(None)
                self.clock.dealt_with(sent)
                self._poll(select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else events)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, TimeoutError) as error:
                raise Gone from error

    def _poll(self, events: int, ms: int = _LOOK_MS) -> int:
        if self._stopping.is_set():
            raise Gone
        poller = select.poll()
        poller.register(self.sock, events)
        return sum(flags for _, flags in poller.poll(ms))
