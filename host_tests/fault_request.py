"""Reads requests as strictly as a server may, for the fault server.

Owns the form of a request: RFC 9112, bodies by Content-Length only. Must not know what is answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from host_tests.fault_link import Link

_MOST_HEAD_BYTES = 65536


@dataclass(frozen=True)
class Request:
    """A complete request. `connection` counts from 1; header names are in lower case, of a repeated one the last."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


class BadRequest(ValueError):
    """What came is no request; the sentence says why."""


def read_request(link: Link, received: bytearray, connection: int) -> Request:
    """Read on until a request is complete, and take it out of `received`. BadRequest when it is none."""
    while (end := received.find(b"\r\n\r\n")) < 0:
        if not received[:1].isalpha():
            raise BadRequest("it begins with no method")
        if len(received) > _MOST_HEAD_BYTES:
            raise BadRequest("the head has no end")
        received += link.read()
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(f"{first!r} is no request line")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise BadRequest(f"{line!r} is no header line")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "0")
    if not length.isdigit() or "transfer-encoding" in headers:
        raise BadRequest("the length of the body is not given")
    size = end + 4 + int(length)
    while len(received) < size:
        received += link.read()
    body = bytes(received[end + 4 : size])
    del received[:size]
    return Request(words[0], words[1], headers, body, connection)
