"""Trees for a deploy that differ a little from the one of this checkout, what of them a board has, and a full board."""

from __future__ import annotations

import shutil
from pathlib import Path

from host_tests.virtual_board.state import BoardState
from scripts import vfs_image
from scripts.build import MANIFEST_NAME, build, manifest_text


def changed_tree(folder: Path, changes: dict[str, bytes | None]) -> Path:
    """A copy of the built tree in `folder` with files written, or removed where the content is None."""
    shutil.copytree(build()[0], folder)
    for name, content in changes.items():
        path = folder / name
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    names.remove(MANIFEST_NAME)
    (folder / MANIFEST_NAME).write_text(manifest_text(folder, names))
    return folder


def tree_files(tree: Path) -> dict[str, bytes]:
    """The files of a tree by their paths on the board."""
    return {"/" + p.relative_to(tree).as_posix(): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


def files_of(state: BoardState) -> dict[str, bytes]:
    """All files in a board's flash; the board is off or quiet."""
    with vfs_image.mounted(state.flash_path) as fs:
        paths = [f"{folder.rstrip('/')}/{name}" for folder, _, names in fs.walk("/") for name in names]
        return {path: vfs_image.read_file(fs, path) or b"" for path in paths}


def fill_up(state: BoardState, left_bytes: int) -> None:
    """A file of the person's own that leaves so much room in a board's flash; the board is off or quiet."""
    block_bytes = vfs_image.BLOCK_SIZE_BYTES
    with vfs_image.mounted(state.flash_path) as fs:
        blocks = fs.block_count - fs.used_block_count - left_bytes // block_bytes
        vfs_image.write_file(fs, "/yours", bytes(blocks * (block_bytes - 8)))  # of each, LittleFS takes 8 for itself
