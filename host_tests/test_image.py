"""`make image`: reproducible, laid out as the board expects it, and its files mount on the VM as they were built."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from ast import literal_eval
from pathlib import Path

import pytest

from host_tests.commands import run_command
from host_tests.virtual_board.stand_in import stand_in_image
from scripts import build, firmware, image, partitions
from scripts.console import EXIT_FAULT, EXIT_USAGE, Problem
from scripts.vm import Vm

STOCK = stand_in_image()
VFS = partitions.named(partitions.read_csv(), "vfs")
VM_TIMEOUT_S = 30

# Mounts with what the firmware mounts with, and prints every file's path and SHA-256.
LIST_FILES = """
import binascii, hashlib, sys, uos
class Flash:
    def __init__(self, path, start, blocks):
        self.file, self.start, self.blocks = open(path, "rb"), start, blocks
    def readblocks(self, number, buffer, offset=0):
        self.file.seek(self.start + number * 4096 + offset)
        self.file.readinto(buffer)
    def writeblocks(self, *_):
        raise OSError(30)
    def ioctl(self, op, _):
        return {4: self.blocks, 5: 4096, 6: -30}.get(op, 0)
flash = Flash(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
uos.mount(uos.VfsLfs2(flash, readsize=32, progsize=32, lookahead=32), "/board")
def walk(folder):
    for entry in uos.ilistdir(folder):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            walk(path)
        else:
            with open(path, "rb") as file:
                print(repr((path[6:], binascii.hexlify(hashlib.sha256(file.read()).digest()).decode())))
walk("/board")
print(repr(("blocks", tuple(uos.statvfs("/board"))[:3])))
"""


@pytest.fixture(scope="module")
def tree() -> Path:
    return build.build()[0]


@pytest.fixture(scope="module")
def content(tree: Path) -> bytes:
    return image.factory_image(STOCK, tree)


def test_the_image_is_patched_firmware_then_blank_then_vfs(content: bytes) -> None:
    assert len(content) == VFS.offset + VFS.size_bytes == 0x300000
    assert content[: len(STOCK)] == firmware.patched(STOCK)
    assert content[len(STOCK) : VFS.offset] == b"\xff" * (VFS.offset - len(STOCK))


def test_the_image_brings_a_blank_nvs(content: bytes) -> None:
    nvs = partitions.named(partitions.read_csv(), "nvs")
    assert content[nvs.offset :][: nvs.size_bytes] == b"\xff" * nvs.size_bytes


def test_two_images_of_the_same_tree_are_equal(content: bytes, tree: Path) -> None:
    assert image.factory_image(STOCK, tree) == content


def test_the_order_and_the_time_in_which_files_were_made_do_not_show(
    content: bytes, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    for number, path in enumerate(reversed(files)):
        copy = tmp_path / path.relative_to(tree)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (number, number))
    in_order = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda folder, pattern: reversed(sorted(in_order(folder, pattern))))
    assert image.factory_image(STOCK, tmp_path) == content


@pytest.mark.vm
def test_its_files_mount_on_the_vm_and_are_exactly_those_of_the_build(
    content: bytes, tree: Path, tmp_path: Path, vm: Vm
) -> None:
    flash_path, script_path = tmp_path / "flash.bin", tmp_path / "list_files.py"
    flash_path.write_bytes(content.ljust(4 * 1024 * 1024, b"\xff"))
    script_path.write_text(LIST_FILES)
    blocks = VFS.size_bytes // 4096
    ended = subprocess.run(
        [*vm.argv, str(script_path), str(flash_path), str(VFS.offset), str(blocks)],
        capture_output=True,
        text=True,
        timeout=VM_TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    listed = [literal_eval(line) for line in ended.stdout.splitlines()]
    assert listed.pop() == ("blocks", (4096, 4096, blocks))
    on_disk = {
        "/" + path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file()
    }
    assert len(listed) == len(on_disk) > 20
    assert dict(listed) == on_disk


def test_a_tree_that_does_not_fit_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"\x55" * (VFS.size_bytes + 1))
    with pytest.raises(Problem, match="don't fit the 1,048,576 bytes of vfs") as raised:
        image.factory_image(STOCK, tmp_path)
    assert raised.value.exit_code == EXIT_FAULT


def test_the_command_writes_image_hash_and_manifest_and_says_how_to_flash(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = tmp_path / "stock.bin"
    stock.write_bytes(STOCK)
    monkeypatch.setattr(image, "IMAGE_DIR", tmp_path / "image")
    arguments = ["--firmware", str(stock), "--firmware-sha256", firmware.sha256_of(STOCK)]
    assert image.main(arguments) == 0
    name = f"tally-{build.app_version()}-esp32c3.bin"
    assert (tmp_path / "image" / name).read_bytes() == content
    digest = hashlib.sha256(content).hexdigest()
    assert (tmp_path / "image" / f"{name}.sha256").read_text() == f"{digest}  {name}\n"
    assert json.loads((tmp_path / "image" / "manifest.json").read_text()) == {
        "name": "Tally",
        "version": build.app_version(),
        "new_install_prompt_erase": True,
        "builds": [{"chipFamily": "ESP32-C3", "parts": [{"path": name, "offset": 0}]}],
    }
    said = capsys.readouterr().out
    assert digest in said and "3,145,728 bytes" in said
    shown = os.path.relpath(tmp_path / "image" / name, image.ROOT)
    assert said.endswith(f"esptool --chip esp32c3 write-flash 0x0 {shown}\n")


def test_a_firmware_that_is_none_leaves_no_image(tmp_path: Path) -> None:
    ended = run_command("image", "--firmware", str(tmp_path / "nothing.bin"))
    assert ended.returncode == EXIT_USAGE
    assert "nothing.bin can't be read" in ended.stderr and "Traceback" not in ended.stderr
