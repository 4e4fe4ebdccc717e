"""`make doctor`: one page of what is right and wrong with the tools, the port and the board.

Owns the order in which the board is asked: the stopped application first, while it is still loaded, then, after a soft
reset, files and flash, then the restart. Must not judge: scripts/doctor_rows.py does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from scripts import board_files, console, doctor_rows, flash, identity, link, partitions, session, tools
from scripts.build import build
from scripts.console import EXIT_ENVIRONMENT, EXIT_FAULT, EXIT_OK, Problem
from scripts.deploy_plan import MANIFEST_PATH, BoardFile, files_of
from scripts.doctor_rows import NOTE, OK, WRONG, Row
from scripts.failures import ToolProblem, last_words
from scripts.firmware import read_versions
from scripts.link import Link

NO_PROMPT = ("no-repl", "time-out")
CHECK_SETTINGS = "import json; from app.settings import load; print(json.dumps(load()[1]))"


class Board:
    """One board being asked; `rows` grows as it answers."""

    def __init__(self, board: Link) -> None:
        self._link = board
        self.rows: list[Row] = []

    def examine(self) -> None:
        """Ask everything. What goes wrong on the way becomes a row."""
        print("the board is asked now: the application stops for some seconds and starts again at the end", flush=True)
        try:
            session.interrupt(self._link)
        except ToolProblem as problem:
            self._no_answer(problem)
            return
        try:
            self._ask()
        except Problem as problem:
            self.rows.append(trouble("board", problem))
        finally:
            self._restart()

    def _ask(self) -> None:
        facts, here_s = self._facts()
        inventory = board_files.inventory(self._link)
        who = identity.ask(self._link)
        manifest = files_of(board_files.manifest_text(self._link, inventory))
        self.rows += doctor_rows.chip(who)
        self.rows += doctor_rows.firmware(who, read_versions().image.micropython)
        self.rows += doctor_rows.partition_table(who.partitions, partitions.read_csv())
        self.rows += doctor_rows.files(inventory, manifest, self._built())
        self.rows += doctor_rows.free_space(inventory)
        if manifest:
            self._check_settings()
        self.rows += doctor_rows.running(facts, here_s)

    def _facts(self) -> tuple[dict[str, Any], float]:
        """What the stopped application knew, and this computer's time when it was told. A row when not all was told."""
        facts: dict[str, Any] = {}
        here_s = 0.0

        def take(line: str) -> None:
            nonlocal here_s
            told = object_in(line)
            facts.update(told)
            if "chip_s" in told:
                here_s = time.time()

        try:
            words = ("resume", "run", session.on_board("facts"), "+", "run", session.on_board("app_facts"))
            tools.mpremote(self._link, *words, timeout_s=session.timeout_s(), on_line=take)
        except ToolProblem as problem:
            if problem.name:
                raise
            self.rows.append(Row(NOTE, "app", f"it does not tell all of its state: {last_words(problem.output)}"))
        return facts, here_s

    def _built(self) -> dict[str, BoardFile]:
        try:
            tree, _ = build()
        except Problem as problem:
            self.rows.append(Row(NOTE, "files", f"this checkout can't be built: {problem}"))
            return {}
        return files_of((tree / MANIFEST_PATH[1:]).read_text())

    def _check_settings(self) -> None:
        try:
            problems = json.loads(session.resume(self._link, "exec", CHECK_SETTINGS))
        except ToolProblem as problem:
            if problem.name:
                raise
            why = last_words(problem.output)
            self.rows.append(Row(WRONG, "settings", f"the application can't read them: {why}", "make deploy"))
        else:
            self.rows += doctor_rows.settings(problems)

    def _restart(self) -> None:
        try:
            session.restart(self._link)
        except ToolProblem as problem:
            self.rows.append(trouble("board", problem))

    def _no_answer(self, problem: ToolProblem) -> None:
        """No prompt: does the chip's own loader answer?"""
        if problem.name not in NO_PROMPT:
            self.rows.append(trouble("board", problem))
            return
        try:
            flash.check_chip(self._link)
        except Problem as error:
            self.rows.append(trouble("chip", error))
            return
        self.rows.append(Row(OK, "chip", "an ESP32-C3 with enough flash; its own loader answers"))
        what = "no MicroPython prompt: none is flashed, it is damaged, or its program does not let go"
        self.rows.append(Row(WRONG, "firmware", what, "make flash; it asks before it erases what is on the board"))


def object_in(line: str) -> dict[str, Any]:
    """The JSON object on a line of output; empty for other lines."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def trouble(subject: str, problem: Problem) -> Row:
    """A Problem as a row: its sentence has the remedy."""
    return Row(WRONG, subject, str(problem), here=problem.exit_code != EXIT_FAULT)


def doctor(args: argparse.Namespace) -> int:
    rows = list(doctor_rows.tools(read_versions()))
    if not any(row.here for row in rows):
        try:
            board = link.from_args(args)
        except Problem as problem:
            rows.append(trouble("port", problem))
        else:
            rows.append(Row(OK, "port", board.port))
            asked = Board(board)
            asked.examine()
            rows += asked.rows
    print("\n".join(["", *map(str, rows)]))
    wrong = [row for row in rows if row.level == WRONG]
    if any(row.here for row in wrong):
        return EXIT_ENVIRONMENT
    return EXIT_FAULT if wrong else EXIT_OK


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="make doctor", description="One page of what is right and wrong.")
    link.add_arguments(p)
    args = p.parse_args(argv)
    console.stop_on_signals()
    return console.run(lambda: doctor(args))


if __name__ == "__main__":
    sys.exit(main())
