"""The host's side of the virtual board's datagrams: a thread that answers what the board sends to one port.

Owns the socket on 127.0.0.1, the three words of vm/registers.py and the header that vm/_udp.py puts before a datagram.
Must not know what is asked. The board waits until a datagram is dealt with, so that nothing here may take long; an
answer that is to be late says by how much of the board's time.
"""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass
from typing import Self

from host_tests.virtual_board.state import BoardState

_TICKS_MASK = (1 << 30) - 1
_STOP = b""


@dataclass(frozen=True)
class Datagram:
    """What goes back: its payload, the address it comes from, and after how many ms it arrives."""

    payload: bytes
    ip: str
    port: int
    after_ms: int = 0


class UdpServer:
    """Serves from `start()` to `stop()`, or in a `with`. Subclasses say on which port of the board's world and what."""

    word: int
    port: int

    def __init__(self, state: BoardState) -> None:
        self.state = state
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def answers(self, ip: str, packet: bytes) -> list[Datagram]:
        """What comes back when the board sends `packet` to the server at `ip`."""
        raise NotImplementedError

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, args=(self._socket,), name=type(self).__name__, daemon=True)
        self._thread.start()
        self.state[self.word + 2] = self.state[self.word + 1]
        self.state[self.word] = self._socket.getsockname()[1]

    def stop(self) -> None:
        """From now on nobody is there: what the board sends is lost."""
        if self._socket and self._thread:
            self.state[self.word] = 0
            self._socket.sendto(_STOP, self._socket.getsockname())
            self._thread.join()
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self, server: socket.socket) -> None:
        while True:
            received, board = server.recvfrom(2048)
            if received == _STOP:
                return
            try:
                for datagram in self.answers(".".join(map(str, received[:4])), received[4:]):
                    server.sendto(self._header(datagram) + datagram.payload, board)
            finally:
                self.state[self.word + 2] += 1

    def _header(self, datagram: Datagram) -> bytes:
        due = (self.state.ticks_ms() + datagram.after_ms) & _TICKS_MASK
        return socket.inet_aton(datagram.ip) + struct.pack(">HI", datagram.port, due)
