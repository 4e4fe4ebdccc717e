"""Finds the MicroPython unix VM the tests run the app on, and fetches the 32-bit one if it can.

Owns which versions fit, the order of preference, and the fetch from the Debian mirror this machine
is already set up for, which changes nothing of the system. Must not know what runs on the VM.
"""

from __future__ import annotations

import argparse
import contextlib
import email
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.console import CACHE_DIR, EXIT_ENVIRONMENT, EXIT_OK, ROOT, Problem, run

OLDEST, NEWEST = (1, 23), (1, 25)
SUITE = "trixie"
LIBRARIES = "libc6 libffi8 libgcc-s1 libmbedcrypto16 libmbedtls21 libmbedx509-7"
APT_DIR = Path("/etc/apt")
VM_DIR = CACHE_DIR / "micropython"
STAMP = "complete"
FETCH_TIMEOUT_S = 300.0
PROBE_TIMEOUT_S = 10.0

_PROBE = "import sys; i = sys.implementation; print(i.name, *i.version[:3], sys.maxsize > 2**31)"
_WAYS_OUT = "Set MICROPYTHON=/path/to/micropython or get the package micropython (i386, Debian 13 trixie)."
_SUITE = re.compile("(bullseye|bookworm|trixie|forky|sid|(old)*stable|testing|unstable)$")
_ONE_LINE = re.compile(r"deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+(.+)")
# The machine's own hooks after an update would touch the system, or fail for an ordinary user.
_APT_CONF = "#clear APT::Update;\n#clear APT::Default-Release;\n"
# Whatever the machine's settings: no mirror reached is an error, and so is a missing signature.
_APT_OPTIONS = (
    "Dir::Etc::sourceparts=- Dir::Etc::preferences=- Dir::Etc::preferencesparts=- "
    "Dir::State::status=/dev/null APT::Architecture=i386 APT::Architectures=i386 "
    "APT::Update::Error-Mode=any Acquire::AllowInsecureRepositories=false "
    "APT::Get::AllowUnauthenticated=false"
)


@dataclass(frozen=True)
class Vm:
    """A VM that was started once to see what it is."""

    argv: tuple[str, ...]
    version: str
    word_bits: int
    origin: str

    def line(self) -> str:
        caveat = "" if self.word_bits == 32 else " (64-bit: budgets are not judged)"
        return f"micropython: {self.version}, {self.word_bits}-bit, {self.origin}{caveat}"


