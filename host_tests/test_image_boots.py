"""What the real esptool writes, on boards that were used and on blank ones: the factory image of `make image`, and
`make flash` over a Tally with settings and readings.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from host_tests import logs
from host_tests.serial_device import NO_RESET, SerialDevice
from host_tests.trees import files_of
from host_tests.virtual_board.stand_in import APP_OFFSET, stand_in_image
from host_tests.virtual_board.vm import registers as r
from scripts import build, flash, image, partitions, sim
from scripts.console import EXIT_OK, EXIT_USAGE

pytestmark = pytest.mark.vm

MakeSerial = Callable[..., SerialDevice]
STOCK = stand_in_image()
LOG = partitions.named(partitions.read_csv(), "log")
AT_ITS_END = b"the log has not come that far"
NAME = "Cellar"


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The factory image, as the command leaves it."""
    folder = tmp_path_factory.mktemp("factory")
    (folder / "stock.bin").write_bytes(STOCK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "IMAGE_DIR", folder)
        firmware = [f"--firmware={folder / 'stock.bin'}", f"--firmware-sha256={hashlib.sha256(STOCK).hexdigest()}"]
        assert image.main(firmware) == EXIT_OK
    return folder / f"tally-{build.app_version()}-esp32c3.bin"


@pytest.fixture
def used(make_serial: MakeSerial) -> SerialDevice:
    """A Tally in use for one boot, with a name of its own, samples, and something in the last bytes of its log."""
    device = make_serial(settings={"name": NAME, "sample_period_s": 1})
    device.plug_in()
    device.board.wait_for_line("INFO main: tally .*, boot 1 ")
    logs.wait_for_samples(device.state)
    with device.state.flash_path.open("r+b") as file:
        file.seek(LOG.offset + LOG.size_bytes - len(AT_ITS_END))
        file.write(AT_ITS_END)
    return device


@pytest.fixture
def make_flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """make_flash(device, option, ...): the exit status of `make flash` with the stand-in."""
    (tmp_path / "stock.bin").write_bytes(STOCK)
    firmware = [f"--firmware={tmp_path / 'stock.bin'}", f"--firmware-sha256={hashlib.sha256(STOCK).hexdigest()}"]
    monkeypatch.setattr(flash, "BUILD_DIR", tmp_path / "build")
    return lambda device, *options: flash.main([*device.options, *firmware, *options])


