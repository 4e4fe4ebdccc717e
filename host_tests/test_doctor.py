"""`make doctor`: what it says of healthy and faulty boards, with the real tools; and each judgement by itself."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from importlib import metadata

import pytest

from host_tests.logs import wait_for_samples
from host_tests.serial_device import NO_RESET, SerialDevice
from host_tests.test_logging_of_samples import repartition
from host_tests.virtual_board.stand_in import STOCK_TABLE, stand_in_image
from host_tests.virtual_board.vm import registers as r
from scripts import doctor, doctor_rows, failures, partitions, session, sim, vfs_image
from scripts.console import EXIT_ENVIRONMENT, EXIT_FAULT, EXIT_OK
from scripts.deploy_plan import BoardFile, Inventory
from scripts.doctor_rows import EPOCH_2000_S, NOTE, OK, WRONG, Row
from scripts.firmware import ImagePin, Versions, read_versions
from scripts.identity import Identity

MakeSerial = Callable[..., SerialDevice]
TRIES_MS = 26000  # of 20 s each


def rows_in(said: str) -> dict[str, list[tuple[str, str]]]:
    """The page by subject: (level, text with its remedy)."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for match in re.finditer(r"^(ok|note|WRONG) +([\w-]+(?: \w+)?): (.*(?:\n {7}.*)*)", said, re.MULTILINE):
        rows.setdefault(match[2], []).append((match[1], match[3]))
    return rows


def levels(rows: dict[str, list[tuple[str, str]]], subject: str) -> list[str]:
    return [level for level, _ in rows[subject]]


# --- whole boards, with the real tools ------------------------------------------------------------


@pytest.mark.vm
def test_a_healthy_board_is_all_right_and_runs_again_afterwards(make_serial: MakeSerial) -> None:
    device = make_serial(settings={"sample_period_s": 1})
    device.start_collector()
    device.plug_in()
    device.board.wait_for_line("clock: set by NTP")
    wait_for_samples(device.state)
    device.state.set_clock(r.RTC, int(time.time()) - EPOCH_2000_S)  # the boot's time was skipped
    lines_before = len(device.board.log_lines)
    result = device.run("doctor")
    rows = rows_in(result.stdout)
    assert {level for found in rows.values() for level, _ in found} == {OK}, result.stdout
    assert list(rows) == (
        "tools port chip firmware partitions files space settings app log".split()
        + ["last reset", "crash", "clock", "Wi-Fi", "web", "memory"]
    )
    assert result.returncode == EXIT_OK
    assert rows["web"] == [(OK, "http://127.0.0.1/")]
    assert rows["app"][0][1].startswith("boot 1, up ")
    assert "power on" in rows["last reset"][0][1]
    assert re.match(r"(\d+) samples stored, \d+ not sent yet, the newest is number \1$", rows["log"][0][1])
    assert result.stdout.startswith("the board is asked now: the application stops for some seconds")
    assert sim.PASSWORD not in result.stdout + result.stderr
    device.board.wait_for_line("boot 2 after reset", after=lines_before)