@dataclass(frozen=True)
class Source:
    """One entry of the machine's apt sources."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def find_vm(fetch: bool = True) -> Vm:
    """The VM to use: the named, the fetched, a 32-bit one on PATH, a new fetch, a 64-bit one."""
    if named := os.environ.get("MICROPYTHON"):
        return _named_vm(named)
    found, reason = None, "none is on PATH"
    for look in (_fetched_vm, _path_vm, fetch_vm) if fetch else (_fetched_vm, _path_vm):
        try:
            found = look() or found
        except Problem as problem:
            reason = str(problem)
        if found is not None and found.word_bits == 32:
            return found
    if found is None:
        raise Problem(f"no MicroPython VM that fits: {reason}. {_WAYS_OUT}", EXIT_ENVIRONMENT)
    if fetch:
        print(f"could not fetch the 32-bit MicroPython VM: {reason}", file=sys.stderr)
    return found


def probe(argv: Sequence[str], origin: str) -> Vm:
    """Start the VM once; a Problem says why it does not fit."""
    code, output = run_quietly([*argv, "-c", _PROBE], PROBE_TIMEOUT_S)
    facts = re.search(r"^micropython (\d+) (\d+) (\d+) (True|False)$", output, re.MULTILINE)
    if code != 0 or facts is None:
        raise Problem(f"{argv[-1]} is no MicroPython: {last_error(output)}", EXIT_ENVIRONMENT)
    version = ".".join(facts.groups()[:3])
    if not OLDEST <= (int(facts[1]), int(facts[2])) <= NEWEST:
        raise Problem(f"{argv[-1]} is MicroPython {version}, not 1.23 to 1.25", EXIT_ENVIRONMENT)
    return Vm(tuple(argv), version, 64 if facts[4] == "True" else 32, origin)


def _named_vm(named: str) -> Vm:
    try:
        if not os.path.isfile(named) or not os.access(named, os.X_OK):
            raise Problem("there is no such file, or it is not executable")
        return probe([os.path.abspath(named)], f"from MICROPYTHON={named}")
    except Problem as problem:
        fix = "Name a MicroPython 1.23 to 1.25, or unset MICROPYTHON."
        raise Problem(f"MICROPYTHON={named}: {problem}. {fix}", EXIT_ENVIRONMENT) from None


def _path_vm() -> Vm | None:
    path = shutil.which("micropython")
    return probe([os.path.abspath(path)], f"{path} on PATH") if path else None


def _fetched_vm() -> Vm | None:
    origin = f"fetched into {os.path.relpath(VM_DIR, ROOT)}"
    return probe(_unpacked_argv(VM_DIR), origin) if (VM_DIR / STAMP).is_file() else None


def _unpacked_argv(folder: Path) -> list[str]:
    lib = f"{folder}/root/usr/lib/i386-linux-gnu"
    return [f"{lib}/ld-linux.so.2", "--library-path", lib, f"{folder}/root/usr/bin/micropython"]


def parse_one_line(text: str) -> list[Source]:
    """The `deb` lines of a sources.list."""
    entries: list[Source] = []
    for line in text.splitlines():
        if match := _ONE_LINE.fullmatch(line.partition("#")[0].strip()):
            options = dict(word.split("=", 1) for word in (match[1] or "").split() if "=" in word)
            components, key = tuple(match[4].split()), options.get("signed-by", "")
            entries.append(Source(match[2], (match[3],), components, key))
    return entries


def parse_deb822(text: str) -> list[Source]:
    """The enabled `deb` stanzas of a .sources file, one entry for each URI."""
    entries: list[Source] = []
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\n+", "\n".join(lines).strip()):
        fields = email.message_from_string(stanza)
        off = fields.get("Enabled", "yes").lower() in ("no", "false", "without", "off", "disable")
        if "deb" in fields.get("Types", "").split() and not off:
            suites, components = (fields.get(n, "").split() for n in ("Suites", "Components"))
            facts = (tuple(suites), tuple(components), fields.get("Signed-By", "").strip())
            uris = fields.get("URIs", "").split()
            entries += [Source(uri, *facts) for uri in uris if ":/" in uri]
    return entries


def choose_source(entries: Sequence[Source]) -> Source | None:
    """The entry that is most surely the Debian main archive; the first of equals."""
    fitting = [e for e in entries if "main" in e.components and any(map(_SUITE.match, e.suites))]
    return min(fitting, key=_strangeness, default=None)


def _strangeness(entry: Source) -> int:
    # Many vendors call their own archive "stable main"; what they all have is a key of their own.
    if entry.signed_by:
        return 0 if "debian-archive" in entry.signed_by else 3
    return 1 if re.search(r"/debian(/|$)", entry.uri) else 2


def configured_sources() -> list[Source]:
    """All entries apt would read on this machine, in apt's order."""
    entries: list[Source] = []
    for path in (APT_DIR / "sources.list", *sorted((APT_DIR / "sources.list.d").glob("*"))):
        parse = {".list": parse_one_line, ".sources": parse_deb822}.get(path.suffix)
        if parse and path.is_file() and os.access(path, os.R_OK):
            entries += parse(path.read_text(encoding="utf-8", errors="replace"))
    return entries


def fetch_vm() -> Vm | None:
    """Fetch the VM into the cache; nothing appears there unless all of it works."""
    source = _fetchable_source()
    print("fetching the 32-bit MicroPython VM (4 MB, once)...", file=sys.stderr, flush=True)
    prefix, parent = f"{VM_DIR.name}.fetching-", VM_DIR.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for leftover in parent.glob(f"{prefix}*"):
            if time.time() - leftover.stat().st_mtime > 2 * FETCH_TIMEOUT_S:
                shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as scratch:
            _unpack_packages(Path(scratch), source, time.monotonic() + FETCH_TIMEOUT_S)
            if probe(_unpacked_argv(Path(scratch, "vm")), "just fetched").word_bits != 32:
                raise Problem("the fetched VM is not 32-bit", EXIT_ENVIRONMENT)
            Path(scratch, "vm", STAMP).touch()
            _put_in_place(Path(scratch))
        return _fetched_vm()
    except OSError as error:
        raise Problem(f"the fetch into {parent} failed ({error})", EXIT_ENVIRONMENT) from None


