"""What esptool and mpremote say when something goes wrong, and what a person should do about it.

Owns the sentences. Patterns were measured with esptool 5.6.0 and mpremote 1.29.0 on a terminal of endless width; where
a fault could not be had, they are the texts in esptool's source. Must not know how the tools are started.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.console import EXIT_ENVIRONMENT, EXIT_FAULT, EXIT_USAGE, Problem

_BOX_DRAWING = "│╭╰╮╯─ "


@dataclass(frozen=True)
class Failure:
    """One known failure. `tool` is empty when both say it, `pattern` when no tool does and a command finds it itself.
    `sentence` has the fields port and the pattern's groups."""

    name: str
    tool: str
    pattern: str
    sentence: str
    exit_code: int = EXIT_FAULT


class ToolProblem(Problem):
    """A Problem with the name of its row (empty when unknown) and all that the tool said."""

    def __init__(self, message: str, exit_code: int = EXIT_FAULT, name: str = "", output: str = "") -> None:
        super().__init__(message, exit_code)
        self.name = name
        self.output = output


# The first row that fits counts: esptool warns of a silent flash chip before it fails at writing to it.
FAILURES = [
    Failure(
        "no-such-port",
        "esptool",
        r"Could not open [^\n]*\n[^\n]*No such (file or directory|device)",
        "there is no {port}: no board is plugged in there, or it has another name. Plug it in with a cable that "
        "carries data, or leave PORT= out to have it found.",
        EXIT_ENVIRONMENT,
    ),
    Failure(
        "no-bridge",
        "esptool",
        r"Could not open [^\n]*\n[^\n]*(Connection refused|timed out|Name or service not known)",
        "nothing answers at {port}. Start the serial bridge there, or name another PORT=.",
        EXIT_ENVIRONMENT,
    ),
    Failure(
        "busy-port",
        "esptool",
        r"Could not exclusively lock port|Device or resource busy",
        "{port} is in use by {holder}. {way_out}, then run the command again.",
        EXIT_ENVIRONMENT,
    ),
    Failure(
        "no-permission",
        "esptool",
        r"could not open port [^\n]*Permission denied",
        "you have no permission to use {port}. {remedy}, then run the command again.",
        EXIT_ENVIRONMENT,
    ),
    Failure(
        "cannot-access",
        "mpremote",
        r"mpremote: failed to access ",
        "mpremote can't open {port}: the board is gone, the bridge is not running or another program uses it. Plug it "
        "in again or close that program, then run the command again.",
        EXIT_ENVIRONMENT,
    ),
    Failure(
        "wrong-chip",
        "esptool",
        r"This chip is (?P<chip>[^,\n]+), not ESP32-C3",
        "the board at {port} is an {chip}, and this firmware is for the ESP32-C3 only. Nothing was written. Connect an "
        "ESP32-C3, or name its port (PORT=).",
    ),
    Failure(
        "no-answer",
        "esptool",
        r"Failed to connect to ESP32-C3",
        "the chip at {port} does not answer. Hold its BOOT button, tap RESET, let go of BOOT, and run the command "
        "again; if it stays silent, check the cable (some carry no data) and PORT=.",
    ),
    Failure(
        "no-stub",
        "esptool",
        r"Failed to start stub flasher",
        "the chip at {port} answers, but esptool's flasher does not start on it. Run the command again, if need be "
        "with ESPTOOL_ARGS=--no-stub, which is slower.",
    ),
    Failure(
        "rom-cannot",
        "esptool",
        r"ROM does not support function (?P<what>\w+)",
        "the chip's own loader has no {what}. Leave --no-stub out of ESPTOOL_ARGS.",
        EXIT_USAGE,
    ),
    Failure(
        "baud-refused",
        "esptool",
        # A number that no driver's field has room for is a traceback of pyserial's.
        r"Failed to set baud rate (?P<baud>\d+)|\n(struct\.error: 'I' format|OverflowError: signed integer)",
        "the adapter at {port} can't do {baud} baud. Leave BAUD= out or name a lower one.",
        EXIT_USAGE,
    ),
    Failure(
        "bad-argument",
        "esptool",
        r"(?P<what>(No such (option|command)|Invalid value for|Got unexpected extra argument"
        r"|This chip is ESP32-C3, not)[^\n│]*?)\.? *[│\n]",
        "esptool refuses its arguments: {what}. Check ESPTOOL_ARGS= and BAUD=.",
        EXIT_USAGE,
    ),
    Failure(
        "bad-argument",
        "mpremote",
        r"mpremote: (?P<what>'[^\n]*' is not a command)",
        "mpremote refuses its arguments: {what}. Check MPREMOTE_ARGS=.",
        EXIT_USAGE,
    ),
    Failure(
        "flash-not-connected",
        "esptool",
        r"Failed to communicate with the flash chip|Unable to verify flash chip connection",
        "the chip at {port} answers, but its flash memory does not. Take off what is wired to GPIO11 to GPIO17 and run "
        "the command again; if it stays so, the board is broken.",
    ),
    Failure(
        "flash-too-small",
        "esptool",
        r"(goes past|will not fit in|available flash size of) (?P<size>\d+ ?\w+)",
        "the board at {port} has {size} of flash, and Tally needs 4 MB. Use an ESP32-C3 with 4 MB or more.",
    ),
    Failure(
        "verify-failed",
        "esptool",
        r"MD5 of file does not match|Verification failed|written flash region is empty",
        "what the flash of {port} holds is not what was written (MD5 mismatch). Run the command again with BAUD=115200 "
        "and another cable; if it stays so, the flash is worn out.",
    ),
    Failure(
        "flash-write-failed",
        "esptool",
        r"Flash write error|Failed to (write (to target|compressed)|enter (compressed )?flash|erase)[^\n]*result was",
        "the flash of {port} refuses to be written. Run the command again; if it stays so, check the board's supply "
        "(3.3 V under load), else the flash is worn out.",
    ),
    Failure(
        "garbled",
        "esptool",
        r"serial noise or corruption|Digest mismatch|Corrupt data|Read more than expected|Packet content transfer stop"
        r"|Response doesn't match request",
        "bytes were lost or changed on the way to {port}. Run the command again with BAUD=115200, another cable and no "
        "USB hub.",
    ),
    Failure(
        "lost-connection",
        "esptool",
        r"serial exception error|No more data to read from the serial port|chip stopped responding|device disconnected",
        "the connection to {port} broke in the middle: the board was unplugged, reset or went silent. Check cable and "
        "plug, then run the command again; it starts over.",
    ),
    Failure(
        "lost-connection",
        "mpremote",
        r"serial\.serialutil\.\w+:|\[Errno 5\] Input/output error|termios\.error|raw paste: |could not exec command",
        "the connection to {port} broke in the middle: the board was unplugged, reset or lost power. Plug it in again "
        "and run the command again; it repairs what was left half done.",
    ),
    Failure(
        "no-repl",
        "mpremote",
        r"could not enter raw repl|timeout waiting for \w+ EOF",
        "{port} shows no MicroPython prompt: it is another device, it has no MicroPython, or its program does not let "
        "go. Press RESET and run the command again at once; a board without MicroPython needs `make flash`.",
    ),
    Failure(
        "board-full",
        "mpremote",
        r"ENOSPC|No space left on device|OSError: 28\b",
        "the file system of the board at {port} is full. See what is there with `mpremote connect {port} fs ls`, "
        "remove what you don't need with `mpremote connect {port} fs rm :NAME`, then run the command again.",
    ),
    Failure(
        "no-tool",
        "",
        r"No module named '?(?P<module>esptool|mpremote)\b",
        "this Python has no {module}. Use the make target, which installs it, or run `make setup`.",
        EXIT_ENVIRONMENT,
    ),
    Failure(
        "time-out",
        "",
        "",
        "no answer from the board at {port} within {seconds:g} s. Press RESET and run the command again; if it stays "
        "so, check the cable and PORT=.",
    ),
]


