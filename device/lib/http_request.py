"""The head of an HTTP/1.1 request, parsed where it was received (RFC 9112 sections 2-6). No I/O, no clock.

Owns one buffer: a line is read, taken apart and forgotten, so a head may be longer than the buffer, and a request
keeps the few headers of WANTED and nothing else. Bytes are put at `view[end:]`, then `feed` is told how many.
"""

from micropython import const

_BUFFER_BYTES = const(512)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_MAX_LINES = const(64)  # browsers send about 15; a long one counts once for each buffer it fills
_MAX_LENGTH_DIGITS = const(9)
_CUT_AT = const(64)  # what of a header longer than the buffer stays: longer than any name of WANTED

WANTED = {}  # names of the headers that are kept, by what tells them apart at a glance


def want(name: bytes) -> None:
    """Keep one more header, given as most clients write it. The next request has it in `headers`. ValueError when it
    can't be told from another by its length, first and last letter."""
    if WANTED.setdefault(len(name) << 16 | (name[0] | 32) << 8 | name[-1] | 32, name) != name:
        raise ValueError


want(b"Host")
want(b"Content-Length")
want(b"Content-Type")
want(b"Transfer-Encoding")
want(b"Expect")
want(b"Cookie")
want(b"Origin")
want(b"Sec-Fetch-Site")
want(b"If-None-Match")
want(b"Range")
want(b"If-Range")
want(b"Connection")
want(b"Accept-Encoding")
want(b"Authorization")


class Reject(Exception):
    """The request can't be served. `args`: the status, and if need be a sentence and header lines ended by CR LF."""


class Request:
    """One request at a time in one buffer, into which a line must fit: `reset()`, then `feed(n)` until `complete`.

    Holds its buffer and little else until the first reset."""

    def __init__(self) -> None:
        self.buffer = bytearray(_BUFFER_BYTES)
        self.view = memoryview(self.buffer)
        self.headers = {}  # of WANTED, by the name that stands there; the values are str

    def reset(self) -> None:
        """Forget the request and keep the buffer."""
        self.headers.clear()
        self.method = ""
        self.complete = self.http10 = False
        self.unread = self._lines = 0  # bytes of the body not read yet
        self.start = self.end = 0  # first byte not yet parsed, end of what was received

    def feed(self, size_bytes: int) -> None:
        """Parse `size_bytes` new bytes; sets `complete` at the end of the head. Raises Reject with the right status."""
        buffer = self.buffer
        first = start = self.start
        last = self.end = self.end + size_bytes
        lines = self._lines
        done = self.complete
        wanted = WANTED
        try:
            while not done:
                at = start
                end = buffer.find(b"\n", at, last)
                if end < 0:
                    break
                start = end + 1
                lines += 1
                if lines > _MAX_LINES:
                    raise Reject(431)
                if buffer[end - 1] == 13 and end > at:
                    end -= 1
                if not self.method:
                    if end > at:  # RFC 9112 2.2: empty lines before the request line are ignored
                        self._request_line(str(self.view[at:end], "utf-8"))
                elif end > at:
                    colon = buffer.find(b":", at, end)
                    # A folded line, or a space after the name: request smuggling, RFC 9112 5.1.
                    if colon <= at or buffer[at] <= 32 or buffer[colon - 1] <= 32:
                        raise ValueError
                    name = wanted.get(colon - at << 16 | (buffer[at] | 32) << 8 | buffer[colon - 1] | 32)
                    if name:
                        self._keep(name, at, colon, end)
                else:
                    done = True
            lone = buffer.count(b"\r", first, start) - buffer.count(b"\r\n", first, start)
            if lone or buffer.find(b"\0", first, start) >= 0:
                raise ValueError
            if done:
                self._finish()
        except ValueError:  # not UTF-8, not a number, not three words
            raise Reject(400)
        if not done:
            if last - start == _BUFFER_BYTES:
                if not self.method or lines == _MAX_LINES:
                    raise Reject(431 if self.method else 414)
                # A header too long to keep: go on with its name and a mark for the rest.
                lines += 1
                last = _CUT_AT
                buffer[_CUT_AT - 1] = 1
            last -= start
            self.view[:last] = self.view[start : start + last]
            self.end = last
            start = 0
        self.start = start
        self._lines = lines

    def _request_line(self, line: str) -> None:
        method, target, version = line.split(" ")
        self.http10 = version == "HTTP/1.0"
        if not self.http10 and version != "HTTP/1.1":
            raise Reject(505 if version[:5] == "HTTP/" else 400)
        if method not in METHODS:
            raise Reject(501 if method.isalpha() else 400)
        if target[:7].lower() == "http://":  # absolute-form: its host is the one that counts
            host, _, target = target[7:].partition("/")
            target = "/" + target
            if not host or "?" in host:
                raise ValueError
            self.headers[b""] = host
        if target[:1] != "/":
            raise ValueError
        self.path, _, self.query = target.partition("?")
        self.method = method

    def _keep(self, name: bytes, at: int, colon: int, end: int) -> None:
        buffer = self.buffer
        if buffer.find(name, at, colon) != at:
            for i in range(len(name)):
                if buffer[at + i] | 32 != name[i] | 32:  # exact for letters and "-"
                    return
        at = colon + 2 if buffer[colon + 1] == 32 else colon + 1  # strip() would make a copy
        value = str(self.view[at:end], "utf-8").strip(" \t")
        headers = self.headers
        if "\1" in value:
            if name != b"Cookie":  # browsers bring those of other servers on the same host
                raise Reject(431)
        elif name not in headers:
            headers[name] = value
        elif name == b"Host" or name == b"Content-Length" and headers[name] != value:
            raise ValueError  # request smuggling, RFC 9112 3.2 and 6.3

    def _finish(self) -> None:
        headers = self.headers
        length = headers.get(b"Content-Length")
        if b"Transfer-Encoding" in headers:
            raise Reject(501 if length is None else 400)
        if length is not None:
            if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
                raise ValueError
            self.unread = int(length)
        elif self.method[0] == "P":
            raise Reject(411)
        if b"Host" not in headers and not self.http10:
            raise ValueError
        if b"" in headers:
            headers[b"Host"] = headers.pop(b"")
        self.complete = True
