"""A board on the VM that posts with the device's own HTTP client, and the server it posts to.

Owns the script around the client and what it tells of an exchange. What is wrong with the server is told by the test.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, Self

from host_tests.fault_server import FaultServer
from host_tests.udp_lab import SERVER, UdpLab
from scripts.vm import Vm

NAME, CONNECT, TLS, SEND, ANSWER, REST = range(6)
"""Phases of http_client."""

LIMITS_MS = (10_000, 5_000, 15_000, 10_000, 15_000, 10_000)
RESET, ABORTED, TIMED_OUT, NO_ADDRESS = 104, 113, 116, -202
BODY = '{"readings":[[1,null,0,21.5]]}'

SCRIPT = """
URL = {url!r}
BODY = {body!r}
SERVERS = ({server!r},)
beats = 0


async def dial(client, url):
    await http_dial.dial(client, url, SERVERS, None)


client = http_client.Client(bytearray(512), dial)


def body(text=BODY, size=7):
    return (text[at : at + size] for at in range(0, len(text), size))


def lines():
    return "Content-Type: application/json\\r\\n"


def beat():
    global beats
    beats += 1


async def post(url=URL, keep=True, pieces=body, size_bytes=len(BODY)):
    start = time.ticks_ms()
    client.head = client.said = b""
    try:
        got = await client.post(url, lines, size_bytes, pieces, keep, beat)
    except OSError as error:
        got = error.errno
    except (ValueError, MemoryError) as error:
        got = type(error).__name__ + ": " + str(error)
    return got, client.phase, time.ticks_diff(time.ticks_ms(), start), bytes(client.head), bytes(client.said)


async def all_of(*coroutines):
    found = []
    for coroutine in coroutines:
        found.append(await coroutine)
    client.close()
    return found


async def many(count):
    "Posts, each second one kept, and how the heap grew after the first six."
    found = {{}}
    for n in range(count):
        if n == 6:
            gc.collect()
            before = gc.mem_alloc()
        got, phase, ms, head, said = await post(keep=n % 2 == 0)
        kind = got, phase, head[:12], said[:40]
        found[kind] = max(ms, found.get(kind, 0))
    client.close()
    got = head = said = kind = None
    gc.collect()
    return gc.mem_alloc() - before, [kind + (ms,) for kind, ms in found.items()]
"""


@dataclass(frozen=True)
class Exchange:
    """What came of a post: a status, the number of an OSError or a sentence; and the state of the client then."""

    got: int | str
    phase: int
    ms: int
    head: bytes
    said: bytes


class HttpLab(UdpLab):
    """`server` is what the scripts' URL leads to."""

    def __init__(self, folder: Path, vm: Vm, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(folder, vm)
        self.server = FaultServer(tls, self.state)

    def __enter__(self) -> Self:
        self.server.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self.server.close()
        super().__exit__(*error)

    def script(self, script: str, url: str = "", **words: int) -> dict[str, Any]:
        """What `script` said. It has `client`, `post()`, `all_of()` and `many()`."""
        head = SCRIPT.format(url=url or self.server.url, body=BODY, server=SERVER)
        return self.run(head + dedent(script), **words)

    def posts(self, *arguments: str, before: str = "", url: str = "", **words: int) -> list[Exchange]:
        """Posts one after the other, each with arguments for `post()`; `before` is a script that comes first."""
        calls = ", ".join(f"post({each})" for each in arguments)
        said = self.script(f"{dedent(before)}\nrun(found=all_of({calls}))", url, **words)
        return [Exchange(*one) for one in said["found"]]
