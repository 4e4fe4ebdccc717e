"""Samples and marks in the ring log: sequence numbers, the cursor of what the server has, the loss ledger.

Owns what a record means (docs/storage.md, format 2). Must not know flash (lib/ring_log) or sockets. Made by
app.store_open. `taken = stored + rejected` and `stored = acknowledged + pending + expired` hold over the life of the
log: the counts are kept in it.
"""

from struct import pack_into, unpack_from

from micropython import const
from ring_log import HEADER_BYTES

SAMPLE = const(1)
CURSOR = const(2)
SYNC = const(3)
BOOT = const(4)
CONFIG = const(5)
NOTE = "<IIIIIIIIi"  # next seq, stored, cursor, acknowledged, expired, rejected, boot, base_s, steps_s; then the names
NOTE_BYTES = const(36)
RECORD = "<IIBHIi"  # seq, time, kind and info, late_ms, and the first two values or what a mark says
VALUES_AT = const(11)
REASONS = ("", "absent", "crc", "range", "timeout", "error")
_NO_NUMBER = const(0x7FC00000)  # a float that is none, plus the reason; totals have their own
NO_TOTAL = 0xFFFFFFF0
_SEQ_BLOCK = const(1000)
_MARK_EVERY = const(32)  # acknowledged samples: so many may be sent again after a power cut


