"""Following the serial log: what is shown of it, and that the board is left alone."""

from __future__ import annotations

import contextlib
import os
import pty
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests.device import BOOT_MS, free_port
from host_tests.serial_device import SerialDevice
from host_tests.virtual_board.pty_port import PtyPort
from host_tests.virtual_board.rfc2217_port import Rfc2217Port
from scripts import monitor, ports
from scripts.build import BUNDLE_STRIDE
from scripts.console import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE, ROOT
from scripts.device_graph import modules, resident
from scripts.link import Link
from scripts.monitor import AWAY, LEFT, STARTED, LogFilter

MakeSerial = Callable[..., SerialDevice]
QUICK_S = 20
GRACE_MS = 2100  # a little more than the boot guard's
FLOOD = b"n = 0\nwhile True:\n    print('flood', n)\n    n += 1\n"

TASK_FAILS = """\
+3s WARNING web: Traceback (most recent call last):
  File "app/health.py", line 24, in keep
ValueError: no such thing
"""


def shown(text: str, level: str = "") -> list[str]:
    """The lines that are shown of a log that came at once and ends in a line end."""
    return LogFilter(level).feed(text.replace("\n", "\r\n").encode(), 0)


# --- from bytes to lines --------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([*"+1s INFO WARNING x: \t\r\n\x1b\xe9", "\r\n", TASK_FAILS]).map(str.encode), max_size=60)
)
def test_a_log_in_pieces_reads_as_the_whole(pieces):
    log = LogFilter("WARNING")
    one_by_one = [line for piece in pieces for byte in piece for line in log.feed(bytes((byte,)), 0)]
    assert one_by_one == LogFilter("WARNING").feed(b"".join(pieces), 0)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b]0;owned\x07\x1b[2J", r"\x1b]0;owned\x07\x1b[2J"),
        (b"a\tb\rc\x7f\0", "a\tb\\x0dc\\x7f\\x00"),
        ("\x9b2J".encode(), r"\x9b2J"),
        ("\u202etxt.exe".encode(), r"\u202etxt.exe"),
        (b"\xff\xc3", r"\xff\xc3"),
        ("21 °C, Küche".encode(), "21 °C, Küche"),
    ],
)
def test_a_board_can_not_drive_the_terminal(raw, text):
    assert LogFilter().feed(raw + b"\r\n", 0) == [text]


def test_a_half_line_is_shown_after_a_second_of_silence():
    log = LogFilter()
    assert log.feed(b"one\r\n>>", 10.0) == ["one"]
    assert log.feed(b"> ", 10.9) == []
    assert log.feed(b"", 11.8) == []
    assert log.feed(b"", 11.9) == [">>> "]
    assert log.feed(b"", 30.0) == []


def test_the_end_of_a_line_that_was_shown_by_half_is_no_line_of_its_own():
    log = LogFilter()
    log.feed(b">>> ", 0)
    assert log.feed(b"", 2) == [">>> "]
    assert log.feed(b"\r\n\r\nx\r\n", 3) == ["", "x"]


def test_the_rest_of_a_half_line_that_was_left_out_is_shown_alone():
    """Better a piece without its head than a crash note lost that came after a torn line."""
    log = LogFilter("ERROR")
    log.feed(b"+1s INFO wifi: joi", 0)
    assert log.feed(b"", 2) == []
    assert log.feed(b"crash 1 0 \r\n", 3) == ["crash 1 0 "]


def test_a_line_without_end_is_shown_in_pieces_and_not_kept():
    log = LogFilter()
    lines = [line for _ in range(100) for line in log.feed(b"x" * 1000, 0)]
    assert "".join(lines) == "x" * 100_000
    assert max(map(len, lines)) < 6000


def test_a_traceback_names_the_sources_of_bundled_code():
    first = resident(modules())[0].replace(".", "/")
    assert shown(f'  File "tally.py", line {BUNDLE_STRIDE + 7}, in run\n') == [f'  File "{first}.py", line 7, in run']


def test_a_source_that_is_just_being_edited_does_not_end_the_log(monkeypatch):
    monkeypatch.setattr(monitor, "translate_traceback", lambda text: compile("def", "x.py", "exec"))
    assert shown('  File "tally.py", line 999, in nobody\n') == ['  File "tally.py", line 999, in nobody']


# --- levels ---------------------------------------------------------------------------------------

RECORDS = "+1s INFO main: a\n2026-01-31T12:00:00Z WARNING wifi: b\n+2s ERROR web: c\n+3s DEBUG web: d\n"


@pytest.mark.parametrize(("level", "left"), [("", "abcd"), ("DEBUG", "abcd"), ("INFO", "abc"), ("ERROR", "c")])
def test_records_below_the_level_are_left_out(level, left):
    assert "".join(line[-1] for line in shown(RECORDS, level)) == left


def test_a_traceback_goes_with_its_record():
    assert shown(TASK_FAILS + "+4s ERROR web: x\n", "ERROR") == ["+4s ERROR web: x"]
    assert shown(TASK_FAILS, "WARNING") == TASK_FAILS.splitlines()


