"""The VM's own sockets behind the board's face, for the figures of a POST: addresses are tuples, numbers lwIP's.

Thin, because it lies on the heap that is measured: 48 bytes a socket more than on the board, nothing a call. It refuses
nothing; how sockets fail is the virtual board's.
"""

import io
from errno import EINPROGRESS  # not errno.EINPROGRESS, of which the VM's compiler would take its own

import usocket

AF_INET = 2
SOCK_STREAM = 1
_LINUX_EINPROGRESS = 115
_GET_FILENO = 10  # what a poll asks a stream for


def getaddrinfo(host, port, af=0, type=0, proto=0, flags=0):
    return [(AF_INET, SOCK_STREAM, 0, "", (host, port))]


class socket(io.IOBase):
    def __init__(self, af=AF_INET, type=SOCK_STREAM, proto=0):
        self._native = usocket.socket(af, type, proto)

    def ioctl(self, request, _):
        return self._native.fileno() if request == _GET_FILENO else -1

    def setblocking(self, value):
        self._native.setblocking(value)

    def connect(self, address):
        try:
            self._native.connect(usocket.getaddrinfo(*address)[0][-1])
        except OSError as error:
            raise OSError(EINPROGRESS) if error.errno == _LINUX_EINPROGRESS else error

    def write(self, buf):
        return self._native.write(buf)

    def readinto(self, buf):
        return self._native.readinto(buf)

    def read(self, size):
        return self._native.read(size)

    def readline(self):
        return self._native.readline()

    def close(self):
        self._native.close()
