"""Setting the clock from the network, and the time of samples taken before it was set. Imported to do it, dropped
again."""

import ntptime
from app import log, site
from app.board import unix_s
from app.clock import Clock

_RESYNC_S = 21600
_RETRY_S = 5
_MOST_RETRY_S = 600


def ask(clock: Clock) -> int:
    """Ask NTP once; seconds until the next time. Blocks up to a second, and as long as the name server does: that
    is what the stock ntptime offers."""
    before_s, quality = clock.now()
    try:
        ntptime.settime()
    except OSError as error:
        clock.failures += 1
        wait_s = min(_RETRY_S << clock.failures, _MOST_RETRY_S)
        log.warning("clock", "no time from NTP (error %s), next try in %d s", error.errno, wait_s)
        return wait_s
    step_s = unix_s() - before_s
    clock.failures = 0
    clock.quality = 2
    if quality:
        log.info("clock", "set by NTP, was %d s off", step_s)
    else:
        log.info("clock", "set by NTP")
        site.sampler.period_ms = 0
        restamp(site.store, step_s)
    return _RESYNC_S


def restamp(store: "Any", step_s: int) -> None:
    """Add `step_s` to the time of pending samples without one (quality 0), which makes it estimated (1)."""
    for seq in range(store.first_pending, store.next_seq):
        own_s, quality, *values = store.read(seq)
        if not quality:
            store.put(seq, own_s + step_s, 1, values)
