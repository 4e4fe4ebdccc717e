"""Runs on the VM before each script of test_fakes_strict.py: the fakes, and short words to report with.

`say` reports a value to the test; `errno_of` is the number a call fails with; `skip` lets sleeps pass at once.
"""

import gc
import sys

import _board
import _gc
import _tls
import registers as r
from _board import words

import errno, machine, network, esp32, ntptime, os, select, socket, time  # noqa: E401,F401

sys.modules["gc"] = _gc
sys.modules["tls"] = _tls
gc = _gc
tls = _tls


def say(name, value):
    print("SAY", repr((name, value)))


def wait_for_test():
    """Tell the test that this point is reached, and go on when it says so."""
    print("READY")
    return sys.stdin.readline().strip()


def errno_of(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except OSError as error:
        return error.args[0]
    return None


def error_of(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        return type(error).__name__
    return None


def skip():
    words[r.SKIP_UNTIL] = (_board.ticks_ms() + (1 << 28)) & 0x3FFFFFFF
    words[r.SKIP_ON] = 1


def took_ms(function, *args, **kwargs):
    start = time.ticks_ms()
    try:
        function(*args, **kwargs)
    except OSError:
        pass
    return time.ticks_diff(time.ticks_ms(), start)


def station(password="password"):
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.connect("air", password)
    return wlan


def online():
    """A station with an address, at once."""
    skip()
    wlan = station()
    time.sleep_ms(1300)
    assert wlan.isconnected()
    words[r.SKIP_ON] = 0
    return wlan


def listener(port=80, backlog=5):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port))
    s.listen(backlog)
    s.setblocking(False)
    return s


def accepted(s):
    """Wait in real time for a client of listener `s`."""
    for _ in range(500):
        try:
            return s.accept()
        except OSError as error:
            if error.args[0] != errno.EAGAIN:
                raise
        time.sleep_ms(2)
    raise RuntimeError("no client came")
