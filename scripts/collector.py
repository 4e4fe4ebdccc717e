"""A reference telemetry receiver: the other end of the tests and of `make sim`, not a product.

Owns the receiver's rules of telemetry body version 1 and the table the readings end in.
Must not know the device's code: what both sides share is docs/telemetry.md and nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import socketserver
import sqlite3
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import parse_qsl

from scripts.collector_store import DEVICE, SELECT, SUMMARY, Answer, Refusal, Store, need, parse_batch
from scripts.console import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE, Problem, run, stop_on_signals

HOST, BODY_LIMIT_BYTES = "127.0.0.1", 65536
CLIENT_TIMEOUT_S, LINGER_S, LINGER_READS, POLL_S, LOOK_S = 30.0, 1.0, 64, 0.01, 0.2
QUERY_RULES = {"after": "[0-9]{1,18}", "device": DEVICE, "limit": "[1-9][0-9]{0,3}|10000"}
METHODS = {"/": ["GET"], "/stats": ["GET"], "/readings": ["GET", "POST"]}
ABOUT = """Tally reference collector: it stores what is posted to /readings (db={}).
Read it at /readings?after=0 and /stats; the rules are in docs/telemetry.md.\n\n{}\n"""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # or server_close() would not wait for the handlers
    request_queue_size = 64

    def __init__(self, port: int, collector: Collector) -> None:
        self.collector, self.connections = collector, set[socket.socket]()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own asks DNS for a name

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away is no news
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Close the listener and every connection; returns when all handlers are done."""
        self.shutdown()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = CLIENT_TIMEOUT_S
    unread = False

    def __getattr__(self, name: str) -> Callable[[], None]:
        # The base class looks for do_<METHOD>; all meet here, so an unknown method is a 405.
        if name.startswith("do_"):
            return self._route
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing per request on stderr."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.unread = True
        self._send(Answer(code, {"error": f"This is no HTTP request we know: {message}."}))

    def finish(self) -> None:
        super().finish()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_S)
            # Closing over unread bytes would reset the connection and lose the answer.
            for _ in range(LINGER_READS if self.unread else 0):
                if not self.connection.recv(BODY_LIMIT_BYTES):
                    break

    def _route(self) -> None:
        path, _, query = self.path.partition("?")
        collector = cast(_Server, self.server).collector
        self.unread = self.headers.get("Content-Length", "0") != "0"
        self.unread |= "Transfer-Encoding" in self.headers
        is_post = (self.command, path) == ("POST", "/readings")
        planned, commit = collector.begin_post() if is_post else (None, True)
        try:
            answer = self._dispatch(collector, path, query, commit)
        except Refusal as refusal:
            collector.count("refused", is_post)
            answer = Answer(refusal.args[0], {"error": refusal.args[1]}, *refusal.args[2:])
        except sqlite3.Error as error:
            answer = Answer(500, {"error": f"The database failed ({error}). Send it again later."})
        self._send(planned or answer)
        if collector.verbose and self.command == "POST":
            print(f"POST {path} {(planned or answer).status} {answer.body}", flush=True)

    def _dispatch(self, collector: Collector, path: str, query: str, commit: bool) -> Answer:
        if path not in METHODS:
            raise Refusal(404, f"There is nothing at this path. Use one of {', '.join(METHODS)}.")
        allowed = ", ".join(METHODS[path])
        if self.command not in METHODS[path]:
            sentence = f"{path} does not take {self.command}. Use {allowed}."
            raise Refusal(405, sentence, {"Allow": allowed})
        if self.command == "POST":
            body = self._read_body()
            return self._take(collector, body) if commit else Answer(200, {})
        if path == "/readings":
            return Answer(200, collector.readings(**_parse_query(query)))
        stats = collector.stats()
        text = ABOUT.format(collector.db, json.dumps(stats, indent=2))
        return Answer(200, stats if path == "/stats" else text)

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length")
        if length is None or "Transfer-Encoding" in self.headers:
            raise Refusal(411, "Nothing was stored: send the body's size in Content-Length.")
        need(re.fullmatch("[0-9]{1,18}", length), "Content-Length must be a number of bytes")
        if int(length) > BODY_LIMIT_BYTES:
            why = f"the body is above {BODY_LIMIT_BYTES} bytes"
            raise Refusal(413, f"Nothing was stored: {why}. Send fewer readings at once.")
        body = self.rfile.read(int(length))
        need(len(body) == int(length), "the body ended before its Content-Length")
        self.unread = False
        return body

    def _take(self, collector: Collector, body: bytes) -> Answer:
        if self.headers.get_content_type() != "application/json":
            raise Refusal(415, "Nothing was stored: send Content-Type: application/json.")
        key = self.headers.get("Idempotency-Key")
        good_key = key is None or re.fullmatch("[ -~]{1,128}", key)
        need(good_key, "Idempotency-Key must be 1 to 128 printable ASCII characters")
        return collector.take(parse_batch(body), key, body)

    def _send(self, answer: Answer) -> None:
        is_text = isinstance(answer.body, str)
        content = (answer.body if is_text else json.dumps(answer.body) + "\n").encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if self.unread or self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if answer.status not in (204, 304) and self.command != "HEAD":
            self.wfile.write(content)


