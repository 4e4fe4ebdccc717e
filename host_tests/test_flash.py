"""`make flash` with a recorder in the tools' place: the order of its steps, what it asks, what it leaves alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from host_tests.virtual_board.stand_in import stand_in_image
from scripts import failures, flash, partitions, ports, tools, vfs_image
from scripts.console import EXIT_ENVIRONMENT, EXIT_FAULT, EXIT_OK, EXIT_USAGE, Problem
from scripts.link import Link

FLASH_BYTES = 4 * 1024 * 1024
VERSION = "v1.24.1 on 2024-11-29"
IMAGE = stand_in_image()
ROWS = partitions.read_csv()
VFS, LOG, NVS, APP = (partitions.named(ROWS, name).offset for name in ("vfs", "log", "nvs", "factory"))


class Recorder:
    """esptool and mpremote on 4 MB of bytes. `commands` is what was run; `answers` what MicroPython says of its
    version, a Problem being raised; the last one counts for ever."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.flash = bytearray(b"\xff" * FLASH_BYTES)
        self.chip, self.size, self.verified = "ESP32-C3", "4MB", "Hash of data verified.\n"
        self.answers: list[str | Problem] = [VERSION]

    def esptool(self, link: Link, command: str, *arguments: str, timeout_s: float, on_line=None) -> str:
        self.commands.append(" ".join((command, *arguments)))
        return getattr(self, command.replace("-", "_"))(*arguments)

    def mpremote(self, link: Link, *arguments: str, timeout_s: float, echo: bool = True) -> str:
        self.commands.append(" ".join(arguments[:2]) if arguments[0] == "resume" else arguments[0])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Problem):
            raise answer
        return answer + "\r\n"

    def flash_id(self) -> str:
        return f"Chip type:          {self.chip} (QFN32) (revision v0.4)\nDetected flash size: {self.size}\n"

    def read_flash(self, offset: str, size: str, path: str) -> str:
        start = int(offset, 0)
        Path(path).write_bytes(self.flash[start : start + int(size, 0)])
        return ""

    def erase_flash(self) -> str:
        self.flash[:] = b"\xff" * FLASH_BYTES
        return ""

    def erase_region(self, offset: str, size: str) -> str:
        assert (offset, int(size, 0)) == ("0", FLASH_BYTES)
        return self.erase_flash()

    def write_flash(self, *arguments: str) -> str:
        for offset, path in zip(arguments[::2], arguments[1::2], strict=True):
            content = Path(path).read_bytes()
            self.flash[int(offset, 0) : int(offset, 0) + len(content)] = content
        return self.verified * (len(arguments) // 2)

    def names(self) -> list[str]:
        return [command.split()[0] for command in self.commands]

    def wrote(self) -> bool:
        return any(name.startswith(("erase", "write")) for name in self.names())


@pytest.fixture
def board(monkeypatch, tmp_path: Path) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(tools, "esptool", recorder.esptool)
    monkeypatch.setattr(tools, "mpremote", recorder.mpremote)
    monkeypatch.setattr(ports, "find", lambda port: port or "/dev/ttyACM0")
    monkeypatch.setattr(flash, "BUILD_DIR", tmp_path / "build")
    monkeypatch.setattr(flash, "PROMPT_PAUSE_S", 0)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    return recorder


@pytest.fixture
def make_flash(board: Recorder, tmp_path: Path) -> Callable[..., int]:
    """make_flash(option, ...): the exit status of the command, with the stand-in for the image."""
    (tmp_path / "image.bin").write_bytes(IMAGE)
    image = (f"--firmware={tmp_path / 'image.bin'}", f"--firmware-sha256={hashlib.sha256(IMAGE).hexdigest()}")
    return lambda *options: flash.main([*image, *options])


@pytest.fixture
def answering(monkeypatch) -> Callable[[str], list[str]]:
    """answering(text): a terminal at which a person types that; the questions it shows."""

    def at_terminal(text: str) -> list[str]:
        asked: list[str] = []

        def answer(question: str) -> str:
            asked.append(question)
            return text

        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", answer)
        return asked

    return at_terminal


def put_tally(board: Recorder, files: bytes = b"", readings: bytes = b"") -> None:
    """Tally's table, and what lies at the start of `vfs` and `log`."""
    for offset, content in ((0x8000, partitions.to_bytes(ROWS)), (VFS, files), (LOG, readings)):
        board.flash[offset : offset + len(content)] = content


# --- the way of an empty board ------------------------------------------------------------------


def test_an_empty_board_is_looked_at_erased_written_and_asked_for_its_version(board, make_flash, capsys):
    assert make_flash() == EXIT_OK
    assert board.names() == ["flash-id", "read-flash", "erase-flash", "write-flash", "exec"]
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "Next: `make deploy`, then `make provision SSID=...`."


def test_the_image_is_written_whole_with_our_partition_table(board, make_flash, tmp_path: Path):
    assert make_flash() == EXIT_OK
    assert board.flash[: len(IMAGE)] == (tmp_path / "build" / "firmware-patched.bin").read_bytes()
    assert partitions.from_bytes(bytes(board.flash[0x8000:0x8C00])) == ROWS
    assert board.flash[APP : len(IMAGE)] == IMAGE[APP:]


def test_each_step_is_one_line_with_its_seconds(make_flash, capsys):
    make_flash()
    said = capsys.readouterr().out
    for step in ("image checked and patched", "erased", "written and verified", "MicroPython v1.24.1 answers"):
        assert sum(line.startswith(step) and line.endswith(" s)") for line in said.splitlines()) == 1, step


def test_the_port_that_was_named_is_in_what_to_do_next(make_flash, capsys):
    make_flash("--port=/dev/ttyUSB1")
    assert "`make deploy PORT=/dev/ttyUSB1`" in capsys.readouterr().out


def test_the_chips_own_loader_erases_a_region_as_it_has_no_whole_erase(board, make_flash):
    assert make_flash("--esptool-args=--no-stub") == EXIT_OK
    assert "erase-region 0 0x400000" in board.commands


def test_a_bad_image_is_refused_before_the_board_is_touched(board, tmp_path: Path, capsys):
    (tmp_path / "bad.bin").write_bytes(b"no image")
    assert flash.main([f"--firmware={tmp_path / 'bad.bin'}"]) == EXIT_USAGE
    assert board.commands == []
    assert "SHA-256" in capsys.readouterr().err


# --- boards that are refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("chip", "ESP32-S3", "is an ESP32-S3, and this firmware is for the ESP32-C3 only"),
        ("size", "2MB", "has 2MB of flash, and Tally needs 4 MB"),
        ("size", "512KB", "has 512KB of flash, and Tally needs 4 MB"),
        ("size", "Unknown", "its flash memory does not"),
    ],
)
def test_a_board_that_does_not_fit_is_refused_in_words(board, make_flash, capsys, attribute, value, said):
    setattr(board, attribute, value)
    assert make_flash("--force") == EXIT_FAULT
    assert board.names() == ["flash-id"]
    assert said in capsys.readouterr().err


