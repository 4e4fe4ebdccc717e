"""What `make doctor` says about what it found: facts in, rows of the page out.

Owns every judgement, its wording and its remedy. Plain logic: must not know how a board is reached.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from scripts import partitions
from scripts.build import translate_traceback
from scripts.deploy_plan import COMMIT, MANIFEST_PATH, NEXT, BoardFile, Inventory, stale_files
from scripts.firmware import Versions
from scripts.identity import Identity
from scripts.partitions import Partition
from scripts.startup import remedy

OK, NOTE, WRONG = "ok", "note", "WRONG"
EPOCH_2000_S = 946684800
LEAST_FREE_BYTES = 32 * 1024
"""Below it neither the settings nor the next deploy can be saved safely."""
_SET_S = 757382400  # as in device/app/board.py: an earlier time of the chip was never set
_SYNCED = 2  # quality, as in device/app/clock.py
_NOTE_OFF_S = 5
_WRONG_OFF_S = 3600
_CRASH_COUNTS_S = 300  # as in device/main.py
RESET_CAUSES = {1: "power on", 2: "reset or crash", 3: "watchdog", 4: "deep sleep", 5: "soft reset"}
_MOST_NAMES = 6


@dataclass(frozen=True)
class Row:
    """One line of the page. `here`: what is wrong is this machine, not the board."""

    level: str
    subject: str
    what: str
    remedy: str = ""
    here: bool = False

    def __str__(self) -> str:
        remedy = f"\n       -> {self.remedy}" if self.remedy else ""
        return f"{self.level:5}  {self.subject}: {self.what}{remedy}"


# --- this machine -------------------------------------------------------------------------------


def tools(versions: Versions) -> Iterator[Row]:
    """The tools that firmware/versions.toml pins, against what is installed."""
    right = []
    for name, wanted in versions.tools.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Row(WRONG, "tools", f"{name} is not installed", "make setup", here=True)
            continue
        if found == wanted:
            right.append(f"{name} {found}")
        else:
            yield Row(NOTE, "tools", f"{name} is {found}, tested with {wanted}", "make setup")
    if right:
        yield Row(OK, "tools", ", ".join(right))


# --- the chip and what is flashed ---------------------------------------------------------------


def chip(identity: Identity) -> Iterator[Row]:
    if "ESP32C3" in identity.chip and identity.flash_bytes >= partitions.FLASH_BYTES:
        yield Row(OK, "chip", f"{identity.chip}, {identity.flash_bytes // 1024 // 1024} MB flash, MAC {identity.mac}")
    else:
        what = f"{identity.chip} with {identity.flash_bytes // 1024} KB of flash"
        yield Row(WRONG, "chip", what, "use an ESP32-C3 with 4 MB of flash or more")


def firmware(identity: Identity, wanted: str) -> Iterator[Row]:
    if identity.release == wanted:
        yield Row(OK, "firmware", f"MicroPython {wanted}")
    else:
        what = f"MicroPython {identity.release}, and Tally is made for {wanted}"
        yield Row(WRONG, "firmware", what, "make backup, then make flash")


def partition_table(found: list[Partition], wanted: list[Partition]) -> Iterator[Row]:
    if found == wanted:
        yield Row(OK, "partitions", ", ".join(f"{p.name} {p.size_bytes // 1024} KB" for p in found))
        return
    other = [p.name for p in wanted if p not in found] + [p.name for p in found if p not in wanted]
    what = f"not those of firmware/partitions.csv: {_some(list(dict.fromkeys(other)))} differ or are missing"
    yield Row(WRONG, "partitions", what, "make flash; it asks before it erases what is on the board")


# --- files --------------------------------------------------------------------------------------


def files(board: Inventory, manifest: dict[str, BoardFile], built: dict[str, BoardFile]) -> Iterator[Row]:
    """Against the board's own `manifest`, then against that of this checkout's build (empty: there is none)."""
    if MANIFEST_PATH not in board.files:
        yield Row(WRONG, "files", "no Tally is on this board", "make deploy")
        return
    broken = list(_broken(board, manifest))
    yield from broken or [Row(OK, "files", f"{len(manifest)} files are as they were deployed")]
    other = [path for path in {**manifest, **built} if manifest.get(path) != built.get(path)]
    if built and other:
        what = f"this checkout's build is another one: {_some(other)}"
        yield Row(NOTE, "files", what, "make deploy, if it is the newer one")


def _broken(board: Inventory, manifest: dict[str, BoardFile]) -> Iterator[Row]:
    if not manifest:
        yield Row(WRONG, "files", "the manifest of the last deploy is damaged", "make deploy")
        return
    stale = stale_files(board, manifest, {**manifest, MANIFEST_PATH: board.files[MANIFEST_PATH]})
    for what, paths in (
        ("changed since the deploy", [p for p in manifest if p in board.files and board.files[p] != manifest[p]]),
        ("missing", [p for p in manifest if p not in board.files]),
        ("in the way of what was deployed", stale),
    ):
        if paths:
            yield Row(WRONG, "files", f"{what}: {_some(paths)}", "make deploy")
    if COMMIT in board.files:
        yield Row(WRONG, "files", "a deploy was broken off while it was put in place", "make deploy")
    elif any(path.startswith(NEXT) for path in board.files):
        yield Row(NOTE, "files", "a deploy was broken off; the application from before runs", "make deploy")


def _some(paths: list[str]) -> str:
    more = len(paths) - _MOST_NAMES
    return ", ".join(paths[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def free_space(board: Inventory) -> Iterator[Row]:
    what = f"{board.free_bytes // 1024} KB free for files"
    if board.free_bytes >= LEAST_FREE_BYTES:
        yield Row(OK, "space", what)
    else:
        yield Row(WRONG, "space", what, "remove files of yours: make repl, then os.remove('/NAME')")


def settings(problems: list[str]) -> Iterator[Row]:
    """`problems` as app.settings.load() on the board gives them."""
    if not problems:
        yield Row(OK, "settings", "valid")
    for problem in problems:
        yield Row(WRONG, "settings", problem, "set it again: make provision, or on the board's page")


# --- the application as it ran ------------------------------------------------------------------


def running(facts: dict[str, Any], here_s: float) -> Iterator[Row]:
    """What facts.py and app_facts.py told; `here_s` is this computer's Unix time when it told the board's."""
    if "uptime_s" in facts:
        yield from _application(facts)
    else:
        what = "it did not run when it was asked: stopped before, or just starting"
        yield Row(NOTE, "app", what, "it is started now; make doctor in half a minute says more")
    if "log_errors" in facts:
        yield log(facts)
    if "chip_s" in facts:
        yield from _last_reset(facts)
        yield from clock(facts, here_s)
    if "wifi" in facts:
        yield from wifi(facts)
    if "gc_used" in facts:
        heap = f"GC heap {facts['gc_used']:,} bytes in use after a collect"
        yield Row(OK, "memory", f"{heap}; IDF {facts['idf_free']:,} free, largest block {facts['idf_largest']:,}")


def _application(facts: dict[str, Any]) -> Iterator[Row]:
    ran = f"boot {facts['boot']}, up {duration(facts['uptime_s'])}"
    if facts["rescue"]:
        yield Row(WRONG, "app", f"rescue mode, {ran}: 3 crashes within 5 minutes", "see the crash, then make deploy")
    else:
        yield Row(OK, "app", ran)


def duration(seconds: int) -> str:
    """Seconds in words, to two units."""
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"


def log(facts: dict[str, Any]) -> Row:
    """The log of samples, as the application has it open."""
    if facts["log_in_memory"]:
        what = "there is no log partition: samples are only in memory, and gone at a reset"
        return Row(WRONG, "log", what, "make flash; it asks before it erases what is on the board")
    what = f"{facts['stored']:,} samples stored, {facts['pending']:,} not sent yet"
    if facts["last_seq"]:
        what = f"{what}, the newest is number {facts['last_seq']}"
    if not facts["rejected"] and not facts["log_errors"]:
        return Row(OK, "log", what)
    what += f"; {facts['rejected']:,} could not be stored, the flash failed {facts['log_errors']:,} times since start"
    return Row(NOTE, "log", what, "make backup, then make read-log FILE=... ARGS=--check; such flash may be worn out")


def _last_reset(facts: dict[str, Any]) -> Iterator[Row]:
    cause = facts["reset_cause"]
    words = RESET_CAUSES.get(cause, f"cause {cause}")
    if cause == 3:
        yield Row(NOTE, "last reset", words + ": the program hung for a minute", "make log, and look what comes before")
    else:
        yield Row(OK, "last reset", words)
    yield from crash(ast.literal_eval(facts["rtc_memory"]), facts["chip_s"])


def crash(rtc_memory: bytes, chip_s: int) -> Iterator[Row]:
    """The note that device/main.py left: count, chip time of the first, traceback."""
    note = re.match(r"(\d+) (\d+) (.*)", rtc_memory.decode(errors="replace"), re.DOTALL)
    if not note:
        yield Row(OK, "crash", "none since power-on")
        return
    recent = 0 <= chip_s - int(note[2]) < _CRASH_COUNTS_S
    lines = translate_traceback(note[3]).strip().splitlines() or ["no memory was left to say why"]
    when = "within the last 5 minutes" if recent else "more than 5 minutes ago, up again since"
    what = "\n       ".join([f"{note[1]}, {when}", *lines])
    remedy = "report it with this text; taking the power away forgets it"
    yield Row(WRONG if recent else NOTE, "crash", what, remedy)


def clock(facts: dict[str, Any], here_s: float) -> Iterator[Row]:
    chip_s = facts["chip_s"]
    tries = f", {facts['ntp_failures']} tries without an answer" if facts.get("ntp_failures") else ""
    ask = "it asks the servers of the setting ntp_servers once there is a network: let UDP port 123 out, or wait"
    if chip_s <= _SET_S:
        yield Row(NOTE, "clock", f"not set{tries}; samples get their time when it is", ask)
        return
    off_s = round(chip_s + EPOCH_2000_S - here_s)
    off = f"{abs(off_s)} s {'ahead of' if off_s > 0 else 'behind'} this computer"
    if abs(off_s) <= _NOTE_OFF_S:
        yield Row(OK, "clock", f"set, within {_NOTE_OFF_S} s of this computer")
    elif facts.get("quality", _SYNCED) < _SYNCED:
        yield Row(NOTE, "clock", f"an estimate, {off}{tries}; samples get their time when it is set", ask)
    else:
        level = WRONG if abs(off_s) > _WRONG_OFF_S else NOTE
        yield Row(level, "clock", f"set, {off}", "check this computer's clock, then the setting ntp_servers")


def wifi(facts: dict[str, Any]) -> Iterator[Row]:
    state = facts["wifi"]
    if facts["ip"]:
        yield Row(OK, "Wi-Fi", f"{state} to {facts['ssid']}")
        port = "" if facts["web_port"] == 80 else f":{facts['web_port']}"
        yield Row(OK, "web", f"http://{facts['ip']}{port}/")
    elif not facts["ssid"]:
        yield Row(NOTE, "Wi-Fi", "no network is set", "make provision SSID=...")
    elif state.startswith(("joining", "starting")):
        yield Row(NOTE, "Wi-Fi", state, "make doctor in half a minute says what came of it")
    else:
        yield Row(WRONG, "Wi-Fi", f"{facts['ssid']}: {state}", remedy(state))
