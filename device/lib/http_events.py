"""Server-sent events (WHATWG HTML standard, 9.2): messages over one connection as they come. Imported on demand.

A stream holds one of the server's slots, so few run at a time. Must not know what the messages mean.
"""

from asyncio import core  # type: ignore  (MicroPython's asyncio is a package; pyright is shown CPython's)

from http_connection import SEND
from http_request import Reject
from micropython import const

_KIND = "text/event-stream"
_MOST = const(2)
_COMMENT_MS = const(10000)  # phones and routers drop what is silent for long
_SPARE_MS = const(5000)


async def send(http: "Any", poll: "Any", every_ms: int = 500) -> None:
    """Answer with an event stream until the client goes. `poll()` is called every `every_ms` and gives the next
    message, text without line ends, or None. Raises Reject 503 when there are streams enough."""
    if len([conn for conn in http.server.slots if conn.task and conn.kind.startswith(_KIND)]) >= _MOST:
        raise Reject(503, "", "Retry-After: 10\r\n")
    http.keep = False
    http.head(200, _KIND)
    silent_ms = _COMMENT_MS
    while http.method != "HEAD":
        http.expires(every_ms + _SPARE_MS)
        message = poll()
        if message is not None or silent_ms >= _COMMENT_MS:
            await http.write(":\n\n" if message is None else "data: %s\n\n" % message, SEND)
            silent_ms = 0
        if http.take(http.view) == 0:
            return
        await core.sleep_ms(every_ms)
        silent_ms += every_ms
