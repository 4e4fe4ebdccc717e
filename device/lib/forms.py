"""Forms as browsers send them: application/x-www-form-urlencoded (WHATWG URL standard, section 5.1).

Decodes in place, so a form costs its strings and nothing per byte. `parse` is plain code; `read` fetches the body
through the httpd connection it is given. Must not know what the fields mean. Imported when a form comes.
"""

from http_request import Reject
from micropython import const

_MAX_FIELDS = const(32)
_PERCENT = const(0x25)
_PLUS = const(0x2B)
_SPACE = const(0x20)


class FormError(ValueError):
    """The body is not a form; the text says why and may be shown to the sender (answer 400)."""


def parse(body: bytearray, size_bytes: int) -> dict:
    """Fields of the form in `body[:size_bytes]`, which is overwritten. str to str; of a repeated key the last
    one counts; a key without `=` has an empty value. Raises FormError."""
    fields = {}
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
                raise FormError("too many form fields")
        start = end + 1
    return fields


async def read(http: "Any") -> dict:
    """Fields of the form that `http` (an httpd.Connection) is sending; call once, before anything is written.
    Raises Reject: 403 sent by a page of another site, 415 another type, 413 longer than the buffer, 417, 400."""
    headers = http.headers
    own = "http://" + headers.get(b"host", "")
    if headers.get(b"sec-fetch-site", "none") not in ("same-origin", "none") or (
        headers.get(b"origin", own) != own  # for browsers that do not send the former
    ):
        raise Reject(403, "this form was sent by another site")
    kind = headers.get(b"content-type", "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Reject(415, "this form takes application/x-www-form-urlencoded")
    if http.content_length > len(http.buffer):
        raise Reject(413, "the form is longer than %d bytes" % len(http.buffer))
    expect = headers.get(b"expect", "").lower()
    if expect == "100-continue":
        await http.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    elif expect:
        raise Reject(417, "only 100-continue can be expected here")
    http.compact()
    while http.end < http.content_length:
        n = await http.receive(http.view[http.end : http.content_length])
        if not n:
            raise Reject(400, "the form ended early")
        http.end += n
    http.receiving = False
    try:
        return parse(http.buffer, http.content_length)
    except FormError as error:
        raise Reject(400, str(error))


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
        raise FormError("a form field is not UTF-8")


def _hex(body: bytearray, at: int, end: int) -> int:
    digit = body[at] | 0x20 if at < end else 0
    if 0x30 <= digit <= 0x39 and body[at] & 0x10:
        return digit - 0x30
    if 0x61 <= digit <= 0x66:
        return digit - 0x57
    raise FormError("% in a form field needs two hex digits")
