"""A device that posts to a FaultServer on the board's own clock, and what the two have to agree on.

Owns the wiring, the waiting in virtual time, and the counts that every test of telemetry ends with. Must not know
what is wrong with the server: that is the test's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from host_tests.device import Device
from host_tests.fault_ledger import Posted, Reading, read_json
from host_tests.fault_request import Request
from host_tests.fault_server import FaultServer
from host_tests.virtual_board.vm import registers as r

MINUTE_MS = 60_000
LONGEST_PAUSE_MS = 15 * MINUTE_MS
PAGE_P99_MS = 150
"""Of a page, on the wall's clock, when nothing else runs on the computer."""
PAGE_BESIDE_OTHERS_MS = 750
"""The same in `make test`, where as many tests run as there are workers."""
PAUSE_LINE = re.compile(r"telemetry: (.*), next try in (\d+) s$")


class World:
    """`page_ms` are the wall times of all pages that were asked for with `page()`."""

    def __init__(self, device: Device, server: FaultServer) -> None:
        self.device = device
        self.server = server
        self.page_ms: list[float] = []

    # --- time -------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The board's time; it goes on over a restart."""
        return time.monotonic_ns() // 1_000_000 + self.device.state[r.SKIPPED_MS]

    def advance(self, ms: int) -> None:
        self.device.advance(ms)

    def until(self, condition: Callable[[], object], most_ms: int, step_ms: int = 500) -> int:
        """Let time pass in steps until the condition holds; how much it was."""
        start_ms = self.now_ms()
        while not condition():
            assert self.now_ms() - start_ms <= most_ms, f"not within {most_ms} ms: {self.said()}"
            self.device.advance(step_ms)
        return self.now_ms() - start_ms

    # --- the board --------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        try:
            return self.device.status()
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"{error}: {self.said()}") from error

    def post(self) -> dict[str, Any]:
        """What the board says of its telemetry."""
        return self.status()["post"]

    def page(self, path: str = "/") -> str:
        """A page, which has to come; its time is kept."""
        start = time.perf_counter()
        answer = self.device.get(path)
        self.page_ms.append(1000 * (time.perf_counter() - start))
        assert answer.status == 200, (answer, self.said())
        return answer.text

    def page_p99_ms(self) -> float:
        return sorted(self.page_ms)[len(self.page_ms) * 99 // 100]

    def pauses_s(self) -> list[int]:
        """The pauses that the board has announced, in seconds."""
        return [int(found[2]) for line in self.log_lines() if (found := PAUSE_LINE.search(line))]

    def log_lines(self) -> list[str]:
        return self.device.log().splitlines()

    def said(self) -> str:
        """The end of the log, for a test that fails."""
        return "\n".join(["the log ends:", *self.device.log().splitlines()[-25:]])

    def set(self, **form: str | int) -> None:
        """Change settings that the page may change."""
        from urllib.parse import urlencode

        self.device.post("/settings", urlencode(form).encode())
        assert "Saved" in self.device.get("/tips").text

    # --- the server -------------------------------------------------------------------------------

    def requests(self) -> list[Request]:
        return self.server.requests

    def arrived(self) -> list[int]:
        """Numbers in the order in which they took effect for the first time."""
        return [seq for _, seq in self.server.readings]

    def newest(self) -> int:
        """The highest number that took effect, 0 if none."""
        return max(self.arrived(), default=0)

    def seqs_of(self, request: Request) -> list[int]:
        return [seq for _, seq, _ in self.server.ledger.read(request)]

    # --- what must hold ---------------------------------------------------------------------------

    def assert_sound(self, restarts: int = 0) -> dict[str, Any]:
        """Identities of the ledger, no slot missed, nothing died; the status."""
        status = self.status()
        ledger = status["ledger"]
        assert ledger["taken"] == ledger["stored"] + ledger["rejected"], ledger
        assert ledger["stored"] == ledger["acknowledged"] + ledger["pending"] + ledger["expired"], ledger
        assert ledger["rejected"] == ledger["expired"] == 0, ledger
        assert status["sampling"]["missed_slots"] == 0, self.said()
        assert status["restarts"] == {} and len(self.device.board.resets) == restarts, self.said()
        assert "MemoryError" not in self.device.log()
        return status

    def assert_delivered(self, held: tuple[int, ...] = (), by_key: bool = True) -> int:
        """Every number up to the newest has arrived but for those `held`, in order, and none takes effect twice; how
        many they are."""
        arrived = self.arrived()
        assert arrived == [seq for seq in range(1, max(arrived) + 1) if seq not in held], self.said()
        assert self.server.ledger.conflicts == []
        assert not by_key or self.server.ledger.doubled_by_key() == []
        assert self.server.bad == []
        return len(arrived)


@contextmanager
def posting(
    make_device: Callable[..., Device],
    path: str = "",
    boot: bool = True,
    until: str = "clock: set by NTP",
    read: Callable[[Posted], list[Reading]] = read_json,
    **settings: Any,
) -> Iterator[World]:
    """A board that is up, unless it is not to `boot`, and posts to `path` of its server. That goes by the board's clock
    and takes bodies apart with `read`. `settings` are the board's own."""
    device = make_device()
    with FaultServer(state=device.state) as server:
        server.ledger.read = read
        url = server.url.replace("/readings", path) if path else server.url
        device.write_settings({**device.read_settings(), "telemetry_url": url, **settings})
        world = World(device, server)
        if boot:
            device.start(collector=False, until=until)
        yield world
        device.board.stop()
