"""The virtual board's REPL: transcripts, every state cut in every way, noise, and mpremote itself at the other end.

The invariant, for any bytes: how they are cut into pieces changes neither what the host reads nor what the actor is
told, nothing raises, and Ctrl-C, Ctrl-C, Ctrl-A always lead back to the raw prompt. Ctrl-C in a row counts as one here.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpremote.transport import TransportExecError
from mpremote.transport_serial import SerialTransport

from host_tests.virtual_board.raw_repl import Repl, needs_more

NAME = b"MicroPython v1.24.1 on 2024-11-29; ESP32C3 module with ESP32C3"
FRIENDLY = NAME + b'\r\nType "help()" for more information.\r\n>>> '
RAW = b"raw REPL; CTRL-B to exit\r\n>"
REBOOT = b"MPY: soft reboot\r\n"
PASTE = b"\r\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\r\n=== "
GRANTED = b"R\x01\x80\x00\x01"
KEYBOARD = b"KeyboardInterrupt: \r\n"
TRACEBACK = b'Traceback (most recent call last):\r\n  File "<stdin>", line 1, in <module>\r\nOSError: 28\r\n'

AT_ONCE, WHEN_INTERRUPTED, LATER = "at once", "when interrupted", "later"


class Script:
    """An actor that records what it is told. `ends` says when sources and soft resets end; LATER: by `finish()`."""

    def __init__(self, ends: str = LATER, raw_paste: bool = True) -> None:
        self.ends = ends
        self.pending: Callable[[], None] | None = None
        self.events: list[tuple[Any, ...]] = []
        self.repl = Repl(self, NAME, raw_paste)
        self.pending = self.repl.idle

    def write(self, data: bytes) -> None:
        if self.events and self.events[-1][0] == "write":
            data = self.events.pop()[1] + data
        self.events.append(("write", data))

    def execute(self, source: bytes, single: bool) -> None:
        self.events.append(("execute", source, single))
        self.pending = lambda: self.repl.done(TRACEBACK if b"raise" in source else b"")
        if self.ends == AT_ONCE:
            self.repl.output(b"out\r\n")
            self.finish()

    def interrupt(self) -> None:
        if self.events[-1:] != [("interrupt",)]:
            self.events.append(("interrupt",))
        if self.ends != LATER:
            self.finish()

    def soft_reset(self) -> None:
        self.events.append(("soft reset",))
        self.pending = self.repl.idle
        if self.ends == AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """What runs ends now."""
        if self.pending:
            ended, self.pending = self.pending, None
            ended()

    def take(self) -> list[tuple[Any, ...]]:
        """Events since the last take."""
        taken, self.events = self.events, []
        return taken

    def say(self, data: bytes) -> bytes:
        """Feed and return what was written, other events left out."""
        self.repl.feed(data)
        return written(self.take())


def written(events: list[tuple[Any, ...]]) -> bytes:
    return b"".join(event[1] for event in events if event[0] == "write")


def executed(events: list[tuple[Any, ...]]) -> list[tuple[bytes, bool]]:
    return [event[1:] for event in events if event[0] == "execute"]


def at_prompt(ends: str = LATER, raw_paste: bool = True, mode: str = "friendly") -> Script:
    """A board that has booted and waits at the prompt of `mode`."""
    script = Script(ends, raw_paste)
    script.finish()
    if mode == "raw":
        script.repl.feed(b"\x01")
    script.take()
    return script


# --- transcripts ------------------------------------------------------------------------------------


def test_mpremote_exec_interrupts_main_resets_softly_and_runs_a_raw_paste():
    board = Script(WHEN_INTERRUPTED)
    assert board.say(b"\r\x03") == FRIENDLY + b"\r\n>>> "
    assert board.say(b"\r\x03") == b"\r\n>>> \r\n>>> "
    assert board.say(b"\r\x01") == b"\r\n>>> \r\n" + RAW
    board.repl.feed(b"\x04")
    assert board.take() == [("write", b"OK\r\n" + REBOOT), ("soft reset",)]
    board.finish()
    assert written(board.take()) == RAW
    assert board.say(b"\x05A\x01") == GRANTED
    board.repl.feed(b"print(123)\x04")
    assert board.take() == [("write", b"\x04"), ("execute", b"print(123)", False)]
    board.repl.output(b"123\r\n")
    board.finish()
    assert written(board.take()) == b"123\r\n\x04\x04>"
    assert board.say(b"\r\x02") == b"\r\n" + FRIENDLY


def test_mpremote_resume_exec_runs_without_a_soft_reset():
    board = at_prompt(AT_ONCE)
    board.repl.feed(b"\r\x03\r\x01\x05A\x01print(123)\x04\r\x02")
    assert board.take() == [
        ("write", b"\r\n>>> \r\n>>> \r\n>>> \r\n" + RAW + GRANTED + b"\x04"),
        ("execute", b"print(123)", False),
        ("write", b"out\r\n\x04\x04>\r\n" + FRIENDLY),
    ]


# --- raw REPL ---------------------------------------------------------------------------------------


def test_raw_source_is_acknowledged_before_it_runs_and_its_traceback_stands_between_two_ends():
    board = at_prompt(AT_ONCE, mode="raw")
    board.repl.feed(b"raise OSError(28)\x04")
    assert board.take() == [
        ("write", b"OK"),
        ("execute", b"raise OSError(28)", False),
        ("write", b"out\r\n\x04" + TRACEBACK + b"\x04>"),
    ]


def test_raw_ctrl_c_clears_the_line_without_a_word_and_any_other_byte_belongs_to_the_source():
    board = at_prompt(AT_ONCE, mode="raw")
    assert board.say(b"lost\x03") == b""
    source = bytes(range(5, 256))
    board.repl.feed(source + b"\x04")
    assert executed(board.take()) == [(source, False)]


def test_raw_ctrl_a_clears_the_line_and_prints_the_banner():
    board = at_prompt(mode="raw")
    assert board.say(b"lost\x01") == RAW
    assert board.say(b"\x04") == b"OK\r\n" + REBOOT


def test_raw_ctrl_b_goes_to_the_friendly_prompt():
    board = at_prompt(mode="raw")
    assert board.say(b"lost\x02") == b"\r\n" + FRIENDLY
    assert board.repl.mode == "friendly"
    assert board.say(b"\r") == b"\r\n>>> "


# --- raw paste --------------------------------------------------------------------------------------


@given(source=st.binary(max_size=2000).map(lambda raw: raw.translate(None, b"\x03\x04")))
def test_raw_paste_grants_a_window_for_each_128_bytes_whatever_the_source(source: bytes):
    board = at_prompt(AT_ONCE, mode="raw")
    assert board.say(b"\x05A\x01") == GRANTED
    grants = board.say(source)
    assert grants == b"\x01" * (len(source) // 128)
    board.repl.feed(b"\x04")
    events = board.take()
    assert executed(events) == [(source, False)]
    assert written(events) == b"\x04out\r\n\x04" + (TRACEBACK if b"raise" in source else b"") + b"\x04>"


def test_a_window_is_granted_with_its_last_byte_and_not_before():
    board = at_prompt(mode="raw")
    board.say(b"\x05A\x01")
    answers = [board.say(b"x") for _ in range(3 * 128)]
    assert [index + 1 for index, answer in enumerate(answers) if answer] == [128, 256, 384]


def test_ctrl_c_in_a_raw_paste_ends_it_and_runs_nothing():
    board = at_prompt(AT_ONCE, mode="raw")
    board.say(b"\x05A\x01")
    assert board.say(b"print(1)\x03") == b"\x04\x04" + KEYBOARD + b"\x04>"
    board.repl.feed(b"1\x04")
    assert executed(board.take()) == [(b"1", False)]


def test_an_unknown_paste_request_is_answered_with_no():
    assert at_prompt(mode="raw").say(b"\x05B\x01") == b"R\x00>"


@pytest.mark.parametrize("line", [b"\x05", b"xA", b"\x05AA", b"A\x05"])
def test_only_ctrl_e_and_one_byte_before_ctrl_a_ask_for_a_raw_paste(line: bytes):
    assert at_prompt(mode="raw").say(line + b"\x01") == RAW


def test_a_device_without_raw_paste_prints_its_banner_and_runs_plain_source():
    board = at_prompt(AT_ONCE, raw_paste=False, mode="raw")
    assert board.say(b"\x05A\x01") == RAW
    assert board.say(b"print(123)\x04") == b"OKout\r\n\x04\x04>"


# --- friendly REPL ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "read", "ran"),
    [
        (b"\r", b"\r\n>>> ", []),
        (b"1+1\r", b"1+1\r\nout\r\n>>> ", [b"1+1"]),
        (b"12\x7f3\x084\r", b"12\b\x1b[K3\b\x1b[K4\r\nout\r\n>>> ", [b"14"]),
        (b"\x7f\x08", b"", []),
        (b"1\x01\x02\x04\x05\n\t\x00\xff\r", b"1\r\nout\r\n>>> ", [b"1"]),
        (b"1\x03\r", b"1\r\n>>> \r\n>>> ", []),
        (b"raise\r", b"raise\r\nout\r\n" + TRACEBACK + b">>> ", [b"raise"]),
        (b"\x02", b"\r\n" + FRIENDLY, []),
        (b"f(\r\r1)\r", b"f(\r\n... \r\n... 1)\r\nout\r\n>>> ", [b"f(\n\n1)"]),
        (b"if x:\r y\r\r", b"if x:\r\n...  y\r\n... \r\nout\r\n>>> ", [b"if x:\n y\n"]),
        (b"if x:\r\x03\r", b"if x:\r\n... \r\n>>> \r\n>>> ", []),
        (b"if x:\r\x01\x02\x05\x04", b"if x:\r\n... out\r\n>>> ", [b"if x:\n"]),
    ],
)
def test_a_line_is_echoed_edited_continued_and_run_as_a_single_statement(typed: bytes, read: bytes, ran: list[bytes]):
    board = at_prompt(AT_ONCE)
    board.repl.feed(typed)
    events = board.take()
    assert written(events) == read
    assert executed(events) == [(source, True) for source in ran]


@pytest.mark.parametrize(
    "source", [b"f(", b"[{1:", b"@a", b"try", b"async def f():", b"if 1: 2", b"1 + \\", b"'(' + ("]
)
def test_the_prompt_asks_for_more_after(source: bytes):
    assert needs_more(source)


@pytest.mark.parametrize(
    "source", [b"iffy = 1", b"f()", b")", b")(", b"'(['", b'"\\"("', b"'''(\n'''", b"'(", b"if x:\n y\n"]
)
def test_the_prompt_asks_for_no_more_after(source: bytes):
    assert not needs_more(source)


def test_paste_mode_runs_all_its_lines_as_one_source():
    board = at_prompt(AT_ONCE)
    assert board.say(b"\x05") == PASTE
    board.repl.feed(b"if x:\r  y\x01\r\r\x04")
    events = board.take()
    assert executed(events) == [(b"if x:\r  y\x01\r\r", False)]
    assert written(events) == b"if x:\r\n===   y\x01\r\n=== \r\n=== \r\nout\r\n>>> "
    assert board.say(b"1\r") == b"1\r\nout\r\n>>> "


def test_ctrl_c_leaves_paste_mode_and_runs_nothing():
    board = at_prompt(AT_ONCE)
    assert board.say(b"\x05x\x03\r") == PASTE + b"x\r\n>>> \r\n>>> "


# --- programs, resets and the input buffer ----------------------------------------------------------


def test_it_starts_busy_and_friendly_and_greets_when_main_has_ended():
    board = Script()
    assert (board.repl.busy, board.repl.mode) == (True, "friendly")
    board.finish()
    assert written(board.take()) == FRIENDLY
    assert not board.repl.busy


def test_input_is_kept_while_a_program_runs_and_handled_when_it_has_ended():
    board = at_prompt(mode="raw")
    board.repl.feed(b"first\x04")
    board.take()
    board.repl.feed(b"second\x04\x01third\x04")
    assert board.take() == []
    board.finish()
    assert board.take() == [("write", b"\x04\x04>OK"), ("execute", b"second", False)]
    board.finish()
    assert board.take() == [("write", b"\x04\x04>" + RAW + b"OK"), ("execute", b"third", False)]


def test_input_past_260_bytes_is_dropped_while_a_program_runs():
    board = at_prompt(mode="raw")
    board.repl.feed(b"first\x04" + b"x" * 259)
    board.repl.feed(b"yz")
    board.finish()
    board.take()
    board.repl.feed(b"\x04")
    assert executed(board.take()) == [(b"x" * 259 + b"y", False)]


def test_a_full_buffer_of_short_lines_is_worked_off():
    board = Script(AT_ONCE)
    board.repl.feed(b"1\r" * 130)
    board.finish()
    assert executed(board.take()) == [(b"1", True)] * 130


class Interrupts(Script):
    """Counts them, where a Script takes several in a row for one."""

    count = 0

    def interrupt(self) -> None:
        self.count += 1
        super().interrupt()


def test_several_ctrl_c_at_once_interrupt_once_also_with_a_full_buffer():
    board = Interrupts()
    board.repl.feed(b"x" * 300 + b"\x03\x03")
    assert board.count == 1
    board.repl.feed(b"\x03")
    assert board.count == 2


def test_a_ctrl_c_interrupts_the_buffered_source_that_the_one_before_it_set_going():
    board = Interrupts(WHEN_INTERRUPTED)
    board.repl.feed(b"a\r")
    board.repl.feed(b"\x03\x03")
    assert executed(board.take()) == [(b"a", True)]
    assert board.count == 2
    assert not board.repl.busy


def test_a_ctrl_c_behind_a_soft_reset_that_came_with_another_is_not_lost():
    board = Interrupts(WHEN_INTERRUPTED)
    board.repl.feed(b"\x03\x04\x03")
    assert board.count == 2
    assert not board.repl.busy


def test_a_ctrl_c_behind_a_source_that_came_with_it_interrupts_that_one_too():
    board = Interrupts(WHEN_INTERRUPTED)
    board.repl.feed(b"\x03a\r\x03b\r\x03\x03")
    assert executed(board.take()) == [(b"a", True), (b"b", True)]
    assert board.count == 3


@pytest.mark.parametrize(("mode", "answer", "greeting"), [("friendly", b"\r\n", FRIENDLY), ("raw", b"OK\r\n", RAW)])
def test_a_soft_reset_keeps_the_mode_and_the_input(mode: str, answer: bytes, greeting: bytes):
    board = at_prompt(mode=mode)
    board.repl.feed(b"\x04")
    assert board.take() == [("write", answer + REBOOT), ("soft reset",)]
    assert board.repl.busy
    board.repl.started(mode_friendly=False)
    board.repl.output(b"boot\r\n")
    board.repl.feed(b"\x02")
    assert (board.repl.busy, board.repl.mode) == (True, mode)
    board.finish()
    assert written(board.take()) == b"boot\r\n" + greeting + b"\r\n" + FRIENDLY


@pytest.mark.parametrize("typed", [b"lost", b"\x05A\x01lost", b"run\x04lost", b"\x02if x:\rlost", b"\x02\x05lost"])
def test_after_a_hard_reset_the_mode_is_friendly_and_what_was_typed_is_lost(typed: bytes):
    board = at_prompt(mode="raw")
    board.repl.feed(typed)
    board.repl.started(mode_friendly=True)
    assert (board.repl.busy, board.repl.mode) == (True, "friendly")
    board.take()
    board.repl.idle()
    assert written(board.take()) == FRIENDLY
    assert board.say(b"\r") == b"\r\n>>> "


# --- any bytes, cut in any way ----------------------------------------------------------------------

PIECES = (
    *(bytes((byte,)) for byte in (*range(1, 9), 10, 13, 27, 127)),
    *(b"\x05A\x01", b"\x05B\x01", b"\r\x03", b"\r\x01", b"print(1)", b"raise", b"if x:\r", b"f(", b")", b"x" * 140),
)
INPUT = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=16).map(b"".join)
SEGMENTS = st.lists(INPUT, min_size=1, max_size=4)
ENDS = pytest.mark.parametrize("ends", [AT_ONCE, WHEN_INTERRUPTED, LATER])


def played(
    ends: str, raw_paste: bool, segments: list[bytes], cut: Callable[[bytes], Iterator[bytes]]
) -> list[tuple[Any, ...]]:
    """All events of a life in which what runs ends after each segment, if not before."""
    board = Script(ends, raw_paste)
    for segment in segments:
        for piece in cut(segment):
            board.repl.feed(piece)
        board.finish()
    return [*board.events, ("state", board.repl.mode, board.repl.busy)]


def whole(segment: bytes) -> Iterator[bytes]:
    yield segment


def bytewise(segment: bytes) -> Iterator[bytes]:
    return (segment[index : index + 1] for index in range(len(segment)))


@ENDS
@given(segments=SEGMENTS, raw_paste=st.booleans(), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_how_the_bytes_are_cut_changes_nothing(ends: str, segments: list[bytes], raw_paste: bool, sizes: list[int]):
    def randomly(segment: bytes) -> Iterator[bytes]:
        for size in sizes:
            yield segment[:size]
            segment = segment[size:]
        yield segment

    expected = played(ends, raw_paste, segments, whole)
    assert played(ends, raw_paste, segments, bytewise) == expected
    assert played(ends, raw_paste, segments, randomly) == expected


@ENDS
@given(segments=SEGMENTS)
def test_the_way_back_to_the_raw_prompt_is_never_lost(ends: str, segments: list[bytes]):
    board = Script(ends)
    for segment in segments:
        board.repl.feed(segment)
        board.finish()
    while board.pending:
        board.finish()
    board.take()
    board.repl.feed(b"\r\x03\x03\r\x01")
    while board.pending:  # the line that "\r" ended may have been a program
        board.finish()
    assert written(board.take()).endswith(RAW)
    assert (board.repl.busy, board.repl.mode) == (False, "raw")
    assert board.say(b"\x05A\x01") == GRANTED


# --- mpremote ---------------------------------------------------------------------------------------


class PythonBoard:
    """An actor that runs source in CPython, with `os` and `open` on a folder, and writes to a file descriptor."""

    def __init__(self, fd: int, root: Path, raw_paste: bool) -> None:
        self.fd = fd
        self.root = root
        self.raw_paste = raw_paste
        self.repl = Repl(self, NAME, raw_paste)
        self.names: dict[str, Any] = {}
        self.soft_resets = 0

    def pump(self) -> None:
        """Feed what the host sends until it has closed the port."""
        try:
            while data := os.read(self.fd, 4096):
                self.repl.feed(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def interrupt(self) -> None:
        self.repl.idle()  # main.py ran

    def soft_reset(self) -> None:
        self.soft_resets += 1
        self.names = {}
        self.repl.idle()

    def execute(self, source: bytes, single: bool) -> None:
        printed = io.StringIO()
        error = ""
        self.names["__builtins__"] = {
            **vars(__import__("builtins")),
            "print": functools.partial(print, file=printed),
            "open": lambda path, mode="r": open(self.on_disk(path), mode),
            "__import__": lambda name, *rest: self.files() if name == "os" else __import__(name, *rest),
        }
        try:
            exec(compile(source, "<stdin>", "single" if single else "exec"), self.names)
        except OSError as failure:
            error = f"Traceback (most recent call last):\r\nOSError: [Errno {failure.errno}] "
            error += errno.errorcode[failure.errno or 0] + "\r\n"
        except Exception as failure:
            error = f"Traceback (most recent call last):\r\n{type(failure).__name__}: {failure}\r\n"
        self.repl.output(printed.getvalue().replace("\n", "\r\n").encode())
        self.repl.done(error.encode())

    def on_disk(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def files(self) -> SimpleNamespace:
        return SimpleNamespace(
            ilistdir=lambda path="/": [
                (item.name, 0x4000 if item.is_dir() else 0x8000, 0, item.stat().st_size)
                for item in sorted(self.on_disk(path).iterdir())
            ],
            stat=lambda path: os.stat(self.on_disk(path)),
            mkdir=lambda path: os.mkdir(self.on_disk(path)),
            remove=lambda path: os.remove(self.on_disk(path)),
        )


@pytest.fixture(params=[True, False], ids=["raw paste", "plain"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SerialTransport, PythonBoard]]:
    """mpremote's own transport at a port whose other end is a PythonBoard; mpremote treats /dev/pts/N differently."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    port = tmp_path / "ttyBOARD"
    port.symlink_to(os.ttyname(theirs))
    root = tmp_path / "flash"
    root.mkdir()
    board = PythonBoard(ours, root, request.param)
    thread = threading.Thread(target=board.pump, daemon=True)
    thread.start()
    transport = SerialTransport(str(port))
    os.close(theirs)
    yield transport, board
    transport.close()
    thread.join(5)
    assert not thread.is_alive()
    os.close(ours)


def test_mpremote_runs_source_and_copies_files(remote: tuple[SerialTransport, PythonBoard]):
    transport, board = remote
    transport.enter_raw_repl()
    assert board.soft_resets == 1
    assert transport.exec("x = 6\nprint(x * 7)") == b"42\r\n"
    assert transport.use_raw_paste == board.raw_paste
    assert transport.eval("[x, 'ü']") == [6, "ü"]
    assert transport.exec("# " + "long " * 400 + "\nprint('end')") == b"end\r\n"
    with pytest.raises(TransportExecError, match="ZeroDivisionError"):
        transport.exec("1 / 0")
    content = bytes(range(256)) * 5
    transport.fs_mkdir("/lib")
    transport.fs_writefile("/lib/a.bin", content)
    assert (board.root / "lib" / "a.bin").read_bytes() == content
    assert transport.fs_readfile("/lib/a.bin") == content
    assert [(item.name, item.st_size) for item in transport.fs_listdir("/lib")] == [("a.bin", len(content))]
    with pytest.raises(OSError) as missing:
        transport.fs_stat("/nothing")
    assert missing.value.errno == errno.ENOENT
    transport.exit_raw_repl()
    assert transport.read_until(1, FRIENDLY, timeout=5).endswith(FRIENDLY)