def test_more_than_4_mb_is_fine(board, make_flash):
    board.size = "16MB"
    assert make_flash() == EXIT_OK


def test_an_esptool_that_is_told_to_be_silent_is_no_reason_to_write_unseen(board, make_flash, monkeypatch, capsys):
    monkeypatch.setattr(board, "flash_id", lambda: "")
    assert make_flash("--force", "--esptool-args=--silent") == EXIT_USAGE
    assert not board.wrote()
    assert "--silent" in capsys.readouterr().err


# --- a board that holds something ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "readings", "said"),
    [
        (b"\0littlefs boot.py manifest.json", b"", "files and settings."),
        (b"\0littlefs boot.py settings.json", b"\0\1", "files and settings and readings."),
        (b"\xff" * 4096 + b"boot.py", b"\0\1", "a Tally with readings."),
        (b"\0littlefs, its root directory elsewhere", b"", "files and settings."),
    ],
)
def test_a_tally_with_data_is_not_erased_when_nobody_can_be_asked(board, make_flash, capsys, files, readings, said):
    put_tally(board, files, readings)
    assert make_flash() == EXIT_USAGE
    assert not board.wrote()
    error = capsys.readouterr().err
    assert said in error
    assert all(way in error for way in ("FORCE=1", "KEEP_DATA=1", "make backup"))


def test_a_file_system_with_a_deployed_app_is_recognised(board, make_flash, tmp_path: Path):
    put_tally(board)
    path = tmp_path / "flash.bin"
    path.write_bytes(board.flash)
    with vfs_image.mounted(path, format_blank=True) as fs:
        for name in ("/boot.py", "/main.py", "/lib/a.mpy", "/manifest.json"):
            vfs_image.write_file(fs, name, b"x" * 200)
    board.flash[:] = path.read_bytes()
    assert make_flash() == EXIT_USAGE
    assert not board.wrote()


@pytest.mark.parametrize("files", [b"", b"\0littlefs boot.py # boot.py -- run on boot-up"])
def test_a_tally_that_was_only_flashed_is_erased_without_a_question(board, make_flash, files):
    put_tally(board, files)
    assert make_flash() == EXIT_OK
    assert "erase-flash" in board.names()


def test_another_firmwares_board_is_erased_without_a_question(board, make_flash):
    board.flash[: len(IMAGE)] = IMAGE
    board.flash[VFS : VFS + 9] = b"main.py()"
    assert make_flash() == EXIT_OK


