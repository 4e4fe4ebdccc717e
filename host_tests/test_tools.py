"""Running esptool and mpremote: the command line shown, time-outs, secrets, failures.

Most tests put a few lines of Python in a tool's place.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import tools
from scripts.console import EXIT_ENVIRONMENT, EXIT_FAULT, Problem
from scripts.failures import ToolProblem
from scripts.link import Link

LINK = Link("/dev/ttyNONE")
CANARY = "hunter2-canary"
QUICK_S = 20


@pytest.fixture
def fake(monkeypatch) -> Callable[[str], None]:
    """fake(code): both tools are a Python program; its arguments are the tool's, from sys.argv[1]."""

    def install(code: str) -> None:
        prologue = "import os, sys, time\n"
        for name in tools.COMMANDS:
            monkeypatch.setitem(tools.COMMANDS, name, (sys.executable, "-c", prologue + code))

    return install


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- the command line ---------------------------------------------------------------------------


def test_esptool_gets_chip_port_speed_and_arguments_as_given(fake):
    fake("print(sys.argv[1:])")
    link = Link("/dev/ttyX", "115200", ("--no-stub", "--before", "no-reset"))
    said = tools.esptool(link, "write-flash", "0x0", "f.bin", timeout_s=QUICK_S)
    before = ["--chip", "esp32c3", "--port", "/dev/ttyX", "--baud", "115200", "--no-stub", "--before", "no-reset"]
    assert said == f"{[*before, 'write-flash', '0x0', 'f.bin']}\n"


def test_no_speed_is_named_when_none_was_given(fake):
    fake("print(sys.argv[1:])")
    assert "--baud" not in tools.esptool(LINK, "flash-id", timeout_s=QUICK_S)


def test_mpremote_connects_to_the_port_first(fake):
    fake("print(sys.argv[1:])")
    said = tools.mpremote(Link("/dev/ttyX", "9600", (), ("resume",)), "exec", "print(1)", timeout_s=QUICK_S)
    assert said == "['connect', '/dev/ttyX', 'resume', 'exec', 'print(1)']\n"


def test_the_command_line_that_is_shown_can_be_repeated(fake, capfd):
    fake("")
    tools.mpremote(LINK, "exec", "print('a b')\nprint(\"$HOME\")", timeout_s=QUICK_S)
    shown = capfd.readouterr().out
    assert shown.startswith("$ .venv/bin/mpremote connect /dev/ttyNONE exec ")
    assert shlex.split(shown[2:])[-1] == "print('a b')\nprint(\"$HOME\")"


def test_without_echo_the_command_line_appears_nowhere(fake, capfd):
    fake("sys.exit(3)")
    with pytest.raises(Problem) as caught:
        tools.mpremote(LINK, "exec", CANARY, timeout_s=QUICK_S, echo=False)
    assert CANARY not in str(caught.value)
    assert capfd.readouterr() == ("", "")


# --- output and time ----------------------------------------------------------------------------


def test_stdout_and_stderr_come_as_one_text_in_their_order(fake):
    fake("print('one'); print('two', file=sys.stderr); print('three')")
    assert tools.esptool(LINK, "x", timeout_s=QUICK_S) == "one\ntwo\nthree\n"


def test_lines_come_while_the_tool_is_running(fake, tmp_path: Path):
    seen = tmp_path / "seen"
    fake(f"print('first')\nwhile not os.path.exists({str(seen)!r}): time.sleep(0.01)\nprint('last')")
    lines = []

    def on_line(line: str) -> None:
        lines.append(line)
        seen.touch()

    tools.esptool(LINK, "x", timeout_s=QUICK_S, on_line=on_line)
    assert lines == ["first", "last"]


def test_a_progress_that_rewrites_its_line_comes_as_lines(fake):
    fake("sys.stdout.buffer.write(b'10 %\\r20 %\\r\\nok\\n')")
    lines: list[str] = []
    tools.esptool(LINK, "x", timeout_s=QUICK_S, on_line=lines.append)
    assert lines == ["10 %", "20 %", "ok"]


def test_bytes_that_are_no_text_do_not_stop_the_command(fake):
    fake("sys.stdout.buffer.write(b'\\xff\\xfe noise\\n')")
    assert "noise" in tools.mpremote(LINK, "x", timeout_s=QUICK_S)


def test_a_tool_that_asks_something_gets_no_answer(fake):
    fake("print(repr(sys.stdin.read()))")
    assert tools.mpremote(LINK, "x", timeout_s=QUICK_S) == "''\n"


