"""One app of the bench running on the VM: started, heard of, and ended by its own handle.

Must not know what is asked of it.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType

from host_tests.bench.tree import BENCH_DIR
from host_tests.device import free_port
from scripts.console import EXIT_FAULT, Problem
from scripts.vm import Vm

START_TIMEOUT_S = 10.0


class TooSmall(Problem):
    """The app ended before it listened, as it does when the heap is too small for it."""


class App:
    """`with App(vm, "tally", "64k") as app:` it listens at `app.port`; `app.ready` is its heap then."""

    def __init__(self, vm: Vm, name: str, heap: str, *arguments: str) -> None:
        self.name = name
        self.port = free_port()
        # A person's own import path has nothing to do with it.
        environment = {key: value for key, value in os.environ.items() if key != "MICROPYPATH"}
        self._process = subprocess.Popen(
            [*vm.argv, "-X", f"heapsize={heap}", f"bench_{name}.py", str(self.port), *arguments],
            cwd=BENCH_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            self.ready = self._wait()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> App:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def open_files(self) -> int | None:
        """How many file descriptors the VM has open; None where the system doesn't tell."""
        folder = Path(f"/proc/{self.pid}/fd")
        return len(list(folder.iterdir())) if folder.is_dir() else None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def _wait(self) -> int:
        assert self._process.stdout
        until = time.monotonic() + START_TIMEOUT_S
        said = b""
        while (left := until - time.monotonic()) > 0:
            if select.select([self._process.stdout], [], [], left)[0]:
                data = os.read(self._process.stdout.fileno(), 4096)
                said += data
                if said.startswith(b"READY ") and b"\n" in said:
                    return int(said.split()[1])
                if not data:
                    last = said.decode(errors="replace").strip().rpartition("\n")[2]
                    raise TooSmall(f"the bench's {self.name} app ended before it listened: {last or 'it said nothing'}")
        raise Problem(f"the bench's {self.name} app did not listen within {START_TIMEOUT_S:.0f} s", EXIT_FAULT)
