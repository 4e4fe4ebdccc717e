"""`make deploy`: makes the application on the board equal to build/device, and starts it.

Owns what is sent and removed and in which order: changed files are staged beside the old ones, checked by hash on the
board, and committed by one rename; device/lib/install.py then puts them in place, here or at the next boot. So a board
runs the old or the new application, wherever a deploy is broken off. Settings and data are not touched. Must not know
how bytes reach the board (mpremote does) nor what the files mean.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from scripts import board_files, console, link, session, startup
from scripts.build import build
from scripts.console import EXIT_OK, EXIT_USAGE, ROOT, Problem
from scripts.deploy_plan import (
    COMMIT,
    MANIFEST_PATH,
    NEXT,
    BoardFile,
    Inventory,
    check_space,
    files_of,
    make_plan,
    staged_name,
)
from scripts.firmware import read_versions, sha256_of
from scripts.link import Link

INSTALL_PATH = ROOT / "device" / "lib" / "install.py"
# The count that leads to rescue mode (device/main.py) was another application's.
FORGET_CRASHES = 'import machine; machine.RTC().memory(b"")'
SEND_TRIES = 3


class Deploy:
    """One deploy over one link."""

    def __init__(self, board: Link, tree: Path) -> None:
        self._link = board
        self._tree = tree
        manifest = (tree / MANIFEST_PATH[1:]).read_bytes()
        self._wanted = {**files_of(manifest.decode()), MANIFEST_PATH: BoardFile(sha256_of(manifest), len(manifest))}
        self._started_s = time.monotonic()

    def run(self) -> tuple[int, int]:
        """Bring the files over; (files sent, files removed), the manifest not counted."""
        board = self._look()
        plan = make_plan(board, files_of(board_files.manifest_text(self._link, board)), self._wanted)
        if plan.is_empty:
            if plan.left_over:
                self._call("begin", *plan.left_over)
                self._call("os.rmdir", NEXT[:-1])
        else:
            check_space(board, plan, self._wanted)
            self._call("begin", *plan.left_over)
            self._send_all(plan.send)
            self._call("commit", *plan.remove)
            self._install()
        return len([path for path in plan.send if path != MANIFEST_PATH]), len(plan.remove)

    def _look(self) -> Inventory:
        """The board's files, after finishing what an earlier deploy committed."""
        board = board_files.inventory(self._link)
        wanted = read_versions().image.micropython
        if board.release != wanted:
            raise Problem(f"the board runs MicroPython {board.release}, Tally needs {wanted}. Run: make flash")
        if COMMIT in board.files:
            print("finishing the deploy that was broken off", flush=True)
            self._install()
            board = board_files.inventory(self._link)
        return board

    def _send_all(self, paths: list[str]) -> None:
        total = sum(self._wanted[path].size_bytes for path in paths)
        sent = 0
        for number, path in enumerate(paths, 1):
            self._send(path, self._wanted[path])
            sent += self._wanted[path].size_bytes
            seconds = time.monotonic() - self._started_s
            done = f"[{number}/{len(paths)}] {sent / 1024:.1f} of {total / 1024:.1f} KB, {seconds:.0f} s"
            print(f"{done}: {path[1:]}", flush=True)

    def _send(self, path: str, file: BoardFile) -> None:
        local = console.shown(self._tree / path[1:])
        copy = ["fs", "cp", "-f", local, f":{NEXT}part"]
        stage = ["exec", session.call("stage", staged_name(path), file.sha256)]
        for _ in range(SEND_TRIES):
            answer = session.resume(self._link, *copy, "+", *stage, size_bytes=file.size_bytes)
            if answer.rstrip().endswith("staged"):
                return
            print(f"{path[1:]} arrived damaged, sending it again", flush=True)
        fix = "Use a shorter or better cable, then run make deploy again: it goes on where it stopped."
        raise Problem(f"{path[1:]} arrived damaged {SEND_TRIES} times. {fix}")

    def _install(self) -> None:
        said = session.resume(self._link, "run", console.shown(INSTALL_PATH), "+", "exec", "print(apply())")
        if not said.rstrip().endswith("True"):
            fix = "Remove it (make repl: import os; os.remove('/next/commit')), then run make deploy again."
            raise Problem(f"the board holds a deploy of another version of Tally that this one can't finish. {fix}")
        session.resume(self._link, "exec", FORGET_CRASHES)

    def _call(self, function: str, *arguments: str) -> None:
        """One of inventory.py's functions."""
        session.resume(self._link, "exec", session.call(function, *arguments))


def deploy(args: argparse.Namespace) -> int:
    tree = Path(args.tree) if args.tree else build()[0]
    if not (tree / MANIFEST_PATH[1:]).is_file():
        raise Problem(f"{tree} is not what make build makes: it has no {MANIFEST_PATH[1:]}.", EXIT_USAGE)
    board = link.from_args(args)
    started_s = time.monotonic()
    with session.stopped(board):
        sent, removed = Deploy(board, tree).run()
        files = "1 file" if sent == 1 else f"{sent} files"
        print(f"{files} sent, {removed} removed, {time.monotonic() - started_s:.0f} s", flush=True)
        session.restart(board)
    url = startup.wait_until_up(board, "deployed")
    if url:
        print(f"Tally is up: {url}")
    else:
        print(f"Tally runs, without a network. Next: make provision PORT={shlex.quote(board.port)} SSID=your-network")
    return EXIT_OK


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="make deploy", description="Send what changed to the board and start it.")
    link.add_arguments(p)
    p.add_argument("--tree", default="", help="send this folder, which make build made, instead of building")
    args = p.parse_args(argv)
    console.stop_on_signals()
    return console.run(lambda: deploy(args))


if __name__ == "__main__":
    sys.exit(main())
