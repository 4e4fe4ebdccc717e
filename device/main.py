"""Boot guard, the only .py on the board. Never raises: Ctrl-C goes to the REPL, anything else is written to RTC
memory and ends in a reset; 3 crashes within 5 minutes start rescue mode. The composition root is app/compose,
byte code that is dropped after use: this file is compiled on the board and stays in memory, so it is short.
"""

import gc

gc.threshold(4096)  # a fragmented heap grows at 35 KB live without this, and takes the memory of Wi-Fi
import machine
from time import sleep_ms, time

GRACE_MS = 2000  # for Ctrl-C and deploys before the watchdog
WATCHDOG_MS = 60000


def crashes() -> tuple:
    """(crashes within 5 minutes, chip time of the first); the note in RTC memory begins so."""
    try:
        count, first_s = [int(word) for word in machine.RTC().memory().split(b" ")[:2]]
    except ValueError:
        count = first_s = 0
    return (count, first_s) if 0 <= time() - first_s < 300 else (0, time())


def finish_deploy() -> None:
    """Put a committed deploy in place, see lib/install, and start over with it."""
    import os

    try:
        if "next" in os.listdir():
            staged = os.listdir("next")
            if "commit" in staged:
                import install

                if install.apply():
                    machine.reset()
            elif not staged:
                os.rmdir("next")  # cut off at the last step
    except Exception as error:
        print("deploy not finished:", repr(error))


async def run(rescue: bool) -> None:
    global finish_deploy
    finish_deploy = None  # type: ignore
    import tally  # noqa: F401  # type: ignore  (all that stays loaded, made by the build: app.* and the libraries)
    from app import health, site
    from app.compose import compose

    compose(rescue, machine.unique_id(), machine.reset_cause())
    del compose
    gc.collect()
    await health.watch(machine.WDT(timeout=WATCHDOG_MS).feed, site.guard.look)


def main() -> None:
    rescue = crashes()[0] >= 3
    if rescue:
        print("rescue mode after 3 crashes: no sampling, no telemetry")
    sleep_ms(GRACE_MS)
    finish_deploy()
    import asyncio

    asyncio.run(run(rescue))
    raise RuntimeError("the application ended")


def note_crash(error: BaseException) -> None:
    """Count the crash and keep its traceback in RTC memory; the count first, for which there is always room."""
    import io, sys

    count, first_s = crashes()
    note = "%d %d " % (count + 1, first_s)
    machine.RTC().memory(note)
    text: "Any" = io.StringIO()
    sys.print_exception(error, text)
    note += text.getvalue()[-500:]
    machine.RTC().memory(note)
    print("crash", note)
    sleep_ms(GRACE_MS)


try:
    main()
except KeyboardInterrupt:
    raise
except BaseException as error:
    gc.collect()
    try:
        note_crash(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # no memory left to tell it: reset all the same
        print("crash, and no memory to say why")
    machine.reset()
