"""Fake `ntptime`: one blocking UDP question, answered by the true clock the host keeps, or not at all."""

import _board
import _radio
import machine as _machine
import registers as _r
import socket as _socket
import time as _time
from _board import words as _words

host = "pool.ntp.org"
timeout = 1


def time():
    _socket.getaddrinfo(host, 123)
    if not _radio.link_is_up() or not _words[_r.NTP_OK]:
        _board.idle(timeout * 1000)
        raise OSError(116)
    return _board.clock_read(_r.NTP)


def settime():
    t = time()
    tm = _time.gmtime(t)
    _machine.RTC().datetime((tm[0], tm[1], tm[2], tm[6] + 1, tm[3], tm[4], tm[5], 0))
