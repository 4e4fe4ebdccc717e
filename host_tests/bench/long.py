"""`make bench-long`: very many requests at the smallest heap that is promised, and what is left of it.

Owns the verdict: no error, no drift of the heap, no socket left open. Must not know what the server is made of.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from host_tests.bench import client, tree
from host_tests.bench.server import App
from scripts import console
from scripts.console import EXIT_ENVIRONMENT, EXIT_FAULT, EXIT_OK, EXIT_USAGE, Problem
from scripts.vm import find_vm

REQUESTS = 100_000
HEAP = "24k"
REPORT_EVERY = 10_000
TURN = 500  # so many on connections of their own, then so many on one
WARM_UP = 2 * TURN
MOST_DRIFT = 1024
MOST_ERRORS_SHOWN = 5
SETTLE_S = 0.1


class LongRun:
    """The requests of one run, counted."""

    def __init__(self, app: App, keep: bool) -> None:
        self._app = app
        self._keep = keep
        self._kept = client.Kept(app.port)
        self.errors = 0

    def send(self, first: int, last: int) -> None:
        """Requests number `first` up to `last`, the kinds in turn, each connection closed at the end."""
        for k in range(first, last):
            request = client.MIX[k % len(client.MIX)]
            try:
                if self._keep and k // TURN % 2:
                    self._kept.ask(request)
                else:
                    self._kept.close()
                    client.ask(self._app.port, request if not self._keep else client.closing(request))
            except client.Wrong as error:
                self.errors += 1
                if self.errors <= MOST_ERRORS_SHOWN:
                    print(f"request {k}: {error}", flush=True)
        self._kept.close()

    def settled(self) -> int:
        """Bytes in use on the heap after a collection, no connection open but the one that asks."""
        time.sleep(SETTLE_S)
        try:
            request = client.closing(client.SETTLED) if self._keep else client.SETTLED
            return int(client.ask(self._app.port, request).split()[1])
        except client.Wrong as error:
            raise Problem(f"the server stopped answering: {error}") from None


def long_run(requests: int, heap: str, keep: bool) -> int:
    vm = find_vm()
    tree.build(microdot=False)
    with App(vm, "tally", heap, *(["keep"] if keep else [])) as app:
        if app.open_files() is None:
            raise Problem("this system has no /proc to count a process's files in; run it on Linux", EXIT_ENVIRONMENT)
        print(f"{vm.line()}; heap {heap}, {app.ready:,} bytes of it in use after start")
        run = LongRun(app, keep)
        run.send(0, WARM_UP)
        files, base = app.open_files(), run.settled()
        print(f"after {WARM_UP:,} to warm up: {base:,} bytes in use, {files} files open", flush=True)
        started, most = time.monotonic(), base
        for first in range(0, requests, REPORT_EVERY):
            last = min(first + REPORT_EVERY, requests)
            run.send(first, last)
            now = run.settled()
            most = max(most, now)
            print(f"{last:>9,} requests: {now:,} bytes in use ({now - base:+}), {run.errors} errors", flush=True)
        left = (app.open_files() or 0) - (files or 0)
        drift = most - base
        print(f"{requests:,} requests in {time.monotonic() - started:.0f} s: {run.errors} errors, drift {drift} bytes")
        print(f"files open: {files} at the start, {app.open_files()} at the end")
    bad = [f"{run.errors} errors"] if run.errors else []
    bad += [f"the heap grew by {drift} bytes, over {MOST_DRIFT}"] if drift > MOST_DRIFT else []
    bad += [f"{left} sockets were not closed"] if left > 0 else []
    if bad:
        print(f"error: the long run failed: {'; '.join(bad)}", file=sys.stderr)
    return EXIT_FAULT if bad else EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-long", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"how many (default {REQUESTS})")
    parser.add_argument("--heap", default=HEAP, metavar="SIZE", help=f"GC heap of the VM (default {HEAP})")
    parser.add_argument("--no-keep", action="store_true", help="one request per connection, all of them")
    options = parser.parse_args(arguments)

    def command() -> int:
        if options.requests < 1:
            raise Problem(f"REQUESTS={options.requests} is no number of requests; give 1 or more", EXIT_USAGE)
        return long_run(options.requests, options.heap, not options.no_keep)

    console.stop_on_signals()
    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
