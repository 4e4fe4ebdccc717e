"""What app.timesync and app.ntpsync both go by: what can be the time, and how far answers may lie apart (docs/time.md).
Small, since one of the two is always in memory with it.
"""

from micropython import const

EPOCH_MS = const(946684800000)  # 2000-01-01, where the chip's clock counts from
_EARLIEST_MS = const(1704067200000)  # 2024-01-01: before that, this was not written
_LATEST_MS = const(3092601600000)  # 2068-01-01: in that month the chip's calendar ends
_SLACK_MS = const(2000)  # a correction up to this, and
_DRIFT_PARTS = const(10000)  # 1 in 10,000 (100 ppm) of the time since the last one, is drift; more is a step
_AGREE_MS = const(1000)


def sane(unix_ms: int) -> bool:
    """Whether it can be the time at all."""
    return _EARLIEST_MS <= unix_ms < _LATEST_MS


def chip_base_ms(clock: "Any") -> int:
    """Unix time at uptime 0, by the chip's clock."""
    return clock.origin_ms + EPOCH_MS


def slack_ms(age_ms: int) -> int:
    """By how much a clock that was set `age_ms` ago may be off without having been wrong."""
    return _SLACK_MS + age_ms // _DRIFT_PARTS


def agree(one_ms: int | None, other_ms: int, error_ms: int) -> bool:
    return one_ms is not None and abs(one_ms - other_ms) <= _AGREE_MS + error_ms