def test_a_traceback_that_was_cut_at_its_start_goes_with_its_record():
    """The application keeps the last characters of a long one."""
    text = '+3s WARNING web: pp/health.py", line 24\n  File "app/site.py", line 3, in load\nOSError: 5\nkept\n'
    assert shown(text, "ERROR") == ["kept"]


@pytest.mark.parametrize(
    "line",
    [
        "crash 1 0 Traceback (most recent call last):",
        "rescue mode after 3 crashes: no sampling, no telemetry",
        "ESP-ROM:esp32c3-api1-20210207",
        "rst:0x3 (RTC_SW_SYS_RST),boot:0xc (SPI_FAST_FLASH_BOOT)",
        "Guru Meditation Error: Core  0 panic'ed (Load access fault).",
        "MPY: soft reboot",
        ">>> ",
    ],
)
def test_what_is_no_record_is_shown_at_any_level(line):
    assert shown(f"+1s INFO web: x\n{line}\n", "ERROR") == [line]
    assert shown(f"{TASK_FAILS}{line}\n", "ERROR") == [line]
    assert shown(f"{TASK_FAILS}{line}\n  more\nX: y\n", "ERROR") == [line, "  more", "X: y"]


# --- waiting for a start --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "group", "text"),
    [
        ("+3s INFO web: up at http://192.168.1.7:8080/", "url", "http://192.168.1.7:8080/"),
        ("+3s WARNING wifi: no network is set: make provision SSID=...", "no_network", "no network is set"),
        ("crash 1 0 Traceback (most recent call last):", "crash", "crash"),
        ("crash, and no memory to say why", "crash", "crash"),
        ("rescue mode after 3 crashes: no sampling, no telemetry", "crash", "rescue mode"),
    ],
)
def test_the_line_that_ends_a_start_is_known(line, group, text):
    match = STARTED.search(line)
    assert match
    assert match.groupdict() == {"url": None, "no_network": None, "crash": None, group: text}


@pytest.mark.parametrize(
    "line",
    [
        "+3s INFO web: up at http://192.168",
        "+3s WARNING wifi: not connected: wrong password",
        "+3s WARNING web: a page crashed: crash 1",
    ],
)
def test_other_lines_do_not_end_a_start(line):
    assert not STARTED.search(line)


@pytest.fixture
def make_board(make_serial: MakeSerial) -> MakeSerial:
    """Factory of boards whose time is skipped only when asked, so that nothing is logged before somebody follows."""

    def make(**options: object) -> SerialDevice:
        device = make_serial(**options)
        device.board.skip_at_boot_ms = 0
        return device

    return make


def skip_boot(device: SerialDevice) -> None:
    """Through the boot guard and the joining, when somebody follows."""
    while not ports.is_taken(str(device.tty)):
        time.sleep(0.005)
    device.wait_booted()
    device.advance(BOOT_MS)


@pytest.mark.vm
def test_waiting_returns_the_first_match_and_prints_up_to_it(make_board: MakeSerial, capfd):
    device = make_board()
    device.plug_in()
    skipping = threading.Thread(target=skip_boot, args=(device,))
    skipping.start()
    match = monitor.follow(Link(str(device.tty)), STARTED, QUICK_S)
    skipping.join(QUICK_S)
    assert match and match["url"] == "http://127.0.0.1/"
    assert capfd.readouterr().out.splitlines()[-1].endswith("web: up at http://127.0.0.1/")


def flood(master: int) -> None:
    """More than anybody reads, until the terminal is closed."""
    with contextlib.suppress(OSError):
        while True:
            os.write(master, b"flood\r\n" * 100)


def test_waiting_ends_in_time_on_a_port_that_is_never_silent(tmp_path: Path, capfd):
    master, slave = pty.openpty()
    (tmp_path / "tty").symlink_to(os.ttyname(slave))
    flooding = threading.Thread(target=flood, args=(master,), daemon=True)
    flooding.start()
    start_s = time.monotonic()
    assert monitor.follow(Link(str(tmp_path / "tty")), STARTED, 0.3) is None
    assert time.monotonic() - start_s < 5
    os.set_blocking(master, False)
    os.close(slave)
    os.close(master)
    flooding.join(QUICK_S)
    assert capfd.readouterr().out.count("\nflood") > 100


def test_waiting_for_a_port_that_never_comes_ends_in_time_and_says_so_once(tmp_path: Path, capfd):
    assert monitor.follow(Link(str(tmp_path / "ttyGONE")), STARTED, 0.5) is None
    assert capfd.readouterr().out.splitlines() == [AWAY]


# --- the command ----------------------------------------------------------------------------------


