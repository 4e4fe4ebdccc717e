"""The serial log: one line `2026-01-31T12:00:00Z INFO wifi: ...` per record, through micropython-lib logging.

Owns format and rate. Callers pass values as arguments, and never a secret. Uses what logging 0.5 and 0.6 share.
"""

import logging
from time import gmtime, ticks_diff, ticks_ms

from app.board import unix_s
from micropython import const

_MOST_LINES = const(40)  # in one window; a full UART stalls the event loop about 10 ms a line
_WINDOW_MS = const(10000)

boot_ms = ticks_ms()
_logger = logging.getLogger("tally")


def stamp() -> str:
    """UTC time, or the uptime (`+12s`) while the clock is not set."""
    if unix_s():
        return "%04d-%02d-%02dT%02d:%02d:%02dZ" % gmtime()[:6]
    return "+%ds" % (ticks_diff(ticks_ms(), boot_ms) // 1000)


class _Serial:
    """A logging handler that prints, and drops what comes faster than the serial line can take."""

    text = logging.Formatter("%(message)s")
    window = lines = 0

    def emit(self, record: "Any") -> None:
        window = ticks_ms() // _WINDOW_MS
        if window != self.window:
            self.window = window
            self.lines = 0
        self.lines += 1
        if self.lines <= _MOST_LINES:
            end = "" if self.lines < _MOST_LINES else " (more lines are left out for now)"
            print(stamp(), record.levelname, record.name + ":", self.text.format(record) + end)


def info(part: str, message: str, *args: "Any") -> None:
    """Log what a person may want to follow; `part` of the application, `message` with % for `args`."""
    _logger.name = part  # one logger for all parts: a logger each would hold 1 KB
    _logger.info(message, *args)


def warning(part: str, message: str, *args: "Any") -> None:
    """Log what a person should look at when it goes on."""
    _logger.name = part
    _logger.warning(message, *args)


_logger.setLevel(logging.INFO)
_logger.addHandler(_Serial())
