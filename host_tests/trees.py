"""Trees for a deploy that differ a little from the one of this checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

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
