"""Which VM is chosen, how apt's sources are read, and that a fetch is all or nothing.

Everything but the last test runs on fakes: shell scripts on a PATH that holds nothing else.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests.commands import run_command
from scripts import vm
from scripts.console import EXIT_ENVIRONMENT, ROOT, Problem
from scripts.vm import Source

MIRROR = "http://mirror.example.test/mirror"
ARCHIVE_KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGE_COUNT = 7

TWO_STANZAS = (
    f"Types: deb\nURIs: {MIRROR} http://b.example.test/x\nSuites: a\nComponents: c\n \n\n"
    f"Types: deb\r\nURIs: {MIRROR}\r\nSuites: z\r\nSigned-By: {ARCHIVE_KEY}\r\n"
)

FAKE_APT = """
echo "$@" >> {log}
case "$*" in
*" update"*) {on_update} ;;
*" download "*)
    {on_download}
    seen=
    for word in "$@"; do
        [ "$seen" ] && echo "content of $word" > "${{word}}_1.0_i386.deb"
        [ "$word" = download ] && seen=yes
    done ;;
esac
exit 0
"""

FAKE_DPKG = """
echo "$@" >> {log}
{on_unpack}
mkdir -p "$3/usr/lib/i386-linux-gnu" "$3/usr/bin"
loader="$3/usr/lib/i386-linux-gnu/ld-linux.so.2"
case "$2" in */micropython_*)
    printf '#!/bin/sh\\necho {facts}\\n' > "$loader"
    chmod 755 "$loader" ;;
