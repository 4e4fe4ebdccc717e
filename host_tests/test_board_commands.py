"""`make repl`, `make reset` and `make erase` on a board behind a port, and the question before something is lost."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pytest

from host_tests.serial_device import NO_RESET, SerialDevice
from host_tests.virtual_board.vm import registers as r
from scripts import ask, board
from scripts.console import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE, ROOT, Problem

MakeSerial = Callable[..., SerialDevice]
CTRL_RIGHT_BRACKET = b"\x1d"
PATIENCE_S = 30


class Terminal:
    """A command as a person runs it in a terminal."""

    def __init__(self, device: SerialDevice, *words: str) -> None:
        self._master, slave = pty.openpty()
        argv = [sys.executable, "-m", "scripts.board", *words, f"--port={device.tty}", f"--esptool-args={NO_RESET}"]
        self.process = subprocess.Popen(argv, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.shown = b""

    def wait_for(self, pattern: str) -> None:
        """Read until it appears after what was waited for before."""
        until = time.monotonic() + PATIENCE_S
        seen = len(self.shown)
        while not re.search(pattern.encode(), self.shown[seen:]):
            assert time.monotonic() < until, self.shown
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._master, 4096)
                except OSError:  # the command has ended
                    assert re.search(pattern.encode(), self.shown[seen:]), self.shown
                    return

    def wait_until_raw(self) -> None:
        """Until keys reach the command one by one and unchanged."""
        until = time.monotonic() + PATIENCE_S
        while termios.tcgetattr(self._master)[3] & termios.ICANON:
            assert time.monotonic() < until, self.shown
            time.sleep(0.01)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            os.close(self._master)


def is_empty(device: SerialDevice) -> bool:
    return not device.state.flash_path.read_bytes().strip(b"\xff")


# --- repl -----------------------------------------------------------------------------------------


@pytest.mark.vm
def test_repl_joins_the_terminal_with_the_prompt_until_the_person_leaves(at_prompt: SerialDevice) -> None:
    terminal = Terminal(at_prompt, "repl")
    terminal.wait_for(r"application is stopped; Ctrl-\] leaves[^$]*\$ .venv/bin/mpremote connect \S+ resume repl")
    terminal.wait_for("Use Ctrl-]")
    terminal.wait_until_raw()
    terminal.type(b"\rprint(6*7)\r")
    terminal.wait_for(r"\n42\r\n>>> ")
    terminal.type(CTRL_RIGHT_BRACKET)
    assert terminal.end() == EXIT_OK


@pytest.mark.vm
def test_the_watchdog_of_the_stopped_application_does_not_end_the_session(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.plug_in()
    device.board.wait_for_line("clock: set by NTP")
    terminal = Terminal(device, "repl")
    terminal.wait_for("Use Ctrl-]")
    assert device.state[r.WDT_TIMEOUT_MS] == 3_600_000
    terminal.wait_until_raw()
    terminal.type(CTRL_RIGHT_BRACKET)
    assert terminal.end() == EXIT_OK


def test_repl_says_when_mpremote_fails(monkeypatch, capfd) -> None:
    monkeypatch.setitem(board.tools.COMMANDS, "mpremote", (sys.executable, "-c", "raise SystemExit('no terminal')"))
    monkeypatch.setattr(board.session, "interrupt", lambda link: None)
    with pytest.raises(Problem, match="status 1"):
        board.repl(board.Link("/dev/ttyX"))
    assert "no terminal" in capfd.readouterr().err


# --- reset ----------------------------------------------------------------------------------------


@pytest.mark.vm
def test_reset_starts_an_application_that_was_stopped(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.plug_in()
    device.board.wait_for_line("clock: set by NTP")
    device.serial.feed(b"\x03")
    device.wait_at_prompt()
    result = device.run("board", "reset")
    assert result.returncode == EXIT_OK, result.stderr
    device.board.wait_for_line("boot 2 after reset")


# --- erase ----------------------------------------------------------------------------------------


@pytest.mark.vm
def test_erase_without_a_terminal_is_refused(at_prompt: SerialDevice) -> None:
    before = at_prompt.state.flash_path.read_bytes()
    result = at_prompt.run("board", "erase", answer="yes\n")
    assert result.returncode == EXIT_USAGE
    assert "FORCE=1" in result.stderr and "make backup" in result.stderr
    assert at_prompt.state.flash_path.read_bytes() == before
    assert at_prompt.serial.loads == 0


@pytest.mark.vm
@pytest.mark.parametrize("further", [[], [f"--esptool-args=--no-stub {NO_RESET}"]], ids=["stub", "no-stub"])
def test_erase_by_force_leaves_nothing_and_says_what_comes_next(at_prompt: SerialDevice, further: list[str]) -> None:
    result = at_prompt.run("board", "erase", "--force", *further)
    assert result.returncode == EXIT_OK, result.stderr
    assert is_empty(at_prompt)
    assert "Next: make flash" in result.stdout


@pytest.mark.vm
@pytest.mark.parametrize(
    ("answer", "code", "gone"), [(b"yes\n", EXIT_OK, True), (b"y\n", EXIT_USAGE, False), (b"\x04", EXIT_USAGE, False)]
)
def test_erase_asks_in_a_terminal(at_prompt: SerialDevice, answer: bytes, code: int, gone: bool) -> None:
    terminal = Terminal(at_prompt, "erase")
    terminal.wait_for("Erase it. Type yes: ")
    terminal.type(answer)
    if gone:
        terminal.wait_for("Next: make flash")
    assert terminal.end() == code
    assert is_empty(at_prompt) == gone


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["repl", "reset", "erase"])
def test_a_port_that_is_not_there_is_said_at_once(command: str, capsys) -> None:
    assert board.main([command, "--port=/dev/ttyNONE"]) == EXIT_ENVIRONMENT
    assert "there is no /dev/ttyNONE" in capsys.readouterr().err


def test_without_a_terminal_nobody_is_asked(monkeypatch) -> None:
    with (
        open(os.devnull) as nobody,
        pytest.raises(Problem, match="this loses things. Nothing was erased. Do that.") as caught,
    ):
        monkeypatch.setattr("sys.stdin", nobody)
        ask.confirm("this loses things", "Lose them?", "Do that.")
    assert caught.value.exit_code == EXIT_USAGE
