"""Keeps tasks alive and the watchdog honest: a task that dies is started again, one that hangs stops the feeding.

Owns the heartbeats and the uptime. Must not know what the tasks do.
"""

import asyncio
import gc
from time import ticks_diff, ticks_ms

from app import log
from micropython import const

_LIMIT_MS = const(45000)  # the longest a task may be silent: a dead name server blocks everything for 14 s
_PERIOD_MS = const(2000)

beats = {}  # ticks_ms of the last heartbeat by name of the task
restarts = {}  # deaths by name of the task
uptime_ms = 0


async def keep(name: str, run: "Any", *args: "Any") -> None:
    """Run `run(*args, beat)` for ever, again after 2 s if it ends or dies. It must call `beat()` in time."""

    def beat() -> None:
        beats[name] = ticks_ms()

    while True:
        beat()
        try:
            await run(*args, beat)
        except MemoryError:
            gc.collect()  # and say it without the import that a traceback takes
            log.warning(name, "out of memory")
        except Exception as error:
            report(error, name)
        restarts[name] = restarts.get(name, 0) + 1
        beat()
        await asyncio.sleep_ms(_PERIOD_MS)


def report(error: Exception, name: str = "web") -> None:
    """Log an exception that nobody expected, with its traceback."""
    from app.web.words import traceback

    log.warning(name, "%s", traceback(error))


async def watch(feed: "Any", look: "Any") -> None:
    """Call `feed()` of the watchdog while every task beats, and the memory guard's `look()`. Never returns; a silent
    task ends in a reset."""
    global uptime_ms
    last = ticks_ms()
    while True:
        look()
        now = ticks_ms()
        uptime_ms += ticks_diff(now, last)
        last = now
        late = [name for name in beats if ticks_diff(now, beats[name]) > _LIMIT_MS]
        if late:
            log.warning("health", "silent, so the watchdog will reset: %s", late)
        else:
            feed()
        await asyncio.sleep_ms(_PERIOD_MS)
