"""What both ports of a virtual board share: the thread, the queue to the host, and the pipe that wakes the thread.

Owns these and nothing of what a PTY or a socket is. Must not know what is in the bytes.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

QUEUE_BYTES = 1024 * 1024
"""More than a stub sends unacknowledged (64 blocks of 4 KB, escaped). What a host doesn't take beyond it is lost."""
READ_BYTES = 4096
ROOM_BYTES = 2048
_STOP_TIMEOUT_S = 5
_PATIENCE_S = 0.2


class Board(Protocol):
    """What a port drives, all from its own thread. The board may call `on_output` from any thread."""

    on_output: Callable[[bytes], None]

    def feed(self, data: bytes) -> None: ...

    def hang_up(self) -> None: ...

    def set_lines(self, dtr: bool, rts: bool) -> None: ...


class Pump(ABC):
    """A thread that moves bytes between a board and one host at a time. Subclasses have the file descriptors."""

    def __init__(self, board: Board, name: str) -> None:
        self._board = board
        self._queue = bytearray()
        self._lock = threading.Lock()  # never held while the board is called
        self._stopping = False  # the thread shall end or has ended
        self._closed = False
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._thread = threading.Thread(target=self._run_steps, name=name, daemon=True)

    def _start(self) -> None:
        self._board.on_output = self.send
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and give back what was opened; a second call does nothing."""
        if self._closed:
            return
        self._closed = self._stopping = True
        self._wake_up()
        self._thread.join(_STOP_TIMEOUT_S)
        os.close(self._woken)
        os.close(self._wake)

    def send(self, data: bytes) -> None:
        """Queue output of the board, from any thread; never blocks. Without a host it's lost, as on a UART."""
        with self._lock:
            if self._stopping or not self._has_host():
                return
            self._put(self._as_sent(data))

    def _put(self, raw: bytes) -> None:
        """Queue bytes as they go over the wire, whole or not at all. The lock is held."""
        if len(self._queue) + len(raw) <= QUEUE_BYTES:
            self._queue += raw
            self._wake_up()

    @property
    def has_host(self) -> bool:
        """True while a host has the port open."""
        with self._lock:
            return not self._stopping and self._has_host()

    def wait_for_room(self) -> None:
        """Return when the host has read most of what was sent, or after the 200 ms that the C3 gives a USB host."""
        until_s = time.monotonic() + _PATIENCE_S
        while len(self._queue) > ROOM_BYTES and not self._stopping and time.monotonic() < until_s:
            time.sleep(0.001)

    def _wake_up(self) -> None:
        try:
            os.write(self._wake, b"\0")
        except BlockingIOError:  # full: the thread will wake up as it is
            pass

    def _slept(self) -> None:
        """Empty the pipe after the thread woke up."""
        try:
            os.read(self._woken, READ_BYTES)
        except BlockingIOError:
            pass

    def _write_queue(self, write: Callable[[bytes], int]) -> None:
        """Write what goes without blocking."""
        with self._lock:
            try:
                del self._queue[: write(bytes(self._queue[:READ_BYTES]))]
            except OSError:  # full, or the host is gone, which the next poll tells
                pass

    def _as_sent(self, data: bytes) -> bytes:
        return data

    @abstractmethod
    def _has_host(self) -> bool:
        """True while a host has the port open. The lock is held."""

    def _run_steps(self) -> None:
        try:
            while not self._stopping:
                self._step()
        finally:  # also when the board raised something
            with self._lock:
                self._stopping = True
                self._release()

    @abstractmethod
    def _step(self) -> None:
        """Wait until there is something to do or the thread is woken up, and do it."""

    @abstractmethod
    def _release(self) -> None:
        """Close file descriptors. The lock is held."""
