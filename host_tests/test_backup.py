"""`make backup` and `make restore`: what travels, what never does, and what is refused before anything is written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host_tests.logs import Samples, check_kept, samples_in, samples_of, wait_for_samples
from host_tests.serial_device import SerialDevice
from host_tests.virtual_board import rom_loader
from host_tests.virtual_board.stand_in import stand_in_image
from host_tests.virtual_board.vm import registers as r
from scripts import backup, backup_record, backup_restore, backup_save, partitions, sim, vfs_image
from scripts.backup_record import SECRET_WORDS, Record, is_secret, sha256_of_file
from scripts.console import EXIT_FAULT, EXIT_OK, EXIT_USAGE, Problem
from scripts.firmware import patched
from scripts.identity import Identity
from scripts.link import Link

MakeSerial = Callable[..., SerialDevice]
ROWS = partitions.read_csv()
LOG = partitions.named(ROWS, "log")
MAC = "70:b8:f6:0c:3f:01"
CANARY = "hunter2-canary"
NOTES = b"calibrated on 2026-11-02\n" * 40
READINGS = bytes(range(256)) * 16


def flash_bytes(device: SerialDevice, row: partitions.Partition) -> bytes:
    with open(device.state.flash_path, "rb") as file:
        file.seek(row.offset)
        return file.read(row.size_bytes)


def write_flash(device: SerialDevice, offset: int, content: bytes) -> None:
    with open(device.state.flash_path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def started(device: SerialDevice) -> Samples:
    """Power on, until the application has taken samples."""
    device.plug_in()
    device.board.wait_for_line("boot 1 after")
    return wait_for_samples(device.state)


def check_goes_on(kept: Samples, used: Samples, now: Samples) -> None:
    """All samples of the backup are back, and no number that was `used` since is given to another sample."""
    check_kept(kept, now)
    assert min(seq for seq in now if seq not in kept) > max(used), "a number came twice"


def file_on(device: SerialDevice, path: str) -> bytes | None:
    with vfs_image.mounted(device.state.flash_path) as fs:
        return vfs_image.read_file(fs, path)


def make_backup(folder: Path, mac: str = MAC, log: bytes = READINGS, **changes: Any) -> Path:
    """A backup without a board: counters at 7 and 3000."""
    (folder / "files" / "notes").mkdir(parents=True)
    contents = {
        "settings.json": json.dumps({"version": 1, "name": "Attic"}).encode(),
        "files/notes/attic.txt": NOTES,
        "log.bin": log.ljust(LOG.size_bytes, b"\xff"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    fields: dict[str, Any] = {
        "device": "tally-0c3f01",
        "mac": mac,
        "app": "0.1.0",
        "firmware": "1.24.1",
        "made_utc": "2026-11-21T20:00:00Z",
        "made_unix_s": int(time.time()),
        "counters": {"boot": 7, "seq": 3000},
        "partitions": {LOG.name: [LOG.offset, LOG.size_bytes]},
        "files": {name: sha256_of_file(folder / name) for name in contents},
    }
    backup_record.save(Record(**{**fields, **changes}), folder)
    return folder


# --- round trip -----------------------------------------------------------------------------------


@pytest.mark.vm
def test_a_backup_survives_the_erasing_of_its_board_and_holds_no_secret(
    make_serial: MakeSerial, tmp_path: Path
) -> None:
    device = make_serial(settings={"wifi_password": CANARY, "name": "Attic", "sample_period_s": 2})
    device.write_file("/notes/attic/today.txt", NOTES)
    device.write_file("/app/stale.py", b"no deploy left it here")
    before = started(device)
    folder = tmp_path / "saved"
    saved = device.run("backup", "backup", f"--to={folder}")
    assert saved.returncode == EXIT_OK, saved.stdout + saved.stderr
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "backup.json",
        "files/notes/attic/today.txt",
        "log.bin",
        "settings.json",
    ]
    kept = samples_in((folder / "log.bin").read_bytes())
    check_kept(before, kept)
    record = json.loads((folder / "backup.json").read_text())
    assert (record["device"], record["mac"], record["app"]) == ("tally-0c3f01", MAC, "0.1.0")
    assert record["counters"] == {"boot": 1, "seq": 1000}
    assert not any(CANARY.encode() in p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert CANARY not in saved.stdout + saved.stderr
    device.board.wait_for_line("boot 2 after")
    used = wait_for_samples(device.state, max(kept))
    check_kept(kept, used)

    device.board.stop()
    write_flash(device, 0, patched(stand_in_image()).ljust(r.FLASH_SIZE_BYTES, b"\xff"))
    sim.install(device.state.flash_path, None)
    device.plug_in()
    device.wait_booted()
    restored = device.run("backup", "restore", f"--from={folder}")
    assert restored.returncode == EXIT_OK, restored.stdout + restored.stderr
    assert "make provision" in restored.stdout
    line = device.board.wait_for_line(r"main: tally .* boot \d{3} after")
    assert int(line.split("boot ")[1].split()[0]) > 2, "a boot number came twice"
    wait_for_samples(device.state, max(used))
    device.board.stop()
    settings = device.read_settings()
    assert (settings["name"], settings["sample_period_s"]) == ("Attic", 2)
    assert "wifi_password" not in settings
    assert file_on(device, "/notes/attic/today.txt") == NOTES
    assert file_on(device, "/app/stale.py") is None
    check_goes_on(kept, used, samples_of(device.state))


@pytest.mark.vm
def test_counters_and_secrets_of_the_board_stay_and_a_restore_broken_off_can_be_run_again(
    make_serial: MakeSerial, tmp_path: Path
) -> None:
    device = make_serial(settings={"wifi_password": CANARY, "sample_period_s": 1})
    kept = started(device)
    log = flash_bytes(device, LOG)
    folder = make_backup(tmp_path / "saved", log=log, counters={"boot": 1, "seq": 1000})
    used = wait_for_samples(device.state, max(kept))
    blocks = 0

    def break_off(op: int, data: bytes) -> str | None:
        nonlocal blocks
        blocks += op == rom_loader.FLASH_DEFL_DATA
        return "silent" if blocks == 1 else None

    device.serial.faults.on_command = break_off
    broken = device.run("backup", "restore", f"--from={folder}")
    assert broken.returncode == EXIT_FAULT, broken.stdout
    assert "run the command again" in broken.stderr.lower()
    device.serial.faults.on_command = lambda op, data: None
    device.board.wait_for_line(r"boot 102 after")  # counters come first: it may number samples from here on
    used |= wait_for_samples(device.state, 1000)
    done = device.run("backup", "restore", f"--from={folder}")
    assert done.returncode == EXIT_OK, done.stdout + done.stderr
    device.board.wait_for_line(r"boot 10[3-9] after")
    wait_for_samples(device.state, max(used))
    device.board.stop()
    assert device.read_settings()["wifi_password"] == CANARY
    assert device.read_settings()["name"] == "Attic"
    assert file_on(device, "/notes/attic.txt") == NOTES
    check_goes_on(samples_in(log), used, samples_of(device.state))
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.vm
def test_a_backup_of_another_board_is_refused_and_the_application_goes_on(
    make_serial: MakeSerial, tmp_path: Path
) -> None:
    device = make_serial(settings={"sample_period_s": 1})
    before = started(device)
    folder = make_backup(tmp_path / "saved", mac="aa:bb:cc:dd:ee:ff")
    result = device.run("backup", "restore", f"--from={folder}")
    assert result.returncode == EXIT_USAGE
    assert "aa:bb:cc:dd:ee:ff" in result.stderr and "FORCE=1" in result.stderr
    device.board.wait_for_line("boot 2 after")
    now = wait_for_samples(device.state, max(before))
    assert list(now) == list(range(1, max(now) + 1))
    check_kept(before, now)


# --- what is refused before a board is asked ----------------------------------------------------


def refusal(folder: Path | str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `make restore` says of a folder; no port is there, so that it must say so before it looks for one."""
    assert backup.main(["restore", "--port=/dev/ttyNONE", f"--from={folder}"]) == EXIT_USAGE
    return capsys.readouterr().err


