"""Bodies that do not fit into memory: files with ETag, ranges and gzip, generators. Imported on demand.

A file is read into the connection's own buffer, so it costs no memory. Must not know what the files are for.
"""

from asyncio import core  # type: ignore  (MicroPython's asyncio is a package; pyright is shown CPython's)
from os import stat

from http_connection import SEND
from http_request import Reject
from micropython import const

_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
_FILE = const(0x8000)  # in the mode, against a folder
_TAIL_BYTES = const(7)  # of the buffer, which belong to the connection
_ANSWER_MS = const(15000)  # as httpd gives to every answer
_CRC_BYTES = const(8)  # CRC-32 and length at the end of a gzip file (RFC 1952 2.3.1)


async def send(http: "Any", folder: str, name: str, extra: str = "Cache-Control: max-age=86400\r\n") -> None:
    """Answer with a file of `folder`, or with its gzipped form `name`.gz to clients that take it. 304 for a client that
    has it (RFC 9110 13.1.2), 206 for one range of it (14). Raises Reject: 404, also for names that lead elsewhere, 406
    when there is only a gzipped form and the client can't take it, 416."""
    headers = http.headers
    path = folder + "/" + name
    status = 404
    facts = None
    if "/" not in name and name[:1] != ".":
        if _stat(path + ".gz"):
            status = 406
            accepted = headers.get(b"Accept-Encoding", "") + ","
            if "gzip" in accepted and "gzip;q=0," not in accepted:
                path += ".gz"
                extra += "Content-Encoding: gzip\r\n"
        facts = _stat(path)
    if not facts:
        raise Reject(status)
    status = 200
    end = size_bytes = facts[6]
    first = 0
    with open(path, "rb") as file:
        file.seek(max(0, end - _CRC_BYTES))
        tag = '"%s-%x-%x"' % (file.read().hex(), size_bytes, facts[8])
        if tag in headers.get(b"If-None-Match", ""):
            status = 304
        elif http.method == "GET" and headers.get(b"If-Range", tag) == tag:
            first, end = _range(headers.get(b"Range", ""), size_bytes)
            if end - first < size_bytes:
                status = 206
                extra += "Content-Range: bytes %d-%d/%d\r\n" % (first, end - 1, size_bytes)
        extra += "Vary: Accept-Encoding\r\nAccept-Ranges: bytes\r\nETag: %s\r\n" % tag
        http.head(status, _TYPES.get(name.rsplit(".", 1)[-1], "text/plain"), extra, end - first)
        await http.write("")
        if status != 304:
            http.expires(_ANSWER_MS + size_bytes // 8)  # 8 KB a second is slow
            file.seek(first)
            if await _copy(http, file, end - first):
                raise core.CancelledError  # the file got shorter: only a cut connection tells the client


def _stat(path: str) -> "Any":
    try:
        facts = stat(path)
    except OSError:
        return None
    return facts if facts[0] & _FILE else None


def _range(text: str, size_bytes: int) -> tuple:
    """(first byte, end) for a Range header; all of the file for one that asks for several ranges or is none."""
    start, dash, last = text[6:].partition("-")
    if not dash or text[:6] != "bytes=" or not (start + last).isdigit() or start and last and int(last) < int(start):
        return 0, size_bytes
    first = int(start) if start else max(0, size_bytes - int(last))
    end = min(int(last) + 1, size_bytes) if start and last else size_bytes
    if first >= end:
        raise Reject(416, "", "Content-Range: bytes */%d\r\n" % size_bytes)
    return first, end


async def _copy(http: "Any", file: "Any", left: int) -> int:
    """Write `left` bytes of the file. Returns how many were missing."""
    if http.method == "HEAD":
        return 0
    while left:
        room = http.view[http.at : min(len(http.view) - _TAIL_BYTES, http.at + left)]
        n = file.readinto(room)
        if not n:
            break
        left -= n
        http.at += n
        await http.write("", SEND)
    return left


async def stream(http: "Any", pieces: "Any") -> str:
    """Write what a generator of text or bytes yields, or what a file holds, and close it. Returns the rest, ""."""
    try:
        if hasattr(pieces, "readinto"):
            await http.write("")
            await _copy(http, pieces, 1 << 29)
        else:
            for piece in pieces:
                await http.write(piece)
    finally:
        pieces.close()
    return ""