@pytest.mark.vm
def test_a_wrong_password_and_an_unset_clock_are_told_with_their_remedies(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.state.put_text(r.PASSWORD_TEXT, "another-one")
    device.plug_in()
    device.board.wait_for_line("wifi: joining")
    device.advance(TRIES_MS)
    device.board.wait_for_line("WARNING wifi: not connected")
    result = device.run("doctor")
    rows = rows_in(result.stdout)
    assert result.returncode == EXIT_FAULT
    level, text = rows["Wi-Fi"][0]
    assert level == WRONG and "wrong password" in text and "-> Run make provision" in text
    assert levels(rows, "clock") == [NOTE]
    assert "not set" in rows["clock"][0][1]
    assert "web" not in rows
    assert sim.PASSWORD not in result.stdout


@pytest.mark.vm
def test_damaged_files_settings_and_a_crash_are_told(make_serial: MakeSerial) -> None:
    device = make_serial()
    device.write_file("/app/web/tips.mpy", b"changed")
    device.write_file("/app/web/tips.py", b"hides the .mpy")
    device.write_settings({"sample_period_s": "often"})
    with vfs_image.mounted(device.state.flash_path) as fs:
        fs.remove("/lib/forms.mpy")
    device.plug_in()
    device.wait_booted()
    note = b'1 0 Traceback (most recent call last):\n  File "tally.py", line 325, in run\nValueError: canary\n'
    device.state.put_bytes(r.RTC_MEMORY, note)
    device.state[r.RTC_MEMORY_LEN] = len(note)
    result = device.run("doctor")
    rows = rows_in(result.stdout)
    assert result.returncode == EXIT_FAULT
    told = "\n".join(text for level, text in rows["files"] if level == WRONG)
    assert "changed since the deploy: /app/web/tips.mpy" in told
    assert "missing: /lib/forms.mpy" in told
    assert "in the way of what was deployed: /app/web/tips.py" in told
    assert told.count("-> make deploy") == 3
    assert rows["settings"][0][0] == WRONG and "sample_period_s must be a whole number" in rows["settings"][0][1]
    level, crash = rows["crash"][0]
    assert level == WRONG and "ValueError: canary" in crash
    assert 'File "tally.py"' not in crash and re.search(r'File "[a-z_/]+\.py", line 5, in run', crash)


@pytest.mark.vm
def test_another_firmware_without_our_partition_table_is_told(make_serial: MakeSerial) -> None:
    device = make_serial(has="nothing")
    image = stand_in_image(version="v1.23.0")
    with open(device.state.flash_path, "r+b") as file:
        file.write(image)
    device.plug_in()
    device.wait_at_prompt()
    result = device.run("doctor")
    rows = rows_in(result.stdout)
    assert result.returncode == EXIT_FAULT
    assert rows["firmware"] == [
        (WRONG, "MicroPython 1.23.0, and Tally is made for 1.24.1\n       -> make backup, then make flash")
    ]
    assert levels(rows, "partitions") == [WRONG] and "vfs, log differ" in rows["partitions"][0][1]
    assert rows["files"] == [(WRONG, "no Tally is on this board\n       -> make deploy")]
    assert levels(rows, "app") == [NOTE]


@pytest.mark.vm
def test_a_board_without_a_log_partition_is_told_that_its_samples_are_gone_at_a_reset(make_serial: MakeSerial) -> None:
    device = make_serial()
    repartition(device, "else", 1 << 20)
    device.plug_in()
    device.board.wait_for_line("wifi: joining")
    result = device.run("doctor")
    rows = rows_in(result.stdout)
    assert result.returncode == EXIT_FAULT
    assert levels(rows, "partitions") == levels(rows, "log") == [WRONG]
    assert "samples are only in memory" in rows["log"][0][1]


@pytest.mark.vm
def test_a_board_without_sensors_is_not_taken_for_one_in_rescue_mode(make_serial: MakeSerial) -> None:
    device = make_serial(settings={"sensors": ""})
    device.plug_in()
    device.board.wait_for_line("wifi: joining")
    rows = rows_in(device.run("doctor").stdout)
    assert levels(rows, "app") == [OK]
    assert rows["log"] == [(OK, "0 samples stored, 0 not sent yet")]


def quick_doctor(device: SerialDevice, monkeypatch: pytest.MonkeyPatch) -> int:
    """In this process, with one try of a few seconds to find the prompt."""
    monkeypatch.setattr(session, "INTERRUPT_TRIES", 1)
    monkeypatch.setattr(session, "ANSWER_TIMEOUT_S", 2)
    return doctor.main([f"--port={device.tty}", f"--esptool-args={NO_RESET} --connect-attempts 1"])


@pytest.mark.vm
def test_a_blank_board_is_told_to_be_flashed(make_serial: MakeSerial, monkeypatch, capfd) -> None:
    device = make_serial(has="nothing")
    device.plug_in()
    assert quick_doctor(device, monkeypatch) == EXIT_FAULT
    rows = rows_in(capfd.readouterr().out)
    assert levels(rows, "chip") == [OK]
    assert rows["firmware"][0][0] == WRONG
    assert "no MicroPython prompt" in rows["firmware"][0][1] and "-> make flash" in rows["firmware"][0][1]


@pytest.mark.vm
def test_a_silent_board_is_told_with_how_to_reach_its_loader(make_serial: MakeSerial, monkeypatch, capfd) -> None:
    device = make_serial(has="firmware")
    device.plug_in()
    device.serial.silent = True
    assert quick_doctor(device, monkeypatch) == EXIT_FAULT
    rows = rows_in(capfd.readouterr().out)
    assert levels(rows, "chip") == [WRONG] and "Hold its BOOT button" in rows["chip"][0][1]
    assert "firmware" not in rows


# --- this machine ---------------------------------------------------------------------------------


def test_a_missing_port_is_this_machines_fault(capsys) -> None:
    assert doctor.main(["--port=/dev/ttyNONE"]) == EXIT_ENVIRONMENT
    assert "WRONG  port: there is no /dev/ttyNONE" in capsys.readouterr().out


def test_a_missing_tool_is_this_machines_fault_and_no_board_is_asked(monkeypatch, capsys) -> None:
    def version(name: str) -> str:
        if name == "esptool":
            raise metadata.PackageNotFoundError(name)
        return read_versions().tools[name]

    monkeypatch.setattr(doctor_rows.metadata, "version", version)
    assert doctor.main(["--port=/dev/ttyNONE"]) == EXIT_ENVIRONMENT
    rows = rows_in(capsys.readouterr().out)
    assert rows["tools"][0] == (WRONG, "esptool is not installed\n       -> make setup")
    assert "port" not in rows


def test_a_tool_of_another_version_is_a_note() -> None:
    pins = Versions(ImagePin("", "", 0, "", "", 0, ""), {"esptool": "0.1"})
    (row,) = doctor_rows.tools(pins)
    assert row.level == NOTE and "tested with 0.1" in row.what


def test_a_port_that_is_lost_on_the_way_is_this_machines_fault_and_known_rows_stay(monkeypatch, capsys) -> None:
    def lost(link) -> None:
        raise failures.named("cannot-access", link.port)

    monkeypatch.setattr(doctor.link, "from_args", lambda args: doctor.Link("/dev/ttyX"))
    monkeypatch.setattr(session, "interrupt", lost)
    assert doctor.main([]) == EXIT_ENVIRONMENT
    rows = rows_in(capsys.readouterr().out)
    assert rows["port"] == [(OK, "/dev/ttyX")]
    assert levels(rows, "board") == [WRONG]


# --- judgements -----------------------------------------------------------------------------------

NOW_S = 1_800_000_000


def clock_row(off_s: float) -> Row:
    (row,) = doctor_rows.clock({"chip_s": NOW_S - EPOCH_2000_S}, NOW_S - off_s)
    return row


@pytest.mark.parametrize(
    ("off_s", "level"), [(0, OK), (5, OK), (-5, OK), (6, NOTE), (-6, NOTE), (3600, NOTE), (3601, WRONG), (-3601, WRONG)]
)
def test_a_clock_is_judged_by_how_far_it_is_off(off_s: int, level: str) -> None:
    row = clock_row(off_s)
    assert row.level == level
    assert level == OK or ("ahead of" if off_s > 0 else "behind") in row.what


def test_a_clock_that_is_only_an_estimate_is_a_note_however_far_it_is_off() -> None:
    facts = {"chip_s": NOW_S - EPOCH_2000_S, "quality": 1, "ntp_failures": 3}
    (row,) = doctor_rows.clock(facts, NOW_S + 86400)
    assert row.level == NOTE and "estimate, 86400 s behind this computer, 3 tries" in row.what


LOG = {"log_in_memory": False, "stored": 1234, "last_seq": 2001, "pending": 4, "rejected": 0, "log_errors": 0}


def test_the_log_is_told_by_its_samples() -> None:
    row = doctor_rows.log(LOG)
    assert (row.level, row.what) == (OK, "1,234 samples stored, 4 not sent yet, the newest is number 2001")
    assert doctor_rows.log({**LOG, "stored": 0, "last_seq": 0, "pending": 0}).what == "0 samples stored, 0 not sent yet"


def test_a_log_in_memory_is_wrong() -> None:
    row = doctor_rows.log({**LOG, "log_in_memory": True})
    assert row.level == WRONG and "gone at a reset" in row.what and "make flash" in row.remedy


@pytest.mark.parametrize("failed", ["rejected", "log_errors"])
def test_a_flash_that_did_not_take_what_was_written_is_a_note(failed: str) -> None:
    row = doctor_rows.log({**LOG, failed: 3})
    assert row.level == NOTE and " 3 " in row.what.split(";")[1] and row.remedy


def test_a_crash_that_the_board_has_come_over_is_a_note() -> None:
    chip_s = NOW_S - EPOCH_2000_S
    (row,) = doctor_rows.crash(b"2 %d Traceback\n" % (chip_s - 300), chip_s)
    assert row.level == NOTE
    (row,) = doctor_rows.crash(b"2 %d Traceback\n" % (chip_s - 299), chip_s)
    assert row.level == WRONG


@pytest.mark.parametrize("content", [b"", b"somebody else's \xff bytes"])
def test_rtc_memory_without_a_crash_note_is_no_crash(content: bytes) -> None:
    assert [row.level for row in doctor_rows.crash(content, 0)] == [OK]


def test_a_crash_without_a_traceback_says_so() -> None:
    assert "no memory was left" in next(doctor_rows.crash(b"1 0 ", 10)).what


def test_reset_causes_are_the_applications_words() -> None:
    from app.web import words

    assert doctor_rows.RESET_CAUSES == words._RESET


def test_every_reason_of_the_application_for_no_wifi_is_wrong_and_has_a_remedy() -> None:
    from app.web import words

    for reason in words._WIFI.values():
        facts = {"ssid": "home", "ip": "", "wifi": "not connected: " + reason, "web_port": 80}
        (row,) = doctor_rows.wifi(facts)
        assert row.level == WRONG and reason in row.what and row.remedy


@pytest.mark.parametrize(
    ("ssid", "state"), [("", "no network is set: make provision SSID=..."), ("home", "joining home"), ("h", "starting")]
)
def test_a_board_without_a_network_yet_is_a_note(ssid: str, state: str) -> None:
    (row,) = doctor_rows.wifi({"ssid": ssid, "ip": "", "wifi": state, "web_port": 80})
    assert row.level == NOTE and row.remedy


def test_the_web_address_has_the_port_that_is_not_the_usual_one() -> None:
    rows = list(doctor_rows.wifi({"ssid": "home", "ip": "10.0.0.7", "wifi": "connected", "web_port": 8080}))
    assert rows[1].what == "http://10.0.0.7:8080/"


def test_rescue_mode_is_wrong() -> None:
    assert next(doctor_rows.running({"boot": 4, "uptime_s": 9, "rescue": True}, 0)).level == WRONG


def test_a_watchdog_reset_is_a_note() -> None:
    facts = {"reset_cause": 3, "chip_s": 0, "rtc_memory": "b''"}
    assert [(row.subject, row.level) for row in doctor_rows.running(facts, 0)][1] == ("last reset", NOTE)


FILE = BoardFile("00", 1)
OTHER = BoardFile("11", 1)


def inventory(files: dict[str, BoardFile], free_bytes: int = 800_000) -> Inventory:
    return Inventory("1.24.1", free_bytes, 4096, {"/manifest.json": FILE, **files})


def file_rows(board: dict[str, BoardFile], built: dict[str, BoardFile] | None = None) -> list[Row]:
    wanted = {"/main.py": FILE}
    return list(doctor_rows.files(inventory(board), wanted, wanted if built is None else built))


def test_another_build_in_this_checkout_is_a_note() -> None:
    rows = file_rows({"/main.py": FILE}, {"/main.py": OTHER, "/new.mpy": FILE})
    assert [row.level for row in rows] == [OK, NOTE]
    assert "/main.py, /new.mpy" in rows[1].what


def test_a_deploy_broken_off_before_its_commit_is_a_note() -> None:
    assert [row.level for row in file_rows({"/main.py": FILE, "/next/main.py": OTHER})] == [NOTE]


def test_a_deploy_broken_off_after_its_commit_is_wrong() -> None:
    assert [row.level for row in file_rows({"/main.py": FILE, "/next/commit": OTHER})] == [WRONG]


def test_a_damaged_manifest_is_wrong() -> None:
    rows = list(doctor_rows.files(inventory({"/main.py": FILE}), {}, {}))
    assert [row.level for row in rows] == [WRONG] and "manifest" in rows[0].what


def test_a_long_list_of_files_is_cut() -> None:
    assert doctor_rows._some([f"/{n}" for n in range(8)]) == "/0, /1, /2, /3, /4, /5 and 2 more"


def test_little_space_is_wrong() -> None:
    assert [row.level for row in doctor_rows.free_space(inventory({}, 32 * 1024))] == [OK]
    assert [row.level for row in doctor_rows.free_space(inventory({}, 32 * 1024 - 1))] == [WRONG]


@pytest.mark.parametrize(
    ("chip", "flash_mb", "level"),
    [
        ("ESP32C3 module with ESP32C3", 4, OK),
        ("ESP32C3 module with ESP32C3", 2, WRONG),
        ("ESP32S3 module with ESP32S3", 8, WRONG),
    ],
)
def test_chip_and_flash_size_are_judged(chip: str, flash_mb: int, level: str) -> None:
    assert next(doctor_rows.chip(Identity("m", chip, "1.24.1", flash_mb << 20, []))).level == level


def test_the_stock_partition_table_is_wrong_and_ours_is_right() -> None:
    ours = partitions.read_csv()
    assert next(doctor_rows.partition_table(ours, ours)).level == OK
    assert next(doctor_rows.partition_table(STOCK_TABLE, ours)).level == WRONG


@pytest.mark.parametrize(
    ("seconds", "words"), [(59, "0 min 59 s"), (3600, "1 h 0 min"), (86399, "23 h 59 min"), (90000, "1 d 1 h")]
)
def test_durations_have_two_units(seconds: int, words: str) -> None:
    assert doctor_rows.duration(seconds) == words


def test_lines_of_the_log_among_the_facts_are_passed_over() -> None:
    assert [doctor.object_in(line) for line in ("+3s INFO wifi: joining", "[1]", '{"a": 1}')] == [{}, {}, {"a": 1}]