esac
"""


class Machine:
    """A machine made of a PATH folder, an apt folder and a cache folder."""

    def __init__(self, base: Path) -> None:
        self.bin, self.apt, self.cache = base / "bin", base / "apt", base / "cache"
        self.apt_log, self.dpkg_log = base / "apt.log", base / "dpkg.log"
        self.bin.mkdir()
        (self.apt / "sources.list.d").mkdir(parents=True)

    def script(self, name: str, body: str, folder: Path | None = None) -> Path:
        path = (folder or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def micropython(self, version: str, word_bits: int, folder: Path | None = None) -> Path:
        facts = f"micropython {version.replace('.', ' ')} {word_bits == 64}"
        return self.script("micropython", f"echo {facts}", folder)

    def already_fetched(self, facts: str = "micropython 1 25 0 False") -> None:
        folder = vm.VM_DIR / "root/usr/lib/i386-linux-gnu"
        self.script("ld-linux.so.2", f"echo {facts}", folder)
        (vm.VM_DIR / vm.STAMP).touch()

    def debian(
        self,
        on_update: str = ":",
        on_download: str = ":",
        on_unpack: str = ":",
        facts: str = "micropython 1 25 0 False",
    ) -> None:
        (self.apt / "sources.list").write_text(f"deb {MIRROR} bookworm main\n", encoding="utf-8")
        apt = FAKE_APT.format(log=self.apt_log, on_update=on_update, on_download=on_download)
        self.script("apt-get", apt)
        log, words = self.dpkg_log, facts
        self.script("dpkg-deb", FAKE_DPKG.format(log=log, on_unpack=on_unpack, facts=words))

    def cache_names(self) -> list[str]:
        return sorted(path.name for path in self.cache.glob("*"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.delenv("MICROPYTHON", raising=False)
    monkeypatch.setattr(vm, "APT_DIR", made.apt)
    monkeypatch.setattr(vm, "VM_DIR", made.cache / "micropython")
    monkeypatch.setattr(vm.platform, "machine", lambda: "x86_64")
    return made


def refusal(fetch: bool = True) -> str:
    with pytest.raises(Problem) as caught:
        vm.find_vm(fetch)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    return str(caught.value)


# --- apt's sources ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# deb http://example.test/mirror bookworm main", []),
        ("deb-src http://example.test/mirror bookworm main", []),
        ("deb http://example.test/mirror bookworm", []),
        (f"deb {MIRROR} bookworm main", [Source(MIRROR, ("bookworm",), ("main",))]),
        (
            f"  deb\t{MIRROR}  sid  main contrib # the mirror",
            [Source(MIRROR, ("sid",), ("main", "contrib"))],
        ),
        (
            f"deb [ arch=amd64,i386 signed-by={ARCHIVE_KEY} ] {MIRROR} stable main",
            [Source(MIRROR, ("stable",), ("main",), ARCHIVE_KEY)],
        ),
        (f"deb [trusted=yes]{MIRROR} stable main", [Source(MIRROR, ("stable",), ("main",))]),
        (
            "deb mirror+file:/etc/apt/mirrors/main.list trixie main",
            [Source("mirror+file:/etc/apt/mirrors/main.list", ("trixie",), ("main",))],
        ),
        ("deb http://example.test/flat ./", []),
    ],
)
def test_one_line_sources(text: str, expected: list[Source]) -> None:
    assert vm.parse_one_line(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n# only a comment\n\n", []),
        ("this is no stanza\nat all", []),
        (f"Types: deb-src\nURIs: {MIRROR}\nSuites: sid\nComponents: main", []),
        (f"Types: deb\nURIs: {MIRROR}\nSuites: sid\nComponents: main\nEnabled: no", []),
        (
            f"types: deb deb-src\nuris: {MIRROR}\nSUITES: a b\nComponents: main\nEnabled: yes",
            [Source(MIRROR, ("a", "b"), ("main",))],
        ),
        (
            f"Types: deb\n# a comment inside\nURIs: {MIRROR}\nSuites:\n a\n b\nComponents: c\n",
            [Source(MIRROR, ("a", "b"), ("c",))],
        ),
        (
            TWO_STANZAS,
            [
                Source(MIRROR, ("a",), ("c",)),
                Source("http://b.example.test/x", ("a",), ("c",)),
                Source(MIRROR, ("z",), (), ARCHIVE_KEY),
            ],
        ),
        ("Types: deb\nURIs: cdrom:[Debian GNU/Linux]/\nSuites: bookworm\nComponents: main", []),
    ],
)
def test_deb822_sources(text: str, expected: list[Source]) -> None:
    assert vm.parse_deb822(text) == expected


@given(st.text(alphabet=st.sampled_from("deb [=]#:\n\t/mainsidTyURIs-.é\x00"), max_size=200))
def test_odd_sources_are_never_an_error(text: str) -> None:
    vm.choose_source(vm.parse_one_line(text) + vm.parse_deb822(text))


@pytest.mark.parametrize(
    ("entries", "chosen"),
    [
        ([], None),
        ([Source("http://a.example.test/mirror", ("bookworm-security",), ("main",))], None),
        ([Source("http://a.example.test/mirror", ("bookworm-updates",), ("main",))], None),
        ([Source("http://a.example.test/mirror", ("bookworm/updates",), ("main",))], None),
        ([Source("http://a.example.test/mirror", ("bookworm",), ("contrib",))], None),
        ([Source("http://a.example.test/ubuntu", ("noble",), ("main",))], None),
        ([Source("http://a.example.test/x", ("bookworm", "bookworm-updates"), ("main",))], 0),
        (
            [
                Source("http://vendor.example.test/", ("stable",), ("main",), "/keys/vendor.gpg"),
                Source("http://plain.example.test/", ("stable",), ("main",)),
                Source("http://a.example.test/" + "debian/20250520T000000Z", ("oldstable",), ("main",)),
            ],
            2,
        ),
        (
            [
                Source("http://a.example.test/" + "debian", ("bookworm",), ("main",)),
                Source("http://b.example.test/x", ("bookworm",), ("main",), ARCHIVE_KEY),
                Source("http://c.example.test/x", ("bookworm",), ("main",), ARCHIVE_KEY),
            ],
            1,
        ),
        ([Source("http://b.example.test/x", ("sid",), ("main",), "/keys/own.gpg")], 0),
    ],
)
def test_the_debian_archive_is_chosen(entries: list[Source], chosen: int | None) -> None:
    expected = None if chosen is None else entries[chosen]
    assert vm.choose_source(entries) == expected


def test_all_source_files_are_read_in_order(machine: Machine) -> None:
    folder = machine.apt / "sources.list.d"
    one_line = "deb http://{}.example.test/mirror sid main\n"
    (machine.apt / "sources.list").write_text(one_line.format("first"), encoding="utf-8")
    stanza = "Types: deb\nURIs: http://second.example.test/d\nSuites: sid\nComponents: main\n"
    (folder / "a.sources").write_text(stanza, encoding="utf-8")
    (folder / "b.list").write_text(one_line.format("third"), encoding="utf-8")
    (folder / "c.list.disabled").write_text(one_line.format("never"), encoding="utf-8")
    (folder / "d.list").mkdir()
    hosts = [source.uri.split(".")[0] for source in vm.configured_sources()]
    assert hosts == ["http://first", "http://second", "http://third"]


# --- what is accepted -------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.23.0", "1.24.1", "1.25.0"])
@pytest.mark.parametrize("word_bits", [32, 64])
def test_a_fitting_vm_is_probed(machine: Machine, version: str, word_bits: int) -> None:
    path = machine.micropython(version, word_bits)
    assert vm.probe([str(path)], "here") == vm.Vm((str(path),), version, word_bits, "here")


@pytest.mark.parametrize("version", ["1.22.2", "1.26.0", "2.0.0", "0.24.0", "1.3.0"])
def test_another_version_is_refused(machine: Machine, version: str) -> None:
    path = machine.micropython(version, 32)
    with pytest.raises(Problem, match=f"is MicroPython {version}, not 1.23 to 1.25"):
        vm.probe([str(path)], "here")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("echo cpython 3 11 7 True", "cpython 3 11 7"),
        ("exit 0", "it gave no reason"),
        ("echo first; echo 'cannot find libffi' >&2; exit 127", "cannot find libffi"),
        ("echo micropython 1 25 0 False; exit 1", "is no MicroPython"),
    ],
)
def test_what_is_no_vm_is_refused(machine: Machine, body: str, words: str) -> None:
    path = machine.script("micropython", body)
    with pytest.raises(Problem, match=words):
        vm.probe([str(path)], "here")


def test_a_loader_warning_does_not_hide_the_vm(machine: Machine) -> None:
    body = "echo 'ld.so: object cannot be preloaded' >&2; echo micropython 1 25 0 False"
    assert vm.probe([str(machine.script("micropython", body))], "here").version == "1.25.0"


def test_a_vm_that_hangs_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm, "PROBE_TIMEOUT_S", 0.3)
    path = machine.script("micropython", "sleep 30 & sleep 30")
    started_s = time.monotonic()
    with pytest.raises(Problem, match="not done within 0 s"):
        vm.probe([str(path)], "here")
    assert time.monotonic() - started_s < 5


def test_a_file_that_cannot_start_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "micropython"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(Problem, match="Exec format error"):
        vm.probe([str(path)], "here")


def test_lines() -> None:
    small = vm.Vm(("x",), "1.25.0", 32, "fetched into .cache/micropython")
    large = vm.Vm(("x",), "1.24.1", 64, "/usr/bin/micropython on PATH")
    assert small.line() == "micropython: 1.25.0, 32-bit, fetched into .cache/micropython"
    assert large.line() == (
        "micropython: 1.24.1, 64-bit, /usr/bin/micropython on PATH (64-bit: budgets are not judged)"
    )


# --- order of preference ----------------------------------------------------------------------


def test_the_named_one_comes_first(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.already_fetched()
    machine.micropython("1.25.0", 32)
    named = machine.micropython("1.23.0", 64, tmp_path / "named")
    monkeypatch.setenv("MICROPYTHON", str(named))
    assert vm.find_vm() == vm.Vm((str(named),), "1.23.0", 64, f"from MICROPYTHON={named}")


def test_a_relative_name_is_made_absolute(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = machine.micropython("1.25.0", 32, tmp_path / "named")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MICROPYTHON", "named/micropython")
    assert vm.find_vm().argv == (str(named),)


@pytest.mark.parametrize("kind", ["missing", "folder", "not executable", "old"])
def test_a_bad_name_is_refused_even_if_others_fit(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    machine.already_fetched()
    named = tmp_path / "named" / "micropython"
    if kind == "folder":
        named.mkdir(parents=True)
    elif kind != "missing":
        machine.micropython("1.20.0", 32, named.parent)
    if kind == "not executable":
        named.chmod(0o644)
    monkeypatch.setenv("MICROPYTHON", str(named))
    why = "1.20.0, not 1.23" if kind == "old" else "no such file, or it is not executable"
    message = refusal()
    assert message.startswith(f"MICROPYTHON={named}: ") and why in message
    assert message.endswith("Name a MicroPython 1.23 to 1.25, or unset MICROPYTHON.")


def test_an_empty_name_counts_as_unset(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.already_fetched()
    monkeypatch.setenv("MICROPYTHON", "")
    assert vm.find_vm().origin.startswith("fetched into")


def test_the_fetched_one_comes_before_path(machine: Machine) -> None:
    machine.already_fetched()
    machine.micropython("1.24.0", 32)
    assert vm.find_vm().origin.startswith("fetched into")


def test_without_its_stamp_the_fetched_one_does_not_count(machine: Machine) -> None:
    machine.already_fetched()
    (vm.VM_DIR / vm.STAMP).unlink()
    path = machine.micropython("1.24.0", 32)
    assert vm.find_vm() == vm.Vm((str(path),), "1.24.0", 32, f"{path} on PATH")


def test_a_32_bit_one_on_path_comes_before_a_fetch(machine: Machine) -> None:
    machine.debian()
    machine.micropython("1.24.0", 32)
    assert vm.find_vm().origin.endswith("on PATH")
    assert not machine.apt_log.exists()


@pytest.mark.parametrize(("version", "word_bits"), [("1.25.0", 64), ("1.26.0", 32)])
def test_a_fetch_comes_before_another_one_on_path(machine: Machine, version: str, word_bits: int) -> None:
    machine.debian()
    machine.micropython(version, word_bits)
    assert vm.find_vm().origin.startswith("fetched into")


def test_a_64_bit_one_on_path_is_the_last_resort(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.debian(on_update="echo 'E: mirror down' >&2; exit 100")
    machine.micropython("1.25.0", 64)
    assert vm.find_vm().word_bits == 64
    assert "could not fetch the 32-bit MicroPython VM: apt-get failed: E: mirror down" in (capsys.readouterr().err)


def test_fetch_false_fetches_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.debian()
    assert "none is on PATH" in refusal(fetch=False)
    machine.micropython("1.25.0", 64)
    assert vm.find_vm(fetch=False).word_bits == 64
    assert not machine.apt_log.exists() and not capsys.readouterr().err


def test_nothing_at_all_names_the_ways_out(machine: Machine) -> None:
    message = refusal()
    assert "it is fetched with apt-get, which is not here" in message
    assert "MICROPYTHON=/path/to/micropython" in message
    assert "package micropython (i386, Debian 13 trixie)" in message


def test_a_version_that_does_not_fit_is_named(machine: Machine) -> None:
    machine.micropython("1.26.1", 32)
    assert "is MicroPython 1.26.1, not 1.23 to 1.25" in refusal(fetch=False)


# --- the fetch --------------------------------------------------------------------------------


def test_a_fetch_leaves_the_vm_and_its_versions(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.debian(on_update="echo chatter; echo more >&2", on_download="echo chatter")
    found = vm.find_vm()
    assert (found.version, found.word_bits) == ("1.25.0", 32)
    assert machine.cache_names() == ["micropython"]
    names = sorted(path.name for path in vm.VM_DIR.iterdir())
    assert names == ["complete", "root", "versions.txt"]
    rows = (vm.VM_DIR / "versions.txt").read_text(encoding="utf-8").splitlines()
    digest = hashlib.sha256(b"content of libc6\n").hexdigest()
    assert len(rows) == PACKAGE_COUNT and rows[0] == f"libc6_1.0_i386.deb {digest}"
    said = capsys.readouterr()
    assert said.err == "fetching the 32-bit MicroPython VM (4 MB, once)...\n" and not said.out


def test_a_second_find_fetches_nothing(machine: Machine) -> None:
    machine.debian()
    first = vm.find_vm()
    machine.apt_log.unlink()
    assert vm.find_vm() == first
    assert not machine.apt_log.exists()


@pytest.mark.parametrize("user_id", [0, 1000])
def test_how_apt_is_called(machine: Machine, monkeypatch: pytest.MonkeyPatch, user_id: int) -> None:
    monkeypatch.setattr(vm.os, "geteuid", lambda: user_id)
    machine.debian()
    vm.find_vm()
    update, download = machine.apt_log.read_text(encoding="utf-8").splitlines()
    for line in (update, download):
        assert "-o APT::Architecture=i386 -o APT::Architectures=i386" in line
        assert "-o Dir::State::status=/dev/null" in line
        assert "-o Acquire::AllowInsecureRepositories=false" in line
        assert ("-o APT::Sandbox::User=root" in line) == (user_id == 0)
        assert "trusted" not in line and "AllowUnauthenticated=true" not in line
    assert update.endswith(" update")
    assert download.endswith(f" download micropython {vm.LIBRARIES}")
    assert len(machine.dpkg_log.read_text(encoding="utf-8").splitlines()) == PACKAGE_COUNT


@pytest.mark.parametrize(
    ("configured", "written"),
    [
        (f"deb [trusted=yes] {MIRROR} bookworm main", f"deb {MIRROR} trixie main"),
        (
            f"deb [arch=amd64 signed-by={ARCHIVE_KEY}] {MIRROR} sid main non-free",
            f"deb [signed-by={ARCHIVE_KEY}] {MIRROR} trixie main",
        ),
        (f"deb [signed-by=0123ABCD] {MIRROR} sid main", f"deb {MIRROR} trixie main"),
    ],
)
def test_the_private_source(machine: Machine, configured: str, written: str) -> None:
    copy = machine.apt / "copy"
    find_list = 'for w in "$@"; do case "$w" in Dir::Etc::sourcelist=*) f="${w#*=}"; esac; done'
    machine.debian(on_update=f'{find_list}; cat "$f" > {copy}')
    (machine.apt / "sources.list").write_text(f"{configured}\n", encoding="utf-8")
    vm.find_vm()
    assert copy.read_text(encoding="utf-8") == f"{written}\n"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"on_update": "echo 'E: NO_PUBKEY 0123' >&2; exit 100"}, "apt-get failed: E: NO_PUBKEY"),
        ({"on_download": "echo 'E: no such package'; exit 100"}, "E: no such package"),
        ({"on_unpack": "echo 'short read' >&2; exit 2"}, "dpkg-deb failed: short read"),
        ({"facts": "micropython 1 27 0 False"}, "is MicroPython 1.27.0, not 1.23"),
        ({"facts": "micropython 1 25 0 True"}, "the fetched VM is not 32-bit"),
        ({"facts": "no i386 here"}, "is no MicroPython: no i386 here"),
    ],
)
def test_a_failed_fetch_leaves_nothing(machine: Machine, broken: dict[str, str], words: str) -> None:
    machine.debian(**broken)
    message = refusal()
    assert words in message and "MICROPYTHON=/path/to/micropython" in message
    assert machine.cache_names() == []


def test_an_interrupted_fetch_leaves_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    real = vm.run_quietly

    def interrupted(argv: list[str], timeout_s: float, cwd: Path | None = None) -> tuple[int, str]:
        if argv[0] == "dpkg-deb":
            raise KeyboardInterrupt
        return real(argv, timeout_s, cwd)

    machine.debian()
    monkeypatch.setattr(vm, "run_quietly", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vm.find_vm()
    assert machine.cache_names() == []


def test_a_stuck_mirror_ends_in_time(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.debian(on_update="sleep 30 & sleep 30")
    monkeypatch.setattr(vm, "FETCH_TIMEOUT_S", 0.5)
    started_s = time.monotonic()
    assert "apt-get failed: it was not done within" in refusal()
    assert time.monotonic() - started_s < 5
    assert machine.cache_names() == []


def test_a_killed_fetch_is_swept_up_later(machine: Machine) -> None:
    old, young = (machine.cache / f"micropython.fetching-{name}" for name in ("old", "young"))
    old.mkdir(parents=True)
    young.mkdir()
    os.utime(old, (0, 0))
    machine.debian()
    vm.find_vm()
    assert machine.cache_names() == ["micropython", young.name]


@pytest.mark.parametrize("stamped", [True, False])
def test_a_broken_one_is_replaced(machine: Machine, stamped: bool) -> None:
    machine.already_fetched("nonsense")
    if not stamped:
        (vm.VM_DIR / vm.STAMP).unlink()
    machine.debian()
    assert vm.find_vm().word_bits == 32
    assert machine.cache_names() == ["micropython"]


def test_two_fetches_at_once_are_harmless(machine: Machine) -> None:
    machine.debian(on_unpack="sleep 0.05")
    found: list[vm.Vm] = []
    threads = [threading.Thread(target=lambda: found.append(vm.find_vm())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(threads) and len(set(found)) == 1
    assert machine.cache_names() == ["micropython"]


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_a_missing_tool_is_named(machine: Machine, tool: str) -> None:
    machine.debian()
    (machine.bin / tool).unlink()
    assert f"it is fetched with {tool}, which is not here" in refusal()


def test_other_processors_and_other_mirrors_are_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.debian()
    other = "deb http://example.test/ubuntu noble main\n"
    (machine.apt / "sources.list").write_text(other, encoding="utf-8")
    assert f"no Debian mirror is configured in {machine.apt}" in refusal()
    monkeypatch.setattr(vm.platform, "machine", lambda: "aarch64")
    assert "i386 does not run on aarch64" in refusal()


def test_a_cache_that_cannot_be_written_is_told(machine: Machine) -> None:
    machine.debian()
    machine.cache.write_text("a file where the folder should be", encoding="utf-8")
    assert f"the fetch into {machine.cache} failed" in refusal()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "it gave no reason"),
        ("\n  plain words \n\n", "plain words"),
        ("W: old\nE: first\nE: second\nW: last", "E: second"),
        ("E: Failed to fetch x\nE: Some index files failed to download.", "E: Failed to fetch x"),
        ("E: Some index files failed to download.", "E: Some index files failed to download."),
    ],
)
def test_the_last_error_line(text: str, line: str) -> None:
    assert vm.last_error(text) == line


def test_no_registry_host_is_written_down() -> None:
    hosts = ["debian" + ".org", "pypi" + ".org", "python" + "hosted", "snap" + "shot."]
    for name in ("vm", "logging_source"):
        for path in (ROOT / f"scripts/{name}.py", ROOT / f"host_tests/test_{name}.py"):
            text = path.read_text(encoding="utf-8")
            assert not [host for host in hosts if host in text], path


# --- the command and the real thing -----------------------------------------------------------


def test_the_command_prints_one_line(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.micropython("1.25.0", 32)
    assert vm.main([]) == 0
    said = capsys.readouterr()
    assert said.out == f"micropython: 1.25.0, 32-bit, {machine.bin}/micropython on PATH\n"


def test_the_command_fails_in_one_sentence(machine: Machine) -> None:
    ended = run_command("vm", MICROPYTHON="/nowhere/micropython", PATH=str(machine.bin))
    assert ended.returncode == EXIT_ENVIRONMENT and not ended.stdout
    assert ended.stderr.startswith("error: MICROPYTHON=/nowhere/micropython: there is no such")
    assert ended.stderr.count("\n") == 1


def test_the_real_vm_is_32_bit_and_runs() -> None:
    found = vm.find_vm()
    assert vm.run_quietly([*found.argv, "-c", "print(1)"], 10.0) == (0, "1\n")
    assert found.word_bits == 32, found.line()