def test_a_changed_file_of_a_backup_is_refused(tmp_path: Path, capsys) -> None:
    folder = make_backup(tmp_path / "saved")
    with open(folder / "log.bin", "r+b") as file:
        file.write(b"\x55")
    assert "log.bin is not what was saved" in refusal(folder, capsys)


def test_a_missing_file_of_a_backup_is_refused(tmp_path: Path, capsys) -> None:
    folder = make_backup(tmp_path / "saved")
    (folder / "files/notes/attic.txt").unlink()
    assert "attic.txt can't be read" in refusal(folder, capsys)


def test_a_backup_that_was_broken_off_is_none(tmp_path: Path, capsys) -> None:
    folder = make_backup(tmp_path / "saved")
    (folder / "backup.json").unlink()
    assert "is no backup" in refusal(folder, capsys)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', '{"version": 1, "what": 2}'])
def test_a_record_that_is_none_is_refused(text: str, tmp_path: Path, capsys) -> None:
    folder = make_backup(tmp_path / "saved")
    (folder / "backup.json").write_text(text)
    assert "is damaged" in refusal(folder, capsys)


def test_a_backup_of_another_form_is_refused(tmp_path: Path, capsys) -> None:
    assert "has form 2" in refusal(make_backup(tmp_path / "saved", version=2), capsys)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname"])
