"""What the requests to the fault server did: each reading that arrived, and what is left when repeats are dropped.

Owns the two ways to drop them that docs/telemetry.md names, each counted by itself. Must not know connections.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

Reading = tuple[str, int, Any]
"""Device, number, and the reading as it came."""


class Posted(Protocol):
    """What the ledger needs of a request."""

    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def body(self) -> bytes: ...


def read_json(request: Posted) -> list[Reading]:
    """The readings of a body in version 1; none of any other body."""
    try:
        body = json.loads(request.body)
        return [(body["device"], reading[0], reading) for reading in body["readings"]]
    except (ValueError, KeyError, TypeError, IndexError):
        return []


class Ledger:
    """By (device, seq): `arrived` how often a reading was committed, `by_key` how often it took effect for a server
    that drops repeats by Idempotency-Key alone, `readings` what one that drops them by seq has. `conflicts`: keys that
    came again with another body. `read` takes a request apart, JSON unless a test sets another."""

    def __init__(self) -> None:
        self.read: Callable[[Posted], list[Reading]] = read_json
        self.readings: dict[tuple[str, int], Any] = {}
        self.arrived: Counter[tuple[str, int]] = Counter()
        self.by_key: Counter[tuple[str, int]] = Counter()
        self.conflicts: list[str] = []
        self._bodies: dict[str, bytes] = {}

    def commit(self, request: Posted) -> None:
        """A request takes effect."""
        readings = [((device, seq), reading) for device, seq, reading in self.read(request)]
        self.arrived.update(what for what, _ in readings)
        for what, reading in readings:
            self.readings.setdefault(what, reading)
        key = request.headers.get("idempotency-key", "")
        if key and key in self._bodies:
            if self._bodies[key] != request.body:
                self.conflicts.append(key)
            return
        self._bodies[key] = request.body
        self.by_key.update(what for what, _ in readings)

    def doubled_by_key(self) -> list[tuple[str, int]]:
        """What took effect twice where repeats are dropped by key."""
        return [what for what, times in self.by_key.items() if times > 1]
