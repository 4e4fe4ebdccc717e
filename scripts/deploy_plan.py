"""What a deploy has to do: the board's files and the wanted ones in, a plan out.

Owns the comparison, which files are stale and whether there is room. Plain logic: must not know how a board is reached.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from scripts.build import MANIFEST_NAME
from scripts.console import Problem

MANIFEST_PATH = "/" + MANIFEST_NAME
NEXT = "/next/"
COMMIT = NEXT + "commit"
# For folders and for what LittleFS itself needs to change them.
_SPARE_BLOCKS = 8


@dataclass(frozen=True)
class BoardFile:
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Inventory:
    """What on_board/inventory.py told; `files` by path, staged ones under /next/."""

    release: str
    free_bytes: int
    block_bytes: int
    files: dict[str, BoardFile]


@dataclass(frozen=True)
class Plan:
    """`send` paths whose content must travel, `staged` those that an earlier deploy left whole, `left_over` names in
    /next that nobody wants, `remove` paths that would be in the way."""

    send: list[str]
    staged: list[str]
    left_over: list[str]
    remove: list[str]

    @property
    def is_empty(self) -> bool:
        return not (self.send or self.staged or self.remove)


def read_inventory(text: str) -> Inventory:
    """Parse what inventory.py printed. Problem when that is something else."""
    files = {}
    try:
        head, *rows = [line for line in text.splitlines() if line.strip()]
        facts = json.loads(head)
        for row in rows:
            digest, size, path = row.split(" ", 2)
            files[path] = BoardFile(digest, int(size))
        return Inventory(facts["release"], facts["free_bytes"], facts["block_bytes"], files)
    except (ValueError, KeyError, TypeError) as error:
        fix = "Run the command again; if it stays so, flash the board anew: make flash."
        raise Problem(f"the board's list of its files can't be read ({error}). {fix}") from error


def staged_name(path: str) -> str:
    """Name in /next of what is to be at `path`. Problem for the two names that mean something else there."""
    name = path[1:].replace("/", "!")
    if "!" in path or name in ("part", "commit"):
        raise Problem(
            f"a file of the application can't be called {path}: the name is used while it is deployed. Rename it."
        )
    return name


def module_of(path: str) -> str | None:
    """A path without the .py or .mpy that an import leaves away; None for other files."""
    stem, _, suffix = path.rpartition(".")
    return stem if suffix in ("py", "mpy") else None


def stale_files(board: Inventory, old: dict[str, BoardFile], new: dict[str, BoardFile]) -> list[str]:
    """What the last deploy brought and this one does not, what no deploy left in app/ and www/, and modules that would
    be imported instead of ours: the other form of one, or a root module named like one of lib/."""
    ours = {module_of(path) for path in new} - {None}
    ours |= {"/" + path.removeprefix("/lib/") for path in ours if path and path.startswith("/lib/")}
    return sorted(
        path
        for path in board.files
        if path not in new
        and not path.startswith(NEXT)
        and (path in old or path.startswith(("/app/", "/www/")) or module_of(path) in ours)
    )


def make_plan(board: Inventory, old: dict[str, BoardFile], wanted: dict[str, BoardFile]) -> Plan:
    """What to do so that the board has `wanted`, the manifest among it; `old` is what its own manifest lists."""
    changed = [path for path in wanted if board.files.get(path) != wanted[path]]
    staged = [path for path in changed if board.files.get(NEXT + staged_name(path)) == wanted[path]]
    keep = {staged_name(path) for path in staged}
    left_over = [path.removeprefix(NEXT) for path in board.files if path.startswith(NEXT)]
    return Plan(
        send=[path for path in changed if path not in staged],
        staged=staged,
        left_over=sorted(name for name in left_over if name not in keep),
        remove=stale_files(board, old, wanted),
    )


def check_space(board: Inventory, plan: Plan, wanted: dict[str, BoardFile]) -> None:
    """Problem when the changed files don't fit beside the old ones."""

    def bytes_of(files: list[BoardFile]) -> int:
        return sum(-(-file.size_bytes // board.block_bytes) for file in files) * board.block_bytes

    needed_bytes = bytes_of([wanted[path] for path in plan.send]) + _SPARE_BLOCKS * board.block_bytes
    free_bytes = board.free_bytes + bytes_of([board.files[NEXT + name] for name in plan.left_over])
    if needed_bytes > free_bytes:
        raise Problem(
            f"disk full on the board: the new files need {needed_bytes:,} bytes beside the old ones, "
            f"{free_bytes:,} are free. Remove files of yours (make repl, os.remove), or start over: make flash."
        )


def files_of(manifest_text: str) -> dict[str, BoardFile]:
    """The files that a manifest lists; none when it is damaged, so that all are sent again."""
    try:
        files = json.loads(manifest_text)["files"]
        return {path: BoardFile(entry["sha256"], entry["size_bytes"]) for path, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
