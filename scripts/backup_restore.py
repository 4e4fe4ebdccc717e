"""`make restore`: puts a backup back on its board: counters, readings, the person's files, settings.

Owns the order, in which a restore that was broken off can be run again, and the rule that no sequence number comes
twice: counters only go up, beyond all that can have been counted since the backup, and before the log is put back, for
the application may run at once. Secrets are not in a backup, so those of the board stay. Must not know how a backup is
made.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from scripts import flash, partitions, provision, session
from scripts.backup_record import FILES_NAME, PARTITIONS, SETTINGS_NAME, Record, is_secret
from scripts.backup_save import Contents, list_files
from scripts.console import EXIT_OK, EXIT_USAGE, Problem, shown
from scripts.deploy_plan import BoardFile
from scripts.identity import Identity
from scripts.link import Link

_SPARE_BOOTS = 100
_SHORTEST_BOOT_S = 1000  # a board that restarts more often than this, for long, is being looked after
_SEQ_BLOCK = 1000  # of device/app/store.py: what is taken at once


def counters_now(record: Record, now_unix_s: float) -> dict[str, int]:
    """The least that the counters must be: the saved ones and all that can have been counted since, a reading each
    second and a number of boots."""
    age_s = max(0, int(now_unix_s) - record.made_unix_s)
    boots = _SPARE_BOOTS + age_s // _SHORTEST_BOOT_S
    return {
        "boot": record.counters["boot"] + boots,
        "seq": record.counters["seq"] + age_s + _SEQ_BLOCK * boots,
    }


def check_board(record: Record, who: Identity, force: bool) -> None:
    """Problem unless the backup is this board's and fits its flash."""
    if record.mac != who.mac and not force:
        raise Problem(
            f"the backup is of {record.device} (MAC {record.mac}), and this board is {who.device} (MAC {who.mac}). "
            "Nothing was restored. FORCE=1 puts it on this board all the same.",
            EXIT_USAGE,
        )
    for name in PARTITIONS:
        saved, found = record.partitions[name][1], partitions.named(who.partitions, name).size_bytes
        if saved != found:
            raise Problem(
                f"partition {name} has {found:,} bytes on this board and {saved:,} in the backup. Nothing was "
                "restored. Flash the board with the checkout that made the backup: make flash."
            )


def write_partitions(board: Link, who: Identity, folder: Path) -> None:
    flash.write(board, {partitions.named(who.partitions, name).offset: folder / f"{name}.bin" for name in PARTITIONS})


def write_files(board: Link, record: Record, folder: Path) -> None:
    """The person's files, checked by hash on the board. Problem when one differs after it was copied."""
    wanted = {path: record.files[FILES_NAME + path] for path in record.own_files()}
    if not wanted:
        return
    found = list_files(board).files
    missing = sorted(path for path, digest in wanted.items() if not same(found.get(path), digest))
    make_folders(board, missing)
    for number, path in enumerate(missing, 1):
        local = folder / FILES_NAME / path[1:]
        size_bytes = local.stat().st_size
        session.resume(board, "fs", "cp", "-f", shown(local), f":{path}", size_bytes=size_bytes)
        print(f"[{number}/{len(missing)}] {path}, {size_bytes:,} bytes", flush=True)
    found = list_files(board).files if missing else found
    if damaged := [path for path in missing if not same(found.get(path), wanted[path])]:
        raise Problem(f"{', '.join(damaged)} arrived damaged. Run the command again, with a shorter or better cable.")


def same(file: BoardFile | None, digest: str) -> bool:
    return file is not None and file.sha256 == digest


def make_folders(board: Link, paths: list[str]) -> None:
    folders = sorted({str(parent) for path in paths for parent in Path(path).parents} - {"/"})
    if folders:
        run_data(board, session.call("make_folders", *folders))


def run_data(board: Link, code: str) -> None:
    """Code that calls one of data.py's functions."""
    session.resume(board, "run", session.on_board("data"), "+", "exec", code)


def stored_settings(folder: Path, record: Record) -> dict:
    """The settings of the backup; the number of the file's form is the board's own."""
    if SETTINGS_NAME not in record.files:
        return {}
    values = json.loads((folder / SETTINGS_NAME).read_text(encoding="utf-8"))
    return {name: value for name, value in values.items() if name != "version" and not is_secret(name)}


def restore(board: Link, record: Record, folder: Path, force: bool) -> int:
    """Put a backup that was checked (backup_record.load) back; `force`: also on another board than its own."""
    settings = stored_settings(folder, record)
    print(f"backup of {record.device} from {record.made_utc}, {len(record.files)} files, all as they were saved")
    with session.stopped(board):
        who = Contents(board).identity
        check_board(record, who, force)
        least = counters_now(record, time.time())
        run_data(board, f"raise_counters(boot={least['boot']}, seq={least['seq']})")
        write_partitions(board, who, folder)
        session.say_tap_reset(board)
        session.interrupt(board)
        write_files(board, record, folder)
        outcome = provision.store(board, settings) if settings else None
    session.restart(board)
    if outcome:
        provision.check_stored(board, *outcome)
        print(f"settings: {', '.join(settings)}")
    print("restored; the board starts again. Its passwords are what they were: a new board needs make provision")
    return EXIT_OK
