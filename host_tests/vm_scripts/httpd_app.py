"""The application of httpd_board.py: pages that do what handlers do wrong, and a look at the server's inside.

Runs on the virtual board as /lib/httpd_app.mpy. Only what the tests of the HTTP server need.
"""

import asyncio
import gc
import json

import network
from http_request import Reject
from httpd import Server

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
_LINE = "<p>0123456789 0123456789 0123456789 0123456789 012345678</p>\n"
_PIECE = b"0123456789abcdef" * 16
_BIG_PIECES = 160

answers = [0] * 6  # by class of status
errors = busy = 0
server = None


class Page:
    def __init__(self, **methods):
        for name, function in methods.items():
            setattr(self, name, function)


async def index(http):
    http.head(200, "text/html; charset=utf-8")
    await http.write("<!DOCTYPE html><title>Board</title>\n")
    for _ in range(16):
        await http.write(_LINE)
    return "</html>\n"


async def tips(http):
    return "tips\n"


async def query(http):
    import forms

    return json.dumps(forms.parse(bytearray(http.query.encode())))


async def form(http):
    import forms

    fields = await forms.read(http)
    http.head(200, JSON)
    return json.dumps(fields)


async def upload(http):
    import forms

    size_bytes = 0
    while True:
        piece = await forms.piece(http)
        if not piece:
            break
        size_bytes += len(piece)
        http.expires(15000)
    return "%d\n" % size_bytes


async def slow(http):
    await asyncio.sleep_ms(5000)
    return "slow\n"


async def boom(http):
    raise ValueError("boom")


async def boom_late(http):
    for _ in range(8):
        await http.write(_PIECE)
    raise ValueError("boom, late")


async def hungry(http):
    return bytearray(1 << 20)


async def hungry_late(http):
    for _ in range(8):
        await http.write(_PIECE)
    return bytearray(1 << 20)


async def hog(http):
    spare = [bytearray(48) for _ in range(24)]  # room for what is small: without any, asyncio itself ends
    held = None
    for size in (1024, 64, 16):
        try:
            while True:
                held = (held, bytearray(size))
        except MemoryError:
            pass
    spare = None
    await asyncio.sleep_ms(1000)
    held = None
    gc.collect()
    return "hog\n"


async def big(http):
    for _ in range(_BIG_PIECES):
        await http.write(_PIECE)


async def item(http):
    http.head(200, TEXT)
    return http.parameter


async def secret(http):
    return "secret\n"


async def switch(http):
    global busy
    import forms

    busy = int((await forms.read(http))["on"])
    return "busy %d\n" % busy


async def figures(http):
    gc.collect()
    http.head(200, JSON)
    names = "requests", "refused", "failed", "evicted", "expired"
    data = {name: getattr(server, name) for name in names}
    data["slots"] = sum(1 for conn in server.slots if conn.task)
    data["answers"] = answers
    data["errors"] = errors
    data["alloc"] = gc.mem_alloc()
    data["free"] = gc.mem_free()
    return json.dumps(data)


def check(http):
    if busy and http.path != "/busy":
        raise Reject(503, "busy", "Retry-After: 7\r\n")
    if http.path == "/secret" and b"Authorization" not in http.headers:
        raise Reject(401, "who are you?", 'WWW-Authenticate: Basic realm="board"\r\n')


def on_error(error):
    global errors
    errors += 1


def done(http):
    answers[http.status // 100] += 1


def beat():
    wlan.isconnected()  # evaluates the link, as app.wifi does


async def run(ssid, password):
    global server, wlan
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.connect(ssid, password)
    while not wlan.isconnected():
        await asyncio.sleep_ms(100)
    routes = {
        "/": Page(get=index),
        "/tips": Page(get=tips),
        "/query": Page(get=query),
        "/form": Page(post=form),
        "/upload": Page(post=upload, put=upload),
        "/slow": Page(get=slow),
        "/boom": Page(get=boom),
        "/boom-late": Page(get=boom_late),
        "/hungry": Page(get=hungry),
        "/hungry-late": Page(get=hungry_late),
        "/hog": Page(get=hog),
        "/big": Page(get=big),
        "/item/*": Page(get=item),
        "/secret": Page(get=secret),
        "/busy": Page(post=switch),
        "/figures": Page(get=figures),
        "/files/*": "httpd_bodies",
        "/made/*": "httpd_bodies",
    }
    server = Server("0.0.0.0", 80, routes)
    server.check = check
    server.on_error = on_error
    server.done = done
    gc.collect()
    print("serving", gc.mem_alloc())
    await server.run(beat)
