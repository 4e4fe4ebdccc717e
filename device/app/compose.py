"""The composition root: makes every part of the application and starts its tasks. Imported at boot, then dropped.

Buffers come first, while memory is whole, then Wi-Fi. Leaves no function of its own behind, so that nothing keeps
this module in memory.
"""

import asyncio
import gc

from app import board, health, log, site
from app.clock import Clock
from app.memory import Guard
from app.sampler import Sampler
from app.sensors import internal
from app.settings import load
from app.store import SampleQueue
from app.telemetry import Telemetry
from app.web.words import reset_cause
from app.wifi import WiFi
from http_connection import Connection
from http_request import Request
from httpd import Server

_QUEUE_SAMPLES = 256  # 42 minutes at the default period


def compose(rescue: bool, unique_id: bytes, cause: int) -> None:
    """Fill `site` and start the tasks in the running loop; in rescue mode only Wi-Fi, clock, guard and web."""
    site.device = "tally-%02x%02x%02x" % tuple(unique_id[3:])
    site.boot = board.count_up("boot", 1) + 1
    log.info(
        "main", "tally %s on %s, boot %d after %s",
        board.APP_VERSION, site.device, site.boot, reset_cause(cause),
    )
    site.settings, problems = load()
    for problem in problems:
        log.warning("settings", "%s", problem)
    _make(site.settings)
    tasks = [
        ("wifi", site.wifi.run),
        ("web", site.server.run),
        ("clock", site.clock.run, site.wifi),
    ]
    if not rescue:
        tasks += [("sampler", site.sampler.run), ("telemetry", site.telemetry.run, site.wifi)]
    for task in tasks:
        asyncio.create_task(health.keep(*task))
    forget_constructors()
    site.evict()


def forget_constructors() -> None:
    """Drop the code that makes what exists once and for good: over 1 KB that would never run again."""
    for kind in (SampleQueue, Server, Connection, Request, Guard, Clock, Sampler, Telemetry, WiFi):
        kind.__init__ = None  # type: ignore  (del would keep the value: MicroPython's maps do)


def _make(values: dict) -> None:
    site.store = SampleQueue(_QUEUE_SAMPLES, len(internal.FIELDS), board.count_up)
    gc.collect()
    before = gc.mem_alloc()
    server: "Any" = Server(values["web_host"], values["web_port"], site.ROUTES)
    server.bytes_held = gc.mem_alloc() - before
    server.check = site.check
    server.load = site.load
    server.on_error = health.report
    site.server = server
    site.guard = Guard()
    site.clock = Clock()
    site.sampler = Sampler(internal.read, site.store, site.clock, values)
    body_start = '{"device":"%s","app":"%s","boot":%d,"fields":["%s"],"readings":[' % (
        site.device, board.APP_VERSION, site.boot, '","'.join(internal.FIELDS),
    )
    site.telemetry = Telemetry(values, site.store, site.clock, site.device, body_start)
    site.wifi = WiFi(values, site.device)