def write_factory(device: SerialDevice, path: Path) -> None:
    """The one step that `make image` names."""
    argv = [sys.executable, "-m", "esptool", "--chip", "esp32c3", "--port", str(device.tty), *NO_RESET.split()]
    done = subprocess.run(
        [*argv, "write-flash", "0x0", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Hash of data verified" in done.stdout, done.stdout + done.stderr


def log_partition(device: SerialDevice) -> bytes:
    return device.state.flash_path.read_bytes()[LOG.offset :][: LOG.size_bytes]


def check_kept(device: SerialDevice, before: logs.Samples) -> None:
    """Settings, samples and the counters in nvs are those of before, and no number comes twice."""
    assert device.read_settings()["name"] == NAME
    logs.check_kept(before, logs.samples_of(device.state))
    assert log_partition(device).endswith(AT_ITS_END)
    after = len(device.board.log_lines)
    if not device.board.is_on():
        device.plug_in()
    device.board.wait_for_line("INFO main: tally .*, boot [2-9] ", after=after)
    now = logs.wait_for_samples(device.state, max(logs.samples_of(device.state)))
    logs.check_kept(before, now)


def check_erased(device: SerialDevice) -> None:
    """MicroPython at its prompt and not a byte of before."""
    device.board.stop()
    assert set(files_of(device.state)) == {"/boot.py"}
    assert log_partition(device).strip(b"\xff") == b""
    assert NAME.encode() not in device.state.flash_path.read_bytes()


# --- make image -------------------------------------------------------------------------------------


def test_the_image_makes_a_running_logger_of_a_blank_board_in_one_step(make_serial: MakeSerial, factory: Path) -> None:
    device = make_serial(has="nothing")
    device.plug_in()
    write_factory(device, factory)
    device.board.wait_for_line("INFO main: tally .*, boot 1 ")
    device.board.wait_for_line("WARNING wifi: no network is set: make provision")

    page = device.run("doctor")
    assert re.search(r"^ok +partitions: ", page.stdout, re.MULTILINE), page.stdout
    assert re.search(r"^ok +files: ", page.stdout, re.MULTILINE), page.stdout

    joined = device.run("provision", f"--ssid={sim.SSID}", PASSWORD=sim.PASSWORD)
    assert (joined.returncode, "Tally is up: http://127.0.0.1/" in joined.stdout) == (EXIT_OK, True), joined.stderr
    assert "Tally" in device.get("/").text
    assert device.status()["device"] == "tally-0c3f01"

    page = device.run("doctor")
    assert (page.returncode, "WRONG" in page.stdout) == (EXIT_OK, False), page.stdout


def test_the_image_over_a_used_board_is_a_new_board_with_the_old_readings(used: SerialDevice, factory: Path) -> None:
    before = len(used.board.log_lines)
    samples = logs.samples_of(used.state)
    write_factory(used, factory)
    used.board.wait_for_line("INFO main: tally .*, boot 1 ", after=before)
    used.board.wait_for_line("WARNING wifi: no network is set", after=before)
    now = logs.wait_for_samples(used.state, max(samples))
    used.board.stop()
    assert "/settings.json" not in files_of(used.state)
    assert log_partition(used).endswith(AT_ITS_END)
    logs.check_kept(samples, now)


# --- make flash over a board in use -----------------------------------------------------------------


def test_a_board_in_use_is_not_erased_when_nobody_can_be_asked(
    used: SerialDevice,
    make_flash: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = logs.samples_of(used.state)
    with open(os.devnull) as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert make_flash(used) == EXIT_USAGE
    said = capfd.readouterr()
    assert "this board holds a Tally with files and settings and readings. Nothing was erased." in said.err
    assert all(way in said.err for way in ("FORCE=1", "KEEP_DATA=1", "make backup"))
    assert "erase-flash" not in said.out and "write-flash" not in said.out
    used.board.stop()
    check_kept(used, before)


@pytest.mark.parametrize(("answer", "code"), [("no", EXIT_USAGE), ("yes", EXIT_OK)])
def test_a_board_in_use_is_erased_when_a_person_says_yes(
    used: SerialDevice, make_flash: Callable[..., int], monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    before = logs.samples_of(used.state)
    assert make_flash(used) == code
    used.board.stop()
    if code == EXIT_OK:
        check_erased(used)
    else:
        check_kept(used, before)


def test_force_erases_without_a_question(used: SerialDevice, make_flash: Callable[..., int]) -> None:
    assert make_flash(used, "--force") == EXIT_OK
    check_erased(used)


def test_keep_data_puts_a_firmware_under_a_tally_that_goes_on(
    used: SerialDevice, make_flash: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    with used.state.flash_path.open("r+b") as file:  # as an older firmware would differ
        file.seek(APP_OFFSET + 1000)
        file.write(b"another")
    before = logs.samples_of(used.state)
    assert make_flash(used, "--keep-data") == EXIT_OK
    said = capfd.readouterr().out
    assert "erase" not in said and "The board starts with what it held" in said
    assert used.state.flash_path.read_bytes()[APP_OFFSET : len(STOCK)] == STOCK[APP_OFFSET:]
    used.board.stop()
    check_kept(used, before)


def test_keep_data_is_refused_on_a_board_with_the_stock_layout(
    make_serial: MakeSerial, make_flash: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    device = make_serial(has="nothing")
    before = STOCK.ljust(r.FLASH_SIZE_BYTES, b"\xff")
    device.state.flash_path.write_bytes(before)
    assert make_flash(device, "--keep-data") == EXIT_USAGE
    assert "another partition table" in capfd.readouterr().err
    assert device.state.flash_path.read_bytes()[: len(STOCK)] == STOCK
