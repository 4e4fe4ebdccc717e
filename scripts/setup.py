"""Makes .venv and fills it with the pinned packages: `sim` for the simulator, `board` for the commands that talk to a
board, `dev` for tests and lint as well, `bench` for the server that ours is compared with.

Runs on the system's Python before anything is installed, so it imports the standard library only (and not even
scripts.console's neighbours). Quiet, once per change of the pins, no root, nothing outside the checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import console  # noqa: E402
from scripts.console import CACHE_DIR, EXIT_ENVIRONMENT, EXIT_USAGE, Problem  # noqa: E402

VENV = ROOT / ".venv"
LEVELS = {
    "sim": ("requirements.txt",),
    "board": ("requirements-board.txt", "requirements.txt"),
    "dev": ("requirements-dev.txt", "requirements-board.txt", "requirements.txt", "requirements-typings.txt"),
    "bench": ("requirements.txt", "requirements-bench.txt"),
}
# Levels that are reached as well when one is: their pins are among its own.
INCLUDES = {"sim": ("sim",), "dev": ("sim", "board", "dev")}
# What must not get into the venv, by level: where it goes, the pins, what it is.
APART = {
    "dev": (CACHE_DIR / "typings", "requirements-typings.txt", "the firmware's type stubs"),
    "bench": (CACHE_DIR / "bench", "requirements-bench.txt", "the server to compare with"),
}
OLDEST_PYTHON = (3, 11)
INSTALL_TIMEOUT_S = 900


def fingerprint(level: str) -> str:
    """Changes when the pins of a level or the interpreter do."""
    digest = hashlib.sha256(sys.version.encode())
    for name in LEVELS[level]:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def is_done(level: str) -> bool:
    stamp = VENV / f"{level}.stamp"
    if level in APART and not APART[level][0].is_dir():
        return False
    return stamp.exists() and stamp.read_text() == fingerprint(level)


def run_quietly(argv: list[str], what: str, way_out: str) -> None:
    """Run a tool without its chatter; on failure a Problem with the last line it said."""
    try:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Problem(f"{what} took over {INSTALL_TIMEOUT_S} s. {way_out}", EXIT_ENVIRONMENT) from error
    if result.returncode:
        said = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        raise Problem(f"{what} failed: {said[-1] if said else 'no reason given'}. {way_out}", EXIT_ENVIRONMENT)


def make_venv() -> None:
    if (VENV / "bin" / "python").exists():
        return
    shutil.rmtree(VENV, ignore_errors=True)
    way_out = "On Debian and Ubuntu install the package python3-venv, then run the command again"
    run_quietly([sys.executable, "-m", "venv", str(VENV)], "making the virtual environment", way_out)


def install(level: str) -> None:
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    way_out = "Check the network (or your pip settings), then run the command again"
    run_quietly([*pip, "-r", str(ROOT / LEVELS[level][0])], "installing the pinned packages", way_out)
    if level in APART:
        folder, pins, what = APART[level]
        shutil.rmtree(folder, ignore_errors=True)
        apart = ["--no-deps", "--target", str(folder), "-r", str(ROOT / pins)]
        run_quietly([*pip, *apart], f"installing {what}", way_out)


def set_up(level: str) -> None:
    """Bring .venv to a level; two commands started together wait for one another."""
    if is_done(level):
        return
    if sys.version_info < OLDEST_PYTHON:
        have = ".".join(map(str, sys.version_info[:3]))
        raise Problem(f"this is Python {have}; Tally's tools need 3.11 or newer (make PYTHON=python3.12 ...)", 3)
    CACHE_DIR.mkdir(exist_ok=True)
    with open(CACHE_DIR / "setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_done(level):
            print(f"setting up .venv ({level}, once)...", file=sys.stderr)
            make_venv()
            install(level)
            for done in INCLUDES.get(level, ("sim", level)):
                (VENV / f"{done}.stamp").write_text(fingerprint(done))


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    level = arguments[0] if arguments else "dev"
    if level not in LEVELS:
        print(f"error: {level!r} is not one of {', '.join(LEVELS)}", file=sys.stderr)
        return EXIT_USAGE

    def command() -> int:
        set_up(level)
        return console.EXIT_OK

    return console.run(command)


if __name__ == "__main__":
    raise SystemExit(main())
