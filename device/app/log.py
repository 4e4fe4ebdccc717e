"""The serial log: one line `2026-01-31T12:00:00Z INFO wifi: ...` per record, through micropython-lib logging.

Owns format and rate. Callers pass values as arguments, and never a secret. Uses what logging 0.5 and 0.6 share. That
takes 4 KB, so it is imported for a line and dropped with the pages; while memory is short the line goes out without.
"""

import gc
from time import gmtime, ticks_diff, ticks_ms

from app.board import memory, unix_s
from micropython import const

_INFO = const(20)
_WARNING = const(30)
_ROOM_BYTES = const(9000)  # free, for logging and for what goes on beside it: a page or a POST
_MOST_LINES = const(40)  # in one window; a full UART stalls the event loop about 10 ms a line
_WINDOW_MS = const(10000)

boot_ms = ticks_ms()


def stamp() -> str:
    """UTC time, or the uptime (`+12s`) while the clock is not set."""
    if unix_s():
        return utc()
    return "+%ds" % (ticks_diff(ticks_ms(), boot_ms) // 1000)


def utc(chip_s: int | None = None) -> str:
    """ISO 8601 of seconds since 2000, now unless given."""
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % gmtime(chip_s)[:6]


class _Serial:
    """A logging handler that prints, and drops what comes faster than the serial line can take."""

    window = lines = 0

    def emit(self, record: "Any") -> None:
        text = record.message if hasattr(record, "message") else record.msg % record.args  # as 0.6 and 0.5 have it
        self.put(record.levelname, record.name, text)

    def put(self, level: str, part: str, text: str) -> None:
        window = ticks_ms() // _WINDOW_MS
        if window != self.window:
            self.window = window
            self.lines = 0
        self.lines += 1
        if self.lines <= _MOST_LINES:
            end = "" if self.lines < _MOST_LINES else " (more lines are left out for now)"
            print(stamp(), level, part + ":", text + end)


_serial = _Serial()


def info(part: str, message: str, *args: "Any") -> None:
    """Log what a person may want to follow; `part` of the application, `message` with % for `args`."""
    _log(_INFO, part, message, args)


def warning(part: str, message: str, *args: "Any") -> None:
    """Log what a person should look at when it goes on."""
    _log(_WARNING, part, message, args)


def _log(level: int, part: str, message: str, args: tuple) -> None:
    try:
        if memory()[1] < _ROOM_BYTES:
            gc.collect()
            if memory()[1] < _ROOM_BYTES:
                _serial.put("INFO" if level == _INFO else "WARNING", part, message % args)
                return
        import logging

        logger = logging.getLogger("tally")
        if not logger.handlers:
            logger.setLevel(_INFO)
            logger.addHandler(_serial)
        logger.name = part  # one logger for all parts: a logger each would hold 1 KB
        logger.log(level, message, *args)
    except MemoryError:  # without the values, but said
        print(stamp(), "WARNING", part + ":", message)
