"""`make flash`: puts MicroPython and Tally's partition table on a board, and waits until its prompt answers.

Owns the order of the steps and what is asked before anything is lost. Reads only until chip, flash size and what the
board holds are known. Must not know where the image comes from (scripts/firmware.py) nor what the tools say when they
fail (scripts/failures.py).
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scripts import console, failures, firmware, link, partitions, session, tools
from scripts.ask import confirm
from scripts.console import BUILD_DIR, EXIT_OK, EXIT_USAGE, Problem
from scripts.failures import ToolProblem
from scripts.link import Link

LOOK_BYTES = 8192
"""The first two blocks: LittleFS's root directory begins there, and so does the first block of readings."""
LOOK_TIMEOUT_S = 60.0
ERASE_TIMEOUT_S = 300.0
# Without the stub over RFC 2217 it takes minutes.
WRITE_TIMEOUT_S = 1800.0
ANSWER_TIMEOUT_S = 20.0
PROMPT_TIMEOUT_S = 60.0
PROMPT_PAUSE_S = 0.5
VERIFIED = "Hash of data verified"
_UNITS = {"KB": 1024, "MB": 1024 * 1024}
# How a board looks that is still starting, or whose USB is not back yet.
_STARTING = (
    "cannot-access",
    "no-such-port",
    "no-permission",
    "busy-port",
    "no-repl",
    "lost-connection",
    "time-out",
)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="make flash", description="Put MicroPython and Tally's flash layout on a board.")
    link.add_arguments(p)
    firmware.add_arguments(p)
    p.add_argument("--force", action="store_true", help="FORCE=1: erase without asking")
    p.add_argument("--keep-data", action="store_true", help="KEEP_DATA=1: leave files, settings and readings alone")
    return p


@contextlib.contextmanager
def timed(done: str) -> Iterator[None]:
    """One line when a step is done, with the seconds it took."""
    started = time.monotonic()
    yield
    over = "\r" if sys.stdout.isatty() else ""  # the line of show_percent
    print(f"{over}{done} ({time.monotonic() - started:.1f} s)", flush=True)


def show_percent(line: str) -> None:
    """Progress of a write, on a terminal, as one line that changes."""
    if sys.stdout.isatty() and (percent := re.match(r"Writing at .* (\d+)\.\d%", line)):
        print(f"\r  {percent[1]} %", end="", flush=True)


# --- what is on the board -----------------------------------------------------------------------


def check_chip(board: Link) -> None:
    """Problem unless it is an ESP32-C3 with at least 4 MB of flash."""
    said = tools.esptool(board, "flash-id", timeout_s=LOOK_TIMEOUT_S)
    chip = re.search(r"Chip type: +(\S+)", said)
    size = re.search(r"Detected flash size: +(\w+)", said)
    if not chip or not size:
        fix = "Take out of ESPTOOL_ARGS what keeps it from that, such as --silent or --help."
        raise Problem(f"esptool does not say what chip this is. {fix}", EXIT_USAGE)
    if chip[1] != "ESP32-C3":
        raise failures.named("wrong-chip", board.port, said, chip=chip[1])
    number = re.fullmatch(r"(\d+)([KM]B)", size[1])
    if not number:
        raise failures.named("flash-not-connected", board.port, said)
    if int(number[1]) * _UNITS[number[2]] < partitions.FLASH_BYTES:
        raise failures.named("flash-too-small", board.port, said, size=size[1])


def read_flash(board: Link, offset: int, size_bytes: int) -> bytes:
    """Bytes of the board's flash. The file that esptool writes them to may hold a password: it does not stay."""
    path = BUILD_DIR / f"board-{offset:#x}.bin"
    try:
        arguments = ("read-flash", f"{offset:#x}", f"{size_bytes:#x}", console.shown(path))
        tools.esptool(board, *arguments, timeout_s=LOOK_TIMEOUT_S)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def has_our_table(board: Link) -> bool:
    """True when the board's partition table is the one that is flashed."""
    table = read_flash(board, partitions.TABLE_OFFSET, partitions.TABLE_SIZE_BYTES)
    try:
        return partitions.from_bytes(table) == partitions.read_csv()
    except Problem:
        return False


def what_it_holds(board: Link) -> list[str]:
    """In words what a person would miss after an erase; empty for a board that is no Tally or a new one."""
    if not has_our_table(board):
        return []
    rows = partitions.read_csv()
    vfs, log = (read_flash(board, partitions.named(rows, name).offset, LOOK_BYTES) for name in ("vfs", "log"))
    found = ("files and settings", holds_files(vfs)), ("readings", is_written(log))
    return [words for words, is_there in found if is_there]


def holds_files(blocks: bytes) -> bool:
    """Whether the first blocks of `vfs` are those of a board that was deployed to or set up.

    A file system that MicroPython has just made holds boot.py and nothing else. Where even that can't be seen, LittleFS
    has moved its root directory after many writes, or it is something unknown: then it counts as files.
    """
    if b"settings.json" in blocks or b"manifest.json" in blocks:
        return True
    return is_written(blocks) and b"boot.py" not in blocks


