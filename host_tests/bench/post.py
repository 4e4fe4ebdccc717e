"""`python -m host_tests.bench.post`: what one POST of 120 records takes of the heap, beside `requests.post`.

Owns the server, what is run and what is to be reached. Must not know how a body is made or sent: the runs are in
host_tests/vm_scripts/post_*.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from host_tests.bench.report import KB, TALLY, Row, missed, table
from host_tests.virtual_board.fakes import build_fakes
from host_tests.virtual_board.state import BoardState
from scripts import console
from scripts.build import build
from scripts.console import EXIT_FAULT, EXIT_OK, ROOT, Problem
from scripts.vm import Vm, find_vm

REQUESTS, GIVEN = "requests", "body given"
COLUMNS = (TALLY, REQUESTS, GIVEN)
RECORDS = 120
MOST_BYTES = 3 * KB
SCRIPTS_DIR = ROOT / "host_tests" / "vm_scripts"
HEAP = "192k"  # holds the stand-ins and the application; most of the rest is filled
GARBAGE_HEAP = "2m"
NEED_STEP, NEED_MOST, NEED_TRIES = 64, 24 * KB, 3
TIMEOUT_S = 120.0


class _Handler(BaseHTTPRequestHandler):
    """Takes every POST and keeps its body."""

    protocol_version = "HTTP/1.1"
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        answer = b'{"stored": %d}' % RECORDS
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1 and answers 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that ran out of memory hangs up; its run says so."""


class Bench:
    """`with Bench(vm) as bench:` the server listens and the application in `tree` (the built one) can be run."""

    def __init__(self, vm: Vm, tree: Path | None = None) -> None:
        self.vm = vm
        self.server = Server()
        self._tree = tree or build()[0]
        self._folder = tempfile.TemporaryDirectory()
        self._state = BoardState(Path(self._folder.name))
        self._environment = {
            **os.environ,
            "MICROPYPATH": f"{build_fakes()}:{SCRIPTS_DIR}:.frozen:lib",
            "TALLY_BOARD": str(self._state.board_path),
            "TALLY_FLASH": str(self._state.flash_path),
        }
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._state.close()
        self._folder.cleanup()

    def tally(self, mode: str, free_bytes: int = 0) -> dict[str, Any]:
        """Figures of the application's POST; vm_scripts/post_world.py has the modes. Problem when it breaks."""
        return self._run("post_tally", mode, free_bytes)

    def requests(self, mode: str, builds: bool, free_bytes: int = 0) -> dict[str, Any]:
        """Figures of `requests.post` of what the application posted last; nothing where the VM has no `requests`."""
        path = Path(self._folder.name, "body.json")
        if not path.exists():
            path.write_bytes(self.server.bodies[-1])
        return self._run("post_requests", mode, str(path), builds, free_bytes)

    def _run(self, script: str, *arguments: Any) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.server.server_port}/readings"
        call = f"import post_world, {script}; {script}.main{(url, *arguments)!r}"
        heap = GARBAGE_HEAP if arguments[0] == "garbage" else HEAP
        argv = [*self.vm.argv, "-X", f"heapsize={heap}", "-c", call]
        try:
            result = subprocess.run(
                argv,
                cwd=self._tree,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Problem(f"{script} did not end within {TIMEOUT_S:.0f} s", EXIT_FAULT) from None
        last = result.stdout.rpartition("FIGURES ")[2]
        if result.returncode or last == result.stdout:
            raise Problem(f"{script} failed on the VM:\n{(result.stdout + result.stderr).strip()}", EXIT_FAULT)
        return json.loads(last)


def is_whole(figures: dict[str, Any]) -> bool:
    """Whether the POST went through and all its records were acknowledged."""
    return figures.get("done") == RECORDS and figures["error"] is None


def least_free(run: Callable[[int], dict[str, Any]]) -> int | None:
    """Bytes that must be free, in one piece, for `run(free_bytes)` to go through, every time of NEED_TRIES: by
    bisection. None when NEED_MOST is too little."""
    low, high, found = NEED_STEP, NEED_MOST + NEED_STEP, None
    while high - low > NEED_STEP:
        middle = (low + high) // 2
        free = 0
        for _ in range(NEED_TRIES):
            figures = run(middle)
            free = int(figures.get("free", 0))
            if not is_whole(figures):
                low = middle
                break
        else:
            high, found = middle, free
    return found


def rows(vm: Vm, tree: Path | None = None) -> list[Row]:
    """The table's rows; a Problem when a POST with memory enough does not go through."""
    with Bench(vm, tree) as bench:
        senders: dict[str, Callable[..., dict[str, Any]]] = {
            TALLY: bench.tally,
            REQUESTS: lambda mode, free=0: bench.requests(mode, True, free),
            GIVEN: lambda mode, free=0: bench.requests(mode, False, free),
        }
        garbage = {name: _whole(name, run("garbage")) for name, run in senders.items()}
        peak = {name: _whole(name, run("peak")) for name, run in senders.items()}
        need: dict[str, float | None] = {
            name: least_free(lambda free, run=run: run("need", free)) if peak[name] else None
            for name, run in senders.items()
        }

    def figures(of: dict[str, dict[str, Any]], key: str) -> dict[str, float | None]:
        return {name: found.get(key) for name, found in of.items()}

    bits = vm.word_bits
    return [
        Row("peak over the steady state, bytes", figures(peak, "peak"), most=MOST_BYTES, word_bits=bits),
        Row("  with the log line after it", {TALLY: peak[TALLY]["with_log"]}),
        Row("  how far allocations reached", figures(peak, "reach")),
        Row("what is sent, held before that", figures(peak, "held")),
        Row("must be free, as the board collects", need),
        Row("garbage per cycle, bytes", figures(garbage, "garbage")),
    ]


def _whole(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    if figures and not is_whole(figures):
        raise Problem(f"the POST of {name} failed with memory enough ({figures}), so its figures mean nothing")
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m host_tests.bench.post", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--tree", type=Path, metavar="FOLDER", help="another build than build/device")
    options = parser.parse_args(arguments)

    def command() -> int:
        measured = rows(find_vm(), options.tree)
        print(table(measured, COLUMNS))
        if names := missed(measured):
            print(f"error: {len(names)} not reached: {'; '.join(names)}", file=sys.stderr)
            return EXIT_FAULT
        return EXIT_OK

    console.stop_on_signals()
    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
