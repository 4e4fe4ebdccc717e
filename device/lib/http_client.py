"""One HTTP/1.1 POST on a non-blocking socket under asyncio (RFC 9112). http only. Must not know what it sends.

Owns one socket for the time of one exchange, and the address of the last host name for as long as it is good; the
buffers are the caller's, and so is the time limit: cancel the task.
"""

import socket
from errno import ECONNABORTED, EINPROGRESS
from time import time

from http_connection import wait
from micropython import const

_DRAIN_READS = const(16)
_PIECES = const(8)
_LEAST_TTL_S = const(60)
_MOST_TTL_S = const(3600)

_known = ("", "", 0)  # a host name, its address, the second until which that is good


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


async def _exchange(sock: "Any", head: str, size_bytes: int, pieces: "Any", buffer: bytearray) -> tuple:
    left = len(head) + size_bytes
    piece = memoryview(head)
    turn = 0
    while left:
        left -= len(piece)
        if left < 0 or not piece:  # what is sent has changed since it was measured
            raise OSError(ECONNABORTED)
        sent = 0
        while sent < len(piece):
            if turn % _PIECES == 0:  # the first time: until connected; then so that others get their turn
                await wait(sock, True)
            n = sock.write(piece[sent:]) or 0
            sent += n
            turn = turn + 1 if n else 0
        piece = memoryview(next(pieces, ""))
    view = memoryview(buffer)
    answer = b""
    end = 0
    left = _DRAIN_READS
    while left:
        await wait(sock)
        n = sock.readinto(view if answer else view[end:])
        if answer:
            left -= 1  # the rest is read away: closing on unread input would reset a server that is still sending
        else:
            end += n or 0
            at = buffer.find(b"\r\n\r\n", 0, end)
            if at >= 0 or n == 0 or end == len(buffer):
                answer = bytes(view[: at if at >= 0 else end])
        if n == 0:
            break
    return parse_status(answer), answer


async def post(url: str, extra: str, size_bytes: int, pieces: "Any", buffer: bytearray, servers: tuple = ()) -> tuple:
    """Send a body of `size_bytes`, which the generator `pieces` yields as text; (status, head of the answer). `extra`:
    header lines with the Content-Type, each ended by CR LF; `buffer` takes the answer; `servers`, IPv4 literals, are
    asked for the address of a host name, which is kept until an exchange fails. Raises OSError (-202: no address for
    that name; 113: the pieces are not `size_bytes`; connect, reset) or ValueError (address or answer is none). The
    socket is always closed."""
    global _known
    host, port, path = split_url(url)
    head = "POST %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n" % (
        path, host, port, size_bytes, extra,
    )
    known = _known
    _known = ("", "", 0)  # unless all goes well; a cancel, while an address does not answer, is not heard of here
    if host != known[0] or time() >= known[2]:
        ip, ttl_s = host, 0
        parts = host.split(".")
        if len(parts) != 4 or max([int(part) if part.isdigit() else 256 for part in parts]) > 255:
            from dns import resolve

            ip, ttl_s = await resolve(host, servers)
        known = host, ip, time() + max(_LEAST_TTL_S, min(ttl_s, _MOST_TTL_S))
    sock = socket.socket()
    try:
        sock.setblocking(False)
        try:
            sock.connect((known[1], port))
        except OSError as error:
            if error.errno != EINPROGRESS:
                raise
        answer = await _exchange(sock, head, size_bytes, pieces, buffer)
        _known = known
        return answer
    finally:
        sock.close()
