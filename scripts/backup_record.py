"""The form of a backup: a folder with settings.json, log.bin, files/ and backup.json, which lists the others.

Owns backup.json, its version and the checks before a restore. Must not know how a board is reached. Counters are in
backup.json; of nvs there is no copy, for one that is put back would have the board count anew from there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from scripts.console import EXIT_USAGE, Problem

FORMAT_VERSION = 1
RECORD_NAME = "backup.json"
SETTINGS_NAME = "settings.json"
FILES_NAME = "files"
PARTITIONS = ("log",)
# A setting with one of these in its name is a secret: it stays on the board.
SECRET_WORDS = ("password", "secret", "token", "key", "auth")


@dataclass(frozen=True)
class Record:
    """`partitions`: name -> [offset, size in bytes] on the board; `counters`: what the application had counted up to;
    `files`: path in the folder -> SHA-256; `made_unix_s`: when."""

    device: str
    mac: str
    app: str
    firmware: str
    made_utc: str
    made_unix_s: int
    counters: dict[str, int]
    partitions: dict[str, list[int]]
    files: dict[str, str]
    version: int = FORMAT_VERSION

    def own_files(self) -> list[str]:
        """Paths on the board of the person's own files."""
        return [path.removeprefix(FILES_NAME) for path in self.files if path.startswith(FILES_NAME + "/")]


def is_secret(setting: str) -> bool:
    return any(word in setting.lower() for word in SECRET_WORDS)


def sha256_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(record: Record, folder: Path) -> None:
    """Written last: a folder without it is no backup."""
    (folder / RECORD_NAME).write_text(json.dumps(asdict(record), indent=1, sort_keys=True) + "\n")


def load(folder: Path) -> Record:
    """The record of a backup whose files are all there and unchanged. Problem otherwise."""
    record = _read(folder)
    for name, digest in record.files.items():
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise _damaged(folder, f"it lists {name}, which is not inside it")
        try:
            found = sha256_of_file(folder / name)
        except OSError as error:
            raise _damaged(folder, f"{name} can't be read ({error.strerror})") from error
        if found != digest:
            raise _damaged(folder, f"{name} is not what was saved: its SHA-256 differs")
    for name in PARTITIONS:
        if name not in record.partitions or f"{name}.bin" not in record.files:
            raise _damaged(folder, f"{name}.bin is not listed")
        if (folder / f"{name}.bin").stat().st_size != record.partitions[name][1]:
            raise _damaged(folder, f"{name}.bin has not the size of its partition")
    return record


def _read(folder: Path) -> Record:
    try:
        fields = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
        version = fields["version"]
    except OSError as error:
        why = f"{folder} is no backup: it has no {RECORD_NAME} ({error.strerror})"
        raise Problem(f"{why}. Name the folder that `make backup` made: FROM=backup/...", EXIT_USAGE) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{RECORD_NAME} can't be read") from error
    if version != FORMAT_VERSION:
        fix = "Restore it with the checkout that made it."
        raise Problem(f"{folder} has form {version}, this checkout reads {FORMAT_VERSION}. {fix}", EXIT_USAGE)
    try:
        record = Record(**fields)
        numbers = [record.made_unix_s, record.counters["boot"], record.counters["seq"]]
        numbers += [number for offset, size_bytes in record.partitions.values() for number in (offset, size_bytes)]
        if not all(isinstance(number, int) for number in numbers) or not all(map(str.strip, record.files.values())):
            raise TypeError("a value of the wrong kind")
        return record
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(folder, f"{RECORD_NAME} is not complete ({error})") from error


def _damaged(folder: Path, why: str) -> Problem:
    return Problem(f"the backup {folder} is damaged: {why}. Nothing was restored. Use another backup.", EXIT_USAGE)
