"""One connection of the HTTP server: its buffer, its deadline, the request in it and the answer to it (RFC 9112).

Owns a socket from accept to close and the form of an answer. Pages get a Connection as `http`. Reads and writes are
tried first and wait only when they would block. Must not know routes, other connections or the application.
"""

from asyncio import core  # type: ignore  (MicroPython's asyncio is a package; pyright is shown CPython's)
from time import ticks_add, ticks_ms

from http_request import BUFFER_BYTES, Request
from micropython import const

_RECEIVE_MS = const(8000)
ANSWER_MS = const(15000)
LINGER_MS = const(1000)
_LINGER_READS = const(16)
_BODY_AT = const(400)  # room before the body for the head, so that a small page is one write
_BODY_END = BUFFER_BYTES - 7  # room behind it for the end of the last chunk

_HEAD = (
    # The reason phrase is optional (RFC 9112 section 4): 400 bytes of words that only people in a terminal would see.
    "HTTP/1.1 %d \r\nContent-Type: %s\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
    # Not no-referrer: with it browsers send `Origin: null` with our own forms, and the origin check would refuse them.
    "X-Frame-Options: DENY\r\nReferrer-Policy: same-origin\r\n"
    "Content-Security-Policy: default-src 'self'\r\n%s%s\r\n"
)
_NO_STORE = "Cache-Control: no-store\r\n"


def wait_readable(sock: "Any") -> "Any":
    """Suspend the task until asyncio's poller sees data, a connection or an end on `sock`."""
    yield core._io_queue.queue_read(sock)


def wait_writable(sock: "Any") -> "Any":
    """Suspend the task until asyncio's poller sees room in the send buffer of `sock`."""
    yield core._io_queue.queue_write(sock)


class Gone(BaseException):
    """The other end closed or reset: there is nobody to answer. Like a cancel, no handler should swallow it."""


class Connection(Request):
    """A slot: one request in, one answer out, through one buffer. It is what a page gets as `http`."""

    def __init__(self) -> None:
        super().__init__()
        self.sock: "Any" = None
        self.task: "Any" = None

    def open(self, sock: "Any") -> None:
        self.reset()
        self.sock = sock
        self.since = ticks_ms()
        self.receiving = True  # the client is to act; such a connection may be evicted
        self.expires(_RECEIVE_MS)
        self.late = self.answered = self._chunked = False
        self._at = _BODY_AT
        self.head(200)

    def expires(self, ms: int) -> None:
        """Set the deadline, `ms` from now, after which the connection is closed."""
        self.deadline = ticks_add(ticks_ms(), ms)

    async def receive(self, view: memoryview) -> int:
        """Read into `view`; the number of bytes, 0 when the client has sent all. Raises Gone."""
        while True:
            try:
                n = self.sock.readinto(view)
            except OSError:
                raise Gone
            if n is not None:
                return n
            await wait_readable(self.sock)

    async def send(self, data: memoryview) -> None:
        """Write all of `data`, in as many pieces as the socket takes it. Raises Gone."""
        done = 0
        while done < len(data):
            try:
                n = self.sock.write(data[done:] if done else data)
            except OSError:
                raise Gone
            if n is None:
                await wait_writable(self.sock)
            else:
                done += n

    def head(self, status: int, kind: str = "text/html; charset=utf-8", extra: str = _NO_STORE) -> None:
        """Choose status, Content-Type and further header lines (each ended by CR LF), before any write()."""
        self._status = status
        self._kind = kind
        self._extra = extra

    async def write(self, text: str) -> None:
        """Append text or bytes to the body; sent in buffer-sized chunks when it does not fit."""
        data = memoryview(text)
        done = 0
        while done < len(data):
            n = min(_BODY_END - self._at, len(data) - done)
            self.view[self._at : self._at + n] = data[done : done + n]
            done += n
            self._at += n
            if self._at == _BODY_END:
                await self._flush(False)

    async def finish(self) -> None:
        """Send what is left and end the body."""
        if self._at > _BODY_AT or self._chunked or not self.answered:
            await self._flush(True)

    async def _flush(self, last: bool) -> None:
        size_bytes = self._at - _BODY_AT
        end = self._at
        self._at = _BODY_AT
        prefix = b""
        if not self.answered:
            self.answered = True
            self._chunked = not (last or self.http10 or self.method == "HEAD")
            length = "Transfer-Encoding: chunked\r\n" if self._chunked else ""
            if last:
                length = "Content-Length: %d\r\n" % size_bytes
            prefix = (
                _HEAD % (self._status, self._kind, self._extra, length)
            ).encode()
        if self.method == "HEAD":
            end = _BODY_AT
        elif self._chunked:
            tail = b"\r\n0\r\n\r\n" if last else b"\r\n"
            if size_bytes:
                prefix += b"%x\r\n" % size_bytes
            else:
                tail = tail[2:]
            self.view[end : end + len(tail)] = tail
            end += len(tail)
        start = _BODY_AT - len(prefix)
        self.view[start:_BODY_AT] = prefix
        await self.send(self.view[start:end])

    async def fail(self, status: int, why: str, extra: str = "") -> None:
        """Answer with an error, unless an answer has begun: then it stays cut off, which the client can see."""
        if not self.answered:
            self.expires(ANSWER_MS)
            self._at = _BODY_AT
            self.head(status, "text/plain; charset=utf-8", _NO_STORE + extra)
            await self.write("%d: %s\n" % (status, why))
            await self.finish()

    async def linger(self) -> None:
        """Read and drop what the client may still send: closing on unread input could cost it the answer (RST)."""
        if not self.complete or self.end - self.start < self.content_length:
            self.receiving = True
            self.expires(LINGER_MS)
            for _ in range(_LINGER_READS):
                if not await self.receive(self.view):
                    break
