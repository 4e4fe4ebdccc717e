"""A virtual board on a pseudo-terminal, as a serial port without reset lines.

Owns the PTY, its symlink and the thread that pumps bytes. Must not know what is in them.
"""

from __future__ import annotations

import os
import pty
import select
import tty
from pathlib import Path

from host_tests.virtual_board.port_pump import READ_BYTES, Board, Pump

_LOOK_FOR_HOST_MS = 5  # no event tells that a host opened the port


class PtyPort(Pump):
    """Puts a symlink to the PTY at `link`: mpremote reads without a timeout from what is called /dev/pts/N.

    `board.hang_up()` is called once each time a host closes the port. DTR and RTS don't exist on a PTY.
    """

    def __init__(self, board: Board, link: Path) -> None:
        super().__init__(board, f"pty {link}")
        self.link = link
        self._had_host = False
        self._master, slave = pty.openpty()
        tty.setraw(slave)  # it starts with echo
        self._name = os.ttyname(slave)
        os.close(slave)  # or the master would never see that a host hung up
        os.set_blocking(self._master, False)
        if link.is_symlink():  # of a run that was killed
            link.unlink()
        link.symlink_to(self._name)
        self._start()

    def close(self) -> None:
        super().close()
        if self.link.is_symlink() and os.readlink(self.link) == self._name:
            self.link.unlink()

    def _has_host(self) -> bool:
        here = not self._events(0, 0) & select.POLLHUP
        self._had_host = self._had_host or here
        return here

    def _events(self, wanted: int, timeout_ms: int | None) -> int:
        """What the master is ready for. Waits for that, for being woken up, or until time is up."""
        poll = select.poll()
        poll.register(self._master, wanted)
        if timeout_ms != 0:
            poll.register(self._woken, select.POLLIN)
        return dict(poll.poll(timeout_ms)).get(self._master, 0)

    def _release(self) -> None:
        os.close(self._master)

    def _step(self) -> None:
        events = self._events(select.POLLIN | (select.POLLOUT if self._queue else 0), None)
        self._slept()
        if events & select.POLLIN:
            self._had_host = True
            self._read()
        elif events & select.POLLHUP:
            self._without_host()
        else:
            self._had_host = True
        if events & select.POLLOUT and not events & select.POLLHUP:
            self._write_queue(lambda data: os.write(self._master, data))

    def _read(self) -> None:
        try:
            data = os.read(self._master, READ_BYTES)
        except OSError:  # the host took it back (tcflush) since the poll
            return
        self._board.feed(data)

    def _without_host(self) -> None:
        with self._lock:
            had_host, self._had_host = self._had_host, False
            self._queue.clear()
        if had_host:
            self._board.hang_up()
        select.select([self._woken], [], [], _LOOK_FOR_HOST_MS / 1000)
