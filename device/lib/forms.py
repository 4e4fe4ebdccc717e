"""Forms as browsers send them: application/x-www-form-urlencoded (WHATWG URL standard, section 5.1).

Decodes in place, so a form costs its strings and nothing per byte. `parse` is plain code; `read`, and `piece` for
bodies of any type and length, fetch the body through the httpd connection they are given. Must not know what the
fields mean. Imported when a body comes.
"""

from http_request import Reject
from micropython import const

_MAX_FIELDS = const(32)
_MAX_BYTES = const(4096)
_ANSWER_MS = const(15000)  # as httpd gives to requests without a body
_PERCENT = const(0x25)
_PLUS = const(0x2B)
_SPACE = const(0x20)


def parse(body: bytearray, size_bytes: int = -1, fields: "Any" = None) -> dict:
    """Fields of the form in `body[:size_bytes]`, or all of it, which is overwritten. str to str; of a repeated key the
    last one counts; a key without `=` has an empty value. Added to `fields`, if given. Raises Reject (400, 413).

    For the query of an address: parse(bytearray(http.query.encode()))."""
    if fields is None:
        fields = {}
    if size_bytes < 0:
        size_bytes = len(body)
    start = 0
    while start < size_bytes:
        end = body.find(b"&", start, size_bytes)
        if end < 0:
            end = size_bytes
        if end > start:
            equals = body.find(b"=", start, end)
            if equals < 0:
                equals = end
            value = _decode(body, equals + 1, end) if equals < end else ""
            fields[_decode(body, start, equals)] = value
            if len(fields) > _MAX_FIELDS:
                raise Reject(413)
        start = end + 1
    return fields


async def piece(http: "Any") -> memoryview:
    """The next piece of the request's body, empty at the end: as much as is left of it or fits into the connection's
    buffer, where it stays until the next call or the first write(). `http.unread` says how much follows.
    What it looks at in the headers it takes out, to have the memory.
    Raises Reject: 403 sent by a page of another site, 417 and 400; and CancelledError when the client is gone."""
    from http_connection import wait  # here, so that parse() needs no sockets

    headers = http.headers
    own = "http://" + headers.get(b"Host", "")
    if headers.pop(b"Sec-Fetch-Site", "none") not in ("same-origin", "none") or (
        headers.pop(b"Origin", own) != own  # for browsers that do not send the former
    ):
        raise Reject(403)
    expect = headers.pop(b"Expect", "").lower()
    if expect and not http.http10:  # which would take the 100 for the answer (RFC 9110 10.1.1)
        if expect != "100-continue":
            raise Reject(417)
        http.sock.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    http.end -= http.start
    http.view[: http.end] = http.view[http.start : http.start + http.end]
    size_bytes = min(http.unread, len(http.buffer))
    while http.end < size_bytes:
        n = http.take(http.view[http.end : size_bytes])
        if n:
            http.end += n
        elif n is None:
            await wait(http.sock)
        else:
            raise Reject(400)
    http.start = size_bytes
    http.unread -= size_bytes
    if not http.unread:
        http.expires(_ANSWER_MS)
    return http.view[:size_bytes]


async def read(http: "Any") -> dict:
    """Fields of the form that `http` (a connection of httpd) is sending; call once, before anything is written.
    Raises Reject: as piece(), and 415 another type, 413 longer than _MAX_BYTES or a field longer than the buffer, and
    400."""
    if http.headers.pop(b"Content-Type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Reject(415)
    if http.unread > _MAX_BYTES:
        raise Reject(413)
    fields = {}
    while True:
        end = size_bytes = len(await piece(http))
        if http.unread:
            end = http.buffer.rfind(b"&", 0, size_bytes) + 1
            if not end:
                raise Reject(413)
        parse(http.buffer, end, fields)
        if not http.unread:
            return fields
        http.start -= size_bytes - end  # the field that is cut comes again
        http.unread += size_bytes - end


def _decode(body: bytearray, start: int, end: int) -> str:
    to = at = start
    while at < end:
        byte = body[at]
        if byte == _PERCENT:
            byte = _hex(body, at + 1, end) << 4 | _hex(body, at + 2, end)
            at += 2
        elif byte == _PLUS:
            byte = _SPACE
        body[to] = byte
        to += 1
        at += 1
    try:
        return str(memoryview(body)[start:to], "utf-8")
    except UnicodeError:
        raise Reject(400)


def _hex(body: bytearray, at: int, end: int) -> int:
    digit = body[at] | 0x20 if at < end else 0
    if 0x30 <= digit <= 0x39 and body[at] & 0x20:
        return digit - 0x30
    if 0x61 <= digit <= 0x66:
        return digit - 0x57
    raise Reject(400)
