"""Fake `socket`: lwIP's limits, numbers and partial writes over the host's loopback.

Owns the budget of 10 sockets and the map from the board's ports to the host's. Servers listen on 127.0.0.1 only
and 127.0.0.0/8 is all that can be reached, whatever the board's program asks for.
"""

import _board
import _idf
import _lockstep
import _radio
import _udp
import gc as _gc
import registers as _r
import uselect as _select
import usocket as _u
from _board import words as _words

AF_INET = 2
AF_INET6 = 10
SOCK_STREAM = 1
SOCK_DGRAM = 2
SOCK_RAW = 3
SOL_SOCKET = 4095
SO_REUSEADDR = 4
SO_BROADCAST = 32
SO_BINDTODEVICE = 4107
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_IP = 0
IP_ADD_MEMBERSHIP = 3
TCP_NODELAY = 1

_MAX_SOCKETS = 10
_SND_BUF = 5760
_ENFILE = 23
_DNS_FAILED = -202
_DNS_DEAD_MS = 14000
_SIOCOUTQ = 0x5411
_LINUX = {98: 112, 99: 118, 101: 118, 103: 113, 107: 128, 110: 116, 111: 104, 113: 118, 114: 120, 115: 119}
_LINUX_REUSEADDR = 2
_LINUX_SNDBUF = 7
_LINUX_RCVBUF = 8
_outq = bytearray(4)


def _device_error(error):
    return OSError(_LINUX.get(error.errno, error.errno))


def getaddrinfo(host, port, af=0, type=0, proto=0, flags=0):
    """An IPv4 literal at once; `localhost`; else a DNS failure: 14 s of blocking when DNS is dead."""
    parts = host.split(".")
    if len(parts) == 4 and all(p.isdigit() and int(p) < 256 for p in parts):
        address = host
    elif host == "localhost":
        address = "127.0.0.1"
    elif host == "pool.ntp.org" and not _words[_r.DNS_DEAD] and _radio.link_is_up():
        address = "127.0.0.1"
    else:
        if _words[_r.DNS_DEAD]:
            _board.idle(_DNS_DEAD_MS, deaf=True)
        raise OSError(_DNS_FAILED)
    return [(AF_INET, SOCK_STREAM, 0, "", (address, port))]


def _host_port(port):
    for i in range(_r.PORT_MAP_PAIRS):
        if port and _words[_r.PORT_MAP + 2 * i] == port:
            return _words[_r.PORT_MAP + 2 * i + 1]
    return 0


def _checked(address):
    if not isinstance(address, tuple) or len(address) != 2 or not isinstance(address[0], str):
        raise TypeError("address must be a (host, port) tuple")


def _peer(address):
    """Where a packet to `address` goes; raises EHOSTUNREACH for all but 127.0.0.0/8, also by a name's detour."""
    _checked(address)
    ip, port = getaddrinfo(*address)[0][-1]
    if not _radio.link_is_up() or not ip.startswith("127."):
        raise OSError(118)
    return _u.getaddrinfo(ip, _host_port(port) or port)[0][-1]


def _tuple_address(raw):
    _, ip, port = _u.sockaddr(raw)
    return ("%d.%d.%d.%d" % tuple(ip), port)


def _take():
    """Count one more socket in, as socket() does: one collect and retry at the limit, then ENFILE."""
    if _words[_r.SOCKETS_OPEN] + _words[_r.SOCKETS_TAKEN] >= _MAX_SOCKETS:
        _gc.collect()
        raise OSError(_ENFILE)
    if _idf.exhausted():
        raise OSError(105)
    _words[_r.SOCKETS_OPEN] += 1


