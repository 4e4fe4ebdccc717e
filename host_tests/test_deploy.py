"""`make deploy` with the real mpremote: what it sends and leaves alone, and the boards it has to get along with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from host_tests.serial_device import SerialDevice
from host_tests.trees import changed_tree, files_of, fill_up, tree_files
from host_tests.virtual_board.stand_in import stand_in_image
from host_tests.virtual_board.vm import registers as r
from scripts import deploy as deploy_command
from scripts import session
from scripts.build import build
from scripts.console import ROOT
from scripts.firmware import patched

pytestmark = pytest.mark.vm

MakeSerial = Callable[..., SerialDevice]


def count(output: str) -> tuple[int, int]:
    """(files sent, files removed) as the command says."""
    found = re.search(r"^(\d+) files? sent, (\d+) removed, \d+ s$", output, re.MULTILINE)
    assert found, output
    return int(found[1]), int(found[2])


def deploy(device: SerialDevice, *arguments: str) -> tuple[int, int]:
    """A deploy that must end well."""
    done = device.run("deploy", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return count(done.stdout)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A tree with one file changed."""
    return changed_tree(tmp_path / "changed", {"www/icon.svg.gz": b"another icon"})


def plugged_in(make_serial: MakeSerial, **options: object) -> SerialDevice:
    device = make_serial(**options)
    device.plug_in()
    return device


def write_main(device: SerialDevice, text: str) -> None:
    device.write_file("/main.py", text.encode())


# --- what travels -------------------------------------------------------------------------------


