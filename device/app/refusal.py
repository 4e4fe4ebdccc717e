"""What a failed POST means for the next one, by the table of docs/telemetry.md. Imported on a failure, and while one
lasts; then dropped.

Owns the pauses, and the search for a sample that the server refuses: a batch is halved until it is found, and it is
held only once the server takes another, so that a wrong address holds nothing.
"""

from binascii import crc32

from app import log, site
from micropython import const
from timing import backoff_ms

_MOST_SAMPLES = const(120)
_BASE_MS = const(2000)
_CAP_MS = const(900000)
_PAUSE_MS = const(60000)  # refused for good (3xx, 401, 403): a person must act, so asking often helps nobody
_STEP_MS = const(100)
_NOTHING_MS = const(10000)
_MOST_S = const(86400)  # of a Retry-After
_TLS = const(2)  # a phase of http_client
_FEW, _MANY = const(8), const(64)  # refused alone in a row, until the server is said to refuse everything
_PHASES = ("looking up its name", "connecting", "the TLS handshake", "sending", "waiting for its answer", "its answer")
_WORDS = {
    116: "took too long", 104: "it refused or broke off", 113: "broken off", 118: "no way there", 128: "it broke off",
    -202: "the name has no address", 12: "memory is short", 105: "memory is short", 23: "no socket is free",
}


def reset(t: "Any") -> None:
    """Forget what the server was found to take: the address may be of another."""
    t.failures = 0
    t.limit = _MOST_SAMPLES  # in a batch, less after a 413
    t.most = 0  # samples in the next batch, while one is searched that the server refuses
    t.window = 0  # samples from the next one on among which it is
    t.suspects = []  # numbers that were refused alone; the next batch begins behind them
    t.keyed = True  # with an Idempotency-Key


def retry_after_s(head: bytes) -> int:
    """Seconds of an answer's Retry-After (RFC 9110 10.2.3), given as such or as a date, counted from the answer's own;
    0 without one, a day at most."""
    lines = {}
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        lines[name.lower()] = value.strip().decode()
    value = lines.get(b"retry-after", "")
    wait_s = 0
    if value.isdigit():
        wait_s = int(value[:7])
    elif value:
        from http_date import parse

        try:
            now_s, is_set = site.clock.now()
            if b"date" in lines:
                now_s = is_set = parse(lines[b"date"])
            if is_set:
                wait_s = parse(value) - now_s
        except ValueError:
            pass
    return max(0, min(wait_s, _MOST_S))


def _why(t: "Any", status: int, error: "Any") -> str:
    """What went wrong, in words."""
    if status:
        said = "".join([chr(c) if 32 <= c < 127 else " " for c in t.client.said])
        hint = ""
        if 300 <= status < 400:
            hint = ", it is somewhere else: set the address it names"
        elif status in (401, 403):
            hint = ", it wants another telemetry_auth"
        return "the server answers %d%s%s" % (status, hint, said and ": " + said)
    if t.client.phase == _TLS and not isinstance(error, MemoryError):
        from app.secure import why

        said = why(error)
        if said:
            return said
    if isinstance(error, OSError):
        number: "Any" = error.errno  # TLS passes on those of the connection with the other sign
        said = _WORDS.get(number) or _WORDS.get(-number, "error")
        return "%s failed: %s (error %d)" % (_PHASES[t.client.phase], said, number)
    return "memory is short" if isinstance(error, MemoryError) else str(error)


def _pause(t: "Any", why: str, least_ms: int = 0, fixed: bool = False) -> int:
    """Say it and wait: with full jitter, drawn from the board's address, so that boards that lost their server
    together do not come back together."""
    t.failures += 1
    t.state = why
    t.error = "%s %s" % (log.stamp(), why)
    random_32 = crc32(b"%s %d %d" % (t.device.encode(), site.boot, t.failures))
    wait_ms = _PAUSE_MS if fixed else backoff_ms(t.failures, _BASE_MS, _CAP_MS, random_32)
    wait_ms = max(wait_ms, least_ms)
    log.warning("telemetry", "%s, next try in %d s", why, wait_ms // 1000)
    return wait_ms


def refused(t: "Any", status: int, error: "Any", first: int, count: int) -> int:
    """Milliseconds until the next try, after `status` (0: none, but `error`) to a batch of `count` from number `first`
    on."""
    why = _why(t, status, error)
    least_ms = retry_after_s(t.client.head) * 1000 if status else 0
    if status == 413 and count > 1:
        t.limit = count // 2
        log.info("telemetry", "the server wants less at once, next %d", t.limit)
        return max(_BASE_MS, least_ms)
    if status == 422 and t.keyed:
        # Same key, other content, as when samples were re-stamped after an answer was lost; without a key the server
        # tells what it has by sequence number.
        t.keyed = False
        return max(_BASE_MS, least_ms)
    if not 400 <= status < 500 or status in (401, 403, 408, 425, 429):
        if not t.window and first > t.store.cursor:
            t.most = count  # the server may have it: the same batch again, so that it knows it by its key
        return _pause(t, why, least_ms, 0 < status < 400 or status in (401, 403))
    if first <= t.store.cursor:  # a held one once more; it stays held
        t.retry = [seq for seq in t.retry if seq != first]
        log.warning("telemetry", "sample %d again: %s", first, why)
        return _STEP_MS
    if count > 1:
        t.window = count
        t.most = count // 2
        return max(_STEP_MS, least_ms)
    t.window = 0
    t.most = 1  # the next one alone: does the server take any?
    t.suspects.append(first)
    t.error = "%s sample %d: %s" % (log.stamp(), first, why)
    if len(t.suspects) < min(_MANY, _FEW << t.failures, max(_FEW, t.store.waiting())):
        return max(_STEP_MS, least_ms)
    t.suspects = []
    t.most = 0
    t.limit = _MOST_SAMPLES
    return _pause(t, "every sample is refused, " + why, least_ms, True)


def accepted(t: "Any", last: int, settled: int, count: int) -> int:
    """A batch of `count` up to number `last` was taken while samples were sent again, searched for or suspected; so
    many were `settled` before. 0, or milliseconds until the next try when what was found can't be held."""
    store = t.store
    if last <= store.cursor:  # a held one; the batch may have been on its way when a person asked for `retry`
        from app.held import release

        t.retry = [seq for seq in t.retry if seq != last]
        release(store, last)
        return 0
    if t.suspects:
        from app.held import hold

        if not hold(store, t.suspects, last, settled + len(t.suspects) + count):
            return _pause(t, "too many samples are refused to hold them all: send them again or give them up", 0, True)
        log.warning("telemetry", "%d refused alone, now held, the first is %d", len(t.suspects), t.suspects[0])
        t.retry = t.retry + t.suspects  # once more: maybe the server refused everything until now
        t.suspects = []
    else:
        store.acknowledge(last, settled + count)
    t.most = 0
    if t.window:
        t.window -= count
        t.most = t.window // 2
        if t.window == 1:  # one of those that were refused together, and all others were taken
            for sample in store.samples(last + 1, t.client.buffer):
                t.suspects.append(sample[0])
                break
            t.window = 0
        elif t.window < 1:
            t.window = t.most = 0
    return 0


def nothing(t: "Any") -> int:
    """Milliseconds until the next try, when there was nothing to send though something is to be."""
    store = t.store
    if t.retry:  # the log has lost it meanwhile
        t.retry.pop(0)
    elif t.suspects:
        t.state = "%d refused; held as soon as the server takes another" % len(t.suspects)
        return _NOTHING_MS
    else:
        store.give_up(store.next_seq - 1, store.stored)  # what is pending can't be read any more
    return _BASE_MS