def is_written(blocks: bytes) -> bool:
    return blocks.strip(b"\xff") != b""


def protect_data(board: Link, keep_data: bool, force: bool) -> None:
    """Return when what is going to be written takes nothing that the person wants. Problem otherwise."""
    if keep_data:
        if not has_our_table(board):
            raise Problem(
                f"the board at {board.port} has another partition table, so there is no Tally's data to keep where it "
                "would be looked for. Nothing was written. Leave KEEP_DATA=1 out.",
                EXIT_USAGE,
            )
    elif not force and (held := what_it_holds(board)):
        what = f"this board holds a Tally with {' and '.join(held)}"
        ways = "`make backup` saves that first, KEEP_DATA=1 leaves it on the board, FORCE=1 erases it."
        confirm(what, "Erase all of it?", ways)


# --- writing ------------------------------------------------------------------------------------


def erase(board: Link) -> None:
    """Erase the whole flash, or as much of it as is used where the chip's own loader has to do it."""
    whole = ("erase-flash",)
    if "--no-stub" in board.esptool_args:
        whole = ("erase-region", "0", f"{partitions.FLASH_BYTES:#x}")
    with timed("erased"):
        tools.esptool(board, *whole, timeout_s=ERASE_TIMEOUT_S)


def pieces(image: bytes, keep_data: bool) -> dict[int, Path]:
    """Files to write, by their place in flash: the image; or what of it lies around nvs, whose counters are data."""
    if not keep_data:
        return {0: store("firmware-patched.bin", image)}
    rows = partitions.read_csv()
    nvs, app = partitions.named(rows, "nvs"), partitions.named(rows, "factory")
    boot = store("firmware-boot.bin", image[: nvs.offset])
    return {0: boot, app.offset: store("firmware-app.bin", image[app.offset :])}


def store(name: str, content: bytes) -> Path:
    BUILD_DIR.mkdir(exist_ok=True)
    path = BUILD_DIR / name
    path.write_bytes(content)
    return path


def write(board: Link, files: dict[int, Path]) -> None:
    """Write and verify. Problem when esptool does not say of each file that it verified it."""
    arguments = [word for offset, path in files.items() for word in (f"{offset:#x}", console.shown(path))]
    with timed(f"written and verified, {sum(path.stat().st_size for path in files.values()):,} bytes"):
        said = tools.esptool(board, "write-flash", *arguments, timeout_s=WRITE_TIMEOUT_S, on_line=show_percent)
        if said.count(VERIFIED) != len(files):
            raise ToolProblem(
                f"esptool wrote to {board.port} without verifying it, so the board may not start. Take out of "
                "ESPTOOL_ARGS what prevents that, then run the command again.",
                output=said,
            )


# --- the first start ----------------------------------------------------------------------------


def wait_for_prompt(board: Link, version: str) -> None:
    """Return when MicroPython of that version answers. Problem when another one does, or none within a minute."""
    session.say_tap_reset(board)
    deadline_s = time.monotonic() + PROMPT_TIMEOUT_S
    with timed(f"MicroPython v{version} answers"):
        said = first_answer(board, deadline_s)
        if not re.match(rf"v{re.escape(version)}(-\S+)?( |$)", said):
            raise Problem(f"the board runs MicroPython {said or '(no version)'}, not v{version}. Check FIRMWARE=.")


def first_answer(board: Link, deadline_s: float) -> str:
    """What the firmware says of its version, asked again until the board is up. Problem at the deadline."""
    echo = True
    while True:
        try:
            question = "import os; print(os.uname().version)"
            said = tools.mpremote(board, "exec", question, timeout_s=ANSWER_TIMEOUT_S, echo=echo)
            return said.strip().rpartition("\n")[2]
        except ToolProblem as problem:
            if problem.name not in _STARTING:
                raise
            if time.monotonic() > deadline_s:
                raise Problem(
                    f"the firmware is written and verified, but no MicroPython answers at {board.port} within "
                    f"{PROMPT_TIMEOUT_S:.0f} s. Tap RESET or plug the board in anew, then run `make deploy`."
                ) from problem
        echo = False
        time.sleep(PROMPT_PAUSE_S)


def flash(args: argparse.Namespace) -> int:
    """All steps; the board is not touched before the image is there."""
    with timed("image checked and patched"):
        image = firmware.patched(firmware.find_image(args.firmware, args.firmware_sha256))
        files = pieces(image, args.keep_data)
    board = link.from_args(args)
    with timed("an ESP32-C3 with enough flash"):
        check_chip(board)
    protect_data(board, args.keep_data, args.force)
    if not args.keep_data:
        erase(board)
    write(board, files)
    wait_for_prompt(board, firmware.read_versions().image.micropython)
    port = f" PORT={args.port}" if args.port else ""
    if args.keep_data:
        session.restart(board)
        print(
            f"The board starts with what it held. Next: `make log{port}`, or `make deploy{port}` for a new application."
        )
    else:
        print(f"Next: `make deploy{port}`, then `make provision{port} SSID=...`.")
    return EXIT_OK


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    console.stop_on_signals()
    return console.run(lambda: flash(args))


if __name__ == "__main__":
    sys.exit(main())
