"""What to do when the board's log or its state says why it is not in the network. Must not know who asks."""

from __future__ import annotations

# Words of device/app/web/words.py and join.py, what to do. The first that fits counts.
_REMEDIES = (
    ("weak", "Bring the board nearer to the access point, or run make provision again with the right PASSWORD."),
    ("assword", "Run make provision again with the right PASSWORD."),
    ("not found", "Check the name (SSID, capitals count), that the network is a 2.4 GHz one with WPA2, and its range."),
    ("no address", "Check that the access point gives addresses (DHCP) to new devices."),
    ("refused us", "Check the access point: a list of allowed devices, or too many of them."),
)
_ELSE = "Look on with: make log"


def remedy(why: str) -> str:
    """What to do about a reason in the board's words."""
    return next((what for words, what in _REMEDIES if words in why), _ELSE)
