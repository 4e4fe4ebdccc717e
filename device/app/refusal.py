"""What a failed POST means for the next one, by the table of design.md section 4. Imported on a failure, dropped
again."""

from os import urandom

from app import log
from timing import backoff_ms

_BASE_MS = 2000
_CAP_MS = 900000
_PAUSE_MS = 60000  # refused for good (3xx, 401, 403): a person must act, so asking often helps nobody


def retry_after_s(head: bytes) -> int:
    """Seconds of an answer's Retry-After (RFC 9110 10.2.3), 0 without one or with a date."""
    for line in head.split(b"\r\n"):
        value = line[12:].strip()
        if line[:12].lower() == b"retry-after:" and value.isdigit() and len(value) < 7:
            return int(value)
    return 0


def judge(telemetry: "Any", status: int, head: bytes, why: str, count: int) -> int:
    """Milliseconds until the next try, after `status` (0: no answer, for `why`) to a batch of `count` readings."""
    # 422: same key, other content, as when samples were re-stamped after an answer was lost; without a key the
    # server tells what it has by sequence number.
    telemetry.keyed = status != 422
    if status == 413 and count > 1:
        telemetry.most = count // 2
        log.info("telemetry", "the server wants less at once, next %d", telemetry.most)
        return _BASE_MS
    telemetry.failures += 1
    random_32 = int.from_bytes(urandom(4), "little")
    wait_ms = backoff_ms(telemetry.failures, _BASE_MS, _CAP_MS, random_32)
    if 0 < status < 400 or status in (401, 403):
        wait_ms = _PAUSE_MS
    wait_ms = max(wait_ms, retry_after_s(head) * 1000)
    telemetry.state = why
    log.warning("telemetry", "%s, next try in %d s", why, wait_ms // 1000)
    return wait_ms
