"""The bench's app on Tally's httpd. Started by bench_tally.py: PORT, and `keep` to leave connections open."""

import asyncio
import gc
import json
import sys

import micropython
from bench_pages import INDEX, TIPS
from httpd import Server  # first: its .mpy is also the http_request that forms imports

gc.collect()
import forms

gc.collect()


class Pages:
    async def get(http):
        if http.path == "/":
            return INDEX
        if http.path == "/tips":
            return TIPS
        if http.path == "/gc":
            gc.collect()
        http.head(200, "text/plain")
        return "%d\n%d\n" % (micropython.mem_total(), gc.mem_alloc())


class Form:
    async def post(http):
        fields = await forms.read(http)
        http.head(200, "application/json")
        return json.dumps(fields)


def close(http):
    """One request per connection, as microdot does."""
    http.keep = False


async def serve(port, keep):
    gc.collect()  # the buffers close together
    server = Server("127.0.0.1", port, {"/": Pages, "/tips": Pages, "/form": Form, "/mem": Pages, "/gc": Pages})
    if not keep:
        server.check = close
    task = asyncio.create_task(server.run())
    await asyncio.sleep_ms(0)
    # It listens. What made it is dropped, as on the device; a deleted entry keeps its value.
    core = sys.modules["http_request"]
    sys.modules["http_listen"] = Server.__init__ = core.Request.__init__ = core.want = None
    del sys.modules["http_listen"]
    gc.collect()
    print("READY", gc.mem_alloc())
    await task


def main(port, keep):
    asyncio.run(serve(port, keep))
