"""What the HTTP server seldom needs: opening its listener, and answering errors. Imported on demand."""

import socket

from http_connection import END

_WORDS = {
    400: "malformed request",
    404: "no such page",
    408: "too slow",
    413: "body too long",
    500: "failed, see the log",
}


def listen(host: str, port: int) -> "Any":
    """A non-blocking listening socket. OSError when the port can't be had."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(socket.getaddrinfo(host, port)[0][-1])
        listener.listen(6)  # lwIP's accept mailbox; SYNs beyond it come back after a second or more
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


async def answer(http: "Any", status: int, why: str = "", extra: str = "") -> None:
    """Answer an error with a line of text. An answer that has begun stays cut off instead, which the client can see."""
    http.keep = False
    if not http.sent:
        http.at = -1
        http.head(status, "text/plain; charset=utf-8", "Cache-Control: no-store\r\n" + extra)
        await http.write("%d: %s\n" % (status, why or _WORDS.get(status, "refused")), END)


def allow(page: "Any") -> str:
    """The Allow line of a 405 for a page, an object with a coroutine for each of its methods (RFC 9110 10.2.1)."""
    names = ""
    for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        if hasattr(page, name.lower().replace("head", "get")):
            names += ", " + name
    return "Allow: %s\r\n" % names[2:]
