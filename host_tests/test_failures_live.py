"""The table of failures, live: the real commands and the real esptool and mpremote on boards with one fault each.

Each row asserts the sentence and the exit code. test_failures.py has the same for what the tools say in words alone.
Root runs the tests in CI, whom no file mode stops: there os.access says no in the kernel's place.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import serial
from serial.tools.list_ports_common import ListPortInfo

from host_tests.device import free_port
from host_tests.serial_device import NO_RESET, SerialDevice
from host_tests.trees import changed_tree, fill_up
from host_tests.virtual_board import rom_loader
from host_tests.virtual_board.pty_port import PtyPort
from host_tests.virtual_board.stand_in import stand_in_image
from host_tests.virtual_board.vm import registers as r
from scripts import deploy, failures, flash, ports, session, tools
from scripts.console import EXIT_ENVIRONMENT, EXIT_FAULT, EXIT_OK, EXIT_USAGE, ROOT
from scripts.failures import FAILURES, Failure

pytestmark = pytest.mark.vm

IMAGE = stand_in_image()
SENT = "www/sent.bin"
SENT_BYTES = 3000
LEFT_BYTES, LARGE_BYTES = 45_000, 60_000
"""Room left in `vfs`: enough for the application's own files, too little for a file of the other size."""
DIALOUT = 20
# As unmodified, but for the 10 s that mpremote waits for a prompt.
IMPATIENT = """
import sys
from mpremote.main import main
from mpremote.transport_serial import SerialTransport
SerialTransport.enter_raw_repl.__defaults__ = (True, 1)
sys.exit(main())
"""


