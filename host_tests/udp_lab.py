"""A board on the VM and a network of name and time servers, for scripts that ask them with the device's own modules.

Owns the compiled modules and the words that scripts share. What the fakes promise beside is test_fakes_strict.py's.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any, Self

from host_tests.test_fakes_strict import Lab
from host_tests.virtual_board.name_server import NameServer
from host_tests.virtual_board.time_server import TimeServer
from scripts.build import compile_mpy
from scripts.console import ROOT
from scripts.vm import Vm

LIB = ROOT / "device" / "lib"
MODULES = ("udp", "dns", "ntp", "http_request", "http_connection", "http_client", "http_dial", "http_answer")
SERVER = "127.0.0.53"

MOST_GAP_MS = 50
BUSY_HOST = 10
"""How many times as long a step may take by the clock on the wall."""

PRELUDE = """
sys.path += [".frozen", {tree!r}]
import asyncio, utime
import dns, ntp, http_client, http_dial
most_gap_ms = 0


def worked_ms():
    "Time that was skipped or computed: not what a busy host gave to others."
    return words[r.SKIPPED_MS] + int(utime.clock() * 1000)


async def tick():
    global most_gap_ms
    while True:
        before_ms, before = worked_ms(), time.ticks_ms()
        await asyncio.sleep_ms(10)
        gap_ms = time.ticks_diff(time.ticks_ms(), before) // {busy_host}
        most_gap_ms = max(most_gap_ms, worked_ms() - before_ms, gap_ms)


async def tell(name, coroutine):
    start = time.ticks_ms()
    try:
        said = await coroutine
    except OSError as error:
        said = error.errno
    except ValueError as error:
        said = str(error)
    say(name, said)
    say(name + " ms", time.ticks_diff(time.ticks_ms(), start))


async def main(pairs):
    ticker = asyncio.create_task(tick())
    for name, coroutine in pairs:
        await tell(name, coroutine)
    ticker.cancel()


def run(**coroutines):
    asyncio.run(main(coroutines.items()))
    say("gap ms", most_gap_ms)
    say("sockets", words[r.SOCKETS_OPEN])


online()
skip()
"""


class UdpLab:
    """`names` and `times` are the servers; `run(script)` gives what the script said."""

    def __init__(self, folder: Path, vm: Vm) -> None:
        self.lab = Lab(folder / "board", vm)
        self.state = self.lab.state
        self.names, self.times = NameServer(self.state), TimeServer(self.state)
        self.tree = folder / "lib"
        self.tree.mkdir()
        for name in MODULES:
            (self.tree / f"{name}.mpy").write_bytes(compile_mpy(LIB / f"{name}.py", f"lib/{name}.py"))

    def __enter__(self) -> Self:
        self.names.start()
        self.times.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.names.stop()
        self.times.stop()
        self.lab.close()

    def run(self, script: str, **words: int) -> dict[str, Any]:
        """`script` runs once there is a link, and time is skipped through. It must have closed its sockets, and let a
        task that wakes every 10 ms run."""
        said = self.lab.run(PRELUDE.format(tree=str(self.tree), busy_host=BUSY_HOST) + dedent(script), **words)
        if "sockets" in said:
            assert said.pop("sockets") == 0, "a socket was left open"
            gap_ms = said.pop("gap ms")
            assert gap_ms <= MOST_GAP_MS, f"the event loop was blocked for {gap_ms} ms"
        return said

    def resolve(self, name: str = "collector.test", servers: tuple = (SERVER,), **words: int) -> tuple[Any, int]:
        """(what dns.resolve gave or raised, the ms of the board's time that took)."""
        said = self.run(f"run(found=dns.resolve({name!r}, {servers!r}))\n", **words)
        return said["found"], said["found ms"]
