"""How a start of the application ends, by its log: the pages' address, or why there is none and what to do about it.

Must not know what was done to the board before.
"""

from __future__ import annotations

import re

from scripts import monitor
from scripts.console import Problem
from scripts.link import Link

UP_TIMEOUT_S = 60.0
_ENDS = re.compile(rf"{monitor.STARTED.pattern}|WARNING wifi: (not connected|the driver refused): (?P<why>.*)")
# Words of device/app/web/words.py and join.py, what to do. The first that fits counts.
_REMEDIES = (
    ("weak", "Bring the board nearer to the access point, or run make provision again with the right PASSWORD."),
    ("assword", "Run make provision again with the right PASSWORD."),
    ("not found", "Check the name (SSID, capitals count), that the network is a 2.4 GHz one with WPA2, and its range."),
    ("no address", "Check that the access point gives addresses (DHCP) to new devices."),
    ("refused us", "Check the access point: a list of allowed devices, or too many of them."),
)


def remedy(why: str) -> str:
    """What to do about a reason, in the board's words, for not being in the network."""
    return next((what for words, what in _REMEDIES if words in why), "Look on with: make log")


def wait_until_up(board: Link, done: str) -> str:
    """Follow the log until the pages are up; their address, "" when no network is set. Problem when the board could not
    join or crashed; it says what was `done` all the same."""
    end = monitor.follow(board, until=_ENDS, timeout_s=UP_TIMEOUT_S)
    if end is None:
        raise Problem(f"{done}, but the web did not come up within {UP_TIMEOUT_S:.0f} s. Look on with: make log")
    if end["crash"]:
        raise Problem(f"{done}, but the application crashed; its log is above. Run make log to see more.")
    if why := end["why"]:
        raise Problem(f"{done}, but the board is not in the network yet, and goes on trying: {why}. {remedy(why)}")
    return end["url"] or ""
