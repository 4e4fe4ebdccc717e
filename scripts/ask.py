"""The question before something is lost for good. Must not know what."""

from __future__ import annotations

import sys

from scripts.console import EXIT_USAGE, Problem


def confirm(what: str, question: str, ways: str) -> None:
    """Return when a person answers yes. Problem when not, or when nobody can be asked; `ways` says what else to do."""
    if not sys.stdin.isatty():
        raise Problem(f"{what}. Nothing was erased. {ways}", EXIT_USAGE)
    print(f"{what}.")
    try:
        answer = input(f"{question} Type yes: ")
    except EOFError:
        answer = ""
    if answer.strip().lower() != "yes":
        raise Problem(f"not confirmed, so nothing was erased. {ways}", EXIT_USAGE)
