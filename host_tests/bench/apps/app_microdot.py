"""The bench's app on microdot. Started by bench_microdot.py: PORT."""

import asyncio
import gc
import json

import micropython
from bench_pages import INDEX, TIPS
from microdot import Microdot

HTML = {"Content-Type": "text/html; charset=utf-8"}

app = Microdot()


@app.get("/")
async def index(request):
    return INDEX, 200, HTML


@app.get("/tips")
async def tips(request):
    return TIPS, 200, HTML


@app.post("/form")
async def form(request):
    fields = {name: request.form[name] for name in request.form}
    return json.dumps(fields), 200, {"Content-Type": "application/json"}


@app.get("/mem")
async def mem(request):
    return "%d\n%d\n" % (micropython.mem_total(), gc.mem_alloc())


@app.get("/gc")
async def collect(request):
    gc.collect()
    return "%d\n%d\n" % (micropython.mem_total(), gc.mem_alloc())


async def serve(port):
    serving = asyncio.create_task(app.start_server("127.0.0.1", port))
    while not getattr(app, "server", None):
        await asyncio.sleep_ms(1)
    gc.collect()
    print("READY", gc.mem_alloc())
    await serving


def main(port, keep):
    if keep:
        print("microdot closes after every answer: it has no `keep`")
        raise SystemExit(2)
    asyncio.run(serve(port))
