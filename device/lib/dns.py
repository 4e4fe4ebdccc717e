"""The IPv4 addresses of a host name, asked of the network's name servers without blocking (RFC 1035, 2308, 5452).

Owns the form of a question and the reading of an answer (`query`, `parse`: bytes in and out), and the order in which
servers are tried. Keeps nothing: a caller that wants a cache has the time to live. Imported on demand.
"""

import os
import struct
from time import ticks_diff, ticks_ms

import udp
from micropython import const

_PORT = const(53)
_TIMEOUT_MS = const(8000)
_MOST_MS = const(10000)
_FIRST_WAIT_MS = const(1000)  # of the first round; each round waits twice as long
_ROUNDS = const(4)
_FAILED = const(-202)  # what the firmware's own resolver raises
_LITERAL_TTL_S = const(86400)
_HEADER_BYTES = const(12)
_FIXED_BYTES = const(10)  # type, class, TTL and length of a record
_MOST_RECORDS = const(16)
_MOST_IPS = const(4)
_A, _CNAME, _IN = const(1), const(5), const(1)


def query(name: str, ident: int) -> bytes:
    """The datagram that asks for the A records of `name`, recursion desired (RFC 1035 section 4.1). `ident`: 16 random
    bits. Raises ValueError with a sentence when `name` is none."""
    packet = struct.pack(">6H", ident, 0x0100, 1, 0, 0, 0)
    for label in (name[:-1] if name.endswith(".") else name).encode().split(b"."):
        if not 0 < len(label) < 64:
            raise ValueError("a host name has labels of 1 to 63 characters")
        packet += bytes((len(label),)) + label
    if len(packet) > _HEADER_BYTES + 254:
        raise ValueError("a host name has at most 253 characters")
    return packet + b"\0\0\1\0\1"


def _name(answer: bytes, at: int) -> tuple:
    """(the name at `at` in lower case, without compression; the offset behind it). A pointer must lead to before the
    piece of name it ends, so that there is no way round twice (RFC 1035 section 4.1.4)."""
    name = b""
    start = at
    end = 0
    while True:
        n = answer[at]
        if n < 64:
            name += answer[at : at + n + 1]
            at += n + 1
            if not n:
                return name.lower(), end or at
        else:
            end = end or at + 2
            at = (n & 63) << 8 | answer[at + 1]
            if n < 0xC0 or at >= start:
                raise OSError(_FAILED)
            start = at
        if len(name) > 255:
            raise OSError(_FAILED)


def _records(answer: bytes, at: int, count: int) -> tuple:
    """({name: (IPv4 texts, least TTL s)}, {name: (the name it stands for, TTL s)}) of the `count` records from `at`: of
    the first 16, or of those before the answer is cut off."""
    addresses = {}
    aliases = {}
    try:
        for _ in range(min(count, _MOST_RECORDS)):
            name, at = _name(answer, at)
            at += _FIXED_BYTES
            size = answer[at - 2] << 8 | answer[at - 1]
            kind, group, ttl_s = struct.unpack_from(">HHI", answer, at - _FIXED_BYTES)
            if ttl_s >> 31:
                ttl_s = 0  # RFC 2181 section 8
            if group == _IN and kind == _A and size == 4 and at + 4 <= len(answer):
                ips, least_s = addresses.get(name, ((), ttl_s))
                if len(ips) < _MOST_IPS:
                    ips += ("%d.%d.%d.%d" % tuple(answer[at : at + 4]),)
                addresses[name] = ips, min(least_s, ttl_s)
            elif group == _IN and kind == _CNAME:
                aliases[name] = _name(answer, at)[0], ttl_s
            at += size
    except IndexError:
        pass
    return addresses, aliases


def parse(answer: bytes, size: int, name: str, ident: int) -> "tuple | None":
    """(IPv4 texts, TTL in s) from the first `size` bytes of a datagram; None when that does not answer
    `query(name, ident)`. Raises OSError(-202) when it does, without an address: a refusal, other records only, a loop,
    nonsense.

    One cut off (TC) counts for what is there. CNAMEs are followed inside the answer, in any order; the shortest TTL
    counts. Bounded: 16 records, of at most two names of 255 bytes each, and each alias is used once.
    """
    answer = bytes(answer[:size])
    asked = query(name, ident)
    end = len(asked)
    if size < end or answer[2] & 0xF8 != 0x80 or answer[:2] + answer[4:6] != asked[:2] + asked[4:6]:
        return None
    if answer[_HEADER_BYTES:end].lower() != asked[_HEADER_BYTES:].lower():
        return None
    if answer[3] & 15:
        raise OSError(_FAILED)
    addresses, aliases = _records(answer, end, answer[6] << 8 | answer[7])
    owner = asked[_HEADER_BYTES : end - 4].lower()
    least_s = 0x7FFFFFFF
    while owner not in addresses:
        if owner not in aliases:
            raise OSError(_FAILED)
        owner, ttl_s = aliases.pop(owner)
        least_s = min(least_s, ttl_s)
    ips, ttl_s = addresses[owner]
    return ips, min(least_s, ttl_s)


async def _ask(name: str, server: str, wait_ms: int) -> "tuple | None":
    ident = int.from_bytes(os.urandom(2), "big")
    return await udp.ask(query(name, ident), server, _PORT, wait_ms, lambda data: parse(data, len(data), name, ident))


async def resolve(name: str, servers: tuple, timeout_ms: int = _TIMEOUT_MS) -> tuple:
    """(IPv4 texts, 4 at most, TTL in s) of `name`, asked of `servers` (IPv4 literals) in turn until `timeout_ms`, 10 s
    at most. An IPv4 literal is its own answer. A server that answers without an address is not asked again.

    Raises OSError(-202) when there is no address to be had, other OSError as udp.ask, ValueError with a sentence for a
    name that is none.
    """
    parts = name.split(".")
    if len(parts) == 4 and max([int(part) if part.isdigit() else 256 for part in parts]) < 256:
        return (name,), _LITERAL_TTL_S
    timeout_ms = min(timeout_ms, _MOST_MS)
    left = [server for server in servers if server and server != "0.0.0.0"]
    start = ticks_ms()
    for again in range(_ROUNDS):
        for server in left[:]:
            wait_ms = min(_FIRST_WAIT_MS << again, timeout_ms - ticks_diff(ticks_ms(), start))
            if wait_ms <= 0:
                break
            try:
                found = await _ask(name, server, wait_ms)
            except OSError as error:
                if error.errno != _FAILED:
                    raise
                left.remove(server)
            else:
                if found:
                    return found
    raise OSError(_FAILED)
