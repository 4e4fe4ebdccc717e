"""Setting the clock: whom to believe and what to do about it. Imported to do it, dropped again.

Owns the rules of docs/time.md. Must not know how the time was asked for (app.ntpsync). All offers are compared as Unix
time at uptime 0, so that setting the clock disturbs none.
"""

from app import log
from app.board import set_clock, unix_s
from app.board import clock_ms as chip_ms
from app.timerules import EPOCH_MS, agree, chip_base_ms, sane, slack_ms
from micropython import const

_DAY_MS = const(86400000)
_HOUR_MS = const(3600000)
_DOUBT_MS = const(600000)  # a step over this needs a second answer
_HTTP_ERROR_MS = const(2000)  # half a second of the Date's resolution, the rest is the answer's way

_ESTIMATED = const(1)
_SYNCED = const(2)
_RANK = {"browser": 1, "http": 2, "ntp": 3}
_WHO = {"browser": "a browser", "http": "HTTP", "ntp": "NTP"}


def estimate(clock: "Any", last_s: int) -> None:
    """At boot: go on with the clock that ran through the reset, or with the time of the newest record (Unix seconds, 0
    for none) where that is later."""
    if sane(last_s * 1000) and unix_s() < last_s:
        _move(clock, last_s * 1000 - chip_base_ms(clock))
        clock.source = "last"
    elif unix_s():
        clock.source = "kept"
    else:
        return
    clock.quality = _ESTIMATED
    clock.base_s = chip_base_ms(clock) // 1000


def set_time(clock: "Any", unix_ms: int, source: str, error_ms: int) -> tuple:
    """Weigh an offer of the time it is now, right to `error_ms`, by "ntp", "http" or "browser": (whether it was taken,
    what came of it in words)."""
    if not sane(unix_ms):
        return False, "not set, that is before 2024 or after 2067"
    age_ms = clock.uptime_ms() - clock.synced_ms
    better = _RANK[source] - _RANK.get(clock.source, 0)
    if better < 0 and age_ms < _DAY_MS:
        return False, "left alone, %s set it %d minutes ago" % (_WHO[clock.source], age_ms // 60000)
    base_ms = unix_ms - clock.uptime_ms()
    off_ms = base_ms - chip_base_ms(clock)
    if source == "browser":  # by whole seconds, as it is no better: slots stay whole seconds of the uptime
        off_ms = (off_ms + 500) // 1000 * 1000
    step_s = 0
    tell = None
    if clock.quality < _SYNCED:
        said = "set by " + _WHO[source]
        tell = log.info
        clock.base_s = (chip_base_ms(clock) + off_ms) // 1000
    elif abs(off_ms) <= error_ms:
        _note(clock, base_ms, source)
        return True, "right already"
    elif abs(off_ms) <= slack_ms(age_ms):
        said = "corrected by %d ms" % off_ms
        # Samples that were taken keep their time, so that the order stays; a slot must not come again for that.
        clock.shift_ms -= min(off_ms, 0)
    elif abs(off_ms) > _DOUBT_MS and not agree(clock.doubt_ms, base_ms, error_ms):
        clock.doubt_ms = base_ms
        return False, "left alone, %d s off needs a second answer that says the same" % (off_ms // 1000)
    else:
        step_s = (chip_base_ms(clock) + off_ms) // 1000 - chip_base_ms(clock) // 1000
        said = "stepped %s %d s, by %s" % ("back" if step_s < 0 else "ahead", abs(step_s), _WHO[source])
        tell = log.warning
        clock.steps += 1
        clock.step_s = step_s
        clock.steps_s += step_s
        clock.mark = None
    _note(clock, base_ms, source)
    _move(clock, off_ms)
    if tell:  # with the new time in front
        tell("clock", "%s", said)
    if clock.on_sync:
        clock.on_sync(step_s)
    return True, said


def _move(clock: "Any", off_ms: int) -> None:
    """Set the chip's clock; the uptime goes on as if nothing had happened."""
    set_clock(chip_ms() + EPOCH_MS + off_ms)
    clock.origin_ms += off_ms
    clock.shift_ms += off_ms


def _note(clock: "Any", base_ms: int, source: str) -> None:
    """Note who was believed, and from two answers of NTP how fast the chip's clock runs."""
    if source != "browser":
        clock.quality = _SYNCED
    elif clock.quality < _SYNCED:
        clock.quality = _ESTIMATED
    clock.source = source
    clock.synced_ms = uptime_ms = clock.uptime_ms()
    clock.doubt_ms = None
    if source == "ntp":
        mark_ms, mark_base_ms = clock.mark or (uptime_ms, base_ms)
        span_ms = uptime_ms - mark_ms
        if span_ms >= _HOUR_MS:
            clock.ppm = ((mark_base_ms - base_ms) * 1000000 + span_ms // 2) // span_ms
        if not 0 < span_ms < _HOUR_MS:
            clock.mark = uptime_ms, base_ms


def from_http(clock: "Any", head: bytes) -> None:
    """Offer the Date of an HTTP answer, if `head` has one that can be read."""
    from http_date import parse

    for line in head.split(b"\r\n"):
        if line[:5].lower() == b"date:":
            try:
                unix_s = parse(str(line[5:], "utf-8"))
            except ValueError:
                return
            set_time(clock, unix_s * 1000 + 500, "http", _HTTP_ERROR_MS)
