"""`make provision`: stores Wi-Fi and other settings on the board over its serial port, and looks whether it joins.

Owns the way of the values: they travel through a pipe, so that no process list, file, log or output has them. What a
value may be is for the board to say (device/app/settings.py). Must not know how the board keeps settings.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scripts import ca_file, console, failures, link, session, startup, tools
from scripts.console import EXIT_OK, EXIT_USAGE, Problem
from scripts.link import Link

PASSWORD_VARIABLE = "PASSWORD"
_WIFI = ("wifi_ssid", "wifi_password")
_MOST_SOURCE_BYTES = 16 * 1024  # what a pipe surely takes while nobody reads it


def wanted(args: argparse.Namespace) -> dict[str, str]:
    """The settings to store by their names on the board, asked for where a person is there to answer. Problem when
    something is missing or can't be sent; it never quotes a value."""
    changes = _further(args.set)
    if args.ssid or PASSWORD_VARIABLE in os.environ or not (changes or args.ca):
        changes |= dict(zip(_WIFI, (args.ssid or _ask_ssid(), _password()), strict=True))
    for name, value in changes.items():
        if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in value):
            raise Problem(f"{name} has a line break, a control character or no valid UTF-8. Leave it out.", EXIT_USAGE)
    return changes


def _further(text: str) -> dict[str, str]:
    """Of SET="name=value name='other value'"."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Problem(f"SET can't be read ({error}). Close the quote.", EXIT_USAGE) from error
    changes = {}
    for number, word in enumerate(words, 1):
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            form = "SET=\"sample_period_s=60 name='My Tally'\""
            raise Problem(f"word {number} of SET is no name=value. Write it like {form}.", EXIT_USAGE)
        if name in _WIFI:
            raise Problem(f"{name} does not belong into SET. Give the network with SSID= and PASSWORD=.", EXIT_USAGE)
        changes[name] = value
    return changes


def _ask_ssid() -> str:
    if not sys.stdin.isatty():
        raise Problem("no network is named. Give SSID=your-network.", EXIT_USAGE)
    with _no_answer_is_a_problem():
        if ssid := input("Wi-Fi network (SSID): "):
            return ssid
    raise Problem("no network is named. Run the command again with SSID=your-network.", EXIT_USAGE)


def _password() -> str:
    """From the environment, where make puts what its command line says, or from the terminal."""
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    if not sys.stdin.isatty():
        fix = (
            "Set the environment variable PASSWORD (empty for an open network), or run this in a terminal to be asked."
        )
        raise Problem(f"no password is given. {fix}", EXIT_USAGE)
    with _no_answer_is_a_problem():
        return getpass.getpass("Wi-Fi password (not shown; nothing for an open network): ")


@contextlib.contextmanager
def _no_answer_is_a_problem() -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise Problem("no answer. Nothing was changed.", EXIT_USAGE) from error


@contextlib.contextmanager
def _pipe_with(content: bytes) -> Iterator[int]:
    """The reading end of a pipe that has this and ends."""
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as file:
            file.write(content)
        yield reading
    finally:
        os.close(reading)


def store(board: Link, changes: dict[str, str]) -> tuple[str, list[str]]:
    """Have the board check and store: what scripts/on_board/provision.py answers. The board is left at its prompt."""
    source = (session.ON_BOARD_DIR / "provision.py").read_bytes() + f"\nprovision({changes!r})\n".encode()
    if len(source) > _MOST_SOURCE_BYTES:
        raise Problem("the values are too long for a board. Shorten them.", EXIT_USAGE)
    print("the values travel through a pipe, so the next line can't be repeated by hand:", flush=True)
    with _pipe_with(source) as pipe:
        said = tools.mpremote(
            board, "soft-reset", "run", f"/dev/fd/{pipe}", timeout_s=session.timeout_s(), pass_fds=(pipe,)
        )
    try:
        outcome, details = json.loads(said.splitlines()[-1])
    except (IndexError, TypeError, ValueError) as error:
        fix = "Run make doctor to see what is stored."
        raise Problem(f"the board's answer can't be read, so it is not sure that it stored. {fix}") from error
    return outcome, details


def check_stored(board: Link, outcome: str, details: list[str]) -> None:
    """Problem unless the answer of `store` is that all is stored."""
    if outcome == "no-app":
        raise Problem(f"the board at {board.port} has no Tally. Run make deploy first, then make provision again.")
    if outcome == "refused":
        raise Problem("\n".join(["nothing was stored, for the board says:", *(f"  {line}" for line in details)]))
    if details == ["OSError 28"]:
        raise failures.named("board-full", board.port)
    if outcome != "stored":
        fix = "Run it again; if it stays so, run make doctor."
        raise Problem(f"the board could not store the settings ({', '.join(details)}). {fix}")


def provision(args: argparse.Namespace) -> int:
    board = link.from_args(args)
    with tempfile.TemporaryDirectory() as folder:
        certificate = ca_file.prepared(Path(args.ca), Path(folder)) if args.ca else None
        changes = wanted(args) | ({"telemetry_ca": ca_file.ON_BOARD} if certificate else {})
        with session.stopped(board):
            if certificate:
                size_bytes = certificate.stat().st_size
                session.resume(board, "fs", "cp", "-f", str(certificate), f":{ca_file.ON_BOARD}", size_bytes=size_bytes)
            outcome, details = store(board, changes)
            session.restart(board)
    check_stored(board, outcome, details)
    print(f"stored: {', '.join(changes)}", flush=True)
    if args.no_wait:
        return EXIT_OK
    url = startup.wait_until_up(board, "stored")
    print(f"Tally is up: {url}" if url else "Tally runs, without a network. Name one with: make provision SSID=...")
    return EXIT_OK


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="make provision", description="Store Wi-Fi and other settings on the board.")
    link.add_arguments(p)
    # From the environment, where make puts them: what is set may be a secret, and a process list shows arguments.
    ssid, further, ca = (os.environ.get(name, "") for name in ("SSID", "SET", "CA"))
    p.add_argument("--ssid", default=ssid, help="SSID: the network to join (asked for if neither it nor SET is given)")
    p.add_argument("--set", default=further, help='SET: other settings, "sample_period_s=60 telemetry_url=http://..."')
    p.add_argument("--ca", default=ca, help="CA: a file with the certificate that telemetry over https is to trust")
    p.add_argument("--no-wait", action="store_true", help="don't follow the log until the board is in the network")
    p.epilog = "The Wi-Fi password is asked for, or taken from the environment variable PASSWORD; empty: open network."
    args = p.parse_args(argv)
    console.stop_on_signals()
    return console.run(lambda: provision(args))


if __name__ == "__main__":
    sys.exit(main())