def test_a_tool_that_hangs_is_ended_at_the_time_out(fake):
    fake("print(os.getpid())\ntime.sleep(60)")
    started = time.monotonic()
    with pytest.raises(ToolProblem, match=r"no answer from the board at /dev/ttyNONE within 0\.7 s") as caught:
        tools.mpremote(LINK, "exec", "1", timeout_s=0.7)
    assert time.monotonic() - started < 30
    assert caught.value.name == "time-out"
    assert not is_running(int(caught.value.output))


def test_without_a_time_out_the_tool_takes_as_long_as_it_takes(fake):
    fake("print('done')")
    assert tools.mpremote(LINK, "x", timeout_s=None) == "done\n"


def test_ctrl_c_ends_the_tool_and_passes_on(fake):
    fake("print(os.getpid())\ntime.sleep(60)")
    pids = []

    def stop(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tools.esptool(LINK, "x", timeout_s=QUICK_S, on_line=stop)
    assert not is_running(pids[0])


# --- what the tools get to see ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["PASSWORD", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "TALLY_ADMIN_PASSWORD", "API_TOKEN", "TALLY_KEY"]
)
def test_no_secret_travels_in_the_tools_environment(fake, monkeypatch, name: str):
    monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("TALLY_PLAIN", "seen")
    fake("print(dict(os.environ))")
    said = tools.mpremote(LINK, "x", timeout_s=QUICK_S)
    assert CANARY not in said
    assert "'TALLY_PLAIN': 'seen'" in said


def test_the_tools_texts_are_neither_coloured_nor_wrapped(fake, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    fake("print([os.environ.get(n) for n in ('COLUMNS', 'NO_COLOR', 'TERM', 'FORCE_COLOR')])")
    assert tools.esptool(LINK, "x", timeout_s=QUICK_S) == "['1000', '1', 'dumb', None]\n"


def test_a_pipe_is_handed_to_the_tool_and_nothing_else(fake):
    reading, writing = os.pipe()
    kept, other = os.pipe()
    os.write(writing, CANARY.encode())
    os.close(writing)
    fake("print(os.read(int(sys.argv[-2]), 99))\ntry: os.fstat(int(sys.argv[-1]))\nexcept OSError: print('closed')")
    try:
        said = tools.mpremote(LINK, str(reading), str(kept), timeout_s=QUICK_S, pass_fds=(reading,))
    finally:
        for descriptor in (reading, kept, other):
            os.close(descriptor)
    assert said == f"{CANARY.encode()!r}\nclosed\n"


# --- failures -----------------------------------------------------------------------------------


def test_a_failing_tool_raises_the_problem_of_its_row(fake):
    fake("print('mpremote: cp: x: No space left on device.', file=sys.stderr); sys.exit(1)")
    with pytest.raises(ToolProblem, match="is full") as caught:
        tools.mpremote(LINK, "cp", "x", ":", timeout_s=QUICK_S)
    assert caught.value.name == "board-full"


def test_words_of_failure_do_not_matter_when_the_tool_succeeds(fake):
    fake("print('ENOSPC')")
    assert tools.mpremote(LINK, "x", timeout_s=QUICK_S) == "ENOSPC\n"


def test_an_unknown_failure_quotes_the_last_words_and_the_command(fake):
    fake("print('Some text\\n│ Odd: 7 │\\n╰──────╯\\n'); sys.exit(4)")
    with pytest.raises(ToolProblem) as caught:
        tools.esptool(LINK, "flash-id", timeout_s=QUICK_S)
    expected = "esptool failed: Odd: 7. The command was: .venv/bin/esptool --chip esp32c3 --port /dev/ttyNONE flash-id"
    assert str(caught.value) == expected
    assert (caught.value.name, caught.value.exit_code) == ("", EXIT_FAULT)


def test_a_failure_without_a_word_says_its_exit_status(fake):
    fake("sys.exit(9)")
    with pytest.raises(ToolProblem, match="exit status 9"):
        tools.esptool(LINK, "flash-id", timeout_s=QUICK_S)


def test_a_port_that_mpremote_can_not_open_is_looked_at_again(fake, tmp_path: Path):
    fake("print('mpremote: failed to access x (it may be in use by another program)'); sys.exit(1)")
    with pytest.raises(ToolProblem, match="there is no .*ttyGONE") as caught:
        tools.mpremote(Link(str(tmp_path / "ttyGONE")), "exec", "1", timeout_s=QUICK_S)
    assert caught.value.name == "no-such-port"


@pytest.mark.parametrize(("tool", "arguments"), [(tools.esptool, ("flash-id",)), (tools.mpremote, ("exec", "1"))])
def test_the_real_tools_without_a_port_end_in_a_sentence(tool, arguments: tuple[str, ...], tmp_path: Path):
    with pytest.raises(ToolProblem, match="there is no .*ttyGONE") as caught:
        tool(Link(str(tmp_path / "ttyGONE")), *arguments, timeout_s=QUICK_S)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
