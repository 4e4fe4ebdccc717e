"""HTTP/1.1 POSTs over one connection at a time, non-blocking under asyncio (RFC 9112). Must not know what it sends.

Owns the exchange, its deadlines, and the connection, which is kept between posts as long as its user wants. Making a
connection (http_dial) and reading an answer (http_answer) are on demand.
"""

import asyncio
from errno import ECONNABORTED, ETIMEDOUT
from time import ticks_add, ticks_diff, ticks_ms

from http_connection import wait
from micropython import const

# phases; 0 is looking up the name, 2 the TLS handshake (http_dial), 5 the rest of the answer
_CONNECT, _SEND, _ANSWER = const(1), const(3), const(4)
_LIMITS_S = b"\x0a\x05\x0f\x0a\x0f\x0a"  # of each
_OVERALL_MS = const(30000)
_LOOK_MS = const(50)
_PIECES = const(8)


class Client:
    """`dial(client, url)`: coroutine that connects (http_dial.dial with what it needs besides). After a post `phase`
    says how far it came; once there was an answer, `head` has its status line and some of its header lines
    (http_answer), `said` the beginning of a body that explains a refusal."""

    head: bytes
    said: bytes
    sock: "Any"
    raw: "Any"
    origin: str  # what it is connected to: the URL up to its path
    host: str  # whose addresses `ips` are, until the second `known_s`
    known_s: int

    def __init__(self, buffer: bytearray, dial: "Any") -> None:
        self.buffer = buffer  # takes the answer; between posts, and while the body goes out, it is anybody's
        self._dial = dial
        self.sock = self.raw = None  # what is written to, and the socket itself, where that is TLS
        self.ips = ()  # those that did not fail, the one in use first

    async def post(self, url: str, lines: "Any", size_bytes: int, pieces: "Any", keep: bool, beat: "Any") -> int:
        """Send a body of `size_bytes`, which each call of `pieces()` yields as text; the status of the answer.
        `lines()` gives header lines with the Content-Type, each ended by CR LF; `keep`: another post follows at once;
        `beat()` is called all the time.

        Raises ValueError with a sentence (the URL, a name, a certificate, an answer that is none), OSError (116: a
        phase or all of it took too long; -202: no address for that name; 113: the pieces are not `size_bytes`;
        connect, reset; of TLS large negative ones), MemoryError or what `pieces` raises. While nothing is sent, each
        address of the host is tried once; one that failed is asked for anew when none is left. A kept connection that
        turns out to be closed is replaced at once. What fails, and a cancel, leaves no socket open."""
        end = ticks_add(ticks_ms(), _OVERALL_MS)
        while True:
            is_kept = self.sock and url.startswith(self.origin)
            if not is_kept:
                self.close()
            self.enter(_CONNECT)
            self.status = 0
            self._error: "Any" = None
            task = asyncio.create_task(self._try(url, lines, size_bytes, pieces, keep))
            try:
                while not task.done():
                    beat()
                    await asyncio.sleep_ms(_LOOK_MS)
                    now = ticks_ms()
                    if ticks_diff(self._deadline, now) < 0 or ticks_diff(end, now) < 0:
                        task.cancel()
                        is_kept = None  # one that is closed would have said so
            finally:
                task.cancel()
            if self.status:
                return self.status
            if not is_kept or self.phase > _ANSWER:
                self.ips = self.ips[1:]
                if not self.ips or not 0 < self.phase < _SEND:
                    raise self._error or OSError(ETIMEDOUT)

    async def _try(self, url: str, lines: "Any", size_bytes: int, pieces: "Any", keep: bool) -> None:
        """One attempt, as a task so that it can be given up; asyncio would print what such a task raises."""
        can_keep = False
        try:
            if not self.sock:
                await self._dial(self, url)
            elif self.sock.read(1) is not None:  # it is closed, or what comes would be taken for the next answer
                raise OSError(ECONNABORTED)
            broken = await self._send(url, lines, size_bytes, pieces, keep)
            self.enter(_SEND if broken else _ANSWER)
            from http_answer import read

            can_keep = await read(self, keep, broken)
        except Exception as error:
            self._error = error
        finally:
            if not can_keep:
                self.close()

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.sock:
            self.sock.close()
            self.raw.close()
            self.sock = self.raw = None

    def enter(self, phase: int) -> None:
        """Begin a phase and its time."""
        self.phase = phase
        self._deadline = ticks_add(ticks_ms(), _LIMITS_S[phase] * 1000)

    async def _send(self, url: str, lines: "Any", left: int, pieces: "Any", keep: bool) -> "Any":
        """Send it all, `left` bytes behind the head. The error, when the server breaks off: it may have said why.

        Whatever this makes is in its own frame, so that its memory is free for the answer."""
        sock = self.sock
        pieces = pieces()
        piece = memoryview(
            "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s%s\r\n"
            % (
                url[len(self.origin) - 1 :] or "/", self.origin.split("/")[2], left, lines(),
                "" if keep else "Connection: close\r\n",
            )
        )
        left += len(piece)
        turn = 0
        while left:
            left -= len(piece)
            if left < 0 or not piece:  # what is sent has changed since it was measured
                raise OSError(ECONNABORTED)
            sent = 0
            while sent < len(piece):
                if turn % _PIECES == 0:  # so that others get their turn
                    await wait(sock, True)
                try:
                    n = sock.write(piece[sent:]) or 0
                except OSError as error:
                    if self.phase < _SEND:
                        raise
                    return error
                if n and self.phase < _SEND:
                    self.enter(_SEND)
                sent += n
                turn = turn + 1 if n else 0
            piece = memoryview(next(pieces, ""))
