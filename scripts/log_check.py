"""Whether a log is as docs/storage.md says: its counts, and a sentence for each thing that is wrong.

Owns what counts as wrong. What power cuts leave behind is not: a damaged record before a start, a sector that was being
erased or begun. Must not know where the log came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from scripts import log_format
from scripts.log_format import BOOT, CONFIGURATION, CURSOR, MARKS, SAMPLE, SYNCED, Entry, Log, Sector

BLOCK = 1000
"""Sequence numbers that are taken at a time: what a start skips is more than that."""
_GROWING = ("next_seq", "stored", "cursor", "acknowledged", "expired", "rejected", "boot")


def check(log: Log) -> tuple[list[str], list[str]]:
    """Lines that say what is in a log that is not blank, and sentences for what is wrong."""
    wrong = [*_sectors(log), *_records(log), *_headers(log), *_order(log), *_times(log)]
    told, more = _ledger(log)
    return [*_contents(log), *told], wrong + more


def _contents(log: Log) -> list[str]:
    seqs = [entry.record.seq for entry in log.samples()]
    kinds = Counter(entry.record.kind for entry in log.entries)
    boots = [log.sectors[0].boot, *(entry.boot for entry in log.entries)]
    numbers = f", numbers {seqs[0]} to {seqs[-1]}" if seqs else ""
    known = [unix_s for entry in log.samples() if (unix_s := log_format.time_of(entry, log)[0]) is not None]
    times = f", {log_format.utc(known[0])} to {log_format.utc(known[-1])}" if known else ""
    return [
        f"sectors: {len(log.sectors)} of {log.count - 1} in use, numbers {log.sectors[0].number} to "
        f"{log.sectors[-1].number}, {len(log.missing)} damaged",
        f"samples: {len(seqs)}{numbers}{times}; {len(seqs) - len(known)} without a time",
        "marks: " + ", ".join(f"{kinds[kind]} {name}" for kind, name in MARKS.items()),
        f"boots: {len(set(boots))}, numbers {boots[0]} to {boots[-1]}",
        f"damaged records: {sum(sector.places.count(None) for sector in log.sectors)}",
        f"gaps in the numbers: {sum(after > before + 1 for before, after in pairwise(seqs))}",
    ]


def _sectors(log: Log) -> Iterator[str]:
    for number in log.missing:
        yield f"sector {number} has no valid header: what was in it is lost"
    newest = log.sectors[-1].number
    if log_format.holds_records(log.place_of_next, newest + 1):
        yield f"the header of sector {newest + 1}, the newest, is damaged: its records are lost"
    if log.misplaced:
        yield f"{log.misplaced} sector headers are at a place that is not theirs: is this the whole partition?"


def _records(log: Log) -> Iterator[str]:
    damaged = sum(sector.places.count(None) for sector in log.sectors)
    if damaged > (cut := _cut(log)):
        yield f"{damaged - cut} damaged records are not from a power cut: the flash did not take or keep them"
    for entry in log.entries:
        record = entry.record
        if record.kind not in (SAMPLE, *MARKS):
            yield f"a mark behind sample {record.seq} has the unknown kind {record.kind}"
        elif record.kind in (SAMPLE, CURSOR, BOOT, CONFIGURATION) and record.quality > SYNCED:
            yield f"a record at sample {record.seq} has the unknown quality {record.quality}"
        if record.kind == SAMPLE:
            values = zip(entry.sector.names, record.words, strict=False)
            if any(log_format.value_of(name, word) == log_format.UNKNOWN_REASON for name, word in values):
                yield f"sample {record.seq} has a value that is none, without a known reason"


def _cut(log: Log) -> int:
    """How many damaged records power cuts explain: one before each start, and one at the end."""
    explained, run, boot = 0, 0, log.sectors[0].boot
    for record in (record for sector in log.sectors for record in sector.places):
        if record is None:
            run += 1
            continue
        if record.kind == BOOT:  # a start whose mark was cut short itself shows in the next one's number
            explained += min(run, max(1, record.words[0] - boot))
            boot = record.words[0]
        run = 0
    return explained + min(run, 1)


def _headers(log: Log) -> Iterator[str]:
    for before, after in pairwise(log.sectors):
        for name in _GROWING:
            if getattr(after, name) < getattr(before, name):
                yield f"{name} goes back in the header of sector {after.number}"
        said = after.stored - before.stored
        held = _samples_in(before)
        if after.number == before.number + 1 and said != held:
            yield f"sector {before.number} holds {held} samples, but the next header counts {said}"
    for sector in log.sectors:
        if sector.cursor >= max(sector.next_seq, 1):
            yield f"the cursor in the header of sector {sector.number} is ahead of the samples"


def _samples_in(sector: Sector) -> int:
    return sum(record is not None and record.kind == SAMPLE for record in sector.places)


def _order(log: Log) -> Iterator[str]:
    for before, after in pairwise(log.samples()):
        last, seq = before.record.seq, after.record.seq
        if seq <= last:
            yield f"the number {seq} comes behind {last}: it is a repeat, or out of order"
        elif seq > last + 1 and not _jumped(before, after):
            yield f"the samples {last + 1} to {seq - 1} are missing"
    for sector in log.sectors:
        seqs = [record.seq for record in sector.places if record and record.kind == SAMPLE]
        if seqs and seqs[0] < sector.next_seq:
            yield f"sector {sector.number} begins with sample {seqs[0]}, its header says {sector.next_seq}"


def _jumped(before: Entry, after: Entry) -> bool:
    """Whether a board left numbers out: an older copy of the log was put back, or a start was broken off before its
    mark, which looks the same to the next one."""
    return after.boot > before.boot + 1 or (before.boot != after.boot and after.record.seq > before.record.seq + BLOCK)


def _times(log: Log) -> Iterator[str]:
    last_s, last_boot = 0, 0
    for entry in log.samples():
        unix_s, _ = log_format.time_of(entry, log)
        if unix_s is None:
            if entry.record.quality == SYNCED:
                yield f"sample {entry.record.seq} has a time before 2024"
            continue
        if unix_s < last_s:
            where = "" if entry.boot == last_boot else f" at the start of boot {entry.boot}"
            yield f"the time goes back by {last_s - unix_s} s at sample {entry.record.seq}{where}"
        elif unix_s == last_s and entry.boot == last_boot:
            yield f"sample {entry.record.seq} has the same time as the one before it: two in one slot"
        last_s, last_boot = unix_s, entry.boot


def _ledger(log: Log) -> tuple[list[str], list[str]]:
    """The ledger of now, and what is wrong in it or in that of a header."""
    newest = log.sectors[-1]
    stored = newest.stored + _samples_in(newest)
    cursor, acknowledged = newest.cursor, newest.acknowledged
    wrong = []
    held = 0  # the most since the newest sector was begun: what was given up since is not told before the next
    for entry in log.entries:
        if entry.record.kind == CURSOR:
            held = max(held, entry.record.extra) if entry.sector is newest else entry.record.extra
        if entry.record.kind == CURSOR and entry.sector is newest:
            now, count = entry.record.words[:2]
            if now < cursor or count < acknowledged or now > entry.record.seq:
                wrong.append(f"the cursor goes from {cursor} to {now} behind sample {entry.record.seq}")
            cursor, acknowledged = now, count
    seqs = [entry.record.seq for entry in log.samples()]
    pending = sum(seq > cursor for seq in seqs)
    uncounted = stored - acknowledged - newest.expired - pending
    overwritten = log.sectors[0].next_seq > cursor + 1
    told = (
        f"ledger: {stored} stored = {acknowledged} acknowledged + {pending} pending + {newest.expired} expired"
        f"{_uncounted(uncounted, overwritten)}; {newest.rejected} rejected"
    )
    if not log.missing and (uncounted < 0 or (uncounted > held and not overwritten)):
        wrong.append(
            f"the ledger does not add up: {uncounted:+d} samples are neither acknowledged, pending nor expired"
        )
    return [told], wrong


def _uncounted(count: int, overwritten: bool) -> str:
    """What became of samples before the cursor that no count in the log is about."""
    if count <= 0:
        return ""
    return f" + {count} expired since" if overwritten else f" + {count} held, or given up since"
