"""The head of an HTTP/1.1 request, parsed where it was received (RFC 9112 sections 2-6). No I/O, no clock.

Owns one buffer: a line is read, taken apart and forgotten, so a head may be longer than the buffer, and a request
keeps the few headers of WANTED and nothing else. Bytes are put at `view[end:]`, then `feed` is told how many.
"""

from micropython import const

BUFFER_BYTES = 1024
_MAX_REQUEST_LINE = const(512)
_MAX_LINES = const(64)  # browsers send about 15; the deadline bounds the bytes
_MAX_LENGTH_DIGITS = const(9)
_METHODS = " GET HEAD POST PUT DELETE OPTIONS PATCH "

WANTED = (
    b"host",
    b"content-length",
    b"content-type",
    b"transfer-encoding",
    b"expect",
    b"origin",
    b"sec-fetch-site",
    b"accept-encoding",
)


class Reject(Exception):
    """The request can't be served: `status` is the answer, `why` a sentence, `extra` header lines ended by CR LF."""

    def __init__(self, status: int, why: str = "", extra: str = "") -> None:
        self.status = status
        self.why = why
        self.extra = extra


class Request:
    """One request at a time in one buffer: `reset()`, then `feed(n)` until it returns True."""

    def __init__(self) -> None:
        self.buffer = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buffer)
        self.headers = {}  # of WANTED, by lower-case name; the values are str
        self.reset()

    def reset(self) -> None:
        """Forget the request and keep the buffer."""
        self.headers.clear()
        self.method = self.path = self.query = ""
        self.http10 = self.complete = self._absolute = False
        self.content_length = self._lines = 0
        self.start = 0  # first byte not yet parsed
        self.end = 0  # end of what was received

    def feed(self, size_bytes: int) -> bool:
        """Parse `size_bytes` new bytes. True when the head is complete; raises Reject with the right status."""
        buffer = self.buffer
        self.end += size_bytes
        while not self.complete:
            newline = buffer.find(b"\n", self.start, self.end)
            if newline < 0:
                if self.start:
                    self.compact()
                elif self.end == len(buffer):
                    raise Reject(431 if self.method else 414, "a line is too long")
                return False
            start = self.start
            self.start = newline + 1
            self._lines += 1
            if self._lines > _MAX_LINES:
                raise Reject(431, "too many headers")
            try:
                self._line(start, newline)
            except ValueError:  # not UTF-8, not a number, not three words
                raise Reject(400, "malformed request")
        return True

    def compact(self) -> None:
        """Move what is not yet parsed to the start of the buffer."""
        left = self.end - self.start
        self.buffer[:left] = self.view[self.start : self.end]
        self.start = 0
        self.end = left

    def _line(self, start: int, end: int) -> None:
        buffer = self.buffer
        if end > start and buffer[end - 1] == 13:
            end -= 1
        if buffer.find(b"\r", start, end) >= 0 or buffer.find(b"\0", start, end) >= 0:
            raise ValueError
        if self.method:
            if end > start:
                self._header(start, end)
            else:
                self._finish()
        elif end > start:  # RFC 9112 2.2: empty lines before the request line are ignored
            self._request_line(start, end)

    def _request_line(self, start: int, end: int) -> None:
        if end - start > _MAX_REQUEST_LINE:
            raise Reject(414, "the address is too long")
        method, target, version = str(self.view[start:end], "utf-8").split(" ")
        if version[:5] != "HTTP/" or len(version) != 8:
            raise ValueError
        if version[5:7] != "1.":
            raise Reject(505, "HTTP/1.1 is spoken here")
        self.http10 = version[7] == "0"
        if not method.isalpha():
            raise ValueError
        if " %s " % method not in _METHODS:
            raise Reject(501, "unknown method")
        if target.startswith("http://"):  # absolute-form: its host is the one that counts
            self._absolute = True
            self.headers[b"host"], _, target = target[7:].partition("/")
            target = "/" + target
        if target[:1] != "/":
            raise ValueError
        self.path, _, self.query = target.partition("?")
        self.method = method

    def _header(self, start: int, end: int) -> None:
        buffer = self.buffer
        colon = buffer.find(b":", start, end)
        if colon <= start:
            raise ValueError
        for i in range(start, colon):
            if buffer[i] <= 32:  # obs-fold, or space before the colon: request smuggling, RFC 9112 5.1
                raise ValueError
            buffer[i] |= 32  # lower case, exact for letters and "-"
        for name in WANTED:
            if len(name) == colon - start and buffer.find(name, start, colon) == start:
                self._keep(name, str(self.view[colon + 1 : end], "utf-8").strip())

    def _keep(self, name: bytes, value: str) -> None:
        old = self.headers.get(name)
        if old is None:
            self.headers[name] = value
        elif name == b"host":
            if not self._absolute:
                raise ValueError
        elif name == b"content-length" and value != old:  # request smuggling, RFC 9112 6.3
            raise ValueError

    def _finish(self) -> None:
        headers = self.headers
        length = headers.get(b"content-length")
        if b"transfer-encoding" in headers:
            raise Reject(400 if length else 501, "send a Content-Length, not chunks")
        if length is not None:
            if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
                raise ValueError
            self.content_length = int(length)
        elif self.method in ("POST", "PUT", "PATCH"):
            raise Reject(411, "a body needs a Content-Length")
        if not self.http10 and b"host" not in headers:
            raise ValueError
        self.complete = True
