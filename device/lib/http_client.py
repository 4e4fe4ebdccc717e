"""One HTTP/1.1 POST on a non-blocking socket under asyncio (RFC 9112). http only. Must not know what it sends.

Owns one socket for the time of one exchange; the buffers are the caller's, and so is the time limit: cancel the
task. A host name is looked up with the firmware's blocking resolver: give an IP literal where the loop must not stall.
"""

import socket
from errno import EINPROGRESS

from http_connection import wait
from micropython import const

_DRAIN_READS = const(16)


def split_url(url: str) -> tuple:
    """(host, port, path) of an http URL. Raises ValueError with a sentence for anything else."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    host, colon, port = authority.partition(":")
    if scheme != "http" or not host or "@" in host or colon and not port.isdigit():
        raise ValueError("the address is not http://host:port/path")
    return host, int(port or 80), "/" + path


def parse_status(head: bytes) -> int:
    """Status of an answer's head. Raises ValueError."""
    if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
        raise ValueError("the answer is not HTTP")
    return int(head[9:12])


async def _exchange(sock: "Any", pieces: tuple, buffer: bytearray) -> tuple:
    for piece in pieces:
        sent = 0
        while sent < len(piece):
            await wait(sock, True)  # the first time: until connected
            sent += sock.write(piece[sent:]) or 0
    view = memoryview(buffer)
    head = b""
    end = 0
    left = _DRAIN_READS
    while left:
        await wait(sock)
        n = sock.readinto(view if head else view[end:])
        if head:
            left -= 1  # the rest is read away: closing on unread input would reset a server that is still sending
        else:
            end += n or 0
            at = buffer.find(b"\r\n\r\n", 0, end)
            if at >= 0 or n == 0 or end == len(buffer):
                head = bytes(view[: at if at >= 0 else end])
        if n == 0:
            break
    return parse_status(head), head


async def post(url: str, extra: str, body: memoryview, buffer: bytearray) -> tuple:
    """Send `body` and return (status, head of the answer). `extra`: header lines with the Content-Type, each ended by
    CR LF; `buffer` takes the answer. Raises OSError (connect, reset) or ValueError (address or answer is none). The
    socket is always closed."""
    host, port, path = split_url(url)
    head = "POST %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n" % (
        path, host, port, len(body), extra,
    )
    address = socket.getaddrinfo(host, port)[0][-1]
    sock = socket.socket()
    try:
        sock.setblocking(False)
        try:
            sock.connect(address)
        except OSError as error:
            if error.errno != EINPROGRESS:
                raise
        return await _exchange(sock, (memoryview(head), body), buffer)
    finally:
        sock.close()
