"""One question over UDP and the wait for its answer, for dns and ntp. Imported on demand, as they are.

Owns one socket for the time of one question. Who answers is checked here; what an answer must be is told by the caller.
"""

import asyncio
import os
import select
import socket
from time import ticks_diff, ticks_ms

from micropython import const

_MOST_BYTES = const(512)  # all that DNS sends over UDP without being asked for more (RFC 1035 section 4.2.1)
_FIRST_PORT = const(49152)  # of the dynamic ones (RFC 6335 section 6)
_TICK_MS = const(10)


async def ask(packet: bytes, ip: str, port: int, wait_ms: int, judge: "Any") -> "Any":
    """Send `packet` to (ip, port) from a random port; what `judge(datagram)` makes of the first datagram from there
    that it does not answer None for, or None after `wait_ms`. `ip` is an IPv4 literal. Raises OSError (23: no socket
    left; 118: no network), and what `judge` raises. The socket is always closed.

    The port is random (RFC 5452 section 4.5): who can't see the question has to guess it. The wait between two looks
    grows with the time that has passed, so that a prompt answer is dated well and a dead server costs few looks.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.bind(("0.0.0.0", _FIRST_PORT + (int.from_bytes(os.urandom(2), "big") & 0x3FFF)))
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        start = ticks_ms()
        sock.sendto(packet, (ip, port))
        while True:
            waited_ms = ticks_diff(ticks_ms(), start)
            pause_ms = min(_TICK_MS + waited_ms // 8, wait_ms - waited_ms)
            for _ in poller.ipoll(0):
                datagram, source = sock.recvfrom(_MOST_BYTES)
                pause_ms = 0  # others may be queued behind one that is not ours
                if source == (ip, port):
                    result = judge(datagram)
                    if result is not None:
                        return result
            if waited_ms >= wait_ms:
                return None
            await asyncio.sleep_ms(pause_ms)
    finally:
        sock.close()
