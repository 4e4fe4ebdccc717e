"""The time servers of the virtual board's network: every address of 127.0.0.0/8 has one, and it tells the true time.

Owns the form of an answer (RFC 4330) and what can be wrong with it. The truth is the clock NTP of the board's state.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from host_tests.virtual_board.state import EPOCH_2000_S, BoardState, monotonic_ms
from host_tests.virtual_board.udp_server import Datagram, UdpServer
from host_tests.virtual_board.vm import registers as r

Fault = Literal[
    "", "dead", "kiss of death", "unsynchronised", "stratum 16", "wrong originate", "zero transmit", "not a server",
    "version 1", "short", "backwards", "wrong port", "wrong address",
]  # fmt: skip
FORGERIES: tuple[Fault, ...] = ("wrong originate", "not a server", "version 1", "short", "wrong port", "wrong address")
"""What comes before the honest answer then, and tells `FORGED_MS` too much."""

FORGED_MS = 86_400_000
_EPOCH_1900_S = 2208988800
_SERVER_V4 = 0x24
_TICKS_MASK = (1 << 30) - 1


def timestamp(unix_ms: int) -> bytes:
    """64 bits of NTP time, of whichever era, not less than `unix_ms`."""
    seconds, ms = divmod(unix_ms, 1000)
    return struct.pack(">II", (seconds + _EPOCH_1900_S) & 0xFFFFFFFF, min(-(-(ms << 32) // 1000), 0xFFFFFFFF))


def reply(
    originate: bytes, unix_ms: int, flags: int = _SERVER_V4, stratum: int = 2, identity: bytes = b"GPS\0"
) -> bytes:
    """An answer, received and sent in the same millisecond."""
    now = timestamp(unix_ms)
    return struct.pack(">BBbbII4s", flags, stratum, 6, -20, 0, 0, identity) + now + originate + now + now


@dataclass
class Behaviour:
    """`offset_ms` is how much its time is wrong, `delay_ms` how long question and answer travel together."""

    fault: Fault = ""
    offset_ms: int = 0
    delay_ms: int = 0


class TimeServer(UdpServer):
    """`all` is how the servers behave, `at` how those at some addresses do. `asked` is every address so far. While the
    word NTP_OK is 0, none answers."""

    word = r.TIME_SERVER
    port = 123

    def __init__(self, state: BoardState) -> None:
        super().__init__(state)
        self.all = Behaviour()
        self.at: dict[str, Behaviour] = {}
        self.asked: list[str] = []

    def truth_ms(self) -> int:
        """The true Unix time of the board's world in ms."""
        state = self.state
        since_ms = (monotonic_ms() - state[r.NTP + 2]) & _TICKS_MASK
        return (state[r.NTP] + EPOCH_2000_S) * 1000 + state[r.NTP + 1] + since_ms

    def answers(self, ip: str, packet: bytes) -> list[Datagram]:
        self.asked.append(ip)
        how = self.at.get(ip, self.all)
        if how.fault == "dead" or not self.state[r.NTP_OK]:
            return []
        originate = packet[40:48]
        now_ms = self.truth_ms() + how.offset_ms + how.delay_ms // 2
        honest = Datagram(self._content(how.fault, originate, now_ms), ip, self.port, how.delay_ms)
        if how.fault not in FORGERIES:
            return [honest]
        return [self._forgery(how.fault, originate, now_ms + FORGED_MS, ip), honest]

    def _content(self, fault: Fault, originate: bytes, now_ms: int) -> bytes:
        good = reply(originate, now_ms)
        contents = {
            "kiss of death": reply(originate, now_ms, stratum=0, identity=b"RATE"),
            "unsynchronised": reply(originate, now_ms, flags=0xE4),
            "stratum 16": reply(originate, now_ms, stratum=16),
            "zero transmit": good[:40] + bytes(8),
            "backwards": good[:40] + timestamp(now_ms - 5_000),
        }
        return contents.get(fault, good)

    def _forgery(self, fault: Fault, originate: bytes, lie_ms: int, ip: str) -> Datagram:
        lie = reply(originate, lie_ms)
        contents = {
            "wrong originate": reply(bytes(8), lie_ms),
            "not a server": reply(originate, lie_ms, flags=0x23),
            "version 1": reply(originate, lie_ms, flags=0x0C),
            "short": lie[:47],
        }
        where = ("127.6.6.6" if fault == "wrong address" else ip), (1123 if fault == "wrong port" else self.port)
        return Datagram(contents.get(fault, lie), *where)