def _fetchable_source() -> Source:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Problem(f"it is fetched with {tool}, which is not here", EXIT_ENVIRONMENT)
    if platform.machine() not in ("x86_64", "i386", "i486", "i586", "i686"):
        raise Problem(f"i386 does not run on {platform.machine()}", EXIT_ENVIRONMENT)
    if (source := choose_source(configured_sources())) is None:
        raise Problem(f"no Debian mirror is configured in {APT_DIR}", EXIT_ENVIRONMENT)
    return source


def _unpack_packages(scratch: Path, source: Source, deadline_s: float) -> None:
    apt, debs, vm = scratch / "apt", scratch / "debs", scratch / "vm"
    for folder in (apt / "etc", apt / "lists/partial", apt / "cache/archives/partial", debs, vm):
        folder.mkdir(parents=True)
    # Only a path can be carried over; apt's own trusted keys stand in for a key written inline.
    key = f"[signed-by={source.signed_by}] " if re.fullmatch(r"/\S+", source.signed_by) else ""
    (apt / "etc/sources.list").write_text(f"deb {key}{source.uri} {SUITE} main\n")
    (apt / "etc/apt.conf").write_text(_APT_CONF)
    _step([*_apt_get(apt), "update"], debs, deadline_s)
    _step([*_apt_get(apt), "download", "micropython", *LIBRARIES.split()], debs, deadline_s)
    versions = ""
    for deb in sorted(debs.glob("*.deb")):
        _step(["dpkg-deb", "-x", str(deb), str(vm / "root")], debs, deadline_s)
        versions += f"{deb.name} {hashlib.sha256(deb.read_bytes()).hexdigest()}\n"
    (vm / "versions.txt").write_text(versions)


def _apt_get(apt: Path) -> list[str]:
    """apt-get with lists of its own, and signatures checked whatever the machine's settings."""
    own = [f"Dir::State={apt}", f"Dir::State::lists={apt}/lists", f"Dir::Cache={apt}/cache"]
    own += [f"Dir::Etc::sourcelist={apt}/etc/sources.list", *_APT_OPTIONS.split()]
    own += ["APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    words = [word for option in own for word in ("-o", option)]
    return ["apt-get", "-c", f"{apt}/etc/apt.conf", *words]


def _step(argv: list[str], cwd: Path, deadline_s: float) -> None:
    code, output = run_quietly(argv, max(deadline_s - time.monotonic(), 0.1), cwd)
    if code != 0:
        raise Problem(f"{argv[0]} failed: {last_error(output)}", EXIT_ENVIRONMENT)


def last_error(text: str) -> str:
    """The last line of a complaint that says something; apt's closing summary does not."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    telling = [line for line in errors if "Some index files failed" not in line]
    return (telling or errors or lines or ["it gave no reason"])[-1]


def _put_in_place(scratch: Path) -> None:
    with contextlib.suppress(OSError):
        (scratch / "vm").rename(VM_DIR)
        return
    with contextlib.suppress(Problem):
        if _fetched_vm():  # another fetch was faster
            return
    VM_DIR.rename(scratch / "broken")
    (scratch / "vm").rename(VM_DIR)


def run_quietly(argv: Sequence[str], timeout_s: float, cwd: Path | None = None) -> tuple[int, str]:
    """Run a command with nothing shown: exit code and output. Too slow counts as a failure."""
    try:
        with subprocess.Popen(
            argv,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=timeout_s)
            except BaseException:
                # apt's download helpers hold the pipe open: ending apt alone could hang here.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        return 124, f"it was not done within {timeout_s:.0f} s"
    except OSError as error:
        return 126, str(error)
    return process.returncode, output


def main(arguments: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m scripts.vm", description=__doc__).parse_args(arguments)
    print(find_vm().line())
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run(main))