class Rig:
    """One board, the commands that work on it, and the ways to spoil that. The board is off until `power_on`."""

    def __init__(self, device: SerialDevice, has: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device, self.has = device, has
        self.patch = monkeypatch.setattr
        self.folder = folder
        self.closed_url = f"rfc2217://127.0.0.1:{free_port()}"
        self.others: list[Any] = []
        self.unplugging: threading.Thread | None = None
        (folder / "image.bin").write_bytes(IMAGE)
        firmware = [f"--firmware={folder / 'image.bin'}", f"--firmware-sha256={hashlib.sha256(IMAGE).hexdigest()}"]
        tree = changed_tree(folder / "tree", {SENT: os.urandom(SENT_BYTES)})
        self.further = {"flash": firmware, "deploy": [f"--tree={tree}"]}
        monkeypatch.setattr(flash, "BUILD_DIR", folder / "build")
        monkeypatch.setattr(session, "INTERRUPT_TRIES", 1)
        monkeypatch.setitem(tools.COMMANDS, "mpremote", (sys.executable, "-c", IMPATIENT))
        monkeypatch.setenv("PASSWORD", "not in any output")

    def run(self, command: str) -> int:
        """The exit status of a command's main, as `make` calls it."""
        raw_port = os.path.realpath(self.device.tty)
        name, *arguments = shlex.split(command.format(raw_port=raw_port, closed_url=self.closed_url))
        main = importlib.import_module(f"scripts.{name}").main
        return main([*self.device.options, *self.further.get(name, []), *arguments])

    def power_on(self) -> None:
        """Power, until the firmware or the application that there was at first is up."""
        self.device.plug_in()
        if self.has == "firmware":
            self.device.wait_at_prompt()
        elif self.has == "app":
            self.device.wait_booted()

    def close(self) -> None:
        for other in self.others:
            other.close()

    # --- faults -------------------------------------------------------------------------------------

    def on_command(self, op: int, fault: int | str | Callable[[], None]) -> None:
        """From its first one on, this command of the loader goes wrong (rom_loader.Faults)."""

        def answer(command: int, data: bytes) -> int | str | None:
            if command != op:
                return None
            return fault() if callable(fault) else fault

        self.device.serial.faults.on_command = answer

    def change_output(self, change: Callable[[bytes], bytes]) -> None:
        send = self.device.serial.on_output
        self.device.serial.on_output = lambda data: send(change(data))

    def after(self, module: object, name: str, action: Callable[[], object]) -> None:
        """When this step of a command is done for the first time, something happens."""
        step, actions = getattr(module, name), [action]

        def and_then(*arguments: object) -> None:
            step(*arguments)
            if actions:
                actions.pop()()

        self.patch(module, name, and_then)

    def unplug(self) -> None:
        """The port goes away; from any thread, also the port's own."""
        self.unplugging = threading.Thread(target=self.device._port.close)
        self.unplugging.start()

    def unplug_when_it_hears(self, words: bytes) -> None:
        def hear(data: bytes) -> bytes:
            if words in data:
                self.unplug()
            return data

        self.device.serial.noise = hear

    def repair(self) -> None:
        """The fault is gone, the board plugged in anew."""
        device = self.device
        if self.unplugging:
            self.unplugging.join(10)  # or it would take away the new port's name
        device._port.close()
        device.board.stop()
        device.serial.faults.on_command = lambda op, data: None
        device.serial.noise = lambda data: data
        device.serial.silent, device.serial.flash.cut_at, device.state[r.CUT_AT_FLASH_OP] = False, 0, 0
        device._port = PtyPort(device.serial, device.tty)
        device.board.wait_for_room = device._port.wait_for_room
        self.power_on()


# --- set-ups ----------------------------------------------------------------------------------------


def nothing(rig: Rig) -> None:
    """The fault is in the command line or in the board itself."""


def attached(*devices: str) -> Callable[[Rig], None]:
    def usb(device: str) -> ListPortInfo:
        info = ListPortInfo(device)
        info.vid, info.pid, info.description = 0x303A, 0x1001, "USB JTAG/serial debug unit"
        return info

    return lambda rig: rig.patch(ports.list_ports, "comports", lambda: [usb(device) for device in devices])


def not_in_the_group(rig: Rig) -> None:
    real, tty = os.stat, str(rig.device.tty)
    facts = os.stat_result((stat.S_IFCHR | 0o660, 0, 0, 1, 0, DIALOUT, 0, 0, 0, 0))
    rig.patch(os, "stat", lambda path, *rest, **how: facts if path == tty else real(path, *rest, **how))
    rig.patch(os, "access", lambda path, mode, **how: False)


class Log:
    """`make log`, as soon as it follows the port."""

    def __init__(self, rig: Rig) -> None:
        argv = [sys.executable, "-m", "scripts.monitor", *rig.device.options]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        rig.others.append(self)
        assert "following" in self.read_line()

    def read_line(self) -> str:
        return self._process.stdout.readline()  # type: ignore[union-attr]

    def close(self) -> tuple[str, int]:
        """Ctrl-C; what it says then and its exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.communicate(timeout=20)[0], self._process.returncode


def another_program_is_quicker(rig: Rig) -> None:
    rig.after(flash, "check_chip", lambda: rig.others.append(serial.Serial(str(rig.device.tty), exclusive=True)))


def unplugged_after(module: object, name: str) -> Callable[[Rig], None]:
    return lambda rig: rig.after(module, name, lambda: rig.device._port.close())


def no_boot_button(rig: Rig) -> None:
    rig.device.serial.boot_held = False


def silent(rig: Rig) -> None:
    rig.device.serial.silent = True


def hanging(rig: Rig) -> None:
    silent(rig)
    rig.patch(session, "ANSWER_TIMEOUT_S", 1.5)


def loader(op: int, fault: int | str) -> Callable[[Rig], None]:
    return lambda rig: rig.on_command(op, fault)


def port_vanishes_in_a_write(rig: Rig) -> None:
    rig.on_command(rom_loader.FLASH_DEFL_DATA, rig.unplug)


def power_cut_in_a_write(rig: Rig) -> None:
    rig.device.serial.flash.cut_at = 2


def stub_does_not_start(rig: Rig) -> None:
    rig.patch(flash, "LOOK_TIMEOUT_S", 3)
    rig.change_output(lambda data: b"" if b"OHAI" in data else data)


def a_changed_byte(rig: Rig) -> None:
    rig.change_output(lambda data: data.replace(b"\xff", b"\xfe", 1) if len(data) > 2000 else data)


def power_cut_in_a_copy(rig: Rig) -> None:
    state = rig.device.state

    def cut_soon() -> None:
        state[r.CUT_AT_FLASH_OP] = state[r.FLASH_OPS] + 12

    rig.after(session, "interrupt", cut_soon)
    rig.patch(session, "timeout_s", lambda size_bytes=0: 3.0 if size_bytes else 30.0)


def port_vanishes_in_a_copy(rig: Rig) -> None:
    rig.unplug_when_it_hears(b"w(b")


def full(rig: Rig) -> None:
    fill_up(rig.device.state, LEFT_BYTES)
    rig.further["deploy"] = [f"--tree={changed_tree(rig.folder / 'large', {SENT: os.urandom(LARGE_BYTES)})}"]


def full_unnoticed(rig: Rig) -> None:
    full(rig)
    rig.patch(deploy, "check_space", lambda *what: None)


def not_installed(tool: str) -> Callable[[Rig], None]:
    without_venv = (sys.executable, "-I", "-S", "-m", tool)
    return lambda rig: rig.patch(tools, "COMMANDS", {**tools.COMMANDS, tool: without_venv})


# --- the table --------------------------------------------------------------------------------------

BLANK, FIRMWARE, APP = {"has": "nothing"}, {"has": "firmware"}, {"has": "app"}
ONE_TRY = f"flash --force '--esptool-args={NO_RESET} --connect-attempts 1'"


@dataclass(frozen=True)
class Row:
    """`failure`: its row in failures.FAILURES as NAME/TOOL, empty for a sentence of the command's own. `sentence`: a
    regex of what is told apart from that row's words. `repair`: after this the same command, without the fault, ends
    well."""

    fault: str
    failure: str
    set_up: Callable[[Rig], object]
    command: str
    exit_code: int
    sentence: str
    board: dict[str, Any] = field(default_factory=lambda: BLANK)
    repair: bool = False


ENV, FAULT, USAGE = EXIT_ENVIRONMENT, EXIT_FAULT, EXIT_USAGE
WRITE, COPY = "flash --force", "deploy"
TABLE = [
    # the port
    Row("no port", "", attached(), "deploy --port=", ENV,
        "no board found: .* Plug the board in .* PORT="),
    Row("several ports", "", attached("/dev/ttyA", "/dev/ttyB"), "deploy --port=", USAGE,
        "PORT=/dev/ttyA .*PORT=/dev/ttyB"),
    Row("unknown port", "no-such-port/esptool", nothing, "deploy --port=/dev/ttyNONE", ENV,
        "there is no /dev/ttyNONE"),
    Row("unplugged before esptool", "no-such-port/esptool", unplugged_after(flash, "check_chip"), WRITE, ENV,
        "Plug it in"),
    Row("unplugged before mpremote", "no-such-port/esptool", unplugged_after(session, "interrupt"), COPY, ENV,
        "Plug it in", FIRMWARE),
    Row("no bridge for esptool", "no-bridge/esptool", nothing, "flash --port={closed_url}", ENV,
        "Start the serial bridge"),
    Row("no bridge for make log", "no-bridge/esptool", nothing, "monitor --port={closed_url}", ENV,
        "Start the serial bridge"),
    Row("no bridge for mpremote", "cannot-access/mpremote", nothing, "deploy --port={closed_url}", ENV,
        "bridge is not running"),
    Row("port busy", "busy-port/esptool", Log, COPY, ENV,
        r"in use by python\S* \(process \d+\)\. .*`kill \d+`"),
    Row("port busy all at once", "busy-port/esptool", another_program_is_quicker, WRITE, ENV,
        "in use by another program. Close it"),
    Row("no permission", "no-permission/esptool", not_in_the_group, COPY, ENV,
        r"`sudo usermod -aG \w+ \$USER` and log out"),
    # the chip
    Row("BOOT not held", "no-answer/esptool", no_boot_button, ONE_TRY, FAULT,
        "Hold its BOOT button, tap RESET", APP),
    Row("silent chip", "no-answer/esptool", silent, ONE_TRY, FAULT,
        "Hold its BOOT button, tap RESET"),
    Row("wrong chip", "wrong-chip/esptool", nothing, WRITE, FAULT,
        "is an ESP32-S3, .* Nothing was written", {**BLANK, "chip_id": 9}),
    Row("flash too small", "flash-too-small/esptool", nothing, WRITE, FAULT,
        "has 2MB of flash", {**BLANK, "size_code": 0x15}),
    Row("no flash", "flash-not-connected/esptool", nothing, WRITE, FAULT,
        "Take off what is wired", {**BLANK, "size_code": 0xFF}),
    Row("stub does not start", "no-stub/esptool", stub_does_not_start, WRITE, FAULT,
        "ESPTOOL_ARGS=--no-stub"),
    # a write of the flash
    Row("MD5 mismatch", "verify-failed/esptool", loader(rom_loader.FLASH_DEFL_DATA, "corrupt"), WRITE, FAULT,
        "MD5 mismatch", repair=True),
    Row("flash write error", "flash-write-failed/esptool", loader(rom_loader.FLASH_DEFL_DATA, 8), WRITE, FAULT,
        "worn out", repair=True),
    Row("erase refused", "flash-write-failed/esptool", loader(rom_loader.ERASE_FLASH, 6), WRITE, FAULT,
        "worn out", repair=True),
    Row("write refused", "flash-write-failed/esptool", loader(rom_loader.FLASH_DEFL_BEGIN, 6), WRITE, FAULT,
        "worn out", repair=True),
    Row("a byte changed on its way", "garbled/esptool", a_changed_byte, "flash", FAULT,
        "BAUD=115200, another cable"),
    Row("silent in a write", "lost-connection/esptool", loader(rom_loader.FLASH_DEFL_DATA, "silent"), WRITE, FAULT,
        "it starts over", repair=True),
    Row("power cut in a write", "lost-connection/esptool", power_cut_in_a_write, WRITE, FAULT,
        "it starts over", repair=True),
    Row("unplugged in a write", "lost-connection/esptool", port_vanishes_in_a_write, WRITE, FAULT,
        "it starts over", repair=True),
    # the prompt
    Row("silent board", "no-repl/mpremote", silent, COPY, FAULT,
        "Press RESET", APP),
    Row("blank board, deploy", "no-repl/mpremote", nothing, COPY, FAULT,
        "needs `make flash`"),
    Row("blank board, provision", "no-repl/mpremote", nothing, "provision --ssid=x", FAULT,
        "needs `make flash`"),
    Row("blank board, backup", "no-repl/mpremote", nothing, "backup backup", FAULT,
        "needs `make flash`"),
    Row("blank board, reset", "no-repl/mpremote", nothing, "board reset", FAULT,
        "needs `make flash`"),
    Row("blank board, doctor", "", nothing, "doctor", FAULT,
        "WRONG  firmware: no MicroPython prompt: .*-> make flash"),
    Row("silent board, doctor", "no-repl/mpremote", silent, f"doctor {ONE_TRY[14:]}", FAULT,
        "WRONG  chip: .* Hold its BOOT button"),
    Row("mpremote hangs", "time-out", hanging, "deploy --port={raw_port}", FAULT,
        "within 1.5 s. Press RESET", APP),
    # a copy to the board
    Row("power cut in a copy", "time-out", power_cut_in_a_copy, COPY, FAULT,
        "within 3 s. Press RESET", APP, repair=True),
    Row("unplugged in a copy", "lost-connection/mpremote", port_vanishes_in_a_copy, COPY, FAULT,
        "it repairs", APP, repair=True),
    Row("disk full", "", full, COPY, FAULT,
        r"disk full on the board: .* need [\d,]+ bytes .* are free", APP),
    Row("disk full in a copy", "board-full/mpremote", full_unnoticed, COPY, FAULT,
        "remove what you don't need with", APP),
    # the command line
    Row("BAUD no number", "", nothing, "flash --baud=fast", USAGE,
        "BAUD=fast is not a number"),
    Row("BAUD over 31 bits", "baud-refused/esptool", nothing, "flash --baud=4000000000", USAGE,
        "Leave BAUD= out"),
    Row("BAUD over 32 bits", "baud-refused/esptool", nothing, "flash --baud=99999999999", USAGE,
        "Leave BAUD= out"),
    Row("unknown option", "bad-argument/esptool", nothing, "flash --esptool-args=--frob", USAGE,
        "No such option '--frob'"),
    Row("unknown command", "bad-argument/esptool", nothing, "flash --esptool-args=frob", USAGE,
        "No such command 'frob'"),
    Row("unknown value", "bad-argument/esptool", nothing, "flash '--esptool-args=--before x'", USAGE,
        "Invalid value for '--before'"),
    Row("a command too many", "bad-argument/esptool", nothing, "flash --esptool-args=chip-id", USAGE,
        "unexpected extra argument"),
    Row("another chip named", "bad-argument/esptool", nothing, "flash '--esptool-args=--chip esp32s3'", USAGE,
        "not ESP32-S3"),
    Row("esptool silenced", "", nothing, "flash --esptool-args=--silent", USAGE,
        "Take out of ESPTOOL_ARGS .* --silent"),
    Row("open quote, esptool", "", nothing, """flash '--esptool-args="x'""", USAGE,
        "ESPTOOL_ARGS=.* Close the quote"),
    Row("open quote, mpremote", "", nothing, """deploy '--mpremote-args="x'""", USAGE,
        "MPREMOTE_ARGS=.* Close the quote"),
    Row("unknown words, mpremote", "bad-argument/mpremote", nothing, "deploy --mpremote-args=frob", USAGE,
        "'frob' is not a command"),
    # this computer
    Row("no esptool", "no-tool", not_installed("esptool"), WRITE, ENV,
        "no esptool. .*`make setup`"),
    Row("no mpremote", "no-tool", not_installed("mpremote"), COPY, ENV,
        "no mpremote. .*`make setup`"),
]  # fmt: skip
NOT_PROVOKED = {
    "rom-cannot/esptool": "flash.erase has the chip's own loader erase what it can, so no command asks it for more",
}


def key(row: Failure) -> str:
    return "/".join(filter(None, (row.name, row.tool)))


def words(row: Failure) -> str:
    """The row's sentence as a regex, with anything in its fields."""
    return ".+?".join(map(re.escape, re.split(r"\{[^}]*\}", row.sentence)))


@pytest.fixture
def rig(
    request: pytest.FixtureRequest,
    make_serial: Callable[..., SerialDevice],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Rig]:
    rig = Rig(make_serial(**request.param), request.param["has"], tmp_path, monkeypatch)
    yield rig
    rig.close()


@pytest.mark.parametrize(
    ("rig", "row"), [pytest.param(row.board, row, id=row.fault) for row in TABLE], indirect=["rig"]
)
def test_a_fault_ends_in_one_sentence_and_its_exit_code(rig: Rig, row: Row, capfd: pytest.CaptureFixture[str]) -> None:
    row.set_up(rig)
    rig.power_on()
    assert rig.run(row.command) == row.exit_code
    out, err = capfd.readouterr()
    said = out if row.command.startswith("doctor") else err
    assert "Traceback" not in out + err
    assert err.count("error: ") == (0 if said is out else 1)
    assert re.search(row.sentence, said, re.DOTALL), said
    told = [key(failure) for failure in FAILURES if re.search(rf"error: {words(failure)}\n\Z", err)]
    assert told == ([row.failure] if row.failure and said is err else []), said
    if row.repair:
        rig.repair()
        assert rig.run(row.command) == EXIT_OK, capfd.readouterr()


def test_every_row_of_the_failures_is_in_the_table_or_said_to_be_left_out() -> None:
    provoked = {row.failure for row in TABLE if row.failure}
    assert {key(row) for row in FAILURES} == provoked | set(NOT_PROVOKED)
    assert not provoked & set(NOT_PROVOKED)
    assert len({row.fault for row in TABLE}) == len(TABLE)


def test_the_seconds_of_a_time_out_are_told_as_a_person_would() -> None:
    assert "within 32 s." in str(failures.timed_out("", "/dev/ttyX", 32.0153))
    assert "within 1800 s." in str(failures.timed_out("", "/dev/ttyX", 1800.0))


@pytest.mark.parametrize("rig", [BLANK], indirect=True)
def test_the_log_of_a_board_without_micropython_shows_what_its_rom_says(rig: Rig) -> None:
    rig.power_on()
    log = Log(rig)
    rig.device.board.press_reset()
    assert log.read_line() == "invalid header: 0xffffffff\n"
    assert log.close() == ("\nleft; the board goes on\n", EXIT_OK)
