"""The composition root: makes every part of the application and starts its tasks. Imported at boot, then dropped.

Step by step, and what a step needs is dropped before the next: settings, sensors, the log; then the buffers, while
memory is whole, and Wi-Fi. Leaves no function of its own behind, so that nothing keeps this module in memory.
"""

import asyncio
import gc

from app import board, health, log, site
from app.clock import Clock
from app.memory import Guard
from app.sampler import Sampler
from app.store import BOOT, Store
from app.telemetry import Telemetry
from app.web.words import reset_cause
from app.wifi import WiFi
from http_client import Client
from http_connection import Connection
from http_request import Request
from httpd import Server
from micropython import const
from ring_log import RingLog

_ROOM_BYTES = const(10800)  # free when sensors are made, for what is made after them and for a page


def compose(rescue: bool, unique_id: bytes, cause: int) -> None:
    """Fill `site` and start the tasks in the running loop; in rescue mode only Wi-Fi, clock, guard and web."""
    site.device = "tally-%02x%02x%02x" % tuple(unique_id[3:])
    site.boot = board.count_up("boot", 1) + 1
    log.info(
        "main", "tally %s on %s, boot %d after %s",
        board.APP_VERSION, site.device, site.boot, reset_cause(cause),
    )
    _load_settings()
    site.evict()
    names = _make_sensors("" if rescue else site.settings["sensors"])
    site.evict()
    _open_store(names, cause)
    site.evict()
    _make(site.settings)
    tasks = [
        ("wifi", site.wifi.run),
        ("web", site.server.run),
        ("clock", site.clock.run, site.wifi),
    ]
    if not rescue:
        tasks.append(("telemetry", site.telemetry.run, site.wifi))
        if site.sampler.sensors:
            tasks.append(("sampler", site.sampler.run))
    for task in tasks:
        asyncio.create_task(health.keep(*task))
    forget_constructors()
    site.evict()


def forget_constructors() -> None:
    """Drop the code that makes what exists once and for good: over 2 KB that would never run again."""
    for kind in (
        RingLog, Store, board.LogFlash, Server, Connection, Request, Guard, Clock, Sampler, Telemetry, Client, WiFi,
    ):
        kind.__init__ = None  # type: ignore  (del would keep the value: MicroPython's maps do)
    board.log_flash = None  # type: ignore


def _load_settings() -> None:
    from app.settings import load

    site.settings, problems = load()
    for problem in problems:
        log.warning("settings", "%s", problem)


def _make_sensors(text: str) -> str:
    """The sampler with its sensors; returns the names of all values."""
    from app.sensors.make import make

    def room() -> bool:
        gc.collect()
        return board.memory()[1] > _ROOM_BYTES

    sensors, names, problems = make(text, room)
    for problem in problems:
        log.warning("sensors", "%s", problem)
    site.clock = Clock()
    site.sampler = Sampler(sensors, site.clock, site.settings)
    return ",".join(names)


def _open_store(names: str, cause: int) -> None:
    """The log, and what it knows of the time before this start: for the clock, and for sensors that count on."""
    from app.store_open import newest, open_store

    clock = site.clock
    store = site.store = site.sampler.store = open_store(board.log_flash(), names, site.boot, clock, board.count_up)
    site.boot = store.boot  # the log may know of more
    site.sampler.taken = store.stored + store.rejected
    if store.is_memory:
        log.warning("store", "no log partition: samples are in memory only and gone at a reset, see make flash")
    last_s, totals = newest(store)
    del newest, open_store
    site.evict()
    from app.timesync import estimate

    estimate(clock, last_s)
    clock.on_sync = store.synced
    store.mark(BOOT, clock.quality, clock.base_s, site.boot, cause)
    fields = names.split(",")
    for _, sensor in site.sampler.sensors:
        if hasattr(sensor, "restore"):
            sensor.restore(tuple([totals.get(name) for name in fields[: len(sensor.fields)]]))
        del fields[: len(sensor.fields)]
        kind: "Any" = type(sensor)
        kind.__init__ = None  # as forget_constructors does; asked for again, it is another class


def _make(values: dict) -> None:
    gc.collect()
    before = gc.mem_alloc()
    server: "Any" = Server(values["web_host"], values["web_port"], site.ROUTES)
    server.bytes_held = gc.mem_alloc() - before
    server.check = site.check
    server.load = site.load
    server.on_error = health.report
    site.server = server
    site.guard = Guard()
    site.telemetry = Telemetry(values, site.store, site.clock, site.device, board.APP_VERSION)
    site.wifi = WiFi(values, site.device)
