"""The bench's browser: requests as Chrome sends them, over raw sockets, so that the client costs next to nothing.

Owns the bytes of the requests and what a right answer is. Must not know which server answers, nor when to ask.
"""

from __future__ import annotations

import _socket
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from host_tests.bench.apps.bench_pages import INDEX, TIPS

HOST = "127.0.0.1"
TIMEOUT_S = 3.0
_TIMEVAL = struct.pack("ll", int(TIMEOUT_S), 0)

# Chrome's 11 on its way to a page, Host included.
_BROWSER = """\
Host: 192.168.4.1
Connection: keep-alive
sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"
sec-ch-ua-mobile: ?0
sec-ch-ua-platform: "Windows"
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
Chrome/140.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
application/signed-exchange;v=b3;q=0.7
Sec-Fetch-Site: same-origin
Accept-Encoding: gzip, deflate
Accept-Language: de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7,fr;q=0.6
"""
FORM = {"name": "Gewächshaus Süd", "ssid": "Café Müller 2.4", "password": "a&b=c+d %", "interval": "15"}


class Wrong(Exception):
    """An answer is not the right one, or there is none; the text says which."""


@dataclass(frozen=True)
class Request:
    """The bytes to send, and whether the body that comes back is right."""

    name: str
    data: bytes
    is_right: Callable[[bytes], bool]


def _request(line: str, headers: str, body: bytes = b"") -> bytes:
    return f"{line} HTTP/1.1\n{headers}\n".replace("\n", "\r\n").encode() + body


def _same_form(body: bytes) -> bool:
    try:
        return json.loads(body) == FORM
    except ValueError:
        return False


def _two_numbers(body: bytes) -> bool:
    return len(body.split()) == 2 and body.replace(b"\n", b"").isdigit()


_BODY = urlencode(FORM).encode()
_FORM_HEADERS = f"""\
{_BROWSER}Content-Length: {len(_BODY)}
Cache-Control: max-age=0
Origin: http://192.168.4.1
Content-Type: application/x-www-form-urlencoded
Referer: http://192.168.4.1/
"""
GET = Request("GET /", _request("GET /", _BROWSER), INDEX.__eq__)
TIPS_PAGE = Request("GET /tips", _request("GET /tips", _BROWSER), TIPS.__eq__)
POST = Request("POST /form", _request("POST /form", _FORM_HEADERS, _BODY), _same_form)
MEMORY = Request("GET /mem", _request("GET /mem", "Host: 192.168.4.1\n"), _two_numbers)
SETTLED = Request("GET /gc", _request("GET /gc", "Host: 192.168.4.1\n"), _two_numbers)
MIX = (GET, TIPS_PAGE, POST)


def closing(request: Request) -> Request:
    """The same from a client that wants no second one: the server closes when it has answered."""
    if b"Connection: keep-alive" in request.data:
        return _CLOSING[request.name]
    head, end, body = request.data.partition(b"\r\n\r\n")
    return Request(request.name, head + b"\r\nConnection: close" + end + body, request.is_right)


_CLOSING = {
    r.name: Request(r.name, r.data.replace(b"Connection: keep-alive", b"Connection: close"), r.is_right) for r in MIX
}


def check(request: Request, answer: bytes) -> bytes:
    """The body of the right answer; raises Wrong."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if head[:5] != b"HTTP/" or head[8:12] != b" 200" or not request.is_right(body):
        line = answer.split(b"\r\n")[0][:60].decode(errors="replace")
        raise Wrong(f"{request.name}: {f'{line}, {len(body)} bytes of body' if answer else 'closed with no answer'}")
    return body


def _connected(port: int) -> _socket.socket:
    """A blocking socket. The deadline is the kernel's: Python's own costs a system call more for each of ours."""
    sock = _socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL)
        sock.connect((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock


def exchange(port: int, request: Request) -> bytes:
    """All that comes back to one request on a connection of its own, read until the server closes and not looked at.
    Raises Wrong when there is no connection or no end."""
    try:
        sock = _connected(port)
        try:
            sock.send(request.data)
            answer = b""
            while data := sock.recv(65536):
                answer += data
        finally:
            sock.close()
    except OSError as error:
        raise Wrong(f"{request.name}: {error or type(error).__name__}") from None
    return answer


def ask(port: int, request: Request) -> bytes:
    """The same, looked at: the body of the right answer. Raises Wrong."""
    return check(request, exchange(port, request))


class Kept:
    """A connection for one request after the other, opened anew when the server ends it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock: _socket.socket | None = None

    def ask(self, request: Request) -> bytes:
        """The body of the right answer; raises Wrong."""
        try:
            sock = self._sock = self._sock or _connected(self._port)
            sock.send(request.data)
            answer, whole = b"", -1
            while len(answer) != whole:
                data = sock.recv(65536)
                if not data:
                    break
                answer += data
                end = answer.find(b"\r\n\r\n")
                if end >= 0 and whole < 0:
                    length = answer.find(b"Content-Length:")
                    whole = end + 4 + int(answer[length + 15 : answer.find(b"\r\n", length)])
        except (OSError, ValueError) as error:
            self.close()
            raise Wrong(f"{request.name} on a kept connection: {error or type(error).__name__}") from None
        if b"\r\nConnection: close\r\n" in answer[:end]:
            self.close()
        return check(request, answer)

    def close(self) -> None:
        if self._sock:
            self._sock.close()
        self._sock = None
