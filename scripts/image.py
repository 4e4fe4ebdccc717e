"""`make image`: one file from flash offset 0 that makes a running logger of an empty board, also from a browser.

Owns build/image/: the patched firmware with a LittleFS that holds the tree of `make build`, the manifest that ESP Web
Tools reads, and a SHA-256. Must not know how any of its parts is made. Equal sources give equal bytes.

What it does to a board that was in use: the file covers 0 to 0x300000 without a gap and esptool erases every sector
that it writes, so bootloader, table, nvs, phy_init, app and all files become those of a new board: settings, the
network's password and what the app counted in nvs are gone. The `log` partition behind it is not in the file and not
erased: readings stay, and on a board that had the stock layout the second half of its old files lies there. Who wants
that empty too runs `esptool erase-flash` first, which is what new_install_prompt_erase has the browser ask about.

The values of device/config.py are in the file: with your Wi-Fi password in it, it is not for others.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

from littlefs import LittleFSError

from scripts import console, firmware, partitions, vfs_image
from scripts.build import app_version, build
from scripts.console import BUILD_DIR, EXIT_OK, ROOT, Problem

IMAGE_DIR = BUILD_DIR / "image"
CHIP_FAMILY = "ESP32-C3"
"""The chip's name in ESP Web Tools' manifest."""


def factory_image(stock: bytes, tree: Path) -> bytes:
    """Flash from offset 0 to the end of `vfs`: `stock` with our table, then FF, then a new file system with `tree`.

    Problem when the image is too long or `tree` is too large for `vfs`."""
    vfs = partitions.named(partitions.read_csv(), "vfs")
    with tempfile.TemporaryDirectory(prefix="tally-image-") as folder:
        flash_path = Path(folder) / "flash.bin"
        flash_path.write_bytes(firmware.patched(stock).ljust(vfs.offset + vfs.size_bytes, b"\xff"))
        try:
            with vfs_image.mounted(flash_path, format_blank=True) as fs:
                vfs_image.sync_tree(fs, tree)
        except LittleFSError as error:
            why = f"the files of {tree} don't fit the {vfs.size_bytes:,} bytes of vfs ({error})"
            raise Problem(f"{why}. Make device/ smaller: make size lists what is large.") from error
        return flash_path.read_bytes()


def web_tools_manifest(version: str, image_name: str, flash_offset: int) -> str:
    """manifest.json of ESP Web Tools, for an image that lies beside it."""
    part = {"path": image_name, "offset": flash_offset}
    manifest = {
        "name": "Tally",
        "version": version,
        "new_install_prompt_erase": True,
        "builds": [{"chipFamily": CHIP_FAMILY, "parts": [part]}],
    }
    return json.dumps(manifest, indent=2) + "\n"


def write_image(image: bytes, pin: firmware.ImagePin, folder: Path) -> tuple[Path, str]:
    """Write the three files to `folder`; path and SHA-256 of the image."""
    version, digest = app_version(), firmware.sha256_of(image)
    path = folder / f"tally-{version}-{pin.chip}.bin"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image)
    Path(f"{path}.sha256").write_text(f"{digest}  {path.name}\n")  # the form that sha256sum -c reads
    (folder / "manifest.json").write_text(web_tools_manifest(version, path.name, pin.flash_offset))
    return path, digest


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="make image", description="One image: firmware, partition table, app.")
    firmware.add_arguments(p)
    args = p.parse_args(argv)

    def command() -> int:
        stock = firmware.find_image(args.firmware, args.firmware_sha256)
        pin = firmware.read_versions().image
        image = factory_image(stock, build()[0])
        path, digest = write_image(image, pin, IMAGE_DIR)
        shown = os.path.relpath(path, ROOT)
        print(f"image: {shown}, {len(image):,} bytes, SHA-256 {digest}")
        print(f"beside it: {path.name}.sha256, manifest.json (ESP Web Tools)")
        esptool = [".venv/bin/esptool", "--chip", pin.chip, "write-flash", f"{pin.flash_offset:#x}", shown]
        print(f"to write it: {shlex.join(esptool)}")
        return EXIT_OK

    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
