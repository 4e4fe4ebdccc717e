"""The table of failures: what the real tools say, and the sentence a person gets.

Copied from runs of esptool 5.6.0 and mpremote 1.29.0, but for no-stub, baud-refused, garbled, the noise of no-answer
and a bare OSError number: these are the words of the tools' sources.
"""

from __future__ import annotations

import pytest

from scripts import failures
from scripts.console import EXIT_ENVIRONMENT, EXIT_FAULT, EXIT_USAGE

CANT_OPEN = "ERROR: A fatal error occurred: Could not open /dev/ttyX, the port is busy or doesn't exist.\n"
FATAL = "Connecting...\n\nERROR: A fatal error occurred: "
TRACEBACK = 'Traceback (most recent call last):\n  File "<stdin>", line 1, in <module>\n'
LOST = "device reports readiness to read but returned no data (device disconnected or multiple access on port?)"
# (row, tool, what the tool says, exit code, what the sentence says)
SAID = [
    (
        "no-such-port",
        "esptool",
        f"{CANT_OPEN}([Errno 2] could not open port /dev/ttyX: [Errno 2] No such file or directory: '/dev/ttyX')\n",
        EXIT_ENVIRONMENT,
        "there is no /dev/ttyX",
    ),
    (
        "no-bridge",
        "esptool",
        f"{CANT_OPEN}(Could not open port rfc2217://127.0.0.1:1: [Errno 111] Connection refused)\n",
        EXIT_ENVIRONMENT,
        "Start the serial bridge",
    ),
    (
        "busy-port",
        "esptool",
        f"{CANT_OPEN}([Errno 11] Could not exclusively lock port /dev/ttyX: [Errno 11] Resource temporarily "
        "unavailable)",
        EXIT_ENVIRONMENT,
        "in use by another program. Close it",
    ),
    (
        "busy-port",
        "esptool",
        f"{CANT_OPEN}([Errno 16] could not open port /dev/ttyX: [Errno 16] Device or resource busy: '/dev/ttyX')",
        EXIT_ENVIRONMENT,
        "in use by another program. Close it",
    ),
    (
        "no-permission",
        "esptool",
        f"{CANT_OPEN}([Errno 13] could not open port /dev/ttyX: [Errno 13] Permission denied: '/dev/ttyX')\n\n"
        "Hint: Try to add user into dialout or uucp group.\n",
        EXIT_ENVIRONMENT,
        "sudo usermod -aG dialout $USER",
    ),
    (
        "cannot-access",
        "mpremote",
        "mpremote: failed to access /dev/ttyX (it may be in use by another program)\n",
        EXIT_ENVIRONMENT,
        "mpremote can't open /dev/ttyX",
    ),
    (
        "wrong-chip",
        "esptool",
        FATAL + "This chip is ESP32-S3, not ESP32-C3. Wrong chip argument?\n",
        EXIT_FAULT,
        "is an ESP32-S3, and this firmware is for the ESP32-C3 only",
    ),
    (
        "no-answer",
        "esptool",
        FATAL + "Failed to connect to ESP32-C3: No serial data received.\nFor troubleshooting steps visit: x\n",
        EXIT_FAULT,
        "Hold its BOOT button, tap RESET",
    ),
    (
        "no-answer",
        "esptool",
        FATAL + "Failed to connect to ESP32-C3: Invalid head of packet (0x0D): Possible serial noise or corruption.\n",
        EXIT_FAULT,
        "Hold its BOOT button, tap RESET",
    ),
    (
        "no-stub",
        "esptool",
        FATAL + "Failed to start stub flasher. There was no response.\n",
        EXIT_FAULT,
        "ESPTOOL_ARGS=--no-stub",
    ),
    (
        "rom-cannot",
        "esptool",
        FATAL + "ESP32-C3 ROM does not support function erase_flash.\n",
        EXIT_USAGE,
        "Leave --no-stub out",
    ),
    (
        "baud-refused",
        "esptool",
        FATAL + "Failed to set baud rate 4000000. The driver may not support this rate.\n",
        EXIT_USAGE,
        "can't do 4000000 baud",
    ),
    (
        "bad-argument",
        "esptool",
        "╭─ Error ──────╮\n│ No such option '--frob'. Did you mean '--after'?      │\n╰──────────────╯\n",
        EXIT_USAGE,
        "No such option '--frob'. Did you mean '--after'?. Check ESPTOOL_ARGS=",
    ),
    ("bad-argument", "mpremote", "mpremote: 'frob' is not a command\n", EXIT_USAGE, "Check MPREMOTE_ARGS="),
    (
        "flash-not-connected",
        "esptool",
        "WARNING: Failed to communicate with the flash chip, read/write operations will fail.\n" + FATAL + "x\n",
        EXIT_FAULT,
        "its flash memory does not",
    ),
    (
        "flash-too-small",
        "esptool",
        FATAL
        + "Can't access flash regions larger than detected flash size (set size 0x1000 from address 0x00380000 goes "
        "past 2MB by 0x181000 bytes).\n",
        EXIT_FAULT,
        "has 2MB of flash, and Tally needs 4 MB",
    ),
    (
        "verify-failed",
        "esptool",
        "Flash MD5: 12\n" + FATAL + "MD5 of file does not match data in flash!\n",
        EXIT_FAULT,
        "MD5 mismatch",
    ),
    (
        "flash-write-failed",
        "esptool",
        FATAL + "Failed to write to target flash after seq 0 (result was 0108: Flash write error)\n",
        EXIT_FAULT,
        "refuses to be written",
    ),
    (
        "garbled",
        "esptool",
        FATAL + "Invalid head of packet (0x42): Possible serial noise or corruption.\n",
        EXIT_FAULT,
        "BAUD=115200",
    ),
    (
        "lost-connection",
        "esptool",
        "Lost connection, retrying...\nWaiting for the chip to reconnect......\nERROR: A serial exception error "
        "occurred: Could not configure port: (5, 'Input/output error')\nNote: This error originates from pySerial.\n",
        EXIT_FAULT,
        "broke in the middle",
    ),
    (
        "lost-connection",
        "esptool",
        FATAL + "No more data to read from the serial port. This can have many causes, for troubleshooting: x\n",
        EXIT_FAULT,
        "broke in the middle",
    ),
    (
        "lost-connection",
        "mpremote",
        f"{TRACEBACK}serial.serialutil.SerialException: {LOST}\n\n{TRACEBACK}OSError: [Errno 5] Input/output error\n",
        EXIT_FAULT,
        "it repairs what was left half done",
    ),
    (
        "no-repl",
        "mpremote",
        f"b''\n{TRACEBACK}mpremote.transport.TransportError: could not enter raw repl\n",
        EXIT_FAULT,
        "needs `make flash`",
    ),
    ("board-full", "mpremote", "mpremote: cp: x: No space left on device.\n", EXIT_FAULT, "is full"),
    ("board-full", "mpremote", f"{TRACEBACK}OSError: [Errno 28] ENOSPC\n", EXIT_FAULT, "is full"),
    ("board-full", "mpremote", f"{TRACEBACK}OSError: 28\n", EXIT_FAULT, "is full"),
    ("no-tool", "mpremote", "/x/python: No module named mpremote\n", EXIT_ENVIRONMENT, "make setup"),
    ("no-tool", "esptool", "/x/python: No module named esptool\n", EXIT_ENVIRONMENT, "make setup"),
]


