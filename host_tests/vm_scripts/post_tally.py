"""One POST of 120 records by the application's own code: the built modules, the task, a log on flash."""

import asyncio
import gc

import post_world
import tally  # noqa: F401
from app import site
from app.board import set_clock
from app.clock import Clock
from app.telemetry import Telemetry
from store_flash import Flash
from store_world import UNIX_S, Board

post_world.noting_calls(Flash, "read")
BATCH = 120
_NAMES = "room_temp_c,room_press_hpa,room_hum_pct,tank_temp_c,tank_hum_pct"
_LOOK_MS = 5
_MOST_LOOKS = 6000
_SETTLE_MS = 50

_errors = [None]


class _Wifi:
    """A station that is connected."""

    ip = "127.0.0.1"
    _config = ("127.0.0.1",) * 4

    def __init__(self):
        self.wlan = self

    def ifconfig(self):
        return self._config


def main(url, mode, free_bytes=0):
    """Deliver one batch, so that what stays of the first is there; when the task sleeps again, count the next one, with
    as many records behind it."""
    gc.threshold(post_world.BOARDS_THRESHOLD_BYTES)
    done = 0
    try:
        done = asyncio.run(_run(url, mode, free_bytes))
    except MemoryError as error:
        _errors[0] = error
    post_world.end(done, _errors[0])


async def _run(url, mode, free_bytes):
    store, clock = _board()
    _take(store, clock, BATCH)
    telemetry = Telemetry(_settings(url), store, clock, "tally-a1b2c3", "1.0.0")
    asyncio.get_event_loop().set_exception_handler(_note)
    asyncio.create_task(telemetry.run(_Wifi(), lambda: None))
    await _delivered(store, 0)
    if store.pending() or _errors[0]:
        raise RuntimeError("the first batch was not delivered: %s %r" % (telemetry.state, _errors[0]))
    await asyncio.sleep_ms(_SETTLE_MS)
    _take(store, clock, 2 * BATCH)
    site.evict()
    failures = telemetry.failures
    post_world.begin(mode, free_bytes)
    await _delivered(store, BATCH, telemetry, failures)
    return 2 * BATCH - store.pending()


def _board():
    """The store and the clock of a board that was synced."""
    set_clock(UNIX_S * 1000)
    board = Board(Flash(16), _NAMES)
    clock = board.clock = Clock()
    clock.quality = 2
    clock.synced_ms = clock.uptime_ms()
    clock.base_s = UNIX_S
    return board.boot(), clock


def _settings(url):
    import config

    settings = {name.lower(): getattr(config, name) for name in dir(config) if name.isupper()}
    settings.update(telemetry_url=url, telemetry_period_s=1, telemetry_format="json", telemetry_batch=BATCH)
    return settings


def _take(store, clock, count):
    for i in range(count):
        store.append(clock.stamp() - 60 * (count - i), 2, (21.53, 1013.27, 48.25, 19.8, 51.4))


def _note(loop, context):
    _errors[0] = context["exception"]


async def _delivered(store, left, telemetry=None, failures=0):
    """Until no more than `left` records wait, or it failed."""
    for _ in range(_MOST_LOOKS):
        if store.pending() <= left or _errors[0] or (telemetry and telemetry.failures > failures):
            break
        await asyncio.sleep_ms(_LOOK_MS)
