"""One exchange with a time server: SNTP version 4 over UDP (RFC 4330; formulas of RFC 5905 section 8).

Owns the form of the question and the reading of the answer (`request`, `parse`: bytes and whole milliseconds in and
out). Must not know the clock that is to be set, nor names: the server is an IPv4 literal. Imported on demand.
"""

import os
import struct

import udp
from micropython import const

REFUSED = const(111)  # errno of a server that sends us away: ECONNREFUSED, which lwIP itself never raises
_TIMED_OUT = const(116)
_PORT = const(123)
_TIMEOUT_MS = const(2000)
_PACKET_BYTES = const(48)
_MOST_DELAY_MS = const(2000)
_UNIX_S = const(2208988800)  # from 1900, where NTP begins, to 1970
_ERA_S = const(1 << 32)


def request(nonce: bytes) -> bytes:
    """The question. `nonce` is 8 random bytes in the place of the time it is sent at, which is nobody's business: they
    come back and tell this question's answer from others (RFC 5905 section 8)."""
    return b"\x23" + bytes(_PACKET_BYTES - 9) + nonce  # no leap second, version 4, client


def _unix_ms(packet: bytes, at: int) -> int:
    """The time at offset `at`. A first bit of 0 is read as the era from 2036 on (RFC 4330 section 3): 1968 to 2104."""
    seconds, fraction = struct.unpack_from(">II", packet, at)
    if seconds < 0x80000000:
        seconds += _ERA_S
    return (seconds - _UNIX_S) * 1000 + (fraction * 1000 >> 32)


def parse(packet: bytes, nonce: bytes, sent_ms: int, received_ms: int) -> "tuple | None":
    """(offset, delay), both in ms: what has to be added to the clock of `sent_ms` and `received_ms` to get Unix ms,
    good to half the delay. None when `packet` does not answer the question with `nonce`.

    Raises OSError(REFUSED) for a "kiss of death" (RFC 4330 section 8: leave that server alone), ValueError with a
    sentence for an answer that is no good.
    """
    if len(packet) < _PACKET_BYTES or packet[0] & 0x3F not in (0x24, 0x1C) or packet[24:32] != nonce:
        return None  # neither version 4 nor 3, not from a server, or to another question
    stratum = packet[1]
    if not stratum:
        raise OSError(REFUSED)
    if packet[0] >= 0xC0 or stratum > 15:
        raise ValueError("the time server is not synchronised itself")
    arrived_ms = _unix_ms(packet, 32)
    left_ms = _unix_ms(packet, 40)
    delay_ms = received_ms - sent_ms - (left_ms - arrived_ms)
    if not any(packet[40:48]) or not -2 < delay_ms <= _MOST_DELAY_MS:
        raise ValueError("the time server's answer makes no sense or took more than 2 s")
    return (arrived_ms - sent_ms + left_ms - received_ms) // 2, max(delay_ms, 0)


async def ask(ip: str, now_ms: "Any", timeout_ms: int = _TIMEOUT_MS) -> tuple:
    """Ask the server at `ip` once: (offset in ms to add to `now_ms()` for Unix ms, delay in ms). `now_ms()` is the
    caller's clock, in ms from any epoch.

    Raises OSError(116) when no answer comes in time, OSError(REFUSED) and ValueError as `parse`, OSError as udp.ask.
    """
    nonce = os.urandom(8)
    sent_ms = now_ms()
    found = await udp.ask(
        request(nonce), ip, _PORT, timeout_ms, lambda datagram: parse(datagram, nonce, sent_ms, now_ms())
    )
    if found is None:
        raise OSError(_TIMED_OUT)
    return found
