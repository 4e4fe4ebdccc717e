"""The bench's app on Tally's httpd. Started by bench_tally.py: PORT, and `keep` to leave connections open."""

import asyncio
import gc
import json
import sys

import micropython
from bench_pages import INDEX, TIPS
from httpd import Server  # first: its .mpy is also the http_request that forms imports

import forms


class Pages:
    async def get(http):
        return INDEX if http.path == "/" else TIPS


class Form:
    async def post(http):
        fields = await forms.read(http)
        http.head(200, "application/json")
        return json.dumps(fields)


class Memory:
    async def get(http):
        if http.path == "/gc":
            gc.collect()
        http.head(200, "text/plain")
        return "%d\n%d\n" % (micropython.mem_total(), gc.mem_alloc())


def close(http):
    """One request per connection, as microdot does."""
    http.keep = False


async def serve(port, keep):
    server = Server("127.0.0.1", port, {"/": Pages, "/tips": Pages, "/form": Form, "/mem": Memory, "/gc": Memory})
    if not keep:
        server.check = close
    task = asyncio.create_task(server.run())
    await asyncio.sleep_ms(0)
    # It listens. What made it is dropped, as on the device; a deleted entry keeps its value.
    sys.modules["http_seldom"] = Server.__init__ = sys.modules["http_request"].Request.__init__ = None
    del sys.modules["http_seldom"]
    gc.collect()
    print("READY", gc.mem_alloc())
    await task


def main(port, keep):
    asyncio.run(serve(port, keep))
