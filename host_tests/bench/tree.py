"""build/bench: the three apps of the bench as they run on the VM, compiled with the same flags, and their sizes.

Owns what is compiled how and the starter scripts. Must not know how the apps are measured.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from host_tests.httpd_parts import CORE, LIB, SELDOM, core_bundle
from scripts.build import compile_mpy, compile_text
from scripts.console import BUILD_DIR, CACHE_DIR, EXIT_ENVIRONMENT, ROOT, Problem

BENCH_DIR = BUILD_DIR / "bench"
APPS_DIR = Path(__file__).parent / "apps"
MICRODOT = CACHE_DIR / "bench" / "microdot" / "microdot.py"

# Cookies come with pages that ask for them; nothing of the server does.
ON_DEMAND = tuple(name for name in SELDOM if name != "cookies")
# As the published figures of microdot and the others: no line numbers in the byte code.
FLAGS = ("-O3",)

# A .mpy can't be named on the VM's command line. The VM puts a script's folder first on the import path, so this
# starts from any directory.
_STARTER = """\
import sys
from app_{0} import main
main(int(sys.argv[1]), "keep" in sys.argv[2:])
"""


@dataclass(frozen=True)
class Sizes:
    """Bytes of .mpy files."""

    bundle: int
    one_by_one: int
    with_on_demand: int
    microdot: int | None
    floor_app: int


def build(microdot: bool = True) -> Sizes:
    """Bring build/bench up to date. Without `microdot` its app is left out. Problem when it is not installed."""
    BENCH_DIR.mkdir(parents=True, exist_ok=True)
    # Before the bundle: the compiler names the place of a mistake.
    one_by_one = sum(len(compile_mpy(LIB / f"{name}.py", f"{name}.py", FLAGS)) for name in CORE)
    on_demand_bytes = sum(_put(name, (LIB / f"{name}.py").read_text()) for name in ON_DEMAND)
    core = _put("httpd", core_bundle([(APPS_DIR / "app_tally.py").read_text()]))
    apps = {name: _put_app(name) for name in ("tally", "floor", "bare")}
    peer = None
    if microdot:
        if not MICRODOT.exists():
            where = MICRODOT.parent.parent.relative_to(ROOT)
            what = f"microdot is not in {where}/, so there is nothing to compare with"
            raise Problem(f"{what}. Run `make bench`, or `python scripts/setup.py bench`", EXIT_ENVIRONMENT)
        # Its one file alone, as its documentation has it for boards: without the package around it, which only
        # costs heap.
        peer = _put("microdot", MICRODOT.read_text())
        _put_app("microdot")
    return Sizes(core, one_by_one, core + on_demand_bytes, peer, apps["floor"])


def _put_app(name: str) -> int:
    _write(BENCH_DIR / f"bench_{name}.py", _STARTER.format(name).encode())
    text = (APPS_DIR / f"app_{name}.py").read_text()
    # The pages in the app itself: a module of their own would cost heap that none of the servers is to blame for.
    pages = (APPS_DIR / "bench_pages.py").read_text()
    return _put(f"app_{name}", text.replace("from bench_pages import INDEX, TIPS\n", pages))


def _put(name: str, text: str) -> int:
    """Compile `text` to a module of that name; the bytes of its .mpy."""
    code = compile_text(text, f"{name}.py", FLAGS)
    _write(BENCH_DIR / f"{name}.mpy", code)
    return len(code)


def _write(target: Path, content: bytes) -> None:
    """Whole or not at all: the tests and a bench may build at the same time."""
    if target.exists() and target.read_bytes() == content:
        return
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o644)
    os.replace(file.name, target)
