"""Which serial port the board is at, and whether this user can use it now.

Owns finding and checking. Looks only: what is opened here is closed at once. Must not know the tools that use the port.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from scripts import failures
from scripts.console import EXIT_ENVIRONMENT, EXIT_USAGE, Problem

# USB vendor and product numbers of what an ESP32-C3 board has; None is any product.
BOARD_USB_IDS = {
    (0x303A, None): "the chip's own USB",
    (0x10C4, 0xEA60): "CP210x",
    (0x1A86, 0x7523): "CH340",
    (0x1A86, 0x55D4): "CH9102",
    (0x1A86, 0x55D3): "CH343",
    (0x0403, None): "FTDI",
}


def find(port: str) -> str:
    """The port named, or the only one that can be a board; checked. Problem when there is none, several, or it can't be
    used."""
    found = port or choose(list_ports.comports())
    check(found)
    return found


def choose(attached: Sequence[ListPortInfo]) -> str:
    """The only port that can be a board: one with a known USB id, else one with any. Problem when none or several."""
    known = [p for p in attached if (p.vid, p.pid) in BOARD_USB_IDS or (p.vid, None) in BOARD_USB_IDS]
    candidates = sorted(known or [p for p in attached if p.vid is not None])
    if not candidates:
        raise Problem(
            "no board found: no USB serial port is here. Plug the board in with a cable that carries data (some only "
            "charge), or name its port: make ... PORT=/dev/ttyACM0",
            EXIT_ENVIRONMENT,
        )
    if len(candidates) > 1:
        lines = [f"  make ... PORT={p.device}   ({p.description})" for p in candidates]
        raise Problem("\n".join(["several boards may be meant. Name one:", *lines]), EXIT_USAGE)
    return candidates[0].device


def check(port: str) -> None:
    """Problem when a port does not exist, is no serial port, may not be used or is in use. URLs are not looked at."""
    if "://" in port:
        return
    try:
        facts = os.stat(port)
    except OSError as error:
        raise failures.named("no-such-port", port) from error
    if not stat.S_ISCHR(facts.st_mode):
        raise Problem(f"{port} is not a serial port. Leave PORT= out to have it found.", EXIT_USAGE)
    if not os.access(port, os.R_OK | os.W_OK):
        raise permission_problem(port, facts)
    if is_taken(port):
        raise busy_problem(port)


def permission_problem(port: str, facts: os.stat_result) -> Problem:
    """What to do about a device file of another group, by its owner, group and mode."""
    remedy = f"Run `sudo chmod a+rw {port}`"
    if facts.st_gid != 0 and facts.st_mode & 0o060 == 0o060:
        remedy = f"Run `sudo usermod -aG {_group_name(facts.st_gid)} $USER` and log out and in again"
    return failures.named("no-permission", port, remedy=remedy)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def is_taken(port: str) -> bool:
    """True when another program has locked the port, as pyserial, picocom and others do."""
    try:
        descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        return error.errno == errno.EBUSY
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def busy_problem(port: str, proc: Path = Path("/proc")) -> Problem:
    """Names the process that has the port open, if it is this user's."""
    holder = holder_of(port, proc)
    if holder is None:
        return failures.named("busy-port", port)
    pid, program = holder
    way_out = f"Close it in its own window, or end it with `kill {pid}`"
    return failures.named("busy-port", port, holder=f"{program} (process {pid})", way_out=way_out)


def holder_of(port: str, proc: Path = Path("/proc")) -> tuple[int, str] | None:
    """Process id and program name of the first other process seen to have the port open."""
    device = os.path.realpath(port)
    for folder in sorted(proc.glob("[0-9]*")):
        if int(folder.name) != os.getpid() and device in _open_files(folder):
            return int(folder.name), _program_name(folder)
    return None


def _open_files(folder: Path) -> list[str]:
    try:
        return [os.readlink(entry) for entry in (folder / "fd").iterdir()]
    except OSError:  # another user's process, or one that has just ended
        return []


def _program_name(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip() or "a program"
    except OSError:
        return "a program"
