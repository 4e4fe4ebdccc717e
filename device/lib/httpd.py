"""HTTP/1.1 server for one small board: accepts, limits, routes (RFC 9110). Non-blocking sockets under asyncio.

Owns the listener and 4 connections with buffers made before the first request (1 KB each), and their deadlines.
Pages are handed in: `find(path)` gives an object whose coroutines `get(http)` and `post(http)` answer through the
Connection they get; HEAD, 404, 405 and the rest follow from that. Must not know the application. One request per
connection.
"""

import asyncio
import gc
import socket
from time import ticks_diff, ticks_ms

from http_connection import ANSWER_MS, LINGER_MS, Connection, Gone, wait_readable
from http_request import Reject
from micropython import const

_SLOTS = const(4)
_EVICTABLE_MS = const(400)  # younger connections are honest ones in a burst
_FULL_MS = const(20)
_SWEEP_MS = const(250)
_BACKLOG = const(6)  # lwIP's accept mailbox; SYNs beyond it come back after a second or more
_EAGAIN = const(11)

# Made before memory is short.
_BUSY = b"HTTP/1.1 503 \r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Server:
    """`find(path)` -> page or None; `check(http)` raises Reject before routing; `on_error(exception)` hears of pages
    that raised. Counters: requests, failed (500 and 503), evicted, expired."""

    def __init__(self, host: str, port: int, find: "Any", check: "Any", on_error: "Any") -> None:
        self._address = host, port
        self._find = find
        self._check = check
        self._on_error = on_error
        self.slots = [Connection() for _ in range(_SLOTS)]
        self.requests = self.failed = self.evicted = self.expired = 0

    async def run(self, beat: "Any") -> None:
        """Listen and serve; `beat()` is called at every sweep. OSError when the port can't be had. Ends only if
        accepting ended, and takes every connection with it."""
        listener = socket.socket()
        accepting = None
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(socket.getaddrinfo(*self._address)[0][-1])
            listener.listen(_BACKLOG)
            listener.setblocking(False)
            accepting = asyncio.create_task(self._accept(listener))
            while not accepting.done():
                beat()
                self._sweep()
                await asyncio.sleep_ms(_SWEEP_MS)
        finally:
            listener.close()
            if accepting:
                accepting.cancel()
            for conn in self.slots:
                if conn.task:
                    conn.task.cancel()

    def _sweep(self) -> None:
        now = ticks_ms()
        for conn in self.slots:
            if conn.task and ticks_diff(now, conn.deadline) > 0:
                self.expired += 1
                conn.late = True
                conn.task.cancel()

    async def _accept(self, listener: "Any") -> None:
        while True:
            try:
                sock = listener.accept()[0]
            except OSError as error:
                if error.errno == _EAGAIN:
                    await wait_readable(listener)
                else:  # no socket left (23), or the peer gave up (113): others may still be served
                    await asyncio.sleep_ms(100)
                continue
            conn = None
            try:
                conn = self._slot()
                while not conn:  # this one waits accepted, those behind it in the listener's queue
                    await asyncio.sleep_ms(_FULL_MS)
                    conn = self._slot()
                sock.setblocking(False)
                conn.open(sock)
                conn.task = asyncio.create_task(self._serve(conn))
            finally:
                if not conn or not conn.task:  # cancelled, or no memory for the task
                    sock.close()

    def _slot(self) -> "Any":
        """A free slot. When there is none, evict the oldest connection that still owes its request, and return None."""
        oldest = None
        for conn in self.slots:
            if not conn.task:
                return conn
            if conn.receiving and (not oldest or ticks_diff(conn.since, oldest.since) < 0):
                oldest = conn
        if oldest and ticks_diff(ticks_ms(), oldest.since) > _EVICTABLE_MS:
            self.evicted += 1
            oldest.receiving = False
            oldest.task.cancel()

    async def _serve(self, conn: Connection) -> None:
        try:
            await self._exchange(conn)
            await conn.linger()
        except (Gone, MemoryError):  # nobody to tell, or no memory to say it with
            pass
        except asyncio.CancelledError:
            if conn.late and conn.receiving and (conn.end or conn.method):
                conn.expires(LINGER_MS)
                await conn.fail(408, "the request did not come in time")
        finally:
            conn.sock.close()
            conn.task = None

    async def _exchange(self, conn: Connection) -> None:
        try:
            while True:
                n = await conn.receive(conn.view[conn.end :])
                if not n:
                    raise Gone
                if conn.feed(n):
                    break
            self.requests += 1
            conn.receiving = conn.content_length > 0
            conn.expires(ANSWER_MS)
            await self._answer(conn)
        except Reject as reject:
            await conn.fail(reject.status, reject.why, reject.extra)
        except MemoryError:
            self.failed += 1
            gc.collect()
            if not conn.answered:
                conn.answered = True
                await conn.send(_BUSY)
        except Exception as error:
            self.failed += 1
            self._on_error(error)
            await conn.fail(500, "this page failed, the log says why")

    async def _answer(self, conn: Connection) -> None:
        self._check(conn)
        page = self._find(conn.path)
        if not page:
            raise Reject(404, "there is no such page")
        method = "get" if conn.method == "HEAD" else conn.method.lower()
        handler = getattr(page, method, None)
        if not handler:
            allow = "GET, HEAD" if hasattr(page, "get") else ""
            if hasattr(page, "post"):
                allow += ", POST" if allow else "POST"
            raise Reject(405, "this page takes " + allow, "Allow: %s\r\n" % allow)
        await handler(conn)
        await conn.finish()
