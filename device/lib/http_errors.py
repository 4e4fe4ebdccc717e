"""Answers to requests that can't be served. Imported on demand."""

from http_connection import END
from http_request import METHODS, Reject

_WORDS = {
    400: "malformed",
    403: "foreign form",
    404: "no such page",
    408: "too slow",
    413: "too long",
    415: "no form",
    500: "failed, see the log",
}


async def refuse(http: "Any", error: Exception) -> None:
    """Answer a request that was rejected, or whose handler raised `error`, with a line of text, and count it. An answer
    that has begun stays cut off instead, which the client can see."""
    server = http.server
    http.keep = False
    status, why, extra = 500, "", ""
    if isinstance(error, Reject):
        server.refused += 1
        status, why, extra = (error.args + ("", ""))[:3]
    else:
        server.failed += 1
        server.on_error(error)
    if not http.sent:
        http.at = -1
        http.head(status, "text/plain; charset=utf-8", "Cache-Control: no-store\r\n" + extra)
        await http.write("%d: %s\n" % (status, why or _WORDS.get(status, "refused")), END)


def allow(page: "Any") -> str:
    """The Allow line of a 405 for a page, an object with a coroutine for each of its methods (RFC 9110 10.2.1)."""
    names = [name for name in METHODS if hasattr(page, "get" if name == "HEAD" else name.lower())]
    return "Allow: %s\r\n" % ", ".join(names)
