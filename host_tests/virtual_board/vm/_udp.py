"""Datagrams between the board and the host's name and time server: what fake sockets do where lwIP has a network.

A server is three words: its port on the host, the datagrams that were sent to it, those it has dealt with. A datagram to it
begins with the address the board sent it to; one from it with the address and port it pretends to come from and the tick at
which it arrives. So it can come late, or from elsewhere, and no time is lost or skipped by how busy the host is.
"""

import _board
import registers as _r
import usocket as _u
from _board import words as _words
from utime import sleep_us as _u_sleep_us

_SERVERS = {53: _r.NAME_SERVER, 123: _r.TIME_SERVER}
_HEADER_BYTES = 10
_PEEK = 0x42  # MSG_PEEK | MSG_DONTWAIT
_DONTWAIT = 0x40
_LOOK_US = 200
_MOST_LOOKS = 6000


def is_server(port):
    """True for the ports whose datagrams never leave the simulation."""
    return port in _SERVERS


def send(native, data, ip, port):
    """Pass a datagram on and wait, in real time, until the server has dealt with it: its answer, if there is one, is queued
    then. Without a server it is lost, as on any network."""
    word = _SERVERS[port]
    if not _words[word]:
        return
    _words[word + 1] += 1
    native.sendto(bytes([int(part) for part in ip.split(".")]) + data, _host(word))
    for _ in range(_MOST_LOOKS):
        if _words[word + 1] == _words[word + 2]:
            return
        _u_sleep_us(_LOOK_US)
    _words[word] = 0  # whoever served there is gone


def _host(word):
    return _u.getaddrinfo("127.0.0.1", _words[word])[0][-1]


def _is_from_server(address):
    return address[2] and address[2] in (_words[_r.NAME_SERVER], _words[_r.TIME_SERVER])


def arrived(native):
    """True when a datagram is there, and it is time."""
    try:
        head, raw = native.recvfrom(_HEADER_BYTES, _PEEK)
    except OSError:
        return False
    return not _is_from_server(_u.sockaddr(raw)) or (
        _board.ticks_diff(int.from_bytes(head[6:10], "big"), _board.ticks_ms()) <= 0
    )


def receive(native, wait_ms, method, what, most=-1):
    """The next datagram, as the socket's `method` gives it: recv, recvfrom (with the text of the address, and the port) or
    readinto. EAGAIN after `wait_ms`, which is < 0 for ever."""
    start = _board.ticks_ms()
    while not arrived(native):
        if 0 <= wait_ms <= _board.ticks_diff(_board.ticks_ms(), start):
            raise OSError(11)
        _board.idle(10)
    size = what if method != "readinto" else most if most >= 0 else len(what)
    data, raw = native.recvfrom(size + _HEADER_BYTES, _DONTWAIT)
    address = _u.sockaddr(raw)
    ip, port = tuple(address[1]), address[2]
    if _is_from_server(address):
        ip, port = tuple(data[:4]), data[4] << 8 | data[5]
        data = data[_HEADER_BYTES:]
    data = data[:size]
    if method == "recvfrom":
        return data, ("%d.%d.%d.%d" % ip, port)
    if method == "recv":
        return data
    if method != "readinto":
        raise ValueError("virtual board: reading a stream of datagrams is not modelled")
    what[: len(data)] = data
    return len(data)
