"""HTTP/1.1 server for one small board (RFC 9110, 9112): non-blocking sockets under asyncio, no framework.

Owns the listener, 4 connections with buffers made before the first request, their deadlines and the routes. What is
seldom needed is imported when it is: http_listen, http_errors, forms, http_files, http_events. Must not know the
application, which hands in routes and may replace the hooks of Server. docs/httpd.md shows its use.
"""

import gc
from asyncio import core  # type: ignore  (MicroPython's asyncio is a package; pyright is shown CPython's)

from http_connection import END, Connection, wait
from http_request import Reject
from micropython import const

_RECEIVE_MS = const(8000)
_ANSWER_MS = const(15000)
_IDLE_MS = const(3000)
_LINGER_MS = const(1000)
_YOUNG_MS = const(400)  # younger connections are honest ones in a burst and not evicted
_FULL_MS = const(20)
_SWEEP_MS = const(250)

# Made before memory is short.
_BUSY = b"HTTP/1.1 503 \r\nConnection: close\r\nRetry-After: 5\r\n\r\n"


class Server:
    """`routes`: path -> object with coroutines `get(http)`, `post(http)` and so on, or the name of a module with them;
    the last segment of a path may be `*`, what stood there is `http.parameter`. A coroutine returns the body, or has
    written it. Hooks to replace: check, load, on_error, done. Figures: requests, refused (4xx), failed (5xx), evicted,
    expired, and `free`, the slots not in use (0 before it listens).

    Holds 2.7 KB from the start, 660 bytes a connection, and with a request in each 3.8 KB, 940 bytes a connection."""

    def __init__(self, host: str, port: int, routes: dict) -> None:
        self._address = host, port
        self._routes = routes
        self.slots = Connection(), Connection(), Connection(), Connection()
        self.free = self.requests = self.refused = self.failed = self.evicted = self.expired = 0
        Connection.server = self

    def check(self, subject: "Any") -> None:
        """Hook: admission and authorisation of an http, before routing. May raise Reject."""

    on_error = done = check  # hooks: a handler raised this exception; an http was answered
    load: "Any" = __import__  # hook: the module of a route, by its name

    async def run(self, beat: "Any" = core.ticks) -> None:
        """Listen and serve; `beat()` is called at every sweep. OSError when the port can't be had. Ends only if
        accepting ended, and takes every connection with it."""
        from http_listen import listen

        listener = listen(*self._address)
        del listen  # its module can go
        self.free = len(self.slots)
        accepting = core.create_task(self._accept(listener))
        try:
            while not accepting.done():
                beat()
                now = core.ticks()
                for conn in self.slots:
                    if conn.task and core.ticks_diff(now, conn.deadline) > 0:
                        self.expired += 1
                        conn.task.cancel()
                await core.sleep_ms(_SWEEP_MS)
        finally:
            listener.close()
            accepting.cancel()
            for conn in self.slots:
                if conn.task:
                    conn.task.cancel()

    async def _accept(self, listener: "Any") -> None:
        while True:
            await wait(listener)
            sock = None
            chosen: "Any" = None  # the first free slot, or the connection that owes its request for longest
            for conn in self.slots:
                if not conn.task:
                    chosen = conn
                    break
                if (conn.unread or not conn.complete) and (
                    not chosen or core.ticks_diff(conn.deadline, chosen.deadline) < 0
                ):
                    chosen = conn
            try:
                if self.free:
                    sock = chosen.sock = listener.accept()[0]
                    sock.setblocking(False)
                    sock.setsockopt(6, 1, 1)  # TCP_NODELAY: an answer in two pieces would wait for an ACK between them
                    chosen.begin(_RECEIVE_MS)
                    chosen.task = core.create_task(self._serve(chosen))
                    self.free -= 1
                    continue
                if chosen and core.ticks_diff(chosen.deadline, core.ticks()) < _RECEIVE_MS - _YOUNG_MS:
                    self.evicted += 1
                    chosen.sent = True  # so that it is not told 408
                    chosen.task.cancel()
            except OSError:  # no socket left (23), or the peer gave up (113): others may still be served
                pass
            except MemoryError:
                if sock:
                    sock.close()
            await core.sleep_ms(_FULL_MS)

    async def _serve(self, conn: Connection) -> None:
        try:
            while conn.keep:
                try:
                    view = conn.view
                    while True:
                        n = conn.take(view)
                        if n:
                            conn.feed(n)
                            if conn.complete:
                                break
                            view = conn.view[conn.end :]
                        elif n is None:
                            await wait(conn.sock)
                        else:
                            return
                    body = await self._route(conn)(conn)
                    if hasattr(body, "close"):
                        from http_files import stream

                        body = await stream(conn, body)
                    await conn.write(body or "", END)
                except MemoryError:
                    self.failed += 1
                    conn.keep = False
                    gc.collect()
                    if not conn.sent:
                        conn.sent = True
                        conn.status = 503
                        conn.sock.write(_BUSY)
                except Exception as error:
                    from http_errors import refuse

                    await refuse(conn, error)
                self.done(conn)
                if conn.keep:
                    body = None  # its memory is not needed to wait for the next request
                    conn.begin(_IDLE_MS)  # so little that it may be evicted at once
            if conn.unread or conn.end > conn.start or not conn.complete:
                # Closing on unread input could cost the client the answer (RST): read and drop it.
                conn.expires(_LINGER_MS)
                while conn.take(conn.view) != 0:
                    await wait(conn.sock)
        except (MemoryError, OSError):  # nobody to tell, or no memory to say it with
            pass
        except core.CancelledError:
            if (conn.unread or not conn.complete) and (conn.end or conn.method):
                conn.expires(_LINGER_MS)
                try:
                    from http_errors import refuse

                    await refuse(conn, Reject(408))
                except MemoryError:
                    pass
        finally:
            conn.sock.close()
            conn.task = None
            self.free += 1

    def _route(self, conn: Connection) -> "Any":
        """The coroutine that answers. Raises Reject."""
        self.requests += 1
        conn.keep = not (conn.http10 or "lose" in conn.headers.get(b"Connection", ""))  # close, or Close
        conn.expires(_RECEIVE_MS if conn.unread else _ANSWER_MS)
        self.check(conn)
        path = conn.path
        start = path.rfind("/") + 1
        conn.parameter = path[start:]
        page = self._routes.get(path) or self._routes.get(path[:start] + "*")
        if not page:
            raise Reject(404)
        if isinstance(page, str):
            page = self.load(page)
        handler = getattr(page, "get" if conn.method == "HEAD" else conn.method.lower(), None)
        if not handler:
            from http_errors import allow

            raise Reject(405, "", allow(page))
        return handler