class socket:
    _listening = False
    _blocking = True
    _wait_ms = -1
    _in_step = False  # with a server whose time is the board's

    def __init__(self, af=AF_INET, type=SOCK_STREAM, proto=0, *, _native=None):
        if af != AF_INET or type not in (SOCK_STREAM, SOCK_DGRAM):
            raise OSError(106)
        if _native is None:
            _take()
            _native = _u.socket(af, type)
        self._native = _native
        self._datagrams = type == SOCK_DGRAM

    def _shrink(self):
        """Windows near lwIP's 5,760 bytes, so that a peer that does not read is felt as on the device."""
        self._native.setsockopt(1, _LINUX_SNDBUF, _SND_BUF)
        self._native.setsockopt(1, _LINUX_RCVBUF, _SND_BUF)

    def _open(self):
        if self._native is None:
            raise OSError(9)
        return self._native

    def close(self):
        if self._native is not None:
            self._native.close()
            if self._in_step:
                _lockstep.left()
            self._native = None
            _words[_r.SOCKETS_OPEN] -= 1

    def fileno(self):
        return 54 + _words[_r.SOCKETS_OPEN] if self._native else -1

    def setblocking(self, value):
        self._open().setblocking(value)
        self._blocking = bool(value)
        self._wait_ms = -bool(value)

    def settimeout(self, value):
        """The device waits in steps of 100 ms: less is one step, which then ends like a non-blocking call."""
        self._blocking = value is None or value >= 0.1
        self._open().settimeout(max(value, 0.1) if value else value)
        self._wait_ms = -1 if value is None else int(1000 * max(value, 0.1)) if value else 0

    def setsockopt(self, level, optname, value):
        if (level, optname) == (SOL_SOCKET, SO_REUSEADDR):
            self._open().setsockopt(1, _LINUX_REUSEADDR, value)
        elif (level, optname) == (IPPROTO_TCP, TCP_NODELAY):
            self._open().setsockopt(level, optname, value)
        elif (level, optname) != (IPPROTO_IP, IP_ADD_MEMBERSHIP) and (
            level != SOL_SOCKET or optname not in (20, SO_BROADCAST, SO_BINDTODEVICE)
        ):
            raise OSError(109 if level == SOL_SOCKET else 22)

    def bind(self, address):
        _checked(address)
        try:
            self._open().bind(_u.getaddrinfo("127.0.0.1", _host_port(address[1]))[0][-1])
        except OSError as error:
            raise _device_error(error)

    def listen(self, backlog=2):
        self._shrink()
        self._open().listen(backlog)
        self._listening = True

    def accept(self):
        try:
            native, raw = self._open().accept()
        except OSError as error:
            raise _device_error(error)
        if not _radio.link_is_up():  # nobody could have reached us: undo what the host's kernel did
            native.close()
            raise OSError(11)
        try:
            _take()
        except OSError:
            native.close()
            raise OSError(_ENFILE)
        return socket(_native=native), _tuple_address(raw)

    def connect(self, address):
        native = self._open()
        if self._datagrams:
            raise ValueError("virtual board: connect() of a datagram socket is not modelled")
        peer = _peer(address)
        if _idf.starved():
            raise OSError(116)
        self._shrink()
        if _lockstep.is_at(_host_port(address[1]) or address[1]):
            self._in_step = True
            native.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)  # what waits here would be skipped past
        try:
            _lockstep.told(native.connect, peer) if self._in_step else native.connect(peer)
        except OSError as error:
            raise _device_error(error)

    def _free(self):
        """Bytes lwIP would still queue, 0 or less when its send buffer would be full."""
        if _board.ioctl(self._open().fileno(), _SIOCOUTQ, _outq) < 0:
            return _SND_BUF
        return _SND_BUF - (_outq[0] | _outq[1] << 8 | _outq[2] << 16)

    def _broken(self):
        poller = _select.poll()
        poller.register(self._native, 0)
        return bool(poller.poll(0))

    def _room(self):
        """Bytes to pass on; raises EAGAIN when the send buffer is full or the link is down."""
        room = self._free()
        if room <= 0 and self._broken():
            room = 1  # the host keeps the count of a queue that a reset has emptied; sending says what happened
        if room <= 0 or not _radio.link_is_up():
            raise OSError(11)
        return min(room, _words[_r.WRITE_MAX] or room)

    def send(self, buf):
        try:
            room = self._room()
            part = buf if len(buf) <= room else memoryview(buf)[:room]
            return _lockstep.told(self._native.send, part) if self._in_step else self._native.send(part)
        except OSError as error:
            raise _device_error(error)

    def sendall(self, buf):
        done = 0
        while done < len(buf):
            try:
                done += self.send(memoryview(buf)[done:])
            except OSError as error:
                raise OSError(116) if error.errno == 11 else error
        return None

    def write(self, buf, *part):
        """As every stream of the firmware: write(buf), write(buf, most), write(buf, offset, most)."""
        if part:
            offset, most = part if len(part) == 2 else (0, part[0])
            buf = memoryview(buf)[offset : offset + most]
        try:
            return self.send(buf)
        except OSError as error:
            if error.errno == 11:
                return None
            raise

    def _receive(self, method, *args):
        native = self._open()
        if not _radio.link_is_up():
            raise OSError(11)
        try:
            if self._datagrams:
                return _udp.receive(native, self._wait_ms, method, *args)
            return getattr(native, method)(*args)
        except OSError as error:
            if error.errno == 11 and self._blocking:  # the VM's recv does not say that its time is up
                raise OSError(116)
            raise _device_error(error)

    def recv(self, bufsize):
        return self._receive("recv", bufsize)

    def recvfrom(self, bufsize):
        data, source = self._receive("recvfrom", bufsize)
        return data, source if self._datagrams else _tuple_address(source)

    def sendto(self, data, address):
        native = self._open()
        peer = _peer(address)
        try:
            if not _udp.is_server(address[1]):
                return native.sendto(data, peer)
            _udp.send(native, bytes(data), *getaddrinfo(*address)[0][-1])
            return len(data)
        except OSError as error:
            raise _device_error(error)

    def _read(self, method, *args):
        try:
            return self._receive(method, *args)
        except OSError as error:
            if error.errno == 11:
                return None
            raise

    def read(self, size=-1):
        return self._read("read", size)

    def readinto(self, buf, nbytes=-1):
        return self._read("readinto", buf, nbytes)

    def readline(self):
        return self._read("readline")

    def makefile(self, mode="rb", buffering=0):
        return self
