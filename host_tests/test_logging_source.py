"""Where the build's `logging` comes from, and that nothing unchecked ever gets through."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from host_tests.commands import run_command
from scripts import logging_source as source
from scripts.console import EXIT_ENVIRONMENT, Problem
from scripts.vm import Vm

MIP_CONTENT = b"# logging as mip has it\n"
SDIST_CONTENT = b"# logging as the sdist has it\n"
VM = Vm(("/vm/loader", "/vm/micropython"), "1.25.0", 32, "a fake")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def sdist(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)  # the tests' names are made of it, and must not change


GOOD_SDIST = sdist({"../evil.py": b"boom", source.SDIST_MEMBER: SDIST_CONTENT})


class Network:
    """Stands in for both clients; None means that one cannot be reached."""

    def __init__(self, mip: bytes | None = MIP_CONTENT, index: bytes | None = GOOD_SDIST) -> None:
        self.mip, self.index = mip, index
        self.calls: list[list[str]] = []
        self.timeouts_s: list[float] = []

    def __call__(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str]:
        self.calls.append(list(argv))
        self.timeouts_s.append(timeout_s)
        if "unearth" in argv:
            name = f"micropython-logging-{source.SDIST_VERSION}.tar.gz"
            return self._answer(self.index, Path(argv[-1], name), "no route to the index")
        return self._answer(self.mip, Path(argv[-2], "logging.py"), "OSError: no name")

    def _answer(self, content: bytes | None, path: Path, complaint: str) -> tuple[int, str]:
        if content is None:
            return 1, f"Traceback\n{complaint}\n"
        path.write_bytes(content)
        return 0, "done\n"

    def asked(self) -> list[str]:
        return ["index" if "unearth" in call else "mip" for call in self.calls]


@pytest.fixture(autouse=True)
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mip, index = source.ORIGINS
    origins = (
        replace(mip, sha256=sha256(MIP_CONTENT)),
        replace(index, sha256=sha256(SDIST_CONTENT)),
    )
    monkeypatch.delenv("TALLY_LOGGING", raising=False)
    monkeypatch.setattr(source, "ORIGINS", origins)
    monkeypatch.setattr(source, "SDIST_SHA256", sha256(GOOD_SDIST))
    monkeypatch.setattr(source, "STORE_DIR", tmp_path / "cache" / "logging")
    monkeypatch.setattr(source, "find_vm", lambda: VM)


def stored() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in source.STORE_DIR.glob("*")}


def refusal(network: Network) -> str:
    with pytest.raises(Problem) as caught:
        source.logging_source(network)
    assert caught.value.exit_code == EXIT_ENVIRONMENT
    return str(caught.value)


def test_mip_comes_first() -> None:
    network = Network()
    path = source.logging_source(network)
    assert path == source.STORE_DIR / "0.6.1.py" and path.read_bytes() == MIP_CONTENT
    assert network.asked() == ["mip"] and network.timeouts_s == [source.MIP_TIMEOUT_S]
    assert stored() == {"0.6.1.py": MIP_CONTENT}


def test_how_mip_is_called() -> None:
    network = Network()
    source.logging_source(network)
    *command, folder, version = network.calls[0]
    assert command[:3] == [*VM.argv, "-c"] and version == "0.6.1"
    assert "mip.install('logging'" in command[3] and "mpy=False" in command[3]
    assert not Path(folder).exists()


def test_the_index_where_mip_cannot_be_reached() -> None:
    network = Network(mip=None)
    path = source.logging_source(network)
    assert path == source.STORE_DIR / "0.5.2.py" and path.read_bytes() == SDIST_CONTENT
    assert network.asked() == ["mip", "index"]
    command = network.calls[1]
    assert command[:4] == [sys.executable, "-m", "unearth", "micropython-logging==0.5.2"]
    assert command[4:6] == ["--no-binary", "--download"]


def test_the_index_where_the_hash_by_mip_differs() -> None:
    assert source.logging_source(Network(mip=b"tampered")).name == "0.5.2.py"
    assert stored() == {"0.5.2.py": SDIST_CONTENT}


def test_the_index_where_there_is_no_vm(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Vm:
        raise Problem("no MicroPython VM that fits", EXIT_ENVIRONMENT)

    monkeypatch.setattr(source, "find_vm", none)
    network = Network()
    assert source.logging_source(network).name == "0.5.2.py"
    assert network.asked() == ["index"]


def test_mip_that_ends_well_with_nothing_is_not_believed() -> None:
    class Silent(Network):
        def _answer(self, content: bytes | None, path: Path, complaint: str) -> tuple[int, str]:
            return 0, ""

    message = refusal(Silent())
    assert "it brought no logging.py" in message and "it brought no sdist" in message


def test_both_unreachable_names_both_reasons_and_the_way_out() -> None:
    message = refusal(Network(mip=None, index=None))
    assert "by mip: OSError: no name" in message
    assert "from the package index: no route to the index" in message
    assert "TALLY_LOGGING=/path/to/logging.py" in message and "\n" not in message
    assert stored() == {}


def test_long_reasons_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Vm:
        raise Problem("why " * 200, EXIT_ENVIRONMENT)

    monkeypatch.setattr(source, "find_vm", none)
    message = refusal(Network(index=None))
    assert "why why why w...; from the package index" in message and len(message) < 500


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (b"not the pinned sdist", "the sdist has SHA-256"),
        (sdist({source.SDIST_MEMBER: b"tampered"}), "the sdist has SHA-256"),
    ],
)
def test_another_sdist_is_refused(index: bytes, words: str) -> None:
    message = refusal(Network(mip=b"tampered", index=index))
    assert words in message and "the file has SHA-256" in message
    assert "not the pinned" in message and stored() == {}


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (sdist({source.SDIST_MEMBER: b"another file"}), "the file has SHA-256"),
        (sdist({"elsewhere.py": SDIST_CONTENT}), "the sdist cannot be read"),
        (b"no archive at all", "the sdist cannot be read"),
        (GOOD_SDIST[: len(GOOD_SDIST) // 2], "the sdist cannot be read"),
        (GOOD_SDIST[:40] + b"\xff" * 40 + GOOD_SDIST[80:], "the sdist cannot be read"),
    ],
)
def test_a_pinned_but_bad_archive_is_refused(monkeypatch: pytest.MonkeyPatch, index: bytes, words: str) -> None:
    monkeypatch.setattr(source, "SDIST_SHA256", sha256(index))
    assert words in refusal(Network(mip=None, index=index)).partition("package index")[2]
    assert stored() == {}


@pytest.mark.parametrize("network", [Network(), Network(mip=None)])
def test_no_network_when_cached(network: Network) -> None:
    first = source.logging_source(network)
    unused = Network()
    assert source.logging_source(unused) == first
    assert unused.calls == []


def test_a_corrupted_copy_is_fetched_again() -> None:
    path = source.logging_source(Network())
    path.write_bytes(MIP_CONTENT[:-1])
    network = Network()
    assert source.logging_source(network) == path
    assert path.read_bytes() == MIP_CONTENT and network.asked() == ["mip"]


def test_a_corrupted_copy_is_never_handed_out() -> None:
    path = source.logging_source(Network())
    path.write_bytes(b"corrupted")
    assert "no logging module" in refusal(Network(mip=None, index=None))


def test_a_valid_older_copy_beats_a_corrupted_newer_one() -> None:
    path = source.logging_source(Network(mip=None))
    (source.STORE_DIR / "0.6.1.py").write_bytes(b"corrupted")
    network = Network()
    assert source.logging_source(network) == path and network.calls == []


def test_a_store_that_cannot_be_written_is_told() -> None:
    source.STORE_DIR.parent.mkdir()
    source.STORE_DIR.write_text("a file where the folder should be", encoding="utf-8")
    assert f"it cannot be kept in {source.STORE_DIR}"[:60] in refusal(Network())


def test_the_named_file_is_taken_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = tmp_path / "mine.py"
    named.write_text("# mine\n", encoding="utf-8")
    monkeypatch.setenv("TALLY_LOGGING", str(named))
    network = Network()
    assert source.logging_source(network) == named and network.calls == []
    assert source.main([]) == 0
    assert capsys.readouterr().out == f"logging: from TALLY_LOGGING={named}, hash not checked\n"


def test_a_missing_named_file_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY_LOGGING", "/nowhere/logging.py")
    message = refusal(Network())
    assert message.startswith("TALLY_LOGGING=/nowhere/logging.py: there is no such file.")
    assert message.endswith("Name a logging.py, or unset TALLY_LOGGING.")


def test_the_command_prints_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(source, "run_quietly", Network())
    assert source.main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith("logging: 0.6.1, by mip, SHA-256 checked, in ")
    assert said.endswith("0.6.1.py\n") and said.count("\n") == 1


def test_the_command_fails_in_one_sentence() -> None:
    ended = run_command("logging_source", TALLY_LOGGING="/nowhere")
    assert ended.returncode == EXIT_ENVIRONMENT and not ended.stdout
    assert ended.stderr.startswith("error: TALLY_LOGGING=/nowhere: there is no such file.")
    assert ended.stderr.count("\n") == 1
