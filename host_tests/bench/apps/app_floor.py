"""The bench's app on nothing: what asyncio's streams cost by themselves. It checks nothing, so it is a lower bound and
no server to use. Started by bench_floor.py: PORT."""

import asyncio
import gc
import json

import micropython
from bench_pages import INDEX, TIPS


def decode(text):
    parts = text.replace("+", " ").split("%")
    return (parts[0].encode() + b"".join(bytes([int(p[:2], 16)]) + p[2:].encode() for p in parts[1:])).decode()


async def handle(reader, writer):
    path = (await reader.readline()).split(b" ")[1]
    length = 0
    while len(line := await reader.readline()) > 2:
        if line[:15].lower() == b"content-length:":
            length = int(line[15:])
    body = INDEX if path == b"/" else TIPS
    if path == b"/form":
        pairs = [pair.split("=") for pair in (await reader.readexactly(length)).decode().split("&")]
        body = json.dumps({decode(name): decode(value) for name, value in pairs}).encode()
    elif path in (b"/mem", b"/gc"):
        path == b"/gc" and gc.collect()
        body = b"%d\n%d\n" % (micropython.mem_total(), gc.mem_alloc())
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
    writer.write(body)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def serve(port):
    await asyncio.start_server(handle, "127.0.0.1", port, backlog=16)
    gc.collect()
    print("READY", gc.mem_alloc())
    await asyncio.Event().wait()


def main(port, keep):
    asyncio.run(serve(port))
