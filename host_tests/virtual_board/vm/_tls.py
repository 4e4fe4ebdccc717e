"""Fake `tls`: the VM's own Mbed TLS on the board's sockets, clock and memory. Installed under the name `tls` by boot, since
the built-in can't be shadowed by a file.

Owns what a session takes of the IDF heap, how long its handshake blocks, and the dates of certificates, which go by the
board's clock: the library goes by the host's, so what it says of them is taken out and the board's opinion put in.
"""

import _board
import _idf
import io as _io
import registers as _r
import time as _time
import tls as _u
import uselect as _select
from _board import words as _words

PROTOCOL_TLS_CLIENT = 0
PROTOCOL_TLS_SERVER = 1
CERT_NONE = 0
CERT_OPTIONAL = 1
CERT_REQUIRED = 2
MBEDTLS_VERSION = "Mbed TLS 3.6.0"

_STEP_MS = 5
_LEAST_FREE = 32000
_LEAST_LARGEST = 17000
_MOST_OUT = 4096  # of one record
_VERIFY_FAILED = -0x2700
_EOF = -0x7280
_POLL = 3
_CLOSE = 4
_NVAL = 32
_DATES = "The certificate validity "
_EXPIRED = "\nThe certificate validity has expired\n"
_FUTURE = "\nThe certificate validity starts in the future\n"

_words[_r.TLS_OPEN] = _words[_r.TLS_HANDSHAKES] = 0
if _words[_r.RESET_CAUSE] != 5:  # a soft reset leaves the IDF's memory in the pieces it is in
    _words[_r.TLS_EVER] = 0


def _inside(der, at):
    """Where the content of the ASN.1 element at `at` begins, and where it ends."""
    size = der[at + 1]
    at += 2
    if size & 0x80:
        more = size & 0x7F
        size = int.from_bytes(der[at : at + more], "big")
        at += more
    return at, at + size


def _moment(der, at):
    """A UTCTime or GeneralizedTime as 14 digits."""
    start, end = _inside(der, at)
    digits = bytes(der[start : end - 1])
    if len(digits) == 12:
        digits = (b"20" if digits < b"5" else b"19") + digits
    return digits


def _dates(der):
    """What is wrong with the dates of a certificate by the board's clock."""
    at = _inside(der, _inside(der, 0)[0])[0]
    for _ in range(3 + (der[at] == 0xA0)):  # version, serial number, algorithm, issuer
        at = _inside(der, at)[1]
    since = _inside(der, at)[0]
    until = _inside(der, since)[1]
    now = b"%04d%02d%02d%02d%02d%02d" % _time.gmtime()[:6]
    return _FUTURE if now < _moment(der, since) else _EXPIRED if now > _moment(der, until) else ""


class _Wire(_io.IOBase):
    """The board's socket, as a stream that the library reads and writes."""

    def __init__(self, sock):
        self.sock = sock
        self.moved = False  # whether something came since this was last set
        self.keeps = False  # the socket outlives the session
        self._poll = _select.poll()
        self._poll.register(sock._native, 0)

    def readinto(self, buf):
        if not self.sock._blocking and not self.ioctl(_POLL, _select.POLLIN):
            return None  # without the exceptions, which would be garbage that the device has not
        try:
            n = self.sock.readinto(buf)
        except OSError as error:
            return -error.errno
        if n:
            self.moved = True
        return n

    def write(self, buf):
        try:
            return self.sock.write(buf)
        except OSError as error:
            return -error.errno

    def ioctl(self, request, arg):
        if request == _CLOSE and not self.keeps:
            self.sock.close()
        if request != _POLL:
            return 0
        native = self.sock._native
        if native is None:
            return _NVAL
        self._poll.modify(native, arg)
        for _, flags in self._poll.ipoll(0):
            return flags
        return 0