class Store:
    """`cursor` is the last number that is acknowledged, expired or held; `held` counts those that the server refused
    and app.held keeps. `last` is the newest sample: (seq, values), as long as they are the values of this
    configuration. `is_memory` says that the log is gone at a reset. Numbers up to `block_end` were taken with
    `count_up`, so that none is used twice even if the log is lost."""

    def __init__(self, log: "Any", names: str, boot: int, clock: "Any", count_up: "Any") -> None:
        self.log = log
        self.names = names
        self.boot = boot
        self._clock = clock
        self.count_up = count_up
        self._totals = totals_of(names)
        self.next_seq = 1
        self.block_end = 0
        self.stored = self.cursor = self.acknowledged = self.expired = self.rejected = self.held = 0
        self.is_memory = False
        self.last = 0, ()
        self.marked = 0
        self._past = 0, 0, 0  # a boot that is over, and base and steps of its clock
        log.note = self._note

    def pending(self) -> int:
        return self.stored - self.acknowledged - self.expired

    def settled(self) -> int:
        """How many samples lie up to the cursor, over the life of the log."""
        return self.acknowledged + self.expired + self.held

    def waiting(self) -> int:
        """How many are still to be sent."""
        return self.stored - self.settled()

    def append(self, time_s: int, quality: int, values: "Any", late_ms: int = 0) -> None:
        """Keep one sample durably, or count it as rejected. `time_s` is Unix time with quality 2 and uptime with less;
        a value that could not be had is the word for why (REASONS)."""
        try:
            if self.next_seq > self.block_end:
                self.block_end = self.count_up("seq", _SEQ_BLOCK) + _SEQ_BLOCK
            self._pack(self.next_seq, time_s, SAMPLE + quality * 8, min(late_ms, 65535), 0, 0)
            at = VALUES_AT
            for given in values:  # zip would allocate
                value = given
                is_total = self._totals[at // 4 - 2]
                if isinstance(given, str):
                    value = REASONS.index(given) + (NO_TOTAL if is_total else _NO_NUMBER)
                    is_total = True
                pack_into("<I" if is_total else "<f", self.log.record, at, value)
                at += 4
            newest = self.next_seq, values
        except (OSError, MemoryError):
            self.rejected += 1
            return
        try:
            self.log.append()
        except (OSError, MemoryError):
            self.rejected += 1
        else:
            self.stored += 1
            self.last = newest
        self.next_seq += 1  # also if it was not stored: the flash may have taken what it did not say it took

    def _pack(self, *parts: "Any") -> None:
        pack_into(RECORD, self.log.record, 0, *parts)

    def mark(self, kind: int, info: int, time_s: int, a: int, b: int, extra: int = 0) -> None:
        """Note something other than a sample, under the number of the last one. If that fails, the next sector's header
        tells."""
        self._pack(self.next_seq - 1, time_s, kind + info * 8, extra & 0xFFFF, a, b)
        try:
            self.log.append()
        except OSError:
            self.log.at = self.log.flash.sector_bytes

    def synced(self, _: int) -> None:
        """The clock was set: note what that makes of the uptime."""
        clock = self._clock
        source = ("", "ntp", "http", "browser").index(clock.source)
        ppm = -32768 if clock.ppm is None else clock.ppm
        self.mark(SYNC, source, clock.now()[0], clock.base_s, clock.steps_s, ppm)

    def acknowledge(self, last_seq: int, settled: int) -> None:
        """The server has everything from the cursor to `last_seq`: then so many are `settled`, of which some may have
        expired meanwhile."""
        count = settled - self.settled()
        if count > 0 and last_seq > self.cursor:
            self.acknowledged += count
            self.cursor = last_seq
        if self.acknowledged - self.marked >= _MARK_EVERY:
            self.save_cursor()

    def save_cursor(self) -> None:
        """Make the cursor durable now; until then a power cut has a few samples sent again."""
        self.marked = self.acknowledged
        self.mark(CURSOR, self._clock.quality, self._clock.stamp(), self.cursor, self.acknowledged, self.held)

    def give_up(self, cursor: int, settled: int) -> None:
        """Samples up to `cursor` that nobody got are gone: then so many are `settled`."""
        if cursor >= self.cursor:
            self.expired += max(0, settled - self.settled())
            self.cursor = cursor

    def tend(self) -> None:
        """Have the next sector ready, in a moment when a slow erase does no harm."""
        try:
            self.log.tend()
        except OSError:  # the next append says it
            pass

    def _note(self, number: int) -> bytearray:
        """The store's part of a sector's header; what the new sector pushes out of the ring is given up."""
        log = self.log
        oldest = log.oldest(number)
        if oldest > 1 and log.header(oldest, log.page):
            first, before = unpack_from("<II", log.page, HEADER_BYTES)
            self.give_up(first - 1, before)
        clock = self._clock
        names = self.names.encode()
        note = bytearray(NOTE_BYTES + len(names))
        pack_into(
            NOTE, note, 0, self.next_seq, self.stored, self.cursor, self.acknowledged, self.expired, self.rejected,
            self.boot, clock.base_s, clock.steps_s,
        )
        note[NOTE_BYTES:] = names
        return note

    def samples(self, first: int, page: bytearray) -> "Any":
        """Yield (seq, unix_s or None, quality, boot, names, values) of the samples from number `first` on, oldest
        first; values are numbers or words. `page` is this scan's own, of ring_log.PAGE_BYTES."""
        log = self.log
        oldest = log.oldest(log.number)
        number = log.find(lambda page: unpack_from("<I", page, HEADER_BYTES)[0] <= first) or oldest
        while number <= log.number:
            size = log.header(number, page)
            if size:
                boot, _, steps_s = unpack_from("<IIi", page, HEADER_BYTES + 24)
                names = names_of(page, size)
                totals = totals_of(names)
            for i in log.records(number, page):
                seq, time_s, kind, _, a, b = unpack_from(RECORD, page, i)
                info = kind >> 3
                kind &= 7
                if kind == SAMPLE and seq >= first:
                    unix_s, info = self.unix(boot, time_s, info, steps_s)
                    yield seq, unix_s, info, boot, names, decode(page, i + VALUES_AT, totals)
                elif kind == BOOT:
                    boot = a
                    steps_s = 0
                elif kind == SYNC:
                    steps_s = b
            number = max(number + 1, log.oldest(log.number))

    def unix(self, boot: int, time_s: int, quality: int, steps_s: int) -> tuple:
        """(Unix seconds or None, quality) of a stored time, by all that is known of the clock of its boot by now;
        `steps_s` were the clock's steps when it was stored."""
        if boot == self.boot:
            base_s = self._clock.base_s
            total_s = self._clock.steps_s
        else:
            if boot != self._past[0]:
                from app.restamp import clock_of

                self._past = (boot,) + clock_of(self.log, boot)
            _, base_s, total_s = self._past
        if quality == 2:
            return time_s + total_s - steps_s, 2 if total_s == steps_s else 1
        return (base_s + total_s + time_s, 1) if base_s else (None, 0)


def names_of(page: bytearray, size: int) -> str:
    """The names of the values, from a sector's header of `size` bytes."""
    return bytes(memoryview(page)[HEADER_BYTES + NOTE_BYTES : size - 4]).decode()


def totals_of(names: str) -> list:
    """Of each value whether it is a whole number, a total."""
    return [name.endswith("_total") for name in names.split(",")]


def decode(page: bytearray, at: int, totals: list) -> tuple:
    """The values of a record: numbers, or words for why there is none."""
    values = []
    for is_total in totals:
        value = unpack_from("<I", page, at)[0]
        reason = value - (NO_TOTAL if is_total else _NO_NUMBER)
        if 0 < reason < len(REASONS):
            value = REASONS[reason]
        elif not is_total:
            value = unpack_from("<f", page, at)[0]
        values.append(value)
        at += 4
    return tuple(values)


def number(value: "Any") -> str:
    """A value as JSON has it; 7 digits are what a 32-bit float holds."""
    if isinstance(value, str):
        return "null"
    return str(value) if isinstance(value, int) else "%.7g" % value
