"""Pages of httpd_app.py whose bodies are files, generators or streams of events. Loaded when one is first asked for.

`/files/NAME` is a file of /www; `/made/NAME` is the function NAME of `_PAGES`, told more by the query.
"""

import json

import http_events
import http_files
from http_request import want

want(b"Last-Event-ID")  # the next request has it

_FLOOD = "x" * 600

said = []
opened = closed = 0
file = None


async def get(http):
    if http.path.startswith("/files/"):
        await http_files.send(http, "/www", http.parameter)
        return None
    return await _PAGES[http.parameter](http)


def _pieces(count, bad):
    global opened, closed
    opened += 1
    try:
        for n in range(count):
            if n == bad:
                raise ValueError("boom in a generator")
            yield "%03d " % n * 64 if n & 1 else b"%03d\n" % n * 64
        if bad == count:
            raise ValueError("boom at the end of a generator")
    finally:
        closed += 1


async def pieces(http):
    """`?count` or `?count&the piece that fails`"""
    count, _, bad = http.query.partition("&")
    return _pieces(int(count), int(bad or -1))


async def opened_file(http):
    """`?name`; one at a time, so that it can be seen whether it was closed"""
    global file
    file = open("/www/" + http.query, "rb")
    http.head(200, "application/octet-stream")
    return file


class _Failing:
    """A file whose flash fails when 600 bytes are read."""

    left = 600

    def __init__(self):
        global opened
        opened += 1

    def readinto(self, room):
        if not self.left:
            raise OSError(5)
        n = min(len(room), self.left)
        self.left -= n
        return n

    def close(self):
        global closed
        closed += 1


async def failing_file(http):
    return _Failing()


async def some_bytes(http):
    return b"\x00\xff\r\n\r\n"


async def some_text(http):
    return "K\u00fcche\n"


async def nothing(http):
    return None


async def fate(http):
    """What became of generators and the file."""
    try:
        open_file = bool(file) and file.seek(0) == 0
    except ValueError:
        open_file = False
    return json.dumps({"opened": opened, "closed": closed, "open_file": open_file})


async def events(http):
    at = len(said)

    def poll():
        nonlocal at
        if at < len(said):
            at += 1
            return said[at - 1]

    await http_events.send(http, poll)


async def flood(http):
    await http_events.send(http, lambda: _FLOOD, 50)


async def say(http):
    said.append(http.query)


async def cookie(http):
    from cookies import cookie

    return cookie(http, http.query)


async def last_event(http):
    return http.headers.get(b"Last-Event-ID", "unknown")


_PAGES = {
    "pieces": pieces,
    "opened-file": opened_file,
    "failing-file": failing_file,
    "bytes": some_bytes,
    "text": some_text,
    "nothing": nothing,
    "fate": fate,
    "events": events,
    "flood": flood,
    "say": say,
    "cookie": cookie,
    "last-event": last_event,
}
