"""Stopping the application and starting it again, around whatever a command does."""

from __future__ import annotations

import pytest

from scripts import failures, session
from scripts.console import Problem
from scripts.link import Link

BOARD = Link("/dev/ttyX")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to the board."""
    calls: list[str] = []
    monkeypatch.setattr(session, "interrupt", lambda board: calls.append("interrupt"))
    monkeypatch.setattr(session, "restart", lambda board: calls.append("restart"))
    return calls


def test_who_stops_the_application_starts_it_again(done: list[str]) -> None:
    with session.stopped(BOARD):
        done.append("work")
    assert done == ["interrupt", "work"]


@pytest.mark.parametrize("error", [Problem("disk full"), KeyboardInterrupt(), failures.named("board-full", "x")])
def test_it_starts_again_when_the_work_fails_or_is_broken_off(done: list[str], error: BaseException) -> None:
    with pytest.raises(type(error)), session.stopped(BOARD):
        raise error
    assert done == ["interrupt", "restart"]


@pytest.mark.parametrize("name", ["lost-connection", "cannot-access", "no-repl"])
def test_a_board_that_is_gone_is_not_asked_to_start(done: list[str], name: str) -> None:
    with pytest.raises(failures.ToolProblem), session.stopped(BOARD):
        raise failures.named(name, "x")
    assert done == ["interrupt"]


def test_a_restart_that_fails_does_not_hide_why_the_work_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(board: Link) -> None:
        raise failures.named("cannot-access", board.port)

    monkeypatch.setattr(session, "interrupt", lambda board: None)
    monkeypatch.setattr(session, "restart", gone)
    with pytest.raises(Problem, match="disk full"), session.stopped(BOARD):
        raise Problem("disk full")
