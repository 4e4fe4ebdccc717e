"""Model of the IDF heap, the memory outside Python that Wi-Fi, sockets and TLS live on.

Numbers are those measured on the stock image (esp32c3-facts.md, sections 0 and 9).
"""

import registers as r
from _board import words

_BOOT_FREE = 159216
_BOOT_LARGEST = 114688
_FIRST_SOCKET = 136  # beyond the 396 that each socket costs
_SOCKET = 396
_TLS_OPEN = 25700
_TLS_HANDSHAKE = 6200  # beyond what the session holds
_TLS_LARGEST = 65536
_STARVED = 8192
_EXHAUSTED = 2048


def free_bytes():
    sockets = words[r.SOCKETS_OPEN]
    used = words[r.IDF_WLAN] + words[r.IDF_TAKEN] + sockets * _SOCKET
    used += words[r.TLS_OPEN] * _TLS_OPEN + words[r.TLS_HANDSHAKES] * _TLS_HANDSHAKE
    if sockets:
        used += _FIRST_SOCKET
    return max(0, _BOOT_FREE - used)


def largest_bytes():
    """Largest block: 8 KB granules as TLSF reports them, less what Wi-Fi and TLS took, capped by an injected hole."""
    wlan = words[r.IDF_WLAN]
    largest = _BOOT_LARGEST
    if wlan:
        largest = 106496 if wlan < 38000 else 102400 if wlan < 44000 else 98304
    if words[r.TLS_EVER]:
        largest = min(largest, _TLS_LARGEST)
    cap = words[r.IDF_LARGEST_CAP]
    return min(largest, free_bytes(), cap or largest)


def starved():
    return free_bytes() < _STARVED


def exhausted():
    return free_bytes() < _EXHAUSTED