class Log:
    """`make log` in a process of its own; its lines as they come."""

    def __init__(self, port: object, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.monitor", f"--port={port}", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As a shell script's `make log &` does: Ctrl-C must end it all the same.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("-- following ")

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def wait_for(self, text: str) -> None:
        """Until a line has it that has not been waited for yet."""
        deadline_s = time.monotonic() + QUICK_S
        while True:
            line = self._queue.get(timeout=deadline_s - time.monotonic())
            assert line is not None, f"ended without {text!r}: {self.lines}"
            self.lines.append(line)
            if text in line:
                return

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(QUICK_S)
        self._reader.join(QUICK_S)
        while (line := self._queue.get_nowait()) is not None:
            self.lines.append(line)
        return code


@contextlib.contextmanager
def following(port: object, *options: str) -> Iterator[Log]:
    log = Log(port, *options)
    try:
        yield log
    finally:
        log.process.kill()
        log.process.wait(QUICK_S)
        assert log.process.stdout
        log._reader.join(QUICK_S)
        log.process.stdout.close()


def listen_in(device: SerialDevice, monkeypatch) -> list[object]:
    """What reaches the board from the host: bytes, and states of the lines."""
    heard: list[object] = []
    feed, set_lines = device.serial.feed, device.serial.set_lines
    monkeypatch.setattr(device.serial, "feed", lambda data: (heard.append(data), feed(data)))
    monkeypatch.setattr(
        device.serial, "set_lines", lambda dtr, rts: (heard.append((dtr, rts)), set_lines(dtr=dtr, rts=rts))
    )
    return heard


@pytest.mark.vm
def test_the_log_goes_on_over_a_reset_and_ctrl_c_leaves_the_board_running(make_board: MakeSerial, monkeypatch):
    device = make_board()
    heard = listen_in(device, monkeypatch)
    device.plug_in()
    with following(device.tty) as log:
        skip_boot(device)
        log.wait_for("INFO main: tally ")
        device.board.press_reset()
        device.wait_booted()
        device.advance(GRACE_MS)
        log.wait_for("INFO main: tally ")
        after = len(device.board.log_lines)
        assert log.interrupt() == EXIT_OK
    assert log.lines[-1] == LEFT
    assert heard == []
    device.advance(BOOT_MS)
    device.board.wait_for_line("INFO wifi: connected", after=after)
    assert "KeyboardInterrupt" not in device.log()


@pytest.mark.vm
def test_a_level_leaves_out_what_is_below_it(make_board: MakeSerial):
    device = make_board(settings={"wifi_ssid": ""})
    device.plug_in()
    with following(device.tty, "--level=warning") as log:
        skip_boot(device)
        log.wait_for("WARNING wifi: no network is set")
    assert any("INFO main: tally " in line for line in device.board.log_lines)
    assert not any(" INFO " in line for line in log.lines)


@pytest.mark.vm
def test_a_port_that_vanishes_is_waited_for(make_board: MakeSerial):
    device = make_board()
    device.plug_in()
    with following(device.tty) as log:
        skip_boot(device)
        log.wait_for("INFO main: tally ")
        device._port.close()
        log.wait_for(AWAY)
        time.sleep(3 * monitor._RETRY_S)
        device._port = PtyPort(device.serial, device.tty)
        device.board.press_reset()
        skip_boot(device)
        log.wait_for("INFO main: tally ")
        assert log.interrupt() == EXIT_OK
    assert log.lines.count(AWAY) == 1


@pytest.mark.vm
def test_a_port_with_reset_lines_is_followed_without_a_reset(make_board: MakeSerial, monkeypatch):
    device = make_board()
    device._port.close()
    heard = listen_in(device, monkeypatch)
    bridge = Rfc2217Port(device.serial)
    try:
        device.plug_in()
        with following(bridge.url) as log:
            device.wait_booted()
            device.advance(BOOT_MS)
            log.wait_for("INFO main: tally ")
            assert set(heard) == {(False, False), (True, False)}, "RTS alone resets the chip"
            assert heard[-1] == (False, False)
            assert log.interrupt() == EXIT_OK
    finally:
        bridge.close()
    assert device.board.resets == []


@pytest.mark.vm
def test_a_reader_that_has_seen_enough_ends_the_log_cleanly(make_board: MakeSerial):
    device = make_board()
    device.write_file("/main.py", FLOOD)
    device.plug_in()
    command = f"{sys.executable} -m scripts.monitor --port={device.tty} | head -n 3; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=QUICK_S, check=False
    )
    assert (done.returncode, done.stderr) == (EXIT_OK, "")
    assert "flood" in done.stdout


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--port=rfc2217://127.0.0.1:{port}"], EXIT_ENVIRONMENT, "Start the serial bridge"),
        (["--port=gopher://127.0.0.1:{port}"], EXIT_USAGE, "Name one like /dev/ttyACM0"),
        (["--port=/dev/ttyNONE"], EXIT_ENVIRONMENT, "there is no /dev/ttyNONE"),
        (["--level=LOUD"], EXIT_USAGE, "LOG_LEVEL=LOUD is no level"),
    ],
)
def test_what_can_not_be_followed_is_said_at_once(options, code, words, capsys):
    assert monitor.main([option.format(port=free_port()) for option in options]) == code
    assert words in capsys.readouterr().err
