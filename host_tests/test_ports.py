"""Finding the board's serial port, and saying why it can't be used."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pty
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from serial.tools.list_ports_common import ListPortInfo

from scripts import ports
from scripts.console import EXIT_ENVIRONMENT, EXIT_USAGE, Problem

NO_USB = ListPortInfo("/dev/ttyS0")


def usb(device: str, vid: int, pid: int, description: str = "n/a") -> ListPortInfo:
    info = ListPortInfo(device)
    info.vid, info.pid, info.description = vid, pid, description
    return info


C3 = usb("/dev/ttyACM0", 0x303A, 0x1001, "USB JTAG/serial debug unit")
CP210X = usb("/dev/ttyUSB0", 0x10C4, 0xEA60, "CP2102 USB to UART Bridge Controller")
GPS = usb("/dev/ttyACM9", 0x1546, 0x01A7, "u-blox GPS")


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Path]:
    """A port that is there and free: a PTY by another name."""
    master, slave = pty.openpty()
    link = tmp_path / "ttyBOARD"
    link.symlink_to(os.ttyname(slave))
    yield link
    os.close(slave)
    os.close(master)


# --- which port ---------------------------------------------------------------------------------


def test_no_usb_port_at_all_is_a_sentence_about_cable_and_port():
    with pytest.raises(Problem, match="no board found.*cable.*PORT=") as caught:
        ports.choose([NO_USB])
    assert caught.value.exit_code == EXIT_ENVIRONMENT


def test_the_only_board_is_taken():
    assert ports.choose([NO_USB, C3]) == "/dev/ttyACM0"


def test_what_can_be_an_esp32_c3_goes_before_other_usb_ports():
    assert ports.choose([GPS, CP210X]) == "/dev/ttyUSB0"


def test_an_unknown_usb_port_is_taken_when_it_is_the_only_one():
    assert ports.choose([NO_USB, GPS]) == "/dev/ttyACM9"


@pytest.mark.parametrize(("vid", "pid"), [(0x1A86, 0x7523), (0x1A86, 0x55D4), (0x1A86, 0x55D3), (0x0403, 0x6001)])
def test_every_usual_adapter_is_known(vid: int, pid: int):
    assert ports.choose([GPS, usb("/dev/ttyUSB3", vid, pid)]) == "/dev/ttyUSB3"


def test_several_boards_are_listed_for_the_person_to_choose_from():
    with pytest.raises(Problem) as caught:
        ports.choose([CP210X, C3, GPS])
    assert caught.value.exit_code == EXIT_USAGE
    message = str(caught.value)
    assert "PORT=/dev/ttyACM0   (USB JTAG/serial debug unit)" in message
    assert "PORT=/dev/ttyUSB0   (CP2102 USB to UART Bridge Controller)" in message
    assert "ttyACM9" not in message


def test_a_port_that_is_named_wins(port: Path, monkeypatch):
    monkeypatch.setattr(ports.list_ports, "comports", lambda: [C3, CP210X])
    assert ports.find(str(port)) == str(port)


def test_a_port_that_was_found_is_checked_too(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(ports.list_ports, "comports", lambda: [usb(str(tmp_path / "gone"), 0x303A, 0x1001)])
    with pytest.raises(Problem, match="there is no .*gone"):
        ports.find("")


# --- whether it can be used ---------------------------------------------------------------------


@pytest.mark.parametrize("url", ["rfc2217://127.0.0.1:4000", "socket://127.0.0.1:4000"])
def test_a_url_is_passed_on_unseen(url: str):
    assert ports.find(url) == url


def test_a_port_that_does_not_exist_is_a_sentence(tmp_path: Path):
    with pytest.raises(Problem, match="there is no .*ttyNONE: no board") as caught:
        ports.check(str(tmp_path / "ttyNONE"))
    assert caught.value.exit_code == EXIT_ENVIRONMENT


def test_a_file_is_not_a_port(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match="not a serial port") as caught:
        ports.check(str(tmp_path / "file"))
    assert caught.value.exit_code == EXIT_USAGE


def test_a_port_without_permission_names_the_group_and_the_command(port: Path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(Problem, match="no permission") as caught:
        ports.check(str(port))
    assert caught.value.exit_code == EXIT_ENVIRONMENT


def device_facts(mode: int, gid: int) -> os.stat_result:
    return os.stat_result((stat.S_IFCHR | mode, 0, 0, 1, 0, gid, 0, 0, 0, 0))


def test_the_remedy_is_to_join_the_group_of_the_device_file():
    group = next(group for group in grp.getgrall() if group.gr_gid)
    said = str(ports.permission_problem("/dev/ttyACM0", device_facts(0o660, group.gr_gid)))
    assert f"`sudo usermod -aG {group.gr_name} $USER` and log out and in again" in said


@pytest.mark.parametrize(("mode", "gid"), [(0o600, 20), (0o660, 0)])
def test_joining_a_group_is_not_advised_where_it_does_not_help(mode: int, gid: int):
    said = str(ports.permission_problem("/dev/ttyACM0", device_facts(mode, gid)))
    assert "usermod" not in said
    assert "`sudo chmod a+rw /dev/ttyACM0`" in said


def test_a_free_port_stays_free(port: Path):
    ports.check(str(port))
    ports.check(str(port))


def test_a_port_that_another_program_has_locked_is_busy(port: Path):
    with open(port, "rb", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Problem, match="is in use by") as caught:
            ports.check(str(port))
    assert caught.value.exit_code == EXIT_ENVIRONMENT


def test_a_port_that_is_open_exclusively_is_busy(port: Path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "open", refuse)
    assert ports.is_taken(str(port))


def test_the_program_that_has_the_port_open_is_named(port: Path):
    with open(port, "rb", buffering=0) as stream:
        holder = subprocess.Popen(["sleep", "60"], stdin=stream)
    try:
        assert ports.holder_of(str(port)) == (holder.pid, "sleep")
        said = str(ports.busy_problem(str(port)))
    finally:
        holder.kill()
        holder.wait()
    assert f"in use by sleep (process {holder.pid})" in said
    assert f"`kill {holder.pid}`" in said


def test_a_holder_that_this_user_may_not_see_is_another_program(port: Path, tmp_path: Path):
    (tmp_path / "proc" / "17").mkdir(parents=True)  # without fd: as of another user
    assert "in use by another program" in str(ports.busy_problem(str(port), tmp_path / "proc"))
