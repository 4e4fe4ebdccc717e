"""`make repl`, `make reset`, `make erase`: the board's prompt, a restart, an empty flash.

Owns these three short ways. Must not know the application.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys

from scripts import console, flash, link, session, tools
from scripts.ask import confirm
from scripts.console import EXIT_OK, Problem
from scripts.link import Link


def repl(board: Link) -> int:
    """The board's prompt in this terminal, until the person leaves it."""
    words = ("connect", board.port, *board.mpremote_args, "resume", "repl")
    session.interrupt(board)  # and with it the watchdog, which would end the session after a minute
    print("the application is stopped; Ctrl-] leaves, and make reset starts it again")
    print(f"$ {shlex.join(['.venv/bin/mpremote', *words])}", flush=True)
    code = subprocess.run([*tools.COMMANDS["mpremote"], *words], env=tools.environment(), check=False).returncode
    if code:
        raise Problem(f"mpremote ended with status {code}; it says why above. Ask the board with: make doctor")
    return EXIT_OK


def reset(board: Link) -> int:
    session.interrupt(board)
    session.restart(board)
    print("the board starts again; look on with: make log")
    return EXIT_OK


def erase(board: Link, force: bool) -> int:
    if not force:
        what = f"this erases all that the board at {board.port} holds: firmware, files, settings, readings"
        confirm(what, "Erase it?", "`make backup` saves settings and data first, FORCE=1 erases without asking.")
    flash.erase(board)
    print("erased. Next: make flash")
    return EXIT_OK


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="make repl, make reset, make erase", description="The board itself.")
    p.add_argument("command", choices=("repl", "reset", "erase"))
    link.add_arguments(p)
    p.add_argument("--force", action="store_true", help="FORCE=1: erase without asking")
    args = p.parse_args(argv)

    def command() -> int:
        board = link.from_args(args)
        if args.command == "erase":
            return erase(board, args.force)
        return {"repl": repl, "reset": reset}[args.command](board)

    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
