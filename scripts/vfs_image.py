"""The board's file system inside a flash image: read, write and sync files without a board.

Geometry is MicroPython's own for LittleFS v2 on esp32 (read/prog 32, cache 128, lookahead 32, block_cycles 100), so
the VM and the board mount what this writes. Must not know what the files mean, except which ones a deploy owns.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from littlefs import LittleFS, LittleFSError, UserContext

from scripts import partitions
from scripts.console import Problem

BLOCK_SIZE_BYTES = 4096
# What sync_tree owns whole. A deploy to a board, where a person may have put modules of theirs, asks its manifest too.
DEPLOYED_TOP_LEVEL = (
    "main.py",
    "tally.mpy",
    "tally.py",
    "config.mpy",
    "config.py",
    "manifest.json",
    "lib",
    "app",
    "www",
)


class _FlashContext(UserContext):
    """LittleFS blocks on a mapped flash file, NOR rules included."""

    def __init__(self, flash: mmap.mmap, start: int, size_bytes: int) -> None:
        super().__init__(buffer=bytearray())
        self._flash = flash
        self._start = start
        self.in_size = size_bytes

    def _at(self, cfg, block: int, off: int) -> int:
        return self._start + block * cfg.block_size + off

    def read(self, cfg, block: int, off: int, size: int) -> bytearray:
        at = self._at(cfg, block, off)
        return bytearray(self._flash[at : at + size])

    def prog(self, cfg, block: int, off: int, data: bytes) -> int:
        at = self._at(cfg, block, off)
        old = self._flash[at : at + len(data)]
        self._flash[at : at + len(data)] = bytes(a & b for a, b in zip(old, data, strict=True))
        return 0

    def erase(self, cfg, block: int) -> int:
        at = self._at(cfg, block, 0)
        self._flash[at : at + cfg.block_size] = b"\xff" * cfg.block_size
        return 0

    def sync(self, cfg) -> int:
        return 0


@contextmanager
def mounted(flash_path: Path, format_blank: bool = False) -> Iterator[LittleFS]:
    """The `vfs` partition of a flash image as a file system. Problem when it holds none."""
    with open(flash_path, "r+b") as file, mmap.mmap(file.fileno(), 0) as flash:
        table = flash[partitions.TABLE_OFFSET :][: partitions.TABLE_SIZE_BYTES]
        vfs = partitions.named(partitions.from_bytes(table), "vfs")
        fs = LittleFS(
            context=_FlashContext(flash, vfs.offset, vfs.size_bytes),
            block_size=BLOCK_SIZE_BYTES,
            block_count=vfs.size_bytes // BLOCK_SIZE_BYTES,
            read_size=32,
            prog_size=32,
            cache_size=128,
            lookahead_size=32,
            block_cycles=100,
            mount=False,
        )
        if format_blank and flash[vfs.offset :][:8192] == b"\xff" * 8192:
            fs.format()
        try:
            fs.mount()
        except LittleFSError as error:
            raise Problem(f"{flash_path}: its file system is damaged ({error})") from error
        yield fs
        fs.unmount()


def read_file(fs: LittleFS, path: str) -> bytes | None:
    """Content of a file, None when there is none."""
    try:
        with fs.open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write_file(fs: LittleFS, path: str, content: bytes) -> None:
    """Write a file whole: to a temporary name, then renamed."""
    parent = str(PurePosixPath(path).parent)
    fs.makedirs(parent, exist_ok=True)
    with fs.open(path + ".tmp", "wb") as file:
        file.write(content)
    fs.rename(path + ".tmp", path)


def _deployed_files(fs: LittleFS) -> Iterator[str]:
    for folder, _, files in fs.walk("/"):
        for name in files:
            path = str(PurePosixPath(folder) / name)
            if PurePosixPath(path).parts[1] in DEPLOYED_TOP_LEVEL:
                yield path


def sync_tree(fs: LittleFS, tree: Path) -> tuple[int, int]:
    """Make the deployed files equal to `tree`; settings and data stay. Returns (written, removed).

    In the order of their names, so that equal trees on equal flash give equal flash."""
    wanted = {"/" + p.relative_to(tree).as_posix(): p for p in sorted(tree.rglob("*")) if p.is_file()}
    stale = [path for path in _deployed_files(fs) if path not in wanted]
    for path in stale:
        fs.remove(path)
    changed = {p: f.read_bytes() for p, f in wanted.items()}
    changed = {p: content for p, content in changed.items() if read_file(fs, p) != content}
    for path, content in changed.items():
        write_file(fs, path, content)
    return len(changed), len(stale)
