"""What every command shares: paths, the error people see, and exit codes.

Owns the wording rule (what happened, why, what to do) and the exit codes listed in docs/commands.md.
Must not know any single command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD_DIR = ROOT / "build"
DEVICE_BUILD_DIR = BUILD_DIR / "device"
CACHE_DIR = ROOT / ".cache"

EXIT_OK = 0
EXIT_FAULT = 1
"""The command ran and what it does failed."""
EXIT_USAGE = 2
"""The command line or a setting is wrong; nothing was done."""
EXIT_ENVIRONMENT = 3
"""Something this machine should offer is missing (VM, network, tool, free port)."""


class Problem(Exception):
    """A failure that a person can act on: one or two sentences saying what happened, why and what to do."""

    def __init__(self, message: str, exit_code: int = EXIT_FAULT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def shown(path: Path) -> str:
    """A path as a person in this folder would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def check_free_port(port: int, what: str, way_out: str) -> None:
    """Problem when a TCP port of 127.0.0.1 is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Problem(
                f"port {port} for the {what} is in use on this computer. "
                f"Stop what uses it or choose another: {way_out}",
                EXIT_ENVIRONMENT,
            ) from error


@contextlib.contextmanager
def own_terminal() -> Iterator[None]:
    """Take Ctrl-C for ourselves: in a terminal `make` would die of it and report a failure, though we end well."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        yield
        return
    old_group = os.tcgetpgrp(terminal)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    in_foreground = old_group == os.getpgrp()
    try:
        if in_foreground and os.getpid() != os.getpgrp():
            os.setpgid(0, 0)
            os.tcsetpgrp(terminal, os.getpgrp())
        yield
    finally:
        if in_foreground:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(terminal, old_group)
        os.close(terminal)


def stop_on_signals() -> None:
    """SIGINT and SIGTERM raise KeyboardInterrupt, also in a shell script's background job, which ignores SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def run(command: Callable[[], int]) -> int:
    """Run a command body; turn a Problem into its sentence on stderr and its exit code. Ctrl-C is 130."""
    try:
        return command()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:  # nobody reads on, as after `| head`
        return EXIT_FAULT