def test_a_person_who_types_yes_gets_the_board_erased(board, make_flash, answering, capsys):
    put_tally(board, b"settings.json")
    asked = answering(" Yes ")
    assert make_flash() == EXIT_OK
    assert len(asked) == 1
    assert "this board holds a Tally with files and settings" in capsys.readouterr().out
    assert b"settings.json" not in board.flash


@pytest.mark.parametrize("answer", ["", "y", "no"])
def test_anything_but_yes_erases_nothing(board, make_flash, answering, answer: str):
    put_tally(board, b"settings.json")
    answering(answer)
    assert make_flash() == EXIT_USAGE
    assert not board.wrote()


def test_force_neither_asks_nor_reads(board, make_flash, answering):
    put_tally(board, b"settings.json", b"\0")
    asked = answering("no")
    assert make_flash("--force") == EXIT_OK
    assert asked == []
    assert "read-flash" not in board.names()


def test_what_was_read_from_a_board_does_not_stay_on_this_computer(board, make_flash, tmp_path: Path):
    put_tally(board, b"settings.json hunter2-canary")
    make_flash()
    left = [path for path in (tmp_path / "build").iterdir() if b"hunter2-canary" in path.read_bytes()]
    assert left == []
    assert list((tmp_path / "build").glob("board-*")) == []


# --- KEEP_DATA ----------------------------------------------------------------------------------


def test_keep_data_writes_around_nvs_files_and_readings(board, make_flash, capsys):
    put_tally(board, b"settings.json", b"\0readings")
    board.flash[NVS : NVS + 6] = b"counts"
    before = bytes(board.flash)
    assert make_flash("--keep-data") == EXIT_OK
    assert board.flash[NVS:APP] == before[NVS:APP]
    assert board.flash[VFS:] == before[VFS:]
    assert board.flash[:0x8000] == IMAGE[:0x8000]
    assert board.flash[APP : len(IMAGE)] == IMAGE[APP:]
    assert not any(name.startswith("erase") for name in board.names())
    assert board.commands[-1] == "resume reset"
    assert "starts with what it held" in capsys.readouterr().out


def test_keep_data_is_refused_where_our_table_is_not(board, make_flash, capsys):
    board.flash[: len(IMAGE)] = IMAGE
    assert make_flash("--keep-data", "--force") == EXIT_USAGE
    assert not board.wrote()
    assert "another partition table" in capsys.readouterr().err


# --- after writing ------------------------------------------------------------------------------


def test_a_write_that_was_not_verified_is_not_called_done(board, make_flash, capsys):
    board.verified = ""
    assert make_flash() == EXIT_FAULT
    assert "without verifying" in capsys.readouterr().err
    assert "exec" not in board.names()


def test_one_of_two_files_unverified_is_a_failure_too(board, make_flash, monkeypatch):
    put_tally(board)
    real = board.write_flash
    monkeypatch.setattr(board, "write_flash", lambda *arguments: real(*arguments)[: len(board.verified)])
    assert make_flash("--keep-data") == EXIT_FAULT


def test_a_board_that_takes_its_time_is_asked_again(board, make_flash):
    waiting = ("no-such-port", "cannot-access", "no-repl", "lost-connection")
    board.answers = [*(failures.named(name, "/dev/ttyACM0") for name in waiting), VERSION]
    assert make_flash() == EXIT_OK
    assert board.names().count("exec") == 5


def test_a_board_that_never_answers_is_a_sentence(board, make_flash, monkeypatch, capsys):
    monkeypatch.setattr(flash, "PROMPT_TIMEOUT_S", 0)
    board.answers = [failures.named("no-repl", "/dev/ttyACM0")]
    assert make_flash() == EXIT_FAULT
    error = capsys.readouterr().err
    assert "written and verified, but no MicroPython answers" in error
    assert "Tap RESET" in error


def test_a_failure_that_waiting_does_not_mend_is_told_at_once(board, make_flash):
    board.answers = [failures.named("no-tool", "/dev/ttyACM0", module="mpremote"), VERSION]
    assert make_flash() == EXIT_ENVIRONMENT


@pytest.mark.parametrize("version", ["v1.20.0 on 2023-04-26", "v1.24.10 on 2030-01-01", ""])
def test_another_version_than_ours_is_a_failure(board, make_flash, capsys, version: str):
    board.answers = [version]
    assert make_flash() == EXIT_FAULT
    assert "not v1.24.1" in capsys.readouterr().err


def test_what_the_board_prints_at_its_start_is_not_taken_for_its_version(board, make_flash):
    board.answers = [f"hello from boot.py\r\n{VERSION}"]
    assert make_flash() == EXIT_OK


def test_a_port_without_reset_lines_gets_the_hint_to_tap_reset(make_flash, capsys):
    make_flash("--esptool-args=--before no-reset --after no-reset")
    assert "tap RESET" in capsys.readouterr().out
