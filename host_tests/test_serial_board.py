"""The virtual board at its serial port: ROM, firmware, REPL and application on one flash, driven by the real tools."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from host_tests.serial_device import NO_RESET, SerialDevice
from host_tests.virtual_board.rfc2217_port import Rfc2217Port
from host_tests.virtual_board.stand_in import APP_OFFSET, stand_in_image
from host_tests.virtual_board.vm import registers as r
from scripts import partitions, vfs_image
from scripts.firmware import patched

pytestmark = pytest.mark.vm

MakeSerial = Callable[..., SerialDevice]


def tool(*words: str, timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, timeout=timeout_s, check=False
    )


def mpremote(device: SerialDevice, *words: str) -> subprocess.CompletedProcess[str]:
    return tool("mpremote", "connect", str(device.tty), *words)


def esptool(device: SerialDevice, *words: str) -> subprocess.CompletedProcess[str]:
    return tool("esptool", "--chip", "esp32c3", "--port", str(device.tty), *NO_RESET.split(), *words)


def write_file(device: SerialDevice, path: str, text: str) -> None:
    with vfs_image.mounted(device.state.flash_path, format_blank=True) as fs:
        vfs_image.write_file(fs, path, text.encode())


# --- from nothing to a prompt -------------------------------------------------------------------


def test_a_blank_chip_says_so_and_boots_what_esptool_writes(make_serial: MakeSerial, tmp_path: Path) -> None:
    device = make_serial(has="nothing")
    device.plug_in()
    device.board.wait_for_line("^invalid header: 0xffffffff$")
    (tmp_path / "image.bin").write_bytes(patched(stand_in_image()))
    done = esptool(device, "write-flash", "0x0", str(tmp_path / "image.bin"))
    assert "Hash of data verified" in done.stdout, done.stdout
    device.board.wait_for_line("^Performing initial setup$")
    device.board.wait_for_line("^MicroPython v1.24.1 on 2024-11-29; ESP32C3 module with ESP32C3$")
    assert mpremote(device, "fs", "ls").stdout.split() == ["ls", ":", "75", "boot.py"]


@pytest.mark.parametrize(
    ("offset", "says"),
    [(APP_OFFSET + 1000, "image hash failed"), (partitions.TABLE_OFFSET + 4, "Failed to verify partition table")],
)
def test_damaged_firmware_does_not_boot_and_the_rom_says_why(make_serial: MakeSerial, offset: int, says: str) -> None:
    device = make_serial(has="firmware")
    flash = bytearray(device.state.flash_path.read_bytes())
    flash[offset] ^= 1
    device.state.flash_path.write_bytes(flash)
    device.plug_in()
    device.board.wait_for_line(says)


def test_a_file_system_that_is_none_is_said_for_ever_until_ctrl_c(make_serial: MakeSerial) -> None:
    device = make_serial(has="firmware")
    flash = bytearray(device.state.flash_path.read_bytes())
    vfs = partitions.named(partitions.read_csv(), "vfs")
    flash[vfs.offset : vfs.offset + 8192] = b"\x00" * 8192
    device.state.flash_path.write_bytes(flash)
    device.plug_in()
    device.board.wait_for_line("appears to be corrupted")


def test_power_lost_while_the_flash_is_written_leaves_a_silent_board(make_serial: MakeSerial, tmp_path: Path) -> None:
    device = make_serial(has="nothing")
    device.plug_in()
    device.serial.flash.cut_at = 2  # the first erases
    (tmp_path / "image.bin").write_bytes(patched(stand_in_image()))
    assert esptool(device, "write-flash", "0x0", str(tmp_path / "image.bin")).returncode != 0
    assert device.serial.silent


# --- the prompt ---------------------------------------------------------------------------------


def test_mpremote_runs_code_with_its_output_and_its_errors(at_prompt: SerialDevice) -> None:
    assert mpremote(at_prompt, "exec", "print(6 * 7)").stdout == "42\n"
    assert mpremote(at_prompt, "eval", "{'a': 1}").stdout == "{'a': 1}\n"
    failed = mpremote(at_prompt, "exec", "1/0")
    assert failed.returncode == 1
    assert (
        'Traceback (most recent call last):\n  File "<stdin>", line 1, in <module>\nZeroDivisionError' in failed.stdout
    )


def test_names_live_until_the_soft_reset_that_resume_leaves_out(at_prompt: SerialDevice) -> None:
    mpremote(at_prompt, "exec", "x = 5")
    assert mpremote(at_prompt, "resume", "exec", "print(x)").stdout == "5\n"
    assert "NameError" in mpremote(at_prompt, "exec", "print(x)").stdout


def test_files_go_to_the_board_and_back(at_prompt: SerialDevice, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    (tmp_path / "there").write_bytes(content)
    mpremote(at_prompt, "fs", "mkdir", ":/d", "+", "fs", "cp", str(tmp_path / "there"), ":/d/x")
    mpremote(at_prompt, "fs", "cp", ":/d/x", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content


def test_a_full_file_system_is_an_error_with_its_name(make_serial: MakeSerial, tmp_path: Path) -> None:
    device = make_serial(has="firmware")
    write_file(device, "/yours", "x" * 1_000_000)
    device.plug_in()
    device.wait_at_prompt()
    (tmp_path / "large").write_bytes(bytes(50_000))
    done = mpremote(device, "fs", "cp", str(tmp_path / "large"), ":/large")
    assert (done.returncode, "No space left on device" in done.stderr) == (1, True)


def test_the_friendly_prompt_shows_the_value_of_an_expression(at_prompt: SerialDevice) -> None:
    at_prompt.board.console.feed(b"6 * 7\r")
    at_prompt.board.wait_for_line("^42$")
    at_prompt.board.console.feed(b"for i in range(2):\r    print('n', i)\r\r")
    at_prompt.board.wait_for_line("^n 1$")


def test_ctrl_c_ends_a_program_and_the_prompt_is_back(at_prompt: SerialDevice) -> None:
    at_prompt.board.console.feed(b"while True: pass\r\r")
    at_prompt.board.console.feed(b"\x03")
    at_prompt.board.wait_for_line("^KeyboardInterrupt")
    assert mpremote(at_prompt, "resume", "exec", "print('here')").stdout == "here\n"


def test_boot_py_runs_before_main_py_and_its_failure_leaves_main_py_out(make_serial: MakeSerial) -> None:
    device = make_serial(has="firmware")
    write_file(device, "/boot.py", "print('boot ran')\n1/0")
    write_file(device, "/main.py", "print('main ran')")
    device.plug_in()
    device.wait_at_prompt()
    assert "boot ran" in device.log() and "ZeroDivisionError" in device.log() and "main ran" not in device.log()


def test_a_soft_reset_from_the_raw_prompt_leaves_main_py_out_and_one_from_the_friendly_runs_it(
    make_serial: MakeSerial,
) -> None:
    device = make_serial(has="firmware")
    write_file(device, "/main.py", "print('main ran')")
    device.plug_in()
    device.board.wait_for_line("^main ran$")
    device.wait_at_prompt()
    before = len(device.board.log_lines)
    mpremote(device, "exec", "pass")
    assert "main ran" not in "\n".join(device.board.log_lines[before:])
    device.board.console.feed(b"\x04")
    device.board.wait_for_line("^main ran$", after=before)


@pytest.mark.parametrize("after_ms", range(0, 120, 10))
def test_ctrl_c_at_any_moment_of_a_boot_leads_to_the_prompt(make_serial: MakeSerial, after_ms: int) -> None:
    device = make_serial()
    device.plug_in()
    device.wait_booted()
    time.sleep(after_ms / 1000)
    device.serial.feed(b"\x03")
    device.wait_at_prompt()


# --- the application at the port ----------------------------------------------------------------


@pytest.fixture
def running(make_serial: MakeSerial) -> SerialDevice:
    """A board whose application is up."""
    device = make_serial()
    device.plug_in()
    device.wait_booted()
    device.advance(6000)
    device.board.wait_for_line("web: up at http://")
    return device


def test_the_application_is_interrupted_and_its_state_can_be_read(running: SerialDevice) -> None:
    code = "from app import site; print(site.device, site.wifi.state)"
    assert mpremote(running, "resume", "exec", code).stdout == "tally-0c3f01 connected\n"


def test_a_soft_reset_stops_neither_the_watchdog_nor_wifi(running: SerialDevice) -> None:
    code = "import network; w = network.WLAN(0); print(w.active(), w.isconnected())"
    assert mpremote(running, "exec", code).stdout == "True True\n"
    assert running.state[r.WDT_TIMEOUT_MS] == 60_000
    mpremote(running, "resume", "exec", "import time; time.sleep_ms(1)")
    running.state[r.WDT_FED_TICKS] = running.state.ticks_ms() - 61_000
    running.board.wait_for_line("watchdog reset")


def test_a_watchdog_made_again_gets_the_new_time(running: SerialDevice) -> None:
    mpremote(running, "resume", "exec", "import machine; machine.WDT(timeout=3600000)")
    assert running.state[r.WDT_TIMEOUT_MS] == 3_600_000


def test_mpremote_reset_starts_the_application_again(running: SerialDevice) -> None:
    mpremote(running, "resume", "reset")
    running.board.wait_for_line("boot 2 after reset")
    assert running.state[r.WDT_TIMEOUT_MS] in (0, 60_000)


def test_a_flooding_program_is_stopped(make_serial: MakeSerial) -> None:
    device = make_serial(has="firmware")
    write_file(device, "/main.py", "while True: print('x' * 60)")
    device.plug_in()
    device.board.wait_for_line("^x{60}$")
    assert mpremote(device, "exec", "print('here')").stdout == "here\n"


# --- reset lines --------------------------------------------------------------------------------


def test_reset_lines_choose_loader_and_application(make_serial: MakeSerial) -> None:
    device = make_serial(has="firmware")
    port = Rfc2217Port(device.serial)
    try:
        device.plug_in()
        device.wait_at_prompt()
        before = len(device.board.log_lines)
        done = tool("esptool", "--chip", "esp32c3", "--port", port.url, "--no-stub", "chip-id")
        assert "ESP32-C3" in done.stdout, done.stdout + done.stderr
        assert device.serial.loads == 1
        device.board.wait_for_line("^MicroPython v1.24.1", after=before)
        until = time.monotonic() + 5
        while device.serial.loading and time.monotonic() < until:
            time.sleep(0.01)
        assert not device.serial.loading
    finally:
        port.close()
