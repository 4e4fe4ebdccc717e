"""An HTTP(S) server on 127.0.0.1 that misbehaves on request and counts exactly, for the tests of telemetry.

Owns the listener, a thread a connection and what was asked. What can be wrong is in faults.py, what a connection is in
fault_link.py, what the requests did in fault_ledger.py. With a board's `state`, delays run on the board's clock.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Collection
from typing import Self

from host_tests.fault_ledger import Ledger
from host_tests.fault_link import Clock, Gone, Link
from host_tests.fault_request import BadRequest, Request, read_request
from host_tests.faults import NONE, Answer, Fault
from host_tests.virtual_board.state import BoardState

PATH = "/readings"
_BACKLOG = 16
_LOOK_MS = 20
_SMALL_WINDOW_BYTES = 1  # the kernel's least, about 1 KB


class FaultServer:
    """Serves within a `with`. Set `fault` at any moment: it is in force for the next connection, and for the next
    request on one that is kept. `requests` are those that came whole, `bad` says what was none."""

    def __init__(self, tls: ssl.SSLContext | None = None, state: BoardState | None = None) -> None:
        self.requests: list[Request] = []
        self.bad: list[str] = []
        self.refused_handshakes: list[str] = []
        self.connections = 0
        self.open = 0
        self.keep = True
        self.date = ""
        self.ledger = Ledger()
        self.readings = self.ledger.readings
        self.commit: Callable[[Request], object] = self.ledger.commit
        self.poisoned: frozenset[int] = frozenset()
        self.poison_status = 400
        self.most_readings = self.most_bytes = 0  # 0: no limit
        self._tls = tls
        self._clock = Clock(state)
        self._fault = NONE
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._fillers: list[socket.socket] = []
        self._listener: socket.socket | None = None

    # --- life -------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._reserved = _bound(0)  # as long as nobody listens on it, the port answers with a reset and stays ours
        self.port: int = self._reserved.getsockname()[1]
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}{PATH}"
        self._waker = os.eventfd(0, os.EFD_NONBLOCK)
        self._listen()
        self._clock.serves(self.port)
        self._acceptor = threading.Thread(target=self._accept_all, name="fault server", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every thread and close every socket."""
        self._stopping.set()
        os.eventfd_write(self._waker, 1)
        self._acceptor.join()
        for thread in self._threads:
            thread.join()
        self._unlisten()
        self._clock.serves(0)
        self._reserved.close()
        os.close(self._waker)

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        with self._lock:
            before, self._fault = self._fault, fault
            if fault.listen != before.listen:
                self._unlisten()
                self._listen()
                os.eventfd_write(self._waker, 1)

    def poison(self, seqs: Collection[int], status: int = 400) -> None:
        """From now on a request that holds one of these readings is answered with `status` and not committed."""
        self.poison_status = status
        self.poisoned = frozenset(seqs)

    # --- listening --------------------------------------------------------------------------------

    def _listen(self) -> None:
        how = self._fault.listen
        if how == "refuse":
            return
        self._listener = _bound(self.port)
        if how == "small window":
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW_BYTES)
        self._listener.listen(0 if how == "black hole" else _BACKLOG)
        if how == "black hole":
            self._fill()

    def _fill(self) -> None:
        """Take every place in the queue of a listener that nobody accepts from."""
        while True:
            filler = socket.socket()
            self._fillers.append(filler)
            filler.settimeout(0.1)
            try:
                filler.connect(("127.0.0.1", self.port))
            except TimeoutError:
                return

    def _unlisten(self) -> None:
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)  # close alone would wait for the thread that looks at it
            self._listener.close()
            self._listener = None
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def _accept_all(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                listener = None if self._fault.listen in ("refuse", "black hole") else self._listener
                client = _accepted(listener) if listener else None
                if client:
                    self._serve_in_thread(client)
                    continue
            self._wait(listener)

    def _wait(self, listener: socket.socket | None) -> None:
        """Until somebody wants to connect, or the listener is another one."""
        poller = select.poll()
        poller.register(self._waker, select.POLLIN)
        with contextlib.suppress(ValueError):  # closed meanwhile
            if listener:
                poller.register(listener, select.POLLIN)
        sent = self._clock.sent()
        if not poller.poll(_LOOK_MS) and not self.open:
            self._clock.dealt_with(sent)  # what came to nobody, as nobody listens
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._waker)

    def _serve_in_thread(self, client: socket.socket) -> None:
        self.connections += 1
        self.open += 1
        thread = threading.Thread(target=self._serve, args=(client, self.connections, self._fault), daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()]
        self._threads.append(thread)
        thread.start()

    # --- a connection -----------------------------------------------------------------------------

    def _serve(self, client: socket.socket, number: int, fault: Fault) -> None:
        link = Link(client, self._clock, self._stopping)
        try:
            link.end(self._welcome(link, fault) and self._talk(link, number))
        except Gone:
            pass
        except ssl.SSLError as error:
            self.refused_handshakes.append(error.reason or str(error))
        finally:
            link.close()
            with self._lock:
                self.open -= 1

    def _welcome(self, link: Link, fault: Fault) -> bool:
        """What happens before the first request; whether one is wanted."""
        if fault.accept == "unread":
            link.hold()
        if fault.accept == "close":
            return False
        if self._tls and fault.handshake != "plain":
            if fault.handshake:
                link.read()
            if fault.handshake == "stall":
                while True:
                    link.read()
            if fault.handshake == "close":
                return False
            link.handshake(self._tls)
        return True

    def _talk(self, link: Link, number: int) -> bool:
        """One request after the other; True when the connection is to end with a reset."""
        received = bytearray(link.read())
        while True:
            fault = self._fault
            if fault.accept == "unread" or fault.listen == "black hole":
                link.hold()
            if fault.accept == "close" or fault.listen == "refuse" or fault.cuts:
                return False
            try:
                request = read_request(link, received, number)
            except BadRequest as error:
                self.bad.append(str(error))
                link.write(Answer(400, body=str(error).encode(), keep=False).plain())
                return False
            link.clock.due(0)
            answer = self._take(request, fault)
            _send(link, fault, answer)
            if fault.end == "hold":
                link.hold()
            if fault.end or not answer.keep:
                if fault.idle_ms:
                    link.wait(fault.idle_ms)
                return fault.end == "reset"
            received += b"" if received else link.read()

    def _take(self, request: Request, fault: Fault) -> Answer:
        """Count the request, commit it if it is to take effect, and say what is to be answered."""
        with self._lock:
            self.requests.append(request)
            refusal = self._refusal(request)
            if fault.commits and not refusal:
                self.commit(request)
        headers = [f"Date: {self.date}"] if self.date else []
        keep = self.keep and request.headers.get("connection", "").lower() != "close"
        answer = Answer(refusal or fault.status, [*headers, "Content-Type: application/json"], keep=keep)
        if not refusal:
            answer.headers += fault.headers
        if answer.status >= 300:
            answer.body = b'{"error": "refused by the fault server"}'
        return answer

    def _refusal(self, request: Request) -> int:
        """The status that this request deserves for what it holds, 0 for none."""
        readings = self.ledger.read(request)
        if 0 < self.most_bytes < len(request.body) or 0 < self.most_readings < len(readings):
            return 413
        return self.poison_status if any(seq in self.poisoned for _, seq, _ in readings) else 0


def _send(link: Link, fault: Fault, answer: Answer) -> None:
    """The answer, as much of it and as fast as the fault has it."""
    if fault.wait_ms:
        link.wait(fault.wait_ms)
    sent = 0
    for piece in fault.pieces(answer) if fault.pieces else ():
        out = piece[: fault.most_bytes - sent] if fault.most_bytes else piece
        for at in range(0, len(out), 1 if fault.gap_ms else len(out)):
            if fault.gap_ms:
                link.wait(fault.gap_ms)
            link.write(out[at : at + 1] if fault.gap_ms else out)
        sent += len(out)
        if sent == fault.most_bytes:
            return


# --- sockets ---------------------------------------------------------------------------------------


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except BlockingIOError:
        return None
