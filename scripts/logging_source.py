"""Provides the source file of micropython-lib's `logging` that the device build ships.

Owns the two pinned versions, where each comes from, and the check by SHA-256 at every use. Must
not know how the file is compiled or what logs through it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.console import CACHE_DIR, EXIT_ENVIRONMENT, EXIT_OK, ROOT, Problem, run
from scripts.vm import find_vm, last_error, run_quietly

MIP_VERSION = "0.6.1"
LOGGING_MIP_SHA256 = "3c4c0c3881d30b27453d6448bef8530dc3606b8a7d6cc9999fe466343d2adfbb"
SDIST_VERSION = "0.5.2"
SDIST_SHA256 = "4fe714775fa6cafc2466bac7fe28485c13610470d3ea2bddac956bcd89b4453d"
SDIST_MEMBER = f"micropython-logging-{SDIST_VERSION}/logging/__init__.py"
SDIST_MEMBER_SHA256 = "3309be14ec2d80ed27779f1fb3d688e8091c06cc5eb15ceb9549f27648a6c0c1"
STORE_DIR = CACHE_DIR / "logging"
MIP_TIMEOUT_S = 15.0
INDEX_TIMEOUT_S = 60.0

# Not `-m mip`: the Debian build of the VM freezes the client without its command line.
_MIP_INSTALL = "import mip, sys; mip.install('logging', target=sys.argv[1], version=sys.argv[2], mpy=False)"

Runner = Callable[[Sequence[str], float], tuple[int, str]]
"""Runs a command for at most so many seconds: its exit code and what it printed."""


@dataclass(frozen=True)
class Origin:
    """One published version: what it must hash to and how to get it into an empty folder."""

    version: str
    sha256: str
    words: str
    fetch: Callable[[Path, Runner], bytes]


def logging_source(runner: Runner = run_quietly) -> Path:
    """The file to build from: TALLY_LOGGING, else a valid cached one, else a fetched one."""
    return _choose(runner)[0]


def _choose(runner: Runner) -> tuple[Path, str]:
    if named := os.environ.get("TALLY_LOGGING"):
        return _named_source(named), f"from TALLY_LOGGING={named}, hash not checked"
    for origin in ORIGINS:
        if _is_cached(origin):
            return _cached_path(origin), _words(origin)
    reasons: list[str] = []
    for origin in ORIGINS:
        try:
            _store(origin, _fetched(origin, runner))
            return _cached_path(origin), _words(origin)
        except Problem as problem:
            reasons.append(f"{origin.words}: {_shortened(str(problem))}")
    way_out = "Go online, or set TALLY_LOGGING=/path/to/logging.py."
    raise Problem(f"no logging module. {'; '.join(reasons)}. {way_out}", EXIT_ENVIRONMENT)


def _named_source(named: str) -> Path:
    path = Path(named).absolute()
    if not path.is_file():
        fix = "Name a logging.py, or unset TALLY_LOGGING."
        raise Problem(f"TALLY_LOGGING={named}: there is no such file. {fix}", EXIT_ENVIRONMENT)
    return path


def _words(origin: Origin) -> str:
    shown = os.path.relpath(_cached_path(origin), ROOT)
    return f"{origin.version}, {origin.words}, SHA-256 checked, in {shown}"


def _shortened(reason: str, limit_chars: int = 160) -> str:
    reason = " ".join(reason.split())
    return reason if len(reason) <= limit_chars else f"{reason[: limit_chars - 3]}..."


# --- the cache --------------------------------------------------------------------------------


def _cached_path(origin: Origin) -> Path:
    return STORE_DIR / f"{origin.version}.py"


def _is_cached(origin: Origin) -> bool:
    try:
        return _sha256(_cached_path(origin).read_bytes()) == origin.sha256
    except OSError:
        return False


def _store(origin: Origin, content: bytes) -> None:
    try:
        STORE_DIR.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".storing-", dir=STORE_DIR) as scratch:
            Path(scratch, "new").write_bytes(content)
            Path(scratch, "new").replace(_cached_path(origin))
    except OSError as error:
        raise Problem(f"it cannot be kept in {STORE_DIR} ({error})", EXIT_ENVIRONMENT) from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- where it comes from ----------------------------------------------------------------------


def _fetched(origin: Origin, runner: Runner) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tally-logging-") as folder:
        content = origin.fetch(Path(folder), runner)
    _check("the file", content, origin.sha256)
    return content


def _check(what: str, content: bytes, sha256: str) -> None:
    if (found := _sha256(content)) != sha256:
        why = f"{what} has SHA-256 {found[:12]}..., not the pinned {sha256[:12]}..."
        raise Problem(why, EXIT_ENVIRONMENT)


def _fetch_by_mip(folder: Path, runner: Runner) -> bytes:
    # The client does not verify TLS: the pinned hash is what is trusted.
    client = (*find_vm().argv, "-c", _MIP_INSTALL, str(folder), MIP_VERSION)
    _, output = runner(client, MIP_TIMEOUT_S)
    try:
        return (folder / "logging.py").read_bytes()
    except OSError:
        why = last_error(output) if output.strip() else "it brought no logging.py"
        raise Problem(why, EXIT_ENVIRONMENT) from None


def _fetch_sdist(folder: Path, runner: Runner) -> bytes:
    wanted = (f"micropython-logging=={SDIST_VERSION}", "--no-binary", "--download", str(folder))
    code, output = runner((sys.executable, "-m", "unearth", *wanted), INDEX_TIMEOUT_S)
    archive = folder / f"micropython-logging-{SDIST_VERSION}.tar.gz"
    if code != 0 or not archive.is_file():
        raise Problem(last_error(output) if code else "it brought no sdist", EXIT_ENVIRONMENT)
    _check("the sdist", archive.read_bytes(), SDIST_SHA256)
    return _member(archive)


def _member(archive: Path) -> bytes:
    """Only this one member, read without unpacking anything."""
    try:
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(SDIST_MEMBER)
            return stream.read() if stream else b""
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise Problem(f"the sdist cannot be read ({error})", EXIT_ENVIRONMENT) from None


ORIGINS = (
    Origin(MIP_VERSION, LOGGING_MIP_SHA256, "by mip", _fetch_by_mip),
    Origin(SDIST_VERSION, SDIST_MEMBER_SHA256, "from the package index", _fetch_sdist),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.logging_source", description=__doc__)
    parser.parse_args(arguments)
    print(f"logging: {_choose(run_quietly)[1]}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run(main))
