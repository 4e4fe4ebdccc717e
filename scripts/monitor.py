"""`make log`: follows a board's serial log without disturbing the board, and waits for a line of it for other commands.

Owns the way from bytes to the lines that a person sees, and the wait for a port that has vanished. Sends nothing and
resets nothing. Must not know what the lines are about, but for those that tell of a start (STARTED).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import io
import re
import sys
import termios
import time
from collections.abc import Generator

import serial

from scripts import console, failures, link, ports
from scripts.build import translate_traceback
from scripts.console import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE, Problem
from scripts.link import Link

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
STARTED = re.compile(
    r"INFO web: up at (?P<url>http://\S+/)$|WARNING wifi: (?P<no_network>no network is set)"
    r"|^(?P<crash>crash\b|rescue mode\b)"
)
"""The lines that end a start, one group each: url, no_network, crash."""

AWAY = "-- the board went away, waiting for it --"
LEFT = "left; the board goes on"
HALF_LINE_S = 1.0
_BAUD = 115200  # of the firmware's console; BAUD= is esptool's
_MOST_LINE_BYTES = 4096
_POLL_S = 0.1
_RETRY_S = 0.2
_RECORD = re.compile(rf"(?:\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\+-?\d+s) ({'|'.join(LEVELS)}) \S+:(?: .*|)")
_TRACEBACK_END = re.compile(r"[A-Za-z_][\w.]*(:.*)?")
# What pyserial raises for a port that is gone; termios.error is no OSError.
_GONE = (OSError, termios.error)


class LogFilter:
    """Bytes of the serial log in, lines to show out: no control characters, tracebacks with the places of the sources.
    Does no I/O.

    Records below `level` (of LEVELS, "" is all) are left out with what belongs to them: indented lines and the end of a
    traceback. Any other line may be a crash note or the boot ROM's, and is shown.
    """

    def __init__(self, level: str = "") -> None:
        self._least = LEVELS.index(level) if level else 0
        self._begun = b""
        self._heard_s = 0.0
        self._half_shown = False
        self._hiding = False
        self._in_traceback = False

    def feed(self, data: bytes, now_s: float) -> list[str]:
        """The lines that are ready at `now_s`, of any clock that only goes forward. With b"" too: a line that nobody
        ends, as a prompt, is shown after HALF_LINE_S of silence, one that grows too long at once."""
        if data:
            self._heard_s = now_s
        *ended, self._begun = (self._begun + data).split(b"\n")
        shown = [text for raw in ended for text in self._shown(raw)]
        if now_s - self._heard_s >= HALF_LINE_S or len(self._begun) >= _MOST_LINE_BYTES:
            shown += self.end()
        return shown

    def end(self) -> list[str]:
        """The half line there is."""
        raw, self._begun = self._begun, b""
        if not raw:
            return []
        shown = self._shown(raw)
        self._half_shown = True
        return shown

    def _shown(self, raw: bytes) -> list[str]:
        """A line as a list of one, or of none when it's left out."""
        rest_of_half, self._half_shown = self._half_shown, False
        text = printable(raw.rstrip(b"\r"))
        if rest_of_half and not text:
            return []
        return [] if self._is_left_out(text) else [_translated(text)]

    def _is_left_out(self, text: str) -> bool:
        if record := _RECORD.fullmatch(text):
            self._hiding = LEVELS.index(record[1]) < self._least
            self._in_traceback = False
        elif not self._hiding:
            return False
        elif text.startswith((" ", "\t")):
            self._in_traceback = True
        else:
            belongs = self._in_traceback and _TRACEBACK_END.fullmatch(text) is not None
            self._hiding = self._in_traceback = False
            return belongs
        return self._hiding


def printable(raw: bytes) -> str:
    r"""Text that can't drive a terminal: what is no printable character, a tab excepted, is shown as \xNN or \uNNNN."""
    text = raw.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


@functools.lru_cache(maxsize=256)
def _translated(line: str) -> str:
    """Kept, because a task that fails again and again writes the same lines, and each translation reads all sources."""
    try:
        return translate_traceback(line)
    except (OSError, SyntaxError):  # a source is just being edited
        return line


def open_port(port: str) -> serial.Serial:
    """The port, opened and locked. Raises what pyserial raises: ValueError for an unknown kind of URL, _GONE else.

    Linux raises DTR and RTS together. RTS alone would hold the chip in reset, so it goes first."""
    line = serial.serial_for_url(port, _BAUD, timeout=_POLL_S, exclusive=True, do_not_open=True)
    line.rts = False
    line.open()
    try:
        line.dtr = False
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):  # such a port has no lines
            line.close()
            raise
    return line


def _open_first(port: str) -> serial.Serial:
    """open_port with a Problem for a person who waits for a first line."""
    try:
        return open_port(port)
    except ValueError as error:
        raise Problem(f"PORT={port} can't be used: {error}. Name one like /dev/ttyACM0.", EXIT_USAGE) from error
    except _GONE as error:
        ports.check(port)
        if "://" in port:
            raise failures.named("no-bridge", port) from error
        fix = "Plug the board in again, then run the command again."
        raise Problem(f"{port} can't be opened ({error}). {fix}", EXIT_ENVIRONMENT) from error


def _batches(port: str, log: LogFilter, line: serial.Serial | None = None) -> Generator[list[str], None, None]:
    """For ever, several times a second: the lines to show, perhaps none. `line` is the port if it is open already."""
    away = False
    try:
        while True:
            try:
                line = line or open_port(port)
                data = line.read(max(1, line.in_waiting))
                away = False
            except _GONE:
                _close(line)
                line = None
                yield [] if away else [*log.end(), AWAY]
                away = True
                time.sleep(_RETRY_S)
                continue
            yield log.feed(data, time.monotonic())
    finally:
        _close(line)


def _close(line: serial.Serial | None) -> None:
    if line:
        with contextlib.suppress(*_GONE):
            line.close()


def follow(board: Link, until: re.Pattern[str], timeout_s: float) -> re.Match[str] | None:
    """Print the board's log up to the first line that `until` is found in; its match, None when time is up. A port that
    is not there, as after a reset, is waited for."""
    deadline_s = time.monotonic() + timeout_s
    with contextlib.closing(_batches(board.port, LogFilter())) as batches:
        for lines in batches:
            for text in lines:
                print(text, flush=True)
                if match := until.search(text):
                    return match
            if time.monotonic() > deadline_s:
                break
    return None


def show_log(args: argparse.Namespace) -> int:
    """The command: until Ctrl-C, or until nobody reads its output any more."""
    level = args.level.upper()
    if level and level not in LEVELS:
        raise Problem(f"LOG_LEVEL={args.level} is no level. Name one of {', '.join(LEVELS)}.", EXIT_USAGE)
    port = link.from_args(args).port
    line = _open_first(port)
    try:
        print(f"-- following {port}; Ctrl-C leaves --", flush=True)
        with contextlib.closing(_batches(port, LogFilter(level), line)) as batches:
            for lines in batches:
                for text in lines:
                    print(text, flush=True)
    except KeyboardInterrupt:
        print(f"\n{LEFT}", flush=True)
    except BrokenPipeError:  # as after `| head`
        pass
    return EXIT_OK


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="make log", description="Follow the board's log. Ctrl-C leaves the board running.")
    link.add_arguments(p)
    p.add_argument("--level", default="", help=f"LOG_LEVEL: the least to show, {', '.join(LEVELS[:4])} (default: all)")
    args = p.parse_args(argv)
    console.stop_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")

    def command() -> int:
        with console.own_terminal():
            return show_log(args)

    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