class SSLContext:
    def __init__(self, protocol):
        if protocol != PROTOCOL_TLS_CLIENT:
            raise ValueError("virtual board: servers with TLS are not modelled")
        self._context = _u.SSLContext(protocol)
        self._context.verify_callback = self._on_certificate
        self._wrong = ""  # with the dates of the certificates of the last step
        self.verify_callback = None

    @property
    def verify_mode(self):
        return self._context.verify_mode

    @verify_mode.setter
    def verify_mode(self, mode):
        self._context.verify_mode = mode

    def _on_certificate(self, der, depth):
        self._wrong = self._wrong or _dates(der)
        return self.verify_callback(der, depth) if self.verify_callback else 0

    def get_ciphers(self):
        return self._context.get_ciphers()

    def set_ciphers(self, *ciphers):
        self._context.set_ciphers(*ciphers)

    def load_cert_chain(self, *chain):
        self._context.load_cert_chain(*chain)

    def load_verify_locations(self, *cadata):
        self._context.load_verify_locations(*cadata)

    def wrap_socket(self, sock, *, server_side=False, do_handshake_on_connect=True, server_hostname=None):
        if server_side:
            raise ValueError("virtual board: servers with TLS are not modelled")
        if _idf.free_bytes() < _LEAST_FREE or _idf.largest_bytes() < _LEAST_LARGEST:
            raise OSError(12)
        return _SSLSocket(self, sock, server_hostname, do_handshake_on_connect)


class _SSLSocket:
    """A handshake that fails takes the session out of memory and leaves the socket open; close() then does nothing."""

    _listening = False
    _datagrams = False

    def __init__(self, context, sock, name, shake):
        self._context = context
        self._wire = _Wire(sock)
        self._in_step = sock._in_step
        self._error = 0  # of a session that the board's clock ended
        self._held = 1
        self._shaking = True
        _words[_r.TLS_OPEN] += 1
        _words[_r.TLS_HANDSHAKES] += 1
        _words[_r.TLS_EVER] = 1
        self._native = None
        self._native = self._step(_wrap, context._context, self._wire, name, shake)
        if shake:
            self._shaken()

    def _shaken(self):
        if self._shaking:
            self._shaking = False
            _words[_r.TLS_HANDSHAKES] -= 1

    def _freed(self):
        self._shaken()
        _words[_r.TLS_OPEN] -= self._held
        self._held = 0

    def _free(self):
        return self._wire.sock._free()

    def _step(self, method, *args):
        """A part of the handshake: takes its time, and is what finds fault with a certificate."""
        self._context._wrong = ""
        self._wire.moved = False
        try:
            done = method(*args)
        except OSError as error:
            if error.errno != _EOF or not self._native:
                self._freed()
            raise
        except ValueError as error:
            self._freed()
            raise ValueError(self._with_dates(error.args[0]))
        except Exception:
            self._freed()
            raise
        finally:
            if self._wire.moved:
                _board.idle(_words[_r.TLS_STEP_MS] or _STEP_MS, deaf=True)
        if self._context._wrong and self._context.verify_mode == CERT_REQUIRED:
            self._freed()
            self._error = _VERIFY_FAILED
            self._wire.keeps = True
            (self._native or done).close()
            raise ValueError(self._with_dates(""))
        return done

    def _with_dates(self, said):
        """What the library says, in its order, but for the dates, which are as the board's clock sees them."""
        wrong = self._context._wrong
        if _DATES in said:
            said = said.replace(_EXPIRED, "").replace(_FUTURE, "")
            if not said and not wrong:
                raise RuntimeError("virtual board: a certificate that is valid by the board's clock only")
        return wrong + said if wrong == _EXPIRED else said + wrong

    def _call(self, method, *args):
        if self._error:
            raise OSError(self._error)
        if not self._shaking:
            return method(*args)
        done = self._step(method, *args)
        if done is not None:
            self._shaken()
        return done

    def read(self, *size):
        return self._call(self._native.read, *size)

    def readinto(self, *args):
        return self._call(self._native.readinto, *args)

    def readline(self, *size):
        return self._call(self._native.readline, *size)

    def write(self, buf, *part):
        if part:
            offset, most = part if len(part) == 2 else (0, part[0])
            buf = memoryview(buf)[offset : offset + most]
        if len(buf) <= _MOST_OUT:
            return self._call(self._native.write, buf)
        done = 0
        while done < len(buf):
            n = self._call(self._native.write, memoryview(buf)[done : done + _MOST_OUT])
            if n is None:
                return done or None
            done += n
        return done

    def setblocking(self, value):
        self._wire.sock.setblocking(value)

    def cipher(self):
        self._alive()
        return self._native.cipher()

    def getpeercert(self, binary_form):
        self._alive()
        return self._native.getpeercert(binary_form)

    def _alive(self):
        if self._shaking or not self._held:
            raise RuntimeError("virtual board: without a session this ends the firmware")

    def close(self):
        if self._held:
            self._freed()
            self._native.close()


def _wrap(context, wire, name, shake):
    return context.wrap_socket(wire, server_hostname=name, do_handshake_on_connect=shake)