@pytest.mark.parametrize(("name", "tool", "said", "exit_code", "sentence"), SAID)
def test_what_a_tool_says_becomes_a_sentence_with_a_remedy(
    name: str, tool: str, said: str, exit_code: int, sentence: str
):
    problem = failures.recognised(tool, said, "/dev/ttyX")
    assert problem is not None
    assert (problem.name, problem.exit_code) == (name, exit_code)
    assert sentence in str(problem)
    assert problem.output == said
    assert "{" not in str(problem)


def test_every_row_of_the_table_is_tested():
    tested = {(name, tool) for name, tool, *_ in SAID}
    assert {(row.name, row.tool) for row in failures.FAILURES if row.pattern and row.tool} <= tested
    unsaid = {row.name for row in failures.FAILURES if not row.pattern}
    assert unsaid == {"time-out"}  # tested in test_tools.py


@pytest.mark.parametrize(
    "said",
    [
        "Hash of data verified.\n",
        f"{TRACEBACK}OSError: [Errno 5] EIO\n",
        f"{TRACEBACK}ValueError: permission denied, no such option\n",
        "sensor: read failed: device disconnected\n",
    ],
)
def test_what_the_board_itself_says_is_not_taken_for_a_broken_link(said: str):
    assert failures.recognised("mpremote", said, "/dev/ttyX") is None