def test_a_record_that_lists_a_file_outside_of_its_folder_is_refused(name: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "outside").write_bytes(b"")
    assert "not inside it" in refusal(make_backup(tmp_path / "saved", files={name: "0"}), capsys)


def test_a_backup_without_a_partition_is_refused(tmp_path: Path, capsys) -> None:
    assert "log.bin is not listed" in refusal(make_backup(tmp_path / "saved", files={}), capsys)


def test_a_partition_of_another_size_than_recorded_is_refused(tmp_path: Path, capsys) -> None:
    places = {"log": [LOG.offset, 1]}
    assert "has not the size" in refusal(make_backup(tmp_path / "saved", partitions=places), capsys)


def test_a_restore_without_a_folder_names_the_newest_backup(tmp_path: Path, capsys, monkeypatch) -> None:
    for name in ("tally-0c3f01-20260101T000000Z", "tally-0c3f01-20260201T000000Z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "backup.json").write_text("{}")
    (tmp_path / "tally-0c3f01-20260301T000000Z").mkdir()  # broken off
    monkeypatch.setattr(backup_save, "BACKUP_DIR", tmp_path)
    assert "20260201T000000Z" in refusal("", capsys)


@pytest.mark.parametrize(
    "fields", [{"counters": {"seq": 1}}, {"counters": {"boot": "x", "seq": 1}}, {"partitions": []}, {"files": {"a": 1}}]
)
def test_a_record_with_a_value_of_the_wrong_kind_is_refused(tmp_path: Path, capsys, fields: dict) -> None:
    folder = make_backup(tmp_path / "saved")
    path = folder / "backup.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    assert "is not complete" in refusal(folder, capsys)


def test_a_folder_that_is_not_empty_takes_no_backup(tmp_path: Path) -> None:
    (tmp_path / "something").write_bytes(b"")
    with pytest.raises(Problem, match="not empty") as caught:
        backup_save.make_folder(str(tmp_path), "tally-0c3f01", backup_save.datetime.now(backup_save.UTC))
    assert caught.value.exit_code == EXIT_USAGE


# --- rules ----------------------------------------------------------------------------------------


def test_every_setting_that_sounds_secret_is_kept_back() -> None:
    from app.settings import SCHEMA

    words = ("password", "token", "secret", "key", "auth")
    assert {name for name in SCHEMA if any(word in name for word in words)} == set(filter(is_secret, SCHEMA))
    assert is_secret("wifi_password")
    assert is_secret("API_Key")
    assert set(words) == set(SECRET_WORDS)


def record(folder: Path, **changes: Any) -> Record:
    return backup_record.load(make_backup(folder, **changes))


def test_counters_go_beyond_all_that_can_have_been_counted_since_the_backup(tmp_path: Path) -> None:
    saved = record(tmp_path / "saved", made_unix_s=1_000_000)
    day_s = 86400
    least = backup_restore.counters_now(saved, 1_000_000 + day_s)
    assert least["boot"] == 7 + 100 + 86
    assert least["seq"] == 3000 + day_s + 1000 * 186


def test_a_backup_from_the_future_does_not_lower_the_counters(tmp_path: Path) -> None:
    assert backup_restore.counters_now(record(tmp_path / "saved", made_unix_s=2_000_000), 1_000_000)["seq"] > 3000


def identity(mac: str = MAC, rows: list[partitions.Partition] = ROWS) -> Identity:
    return Identity(mac, "ESP32C3", "1.24.1", 4 << 20, rows)


def test_another_board_takes_a_backup_only_by_force(tmp_path: Path) -> None:
    saved = record(tmp_path / "saved", mac="aa:bb:cc:dd:ee:ff")
    backup_restore.check_board(saved, identity(), force=True)
    with pytest.raises(Problem, match="FORCE=1"):
        backup_restore.check_board(saved, identity(), force=False)


def test_a_board_with_another_layout_takes_no_backup(tmp_path: Path) -> None:
    small = [partitions.Partition("log", 1, 0x40, LOG.offset, 4096)]
    with pytest.raises(Problem, match="4,096 bytes on this board and 1,048,576 in the backup"):
        backup_restore.check_board(record(tmp_path / "saved"), identity(rows=small), force=True)


def test_damaged_settings_are_left_out_with_a_note(tmp_path: Path, capsys) -> None:
    backup_save.save_settings(None, tmp_path)
    assert "damaged" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_file_that_arrives_damaged_ends_the_backup(tmp_path: Path, monkeypatch) -> None:
    def copy(link: Link, *words: str, timeout_s: float) -> str:
        Path(words[-1]).write_bytes(b"other")
        return ""

    monkeypatch.setattr(backup_save.tools, "mpremote", copy)
    with pytest.raises(Problem, match="arrived damaged"):
        backup_save.save_files(Link("/dev/ttyX"), {"/notes.txt": backup_save.BoardFile("00", 5)}, tmp_path)
