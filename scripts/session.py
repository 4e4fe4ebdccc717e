"""What every command that works on a running board does first and last: stop the application, start it again.

Owns the watchdog's part in that, and how patient a command is. Must not know what is done in between.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from scripts import tools
from scripts.console import ROOT, Problem, shown
from scripts.failures import ToolProblem
from scripts.link import Link

# A command may take longer than the application's watchdog allows, and a soft reset does not stop it. On esp32 v1.24.1
# making it again sets its time (esp32c3 port, machine_wdt.c); the reset at the end takes it away.
CALM_WATCHDOG = "import machine; machine.WDT(timeout=3600000)"
INTERRUPT_TRIES = 3
ANSWER_TIMEOUT_S = 30.0
ON_BOARD_DIR = ROOT / "scripts" / "on_board"
_SLOWEST_BYTES_PER_S = 1500
# How mpremote ends when the board did not listen, or when the answers to its first try come during the second.
_DEAF = ("no-repl", "time-out", "lost-connection")
_GONE = (*_DEAF, "cannot-access", "no-such-port")


def on_board(name: str) -> str:
    """Path of a script of scripts/on_board, for `mpremote run`."""
    return shown(ON_BOARD_DIR / f"{name}.py")


def timeout_s(size_bytes: int = 0) -> float:
    """How long an answer may take, or a file of that size on its way."""
    return ANSWER_TIMEOUT_S + size_bytes / _SLOWEST_BYTES_PER_S


def resume(board: Link, *command: str, size_bytes: int = 0) -> str:
    """One mpremote command without the soft reset: what was defined on the board is still there. `size_bytes` is the
    size of a file that travels."""
    return tools.mpremote(board, "resume", *command, timeout_s=timeout_s(size_bytes))


def call(function: str, *arguments: str) -> str:
    """Python that calls a function on the board; in double quotes, for the shell puts single ones around it."""
    return f"{function}({', '.join(json.dumps(argument, ensure_ascii=False) for argument in arguments)})"


def say_tap_reset(board: Link) -> None:
    """After esptool, at a bridge that can't reset the board."""
    if "no-reset" in board.esptool_args:
        print("a port without reset lines: if the board does not start by itself, tap RESET", flush=True)


def interrupt(board: Link) -> None:
    """Stop the application and give its watchdog an hour. An application that just looks up a name at a dead server
    hears nothing for 14 s, longer than mpremote waits: so there is more than one try."""
    for left in reversed(range(INTERRUPT_TRIES)):
        try:
            resume(board, "exec", CALM_WATCHDOG)
            return
        except ToolProblem as problem:
            if not left or problem.name not in _DEAF:
                raise
            print("no answer yet, trying again", flush=True)


def restart(board: Link) -> None:
    """A hard reset: unlike a soft one it runs main.py and stops the watchdog."""
    resume(board, "reset")


@contextlib.contextmanager
def started_if_it_fails(board: Link) -> Iterator[None]:
    """A board that still answers is started again when what is done with it fails or is broken off."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, ToolProblem) or error.name not in _GONE:
            with contextlib.suppress(Problem):
                restart(board)
        raise


@contextlib.contextmanager
def stopped(board: Link) -> Iterator[None]:
    """The application is stopped. Who stopped it starts it again; when what is done in between fails, this does."""
    interrupt(board)
    with started_if_it_fails(board):
        yield
