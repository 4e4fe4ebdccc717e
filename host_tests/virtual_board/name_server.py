"""The name servers of the virtual board's network: every address of 127.0.0.0/8 has the same one, with its own faults.

Owns the names of a good world and the wrong answers of a bad one (RFC 1035).
"""

from __future__ import annotations

import socket
import struct
from typing import Literal

from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.udp_server import Datagram, UdpServer
from host_tests.virtual_board.vm import registers as r

Fault = Literal[
    "", "dead", "nxdomain", "servfail", "no address", "only AAAA", "truncated", "truncated empty",
    "cname chain", "cname backwards", "cname loop", "compression loop", "garbage", "cut off",
    "forged id", "wrong question", "wrong port", "wrong address", "no answer bit", "empty datagram",
]  # fmt: skip
FORGERIES: tuple[Fault, ...] = (
    "forged id", "wrong question", "wrong port", "wrong address", "no answer bit", "garbage",
)  # fmt: skip
"""What comes before the honest answer then, with `FORGED` for an address where it has one."""

FORGED = "127.6.6.6"
NAMES = {
    "pool.ntp.org": "127.0.123.1",
    "0.pool.ntp.org": "127.0.123.10",
    "1.pool.ntp.org": "127.0.123.11",
    "2.pool.ntp.org": "127.0.123.12",
    "3.pool.ntp.org": "127.0.123.13",
    "time.cloudflare.com": "127.0.123.2",
    "time.google.com": "127.0.123.3",
    "time.nist.gov": "127.0.123.4",
    "collector.test": "127.0.0.1",
}
_A, _CNAME, _AAAA, _IN = 1, 5, 28, 1
_RESPONSE, _TRUNCATED = 0x8180, 0x0200
_NO_SUCH_NAME, _SERVER_FAILURE = 3, 2
_QUESTION_NAME = b"\xc0\x0c"


def wire(name: str) -> bytes:
    """A name as labels."""
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".")) + b"\0"


def record(owner: bytes, kind: int, content: bytes, ttl_s: int = 300) -> bytes:
    """A resource record; `owner` is wire form or a pointer."""
    return owner + struct.pack(">HHIH", kind, _IN, ttl_s, len(content)) + content


def reply(packet: bytes, records: list[bytes], rcode: int = 0, flags: int = _RESPONSE) -> bytes:
    """An answer to the question `packet`."""
    return packet[:2] + struct.pack(">5H", flags | rcode, 1, len(records), 0, 0) + packet[12:] + b"".join(records)


def question_name(packet: bytes) -> str:
    labels, at = [], 12
    while size := packet[at]:
        labels.append(packet[at + 1 : at + 1 + size].decode())
        at += 1 + size
    return ".".join(labels)


def bad_reply(packet: bytes, fault: Fault, ip: str, ttl_s: int) -> bytes:
    """The one answer of a server with that fault; the honest one of a server whose fault is not in what it says."""
    address = socket.inet_aton(ip)
    good = record(_QUESTION_NAME, _A, address, ttl_s)
    chain = [
        record(_QUESTION_NAME, _CNAME, wire("a.example"), 200),
        record(wire("A.example"), _CNAME, wire("b.example"), 100),
        record(wire("b.EXAMPLE"), _A, address, ttl_s),
    ]
    aaaa = record(_QUESTION_NAME, _AAAA, bytes(16))
    loop = [record(_QUESTION_NAME, _CNAME, wire("a.example")), record(wire("a.example"), _CNAME, _QUESTION_NAME)]
    knot_at = len(packet)
    replies = {
        "nxdomain": reply(packet, [], _NO_SUCH_NAME),
        "servfail": reply(packet, [], _SERVER_FAILURE),
        "no address": reply(packet, []),
        "only AAAA": reply(packet, [aaaa]),
        "truncated": reply(packet, [good], flags=_RESPONSE | _TRUNCATED),
        "truncated empty": reply(packet, [], flags=_RESPONSE | _TRUNCATED),
        "cname chain": reply(packet, chain),
        "cname backwards": reply(packet, chain[::-1]),
        "cname loop": reply(packet, loop),
        "compression loop": reply(packet, [record(struct.pack(">H", 0xC000 | knot_at), _A, address)]),
        "cut off": reply(packet, [good])[:-2],
        "empty datagram": b"",
    }
    return replies.get(fault, reply(packet, [aaaa, good]))


class NameServer(UdpServer):
    """Answers for `names`, each an address or some with spaces between. `fault` is that of all servers, `faults` of
    those at some addresses; `delay_ms` is how long an answer takes. `lies` is how often a forgery comes; with
    `lies_only` nothing comes behind it. `asked` is every (address, name) so far, `ids` what came with them. The word
    DNS_DEAD silences them all."""

    word = r.NAME_SERVER
    port = 53

    def __init__(self, state: BoardState) -> None:
        super().__init__(state)
        self.names = dict(NAMES)
        self.ttl_s = 300
        self.fault: Fault = ""
        self.faults: dict[str, Fault] = {}
        self.delay_ms = 0
        self.lies = 1
        self.lies_only = False
        self.asked: list[tuple[str, str]] = []
        self.ids: list[bytes] = []

    def answers(self, ip: str, packet: bytes) -> list[Datagram]:
        name = question_name(packet)
        self.asked.append((ip, name))
        self.ids.append(packet[:2])
        fault = self.faults.get(ip, self.fault)
        if fault == "dead" or self.state[r.DNS_DEAD]:
            return []
        known = self.names.get(name.lower())
        if not known:
            content = reply(packet, [], _NO_SUCH_NAME)
        elif fault in ("", *FORGERIES):
            found = [record(_QUESTION_NAME, _A, socket.inet_aton(one), self.ttl_s) for one in known.split()]
            content = reply(packet, found)
        else:
            content = bad_reply(packet, fault, known, self.ttl_s)
        honest = Datagram(content, ip, self.port, self.delay_ms)
        forged = [self._forgery(packet, fault, ip)] * self.lies if fault in FORGERIES else []
        return forged if forged and self.lies_only else [*forged, honest]

    def _forgery(self, packet: bytes, fault: Fault, ip: str) -> Datagram:
        lie = [record(_QUESTION_NAME, _A, socket.inet_aton(FORGED))]
        content = reply(packet, lie)
        port = self.port
        if fault == "forged id":
            content = bytes((content[0] ^ 1,)) + content[1:]
        elif fault == "wrong question":
            content = reply(packet[:12] + wire("other.example") + packet[-4:], lie)
        elif fault == "no answer bit":
            content = reply(packet, lie, flags=0x0100)
        elif fault == "garbage":
            content = bytes(range(37, 97))
        elif fault == "wrong port":
            port = 5353
        else:
            ip = FORGED
        return Datagram(content, ip, port)
