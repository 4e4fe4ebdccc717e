"""`make backup` and `make restore`: a board's settings and data, in a folder and back.

Owns the command line. Saving is scripts/backup_save.py's, putting back scripts/backup_restore.py's, the folder's form
scripts/backup_record.py's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts import backup_record, backup_save, console, link
from scripts.backup_restore import restore
from scripts.console import EXIT_USAGE, Problem, shown


def newest_backup() -> str:
    found = sorted(path.parent for path in backup_save.BACKUP_DIR.glob(f"*/{backup_record.RECORD_NAME}"))
    return f" The newest is FROM={shown(found[-1])}" if found else ""


def command(args: argparse.Namespace) -> int:
    if args.command == "backup":
        return backup_save.backup(link.from_args(args), args.to)
    if not args.source:
        raise Problem(f"no backup is named. Name its folder: make restore FROM=...{newest_backup()}", EXIT_USAGE)
    record = backup_record.load(Path(args.source))
    return restore(link.from_args(args), record, Path(args.source), args.force)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="make backup, make restore", description="A board's settings and data.")
    p.add_argument("command", choices=("backup", "restore"))
    link.add_arguments(p)
    p.add_argument("--to", default="", metavar="DIR", help="TO: a new folder (default: backup/DEVICE-TIME)")
    p.add_argument("--from", dest="source", default="", metavar="DIR", help="FROM: a folder that make backup made")
    p.add_argument("--force", action="store_true", help="FORCE=1: restore also on another board than the backup's")
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    console.stop_on_signals()
    return console.run(lambda: command(args))


if __name__ == "__main__":
    sys.exit(main())