def named(name: str, port: str, output: str = "", **fields: object) -> ToolProblem:
    """The Problem of a row, by the row's name. `fields` fill the sentence; KeyError when one is missing."""
    row = next(row for row in FAILURES if row.name == name)
    return _problem(row, port, output, fields)


def recognised(tool: str, output: str, port: str) -> ToolProblem | None:
    """The Problem for what a tool said before it failed, None when no row fits."""
    for row in FAILURES:
        if row.pattern and row.tool in ("", tool) and (match := re.search(row.pattern, output)):
            return _problem(row, port, output, {k: v for k, v in match.groupdict().items() if v})
    return None


def timed_out(output: str, port: str, seconds: float) -> ToolProblem:
    """The Problem for a tool that was ended after so many seconds. esptool waits minutes for its flasher to say that it
    has started."""
    if last_words(output).startswith("Running stub flasher"):
        return named("no-stub", port, output)
    return named("time-out", port, output, seconds=round(seconds, 1))


def last_words(output: str) -> str:
    """The last line that says something, without the frame esptool draws around it; empty when there is none."""
    lines = [line.strip(_BOX_DRAWING) for line in output.splitlines()]
    telling = [line for line in lines if any(map(str.isalpha, line)) and not line.startswith("For troubleshooting")]
    return telling[-1] if telling else ""


def _problem(row: Failure, port: str, output: str, fields: dict) -> ToolProblem:
    # What the tools don't say and scripts/ports.py finds out where it can.
    unknown = {
        "holder": "another program",
        "way_out": "Close it (a serial monitor, an editor, another `make log`)",
        "baud": "so many",
        "remedy": "Run `sudo usermod -aG dialout $USER` and log out and in again",
    }
    message = row.sentence.format(**{**unknown, **fields, "port": port})
    return ToolProblem(message, row.exit_code, row.name, output)
