"""One connection of the HTTP server: its buffer, its deadline, the request in it and the answer to it (RFC 9112).

Owns the form of an answer. Handlers get a Connection as `http`. Reads and writes are tried first and wait only when
they would block. Must not know routes, how connections are made or the application.
"""

from asyncio import core  # type: ignore  (MicroPython's asyncio is a package; pyright is shown CPython's)

from http_request import Request
from micropython import const


SEND, END = const(1), const(2)  # what write() does then
_CHUNK_BYTES = const(6)
_DIRECT_BYTES = const(256)  # of a text that is sent from where it lies, once the head has gone
_BODY_END = const(512 - 7)  # room behind it for the end of the last chunk

# The reason phrase is optional (RFC 9112 section 4): 400 bytes of words that only people in a terminal would see.
_HEAD = b"HTTP/1.1 %d \r\nContent-Type: %sConnection: %s\r\n%s"
_HTML = "text/html; charset=utf-8\r\nCache-Control: no-store\r\n"
# Not no-referrer: with it browsers send `Origin: null` with our own forms, and the origin check would refuse them.
_SAFE = (
    b"X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: same-origin\r\n"
    b"Content-Security-Policy: default-src 'self'\r\n\r\n"
)


def wait(sock: "Any", to_write: bool = False) -> "Any":
    """Suspend the task until asyncio's poller sees something to read on `sock`, or room to write."""
    yield core._io_queue._enqueue(sock, to_write)


class Connection(Request):
    """A slot: one request after the other, and the answers, through one buffer. Handlers get it as `http`."""

    sock: "Any"
    server: "Any"
    task: "Any" = None  # serves this connection; None when the slot is free
    parameter: str  # the last segment of the path

    def expires(self, ms: int) -> None:
        """Set the deadline, `ms` from now, after which the connection is closed. A long stream moves it on."""
        self.deadline = core.ticks_add(core.ticks(), ms)

    def begin(self, ms: int) -> None:
        """Make ready for a request that must have come in `ms`."""
        self.reset()
        self.keep = True
        self.sent = False  # whether the answer has begun to go out
        self.status = 200
        self.kind = _HTML
        self.at = self._length = -1
        self.expires(ms)

    def take(self, view: memoryview) -> "Any":
        """Read into `view`: the number of bytes, 0 when the client has sent all, None when wait() has to
        come first. Raises CancelledError when the client is gone, which no handler should swallow."""
        try:
            return self.sock.readinto(view)
        except OSError:
            raise core.CancelledError  # there is nobody to answer

    def head(self, status: int, kind: str, extra: str = "Cache-Control: no-store\r\n", length: int = -1) -> None:
        """Choose status, Content-Type, further header lines (each ended by CR LF; together some 200 bytes) and, if it
        is known, the body's length in bytes, before the first write(). Without a call it is a 200 of HTML."""
        self.status = status
        self.kind = kind + "\r\n" + extra
        self._length = length

    async def write(self, text: str, then: int = 0) -> None:
        """Append text or bytes to the body. It is sent when the buffer is full; or at once, with SEND, if there is
        something to send; or as the last of the body, with END. Raises CancelledError when the client is gone."""
        data = memoryview(text)
        if self.at < 0:
            if self.unread or self.end > self.start or not self.server.free:
                self.keep = False  # with a body not read, with the next request already here, or with no slot free
            if self._length < 0 and then == END:
                self._length = len(data)
            framing = ""
            if self._length >= 0:
                framing = "Content-Length: %d\r\n" % self._length
            elif self.method == "HEAD" or self.http10:
                self._length = 0  # no chunks
            else:
                framing = "Transfer-Encoding: chunked\r\n"
            self.headers.clear()  # for their memory: who answers has read them
            head = _HEAD % (self.status, self.kind, "keep-alive" if self.keep else "close", framing)
            start = len(head)
            self.view[:start] = head
            self.at = start + len(_SAFE)
            self.view[start : self.at] = _SAFE
            if self._length < 0:
                self.at += _CHUNK_BYTES
            self._start = self.at
        done = 0
        left = 0 if self.method == "HEAD" else len(data)
        while left or then:
            start, first = self.at, 0
            if not start and left > _DIRECT_BYTES:
                source, first, end = data, done, done + left
                left = 0
            else:
                n = min(_BODY_END - start, left)
                source = self.view
                end = self.at = start + n
                source[start:end] = data[done : done + n]
                done += n
                left -= n
                if end < _BODY_END and not then:
                    break
                start = self._start
                self._start = self.at = 0
                if self._length < 0:
                    self._start = self.at = _CHUNK_BYTES
                    source[start - _CHUNK_BYTES : start] = b"%04x\r\n" % (end - start)  # 0 ends the body
                    tail = b"\r\n0\r\n\r\n" if then == END and end > start and not left else b"\r\n"
                    source[end : end + len(tail)] = tail
                    end += len(tail)
            self.sent = True
            while first < end:
                try:
                    n = self.sock.write(source, first, end - first)
                except OSError:
                    raise core.CancelledError  # there is nobody to answer
                first += n or 0
                if not n:
                    await wait(self.sock, True)
            if not left:
                break
