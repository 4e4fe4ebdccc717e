"""A virtual board on a TCP port that speaks RFC 2217: a serial port with DTR and RTS.

Owns the socket and the thread that pumps bytes; telnet is pyserial's. Must not know what the lines do to a board.
"""

from __future__ import annotations

import select
import socket

from serial.rfc2217 import IAC, IAC_DOUBLED, PortManager

from host_tests.virtual_board.port_pump import READ_BYTES, Board, Pump


class _Lines:
    """The serial port that PortManager sets: DTR and RTS go to the board, everything else is only remembered."""

    cts = dsr = cd = True
    ri = xonxoff = rtscts = break_condition = False
    baudrate, bytesize, parity, stopbits = 115200, 8, "N", 1

    def __init__(self, board: Board) -> None:
        self._board = board
        self._dtr_rts = (False, False)

    @property
    def dtr(self) -> bool:
        return self._dtr_rts[0]

    @dtr.setter
    def dtr(self, on: bool) -> None:
        self.set(on, self.rts)

    @property
    def rts(self) -> bool:
        return self._dtr_rts[1]

    @rts.setter
    def rts(self, on: bool) -> None:
        self.set(self.dtr, on)

    def set(self, dtr: bool, rts: bool) -> None:
        """Tell the board if a line has changed."""
        if (dtr, rts) != self._dtr_rts:
            self._dtr_rts = dtr, rts
            self._board.set_lines(dtr, rts)

    def reset_input_buffer(self) -> None:
        """The host wants no older bytes: those on their way are few, and its own buffer it has emptied."""

    def reset_output_buffer(self) -> None:
        """Nothing waits to be sent to the board."""


class Rfc2217Port(Pump):
    """Listens on 127.0.0.1; `port` 0 takes a free one. `url` is what esptool and pyserial are given.

    One host at a time. When it leaves, its lines are released and `board.hang_up()` is called.
    """

    def __init__(self, board: Board, port: int = 0) -> None:
        super().__init__(board, "rfc2217")
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1)
        self.url = f"rfc2217://127.0.0.1:{self._listener.getsockname()[1]}"
        self._host: socket.socket | None = None
        self._start()

    def write(self, raw: bytes) -> None:
        """Telnet's own bytes, from PortManager."""
        with self._lock:
            self._put(bytes(raw))

    def _has_host(self) -> bool:
        return self._host is not None

    def _as_sent(self, data: bytes) -> bytes:
        return data.replace(IAC, IAC_DOUBLED)

    def _release(self) -> None:
        self._listener.close()

    def _step(self) -> None:
        readable, _, _ = select.select([self._listener, self._woken], [], [])
        self._slept()
        if self._listener in readable:
            self._serve(self._listener.accept()[0])

    def _serve(self, host: socket.socket) -> None:
        host.setblocking(False)
        host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = _Lines(self._board)
        with host:
            self._host = host
            telnet = PortManager(lines, self)  # type: ignore[arg-type] # it wants what these two have
            while not self._stopping and self._move(host, telnet):
                pass
            with self._lock:
                self._host = None
                self._queue.clear()
        if not self._stopping:
            lines.set(dtr=False, rts=False)
            self._board.hang_up()

    def _move(self, host: socket.socket, telnet: PortManager) -> bool:
        """Wait and move what there is. False when the host has left."""
        readable, writable, _ = select.select([host, self._woken], [host] if self._queue else [], [])
        self._slept()
        if writable:
            self._write_queue(host.send)
        if host not in readable:
            return True
        try:
            raw = host.recv(READ_BYTES)
        except OSError:
            return False
        if data := b"".join(telnet.filter(raw)):
            self._board.feed(data)
        return bool(raw)