def _parse_query(query: str) -> dict[str, Any]:
    pairs = parse_qsl(query, keep_blank_values=True)
    good = all(re.fullmatch(QUERY_RULES.get(name, "(?!)"), value) for name, value in pairs)
    if not good or len(dict(pairs)) < len(pairs):
        rules = "after (0 or more), device (a device name) and limit (1 to 10000)"
        raise Refusal(400, f"?{query} is not a good query. Use {rules}, each at most once.")
    named: dict[str, Any] = {"limit": "1000"} | dict(pairs)
    return named | {name: int(named[name]) for name in ("after", "limit") if name in named}


def _not_started(why: str, todo: str, code: int = EXIT_ENVIRONMENT) -> Problem:
    return Problem(f"the collector did not start: {why}. {todo}", code)


class Collector:
    """The receiver, as a context manager or by start() and stop(); port 0 takes a free port."""

    def __init__(self, port: int = 0, db_path: str | Path | None = None, verbose: bool = False) -> None:
        self.port, self.verbose = port, verbose
        self.db = "memory" if db_path is None else str(db_path)
        self._path = ":memory:" if db_path is None else str(db_path)
        self._planned: deque[tuple[Answer, bool]] = deque()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The root address, with the slash at its end."""
        return f"http://{HOST}:{self.port}/"

    def start(self) -> None:
        """Listen; returns when requests are taken. Counters start at 0; a Problem says why not."""
        if self._server is not None:
            return
        self._counts.clear()
        self._store = self._open_store()
        try:
            self._server = _Server(self.port, self)
        except (OSError, OverflowError) as error:
            self._store.close()
            why = f"port {self.port} of {HOST} cannot be used ({getattr(error, 'strerror', error)})"
            todo = "Stop the program that has it, or choose another one with --port."
            code = EXIT_ENVIRONMENT if isinstance(error, OSError) else EXIT_USAGE
            raise _not_started(why, todo, code) from error
        self.port = self._server.server_address[1]
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(POLL_S,), daemon=True)
        self._thread.start()

    def _open_store(self) -> Store:
        try:
            return Store(self._path)
        except sqlite3.Error as error:
            todo = "Choose a file in a folder that exists and that you may write to, with --db."
            raise _not_started(f"the database {self.db} cannot be used ({error})", todo) from error

    def stop(self) -> None:
        """Free the port and close the database at once; a second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            self._thread.join()
            self._store.close()

    def answer_next(self, status: int, headers: Mapping[str, str] | None = None, commit: bool = False) -> None:
        """Queue the answer to the next POST; with `commit` its batch is stored all the same."""
        body = {"error": f"The test asked the collector to answer {status}."}
        self._planned.append((Answer(status, body, headers or {}), commit))

    def readings(self, after: int = 0, device: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
        """Readings with a seq above `after`, by device and seq; None is no restriction."""
        return self._store.select(SELECT, "values", after, device, limit)

    def stats(self) -> dict[str, Any]:
        """The counters since start, and what is stored of each device."""
        devices = {row.pop("device"): row for row in self._store.select(SUMMARY, "boots")}
        for row in devices.values():
            row["boots"].sort()
        names = ("requests", "refused", "repeated_keys", "repeated_readings")
        with self._lock:
            counts = {name: self._counts[name] for name in names}
        return {"readings": sum(row["readings"] for row in devices.values()), **counts, "devices": devices}

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the counters that stats() shows."""
        with self._lock:
            self._counts[name] += by

    def begin_post(self) -> tuple[Answer | None, bool]:
        """Count one POST; returns the answer planned for it, if any, and whether to store."""
        self.count("requests")
        with self._lock:
            return self._planned.popleft() if self._planned else (None, True)

    def take(self, batch: dict[str, Any], key: str | None, body: bytes) -> Answer:
        """Store a valid batch, or repeat the answer that its key got before."""
        answer, is_replay = self._store.add(batch, key, body)
        if is_replay:
            self.count("repeated_keys")
            return Answer(200, answer, {"Idempotent-Replay": "true"})
        self.count("repeated_readings", answer["repeated"])
        return Answer(200, answer)


def main(argv: list[str] | None = None) -> int:
    stop_on_signals()
    parser = argparse.ArgumentParser(prog="python -m scripts.collector", description=__doc__)
    parser.add_argument("--port", type=int, default=8081, help="port on 127.0.0.1 (8081; 0: any)")
    parser.add_argument("--db", metavar="PATH", help="keep the readings in this SQLite file")
    parser.add_argument("--verbose", action="store_true", help="print one line per POST")
    args = parser.parse_args(argv)
    return run(lambda: _serve(Collector(args.port, args.db, args.verbose)))


def _serve(collector: Collector) -> int:
    with suppress(KeyboardInterrupt), collector:
        print(f"collector: {collector.url} db={collector.db}", flush=True)
        while True:  # a signal that comes just before a sleep does not end it, so none is for ever
            time.sleep(LOOK_S)
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
