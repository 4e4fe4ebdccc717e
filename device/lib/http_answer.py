"""The answer to a POST of http_client (RFC 9112): its status, some lines of its head, and the body read away, so that
the connection is free for the next post. Imported on demand. All of it is bounded, whatever a server sends.

Once the status is set it is what counts: an error in the body (RFC 9112 sections 6.3, 7.1) only costs the connection.
When the server broke off while the request was sent, only a refusal counts, which it may have sent before (9.6). One
function goes from line to line: fewer frames, at a moment when memory counts, than a reader with methods.
"""

from errno import ECONNRESET

from http_connection import wait
from micropython import const

_REST = const(5)  # a phase of http_client: something has come
_HEAD_BYTES = const(8192)
_KEPT_BYTES = const(600)
_DRAIN_BYTES = const(4096)
_SAID_BYTES = const(100)
_STATUS, _HEADER, _SIZE, _CHUNK, _TRAILER, _BODY = const(0), const(1), const(2), const(3), const(4), const(5)
_LINE_BYTES = const(100)  # of a line that is longer than the buffer
_WRONG = "the answer is no HTTP, or too long"


def _status(line: bytes) -> int:
    status = int(line[9:12]) if line[9:12].isdigit() else 0
    if line[:7] != b"HTTP/1." or status < 100 or line[8:9] + line[12:13].strip() != b" ":
        raise ValueError(_WRONG)
    return status


def _header(line: bytes, told: list) -> None:
    """Put what a header line tells into [head to keep, bytes of the body or -1, whether in chunks, whether the
    connection stays]."""
    name, _, value = line.lower().partition(b":")
    value = value.strip()
    if name in (b"date", b"retry-after") and len(told[0]) < _KEPT_BYTES and max(line) < 128:
        told[0] += b"\r\n" + line
    elif name == b"transfer-encoding":
        told[2] = True
    elif name == b"connection" and b"close" in value:
        told[3] = False
    elif name == b"content-length":
        if not value.isdigit() or told[1] >= 0 and told[1] != int(value):
            raise ValueError(_WRONG)
        told[1] = int(value)


def _take(client: "Any", view: memoryview) -> int:
    """Read on, into `view`: the number of bytes, 0 if wait() has to come first."""
    n = client.sock.readinto(view) if view else -1
    if n is None:
        return 0
    if n <= 0:
        raise ValueError(_WRONG) if n else OSError(ECONNRESET)
    if client.phase < _REST:
        client.enter(_REST)
    return n


async def read(client: "Any", keep: bool, broken: "Any" = None) -> bool:
    """Read the answer to `client.status`, `head` and `said`; whether the connection can be used again, as `keep` wants.
    Raises OSError (closed too early; or `broken`, which ended the sending) or ValueError with a sentence."""
    view = memoryview(client.buffer)
    start = end = body = 0  # of what has come and is not read; bytes to pass over
    left = _HEAD_BYTES  # that may still come
    state = _STATUS
    line = b""
    while True:
        n = min(body, end - start)
        if n:
            client.said += view[start : start + min(n, _SAID_BYTES - len(client.said))]
            start += n
            body -= n
        if state == _BODY and not body:
            return keep and start == end  # more would be taken for the next answer
        at = -1 if body else client.buffer.find(b"\n", start, end)
        if at < 0:
            if end - start == len(view):
                line = line or bytes(view[:_LINE_BYTES])
                start = end
            end -= start
            view[:end] = view[start : start + end]
            start = 0
            n = _take(client, view[end : end + left])
            if not n:
                await wait(client.sock)
            end += n
            left -= n
            continue
        line = line or bytes(view[start:at]).rstrip()
        start = at + 1
        if state == _STATUS:
            status = _status(line)
            told = [line, -1, False, keep and line[7:8] == b"1"]
            state = _HEADER
        elif state == _HEADER and line:
            _header(line, told)
        elif state == _HEADER and status < 200:  # others come before the answer (RFC 9110 section 15.2)
            state = _STATUS
        elif state == _HEADER:
            if broken and status < 300:
                raise broken
            keep, body, state = _framing(client, status, told)
            if status < 300 and not keep:
                return False
            left = _DRAIN_BYTES - (end - start)
        elif state == _SIZE:
            body = int(b"0" + line.partition(b";")[0], 16)
            state = _CHUNK if body else _TRAILER
        elif line and state == _CHUNK:
            raise ValueError(_WRONG)
        elif not line:
            state = _SIZE if state == _CHUNK else _BODY  # behind a chunk, or the last line of the trailers
        line = b""


def _framing(client: "Any", status: int, told: list) -> tuple:
    """(whether the connection stays, bytes of the body or of what is read of it, what comes next) behind the head
    (RFC 9112 section 6.3)."""
    client.head, size, chunked, keep = told
    client.said = b""
    client.status = status
    if status == 204:
        size, chunked = 0, False
    keep = keep and chunked == (size < 0)  # with both of them, one is forged
    if chunked:
        return keep, 0, _SIZE
    return keep, size if size >= 0 else _DRAIN_BYTES + 1, _BODY
