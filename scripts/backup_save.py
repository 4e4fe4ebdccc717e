"""`make backup`: settings, the person's files, readings and counters of a board, in one folder.

Owns what a backup takes and in which order. Secrets stay on the board: the settings are told without them. Must not
know how a backup is put back.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from scripts import board_files, identity, partitions, session, tools
from scripts.backup_record import (
    FILES_NAME,
    PARTITIONS,
    RECORD_NAME,
    SECRET_WORDS,
    SETTINGS_NAME,
    Record,
    save,
    sha256_of_file,
)
from scripts.console import EXIT_OK, EXIT_USAGE, ROOT, Problem, shown
from scripts.deploy_plan import MANIFEST_PATH, BoardFile, Inventory, files_of, stale_files
from scripts.flash import timed
from scripts.identity import Identity
from scripts.link import Link

BACKUP_DIR = ROOT / "backup"
_NEVER = ("/boot.py", MANIFEST_PATH)
_NEVER_UNDER = ("/settings.", "/next/", "/app/", "/www/")
"""What a deploy or the application owns whole."""


class Contents:
    """What a stopped board has to save."""

    def __init__(self, board: Link) -> None:
        self.inventory = list_files(board)
        self.identity: Identity = identity.ask(board)
        session.resume(board, "run", session.on_board("data"))
        self.counters: dict[str, int] = json.loads(session.resume(board, "exec", session.call("counters")))
        told = session.resume(board, "exec", session.call("settings", *SECRET_WORDS))
        self.settings: dict | None = json.loads(told)
        self.manifest = board_files.manifest_text(board, self.inventory)

    @property
    def app(self) -> str:
        """Version of the application that was deployed, "" when none was."""
        try:
            return json.loads(self.manifest)["app"]
        except (ValueError, KeyError, TypeError):
            return ""

    def own_files(self) -> dict[str, BoardFile]:
        """The person's files: what no deploy brought or would remove, and not the settings."""
        deployed = files_of(self.manifest)
        stale = stale_files(self.inventory, deployed, deployed)
        return {
            path: file
            for path, file in self.inventory.files.items()
            if path not in (*deployed, *stale, *_NEVER) and not path.startswith(_NEVER_UNDER)
        }


def list_files(board: Link) -> Inventory:
    """All files on the board, after a soft reset."""
    return board_files.inventory(board, "show('', sorted(os.ilistdir('/')))")


def save_settings(settings: dict | None, folder: Path) -> None:
    if settings is None:
        print("note: settings.json on the board is damaged, so the settings are not in the backup")
        return
    (folder / SETTINGS_NAME).write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    print(f"settings: {len(settings)} values, without secrets", flush=True)


def save_files(board: Link, files: dict[str, BoardFile], folder: Path) -> None:
    """Copy the person's files. Problem when one arrives damaged."""
    for number, (path, file) in enumerate(sorted(files.items()), 1):
        target = folder / FILES_NAME / path[1:]
        if ".." in Path(path).parts:
            raise Problem(f"{path} on the board has a name that can't be saved. Rename it: make repl, os.rename.")
        target.parent.mkdir(parents=True, exist_ok=True)
        session.resume(board, "fs", "cp", f":{path}", shown(target), size_bytes=file.size_bytes)
        if sha256_of_file(target) != file.sha256:
            raise Problem(f"{path} arrived damaged. Run the command again, with a shorter or better cable.")
        print(f"[{number}/{len(files)}] {path}, {file.size_bytes:,} bytes", flush=True)


def save_partitions(board: Link, rows: list[partitions.Partition], folder: Path) -> None:
    """Read them from flash. The application is stopped, and does not come between: while it is read the loader runs."""
    for row in rows:
        path = folder / f"{row.name}.bin"
        arguments = ("read-flash", f"{row.offset:#x}", f"{row.size_bytes:#x}", shown(path))
        with timed(f"{row.name}: {row.size_bytes // 1024} KB"):
            timeout_s = session.timeout_s(row.size_bytes)
            tools.esptool(board, *arguments, timeout_s=timeout_s)


def make_folder(named: str, device: str, made: datetime) -> Path:
    """The new, empty folder. Problem when there is something in it or it can't be made."""
    return prepare_folder(Path(named) if named else BACKUP_DIR / f"{device}-{made:%Y%m%dT%H%M%SZ}")


def prepare_folder(folder: Path) -> Path:
    """Make it if need be. Problem when there is something in it or it can't be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise Problem(f"{folder} is not empty. Name a new folder: TO=...", EXIT_USAGE)
    except OSError as error:
        raise Problem(f"{folder} can't be made ({error.strerror}). Name another: TO=...", EXIT_USAGE) from error
    return folder


def backup(board: Link, to: str) -> int:
    """Save the board to the folder `to`, "" for a new one in backup/."""
    if to:
        prepare_folder(Path(to))  # before the application is stopped for nothing
    print("the application stops while it is saved", flush=True)
    made = datetime.now(UTC)
    with session.stopped(board):
        contents = Contents(board)
        who = contents.identity
        rows = [partitions.named(who.partitions, name) for name in PARTITIONS]
        folder = make_folder(to, who.device, made)
        save_settings(contents.settings, folder)
        save_files(board, contents.own_files(), folder)
        save_partitions(board, rows, folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    record = Record(
        device=who.device,
        mac=who.mac,
        app=contents.app,
        firmware=who.release,
        made_utc=f"{made:%Y-%m-%dT%H:%M:%SZ}",
        made_unix_s=int(time.time()),
        counters=contents.counters,
        partitions={row.name: [row.offset, row.size_bytes] for row in rows},
        files={path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files},
    )
    save(record, folder)
    print(f"saved: {shown(folder)} ({len(files)} files and {RECORD_NAME})")
    print(f"To put it back: make restore FROM={shown(folder)}")
    return EXIT_OK