def test_a_flashed_board_gets_all_files_each_checked_and_starts(make_serial: MakeSerial) -> None:
    device = plugged_in(make_serial, has="firmware")
    done = device.run("deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    tree = tree_files(build()[0])
    assert count(done.stdout) == (len(tree) - 1, 0)
    assert re.search(
        rf"^\[{len(tree)}/{len(tree)}\] (\d+\.\d) of \1 KB, \d+ s: manifest.json$", done.stdout, re.MULTILINE
    )
    assert f"Tally runs, without a network. Next: make provision PORT={device.tty}" in done.stdout
    device.board.stop()
    on_board = files_of(device.state)
    assert {path: on_board.pop(path) for path in tree} == tree
    assert set(on_board) == {"/boot.py"}


def test_a_second_deploy_sends_nothing_and_the_application_runs_again(make_serial: MakeSerial) -> None:
    device = plugged_in(make_serial)
    done = device.run("deploy")
    assert count(done.stdout) == (0, 0)
    assert "Tally is up: http://127.0.0.1/" in done.stdout


def test_one_changed_file_is_sent_and_a_removed_one_goes(
    make_serial: MakeSerial, changed: Path, tmp_path: Path
) -> None:
    device = plugged_in(make_serial)
    assert deploy(device, f"--tree={changed}") == (1, 0)
    without = changed_tree(tmp_path / "without", {"lib/cookies.mpy": None})
    assert deploy(device, f"--tree={without}") == (1, 1)
    device.board.stop()
    assert {**files_of(device.state), **tree_files(without)} == files_of(device.state)
    assert "/lib/cookies.mpy" not in files_of(device.state)


def test_settings_and_files_of_ones_own_stay_and_what_would_hide_ours_goes(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.write_file("/notes.txt", b"mine")
    device.write_file("/lib/mine.py", b"x = 1")
    device.write_file("/lib/forms.py", b"1/0")
    device.write_file("/tally.py", b"1/0")
    settings = device.read_settings()
    device.board.skip_at_boot_ms = 0  # or it would crash ten times a second
    device.plug_in()
    assert deploy(device) == (0, 2)
    device.board.stop()
    files = files_of(device.state)
    assert (files["/notes.txt"], files["/lib/mine.py"]) == (b"mine", b"x = 1")
    assert not {"/lib/forms.py", "/tally.py"} & set(files)
    assert device.read_settings() == settings


def test_a_folder_that_make_build_did_not_make_is_refused(make_serial: MakeSerial, tmp_path: Path) -> None:
    device = make_serial()
    done = device.run("deploy", f"--tree={tmp_path}")
    assert (done.returncode, "is not what make build makes" in done.stderr) == (2, True)


# --- boards in all states -----------------------------------------------------------------------


def test_a_watchdog_that_is_about_to_bite_is_calmed_first(make_serial: MakeSerial, changed: Path) -> None:
    device = make_serial()
    device.board.skip_at_boot_ms = 0
    write_main(device, "import machine, time\nmachine.WDT(timeout=3000)\nwhile True: time.sleep_ms(10); print('hm')")
    device.plug_in()
    device.wait_booted()
    assert deploy(device, f"--tree={changed}") == (2, 0)
    assert not [line for line in device.board.log_lines if "watchdog reset" in line]


def test_a_board_in_rescue_mode_is_repaired_and_leaves_it(make_serial: MakeSerial) -> None:
    device = make_serial()
    good = files_of(device.state)["/tally.mpy"]
    device.write_file("/tally.mpy", b"not byte code")
    device.plug_in()
    device.board.wait_for_line("rescue mode after 3 crashes")
    device.board.skip_at_boot_ms = 0  # or it would crash ten times a second
    done = device.run("deploy")
    assert (done.returncode, count(done.stdout)) == (0, (1, 0)), done.stdout + done.stderr
    device.board.stop()
    assert files_of(device.state)["/tally.mpy"] == good


def test_an_application_that_floods_the_line_is_interrupted(make_serial: MakeSerial) -> None:
    device = make_serial()
    write_main(device, "while True: print('x' * 70)")
    device.plug_in()
    device.board.wait_for_line("^x{70}$")
    assert deploy(device) == (1, 0)


def test_a_program_that_ends_at_once_is_replaced(make_serial: MakeSerial) -> None:
    device = make_serial()
    write_main(device, "1/0")
    device.plug_in()
    device.wait_at_prompt()
    assert deploy(device) == (1, 0)


def test_a_name_lookup_that_deafens_the_board_for_14_s_is_waited_for(make_serial: MakeSerial) -> None:
    device = make_serial()
    write_main(device, "import time\ntry:\n  time.sleep(600)\nexcept KeyboardInterrupt:\n  time.sleep(12)\n")
    device.plug_in()
    device.wait_booted()
    done = device.run("deploy", timeout_s=100)
    assert count(done.stdout) == (1, 0)
    assert "no answer yet, trying again" in done.stdout


def test_a_crash_at_the_start_of_what_was_deployed_is_a_failure(make_serial: MakeSerial, tmp_path: Path) -> None:
    device = plugged_in(make_serial)
    broken = changed_tree(tmp_path / "broken", {"app/compose.mpy": b"not byte code"})
    done = device.run("deploy", f"--tree={broken}")
    assert done.returncode == 1
    assert "deployed, but the application crashed" in done.stderr


# --- refusals and faults ------------------------------------------------------------------------


def test_another_version_of_micropython_is_refused(make_serial: MakeSerial) -> None:
    device = make_serial(has="firmware")
    device.state.flash_path.write_bytes(patched(stand_in_image("v1.23.0")).ljust(r.FLASH_SIZE_BYTES, b"\xff"))
    device.plug_in()
    done = device.run("deploy")
    assert done.returncode == 1
    assert "the board runs MicroPython 1.23.0, Tally needs 1.24.1. Run: make flash" in done.stderr


def test_a_full_board_is_told_before_anything_is_sent(make_serial: MakeSerial, tmp_path: Path) -> None:
    device = make_serial()
    fill_up(device.state, 60_000)
    device.plug_in()
    large = changed_tree(tmp_path / "large", {"www/large.bin": os.urandom(100_000)})
    done = device.run("deploy", f"--tree={large}")
    assert done.returncode == 1
    assert re.search(r"disk full on the board: the new files need 1\d\d,\d{3} bytes .* are free", done.stderr)
    assert "fs cp" not in done.stdout


def test_a_file_that_arrives_damaged_is_sent_again(make_serial: MakeSerial, changed: Path) -> None:
    device = plugged_in(make_serial)
    left = [1]

    def noise(data: bytes) -> bytes:
        if b"another icon" in data and left:
            left.pop()
            return data.replace(b"another", b"anothXr")
        return data

    device.serial.noise = noise
    done = device.run("deploy", f"--tree={changed}")
    assert (done.returncode, count(done.stdout)) == (0, (1, 0))
    assert "www/icon.svg.gz arrived damaged, sending it again" in done.stdout


def test_a_line_that_damages_every_copy_ends_in_a_sentence(make_serial: MakeSerial, changed: Path) -> None:
    device = plugged_in(make_serial)
    device.serial.noise = lambda data: data.replace(b"another", b"anothXr")
    done = device.run("deploy", f"--tree={changed}")
    assert (done.returncode, "arrived damaged 3 times" in done.stderr) == (1, True)
    device.serial.noise = lambda data: data
    assert deploy(device, f"--tree={changed}") == (1, 0)


def test_a_silent_board_is_a_sentence_and_not_a_hang(
    make_serial: MakeSerial, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = plugged_in(make_serial)
    device.serial.silent = True
    monkeypatch.setattr(session, "INTERRUPT_TRIES", 1)  # of 10 s each
    assert deploy_command.main(device.options) == 1
    assert "shows no MicroPython prompt" in capsys.readouterr().err


def test_what_a_deploy_left_that_nobody_wants_any_more_goes(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.write_file("/next/part", b"half of a file")
    device.write_file("/next/app!gone.mpy", b"of a tree that was taken back")
    device.plug_in()
    assert deploy(device) == (0, 0)
    device.board.stop()
    assert not [path for path in files_of(device.state) if path.startswith("/next")]


def test_a_board_that_can_not_join_says_that_it_was_deployed_and_why(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.state.put_text(r.PASSWORD_TEXT, "another-one")
    device.board.skip_at_boot_ms = 40_000  # of tries
    device.plug_in()
    done = device.run("deploy")
    assert done.returncode == 1
    assert "deployed, but the board is not in the network yet" in done.stderr
    assert "wrong password. Run make provision again" in done.stderr


def test_a_deploy_of_an_unknown_format_is_left_alone_and_said(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.write_file("/next/commit", b"tally deploy 2\n")
    device.plug_in()
    done = device.run("deploy")
    assert (done.returncode, "a deploy of another version of Tally" in done.stderr) == (1, True)


def test_a_deploy_killed_in_the_middle_leaves_the_old_application_and_goes_on_where_it_was(
    make_serial: MakeSerial, tmp_path: Path
) -> None:
    device = plugged_in(make_serial)
    old = files_of(device.state)
    tree = changed_tree(tmp_path / "tree", {f"www/{i}.bin": bytes([i]) * 5000 for i in range(6)})
    argv = [sys.executable, "-m", "scripts.deploy", *device.options, f"--tree={tree}"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("[3/"):
                process.send_signal(signal.SIGKILL)
                break
    time.sleep(0.5)  # its mpremote ends by itself
    device.board.press_reset()
    device.board.wait_for_line("tally .* on tally-0c3f01", timeout_s=20)
    device.board.stop()
    now = files_of(device.state)
    assert {path: now[path] for path in old if path != "/settings.json"} == {
        path: old[path] for path in old if path != "/settings.json"
    }
    assert "/www/0.bin" not in now
    device.plug_in()
    sent, _ = deploy(device, f"--tree={tree}")
    assert sent in (3, 4)
    device.board.stop()
    assert {**files_of(device.state), **tree_files(tree)} == files_of(device.state)
    assert not [path for path in files_of(device.state) if path.startswith("/next")]


def test_a_deploy_committed_by_another_one_is_finished_first(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.write_file("/next/www!icon.svg.gz", b"of the broken-off deploy")
    device.write_file("/next/commit", b"tally deploy 1\n/www/gone.txt")
    device.write_file("/www/gone.txt", b"")
    device.board.skip_at_boot_ms = 0
    device.plug_in()
    device.wait_booted()
    device.board.interrupt()  # in the grace period, so that the deploy comes before the board does it itself
    device.board.wait_for_state(r.STATE_REPL)
    done = device.run("deploy")
    assert "finishing the deploy that was broken off" in done.stdout
    assert count(done.stdout) == (1, 0)


def test_the_manifest_on_the_board_is_the_one_of_the_build(make_serial: MakeSerial, changed: Path) -> None:
    device = plugged_in(make_serial)
    deploy(device, f"--tree={changed}")
    device.board.stop()
    manifest = files_of(device.state)["/manifest.json"]
    assert manifest == (changed / "manifest.json").read_bytes()
    assert json.loads(manifest)["version"] == 1
