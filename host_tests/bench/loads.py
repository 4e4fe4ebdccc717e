"""Bursts of requests: one after the other, several at once, or on one kept connection, and what came of them.

Owns who sends when. Must not know what is asked or answered: that is client.py.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from host_tests.bench.client import HOST, TIMEOUT_S, Kept, Request, Wrong, ask, check, exchange

RAMP_S = 0.003


@dataclass
class Load:
    """What a burst came to."""

    answers: int
    seconds: float
    client_share: float
    """How much of that time this process was busy: near 1, it and not the server is what was measured."""

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds


def load(port: int, requests: Sequence[Request], at_once: int, count: int = 0, seconds: float = 0.0) -> Load:
    """`count` requests in turn, or as many as begin in `seconds`; each on a connection of its own, `at_once` of them
    open. Raises Wrong at the first answer that is not right."""
    started, busy = time.perf_counter(), time.process_time()
    if at_once == 1 and seconds:
        done = _one_by_one(port, requests[0], seconds)
    elif at_once == 1:
        done = 0
        while done < count:
            ask(port, requests[done % len(requests)])
            done += 1
    else:
        done = _several(port, requests, at_once, count, started + seconds)
    # The last answers of a timed burst of several are waited for, but not counted: at its end fewer than `at_once`
    # are open.
    elapsed = seconds if seconds and at_once > 1 else time.perf_counter() - started
    return Load(done, elapsed, (time.process_time() - busy) / elapsed)


def _one_by_one(port: int, request: Request, seconds: float) -> int:
    """Ask for `seconds`; how often. The client takes part in every microsecond of this, so it does the least it can:
    one answer is looked at, the others must be equal to it."""
    right = exchange(port, request)
    check(request, right)
    until = time.perf_counter() + seconds
    done = 0
    while time.perf_counter() < until:
        if exchange(port, request) != right:
            raise Wrong(f"{request.name}: an answer unlike the first")
        done += 1
    return done


def load_kept(port: int, request: Request, seconds: float) -> Load:
    """Like load(), one request after the other on one connection."""
    started, busy, done = time.perf_counter(), time.process_time(), 0
    kept = Kept(port)
    try:
        while time.perf_counter() - started < seconds:
            kept.ask(request)
            done += 1
    finally:
        kept.close()
    elapsed = time.perf_counter() - started
    return Load(done, elapsed, (time.process_time() - busy) / elapsed)


class _Flight:
    """One request under way, its socket non-blocking."""

    def __init__(self, port: int, request: Request) -> None:
        self.request = request
        self.answer = b""
        self.sent = False
        self.since = time.perf_counter()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex((HOST, port))
        self.send()

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self) -> None:
        try:
            self.sent = self.sock.send(self.request.data) == len(self.request.data)
        except (BlockingIOError, OSError):
            # Not connected yet. A refusal shows when it is read.
            self.sent = False

    def read(self) -> bool:
        """Take what is there; whether the server has closed."""
        data = self.sock.recv(65536)
        self.answer += data
        return not data


def _several(port: int, requests: Sequence[Request], at_once: int, count: int, until: float) -> int:
    begun = done = 0
    flights: list[_Flight] = []
    started = time.perf_counter()
    try:
        while True:
            now = time.perf_counter()
            # One after the other to begin with: a backlog of 5, asyncio's, would drop some of 8 in the same instant,
            # and their next try comes a second later.
            most = min(at_once, 1 + int((now - started) / RAMP_S))
            while len(flights) < most and (begun < count if count else now < until):
                flights.append(_Flight(port, requests[begun % len(requests)]))
                begun += 1
            if not flights:
                return done
            unsent = [flight for flight in flights if not flight.sent]
            wait_s = TIMEOUT_S if most == at_once else RAMP_S
            readable, writable, _ = select.select(flights, unsent, [], wait_s)
            for flight in writable:
                flight.send()
            for flight in readable:
                if flight.read():
                    check(flight.request, flight.answer)
                    flight.sock.close()
                    flights.remove(flight)
                    done += 1 if count or time.perf_counter() < until else 0
            late = time.perf_counter() - TIMEOUT_S
            if flights[:1] and flights[0].since < late:
                raise Wrong(f"{flights[0].request.name}: no answer in {TIMEOUT_S:.0f} s")
    except OSError as error:
        raise Wrong(f"with {at_once} connections at once: {error}") from None
    finally:
        for flight in flights:
            flight.sock.close()
