"""The samples in a board's log as a computer reads them back, and what must hold of them whatever is done to it.

Owns the look into the flash. The log's format is scripts/log_format.py's, what is wrong in it scripts/log_check.py's.
"""

from __future__ import annotations

import time

from host_tests.virtual_board.state import BoardState
from scripts import log_check, log_format, read_log
from scripts.console import Problem
from scripts.log_format import Record

Samples = dict[int, Record]


def samples_in(content: bytes) -> Samples:
    """The samples of a `log` partition by number, in the order they were written. AssertionError when one comes twice
    or anything else is wrong with the log; whether one is missing is for check_kept, since a start that was broken off
    before its mark makes the next one leave out numbers."""
    log = log_format.parse(content)
    if log.sectors:
        lines, wrong = log_check.check(log)
        assert not wrong, "\n".join([*wrong, *lines])
    return {entry.record.seq: entry.record for entry in log.samples()}


def samples_of(state: BoardState) -> Samples:
    return samples_in(read_log.load(state.flash_path))


def wait_for_samples(state: BoardState, after: int = 0, count: int = 2, timeout_s: float = 30) -> Samples:
    """All samples, as soon as a board has taken `count` with numbers higher than `after`; TimeoutError otherwise."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            samples = samples_of(state)
        except Problem:  # the header of the first sector is just being written
            samples = {}
        if sum(seq > after for seq in samples) >= count:
            return samples
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {count} samples behind {after} in {timeout_s} s; there are {list(samples)[-9:]}")
        time.sleep(0.05)


def check_kept(before: Samples, after: Samples) -> None:
    """AssertionError unless every sample of before is there, and all others have numbers that were never used."""
    lost = [seq for seq, record in before.items() if after.get(seq) != record]
    assert not lost, f"samples are lost or changed: {lost}"
    again = [seq for seq in after if seq not in before and seq <= max(before)]
    assert not again, f"numbers are used again: {again}"
