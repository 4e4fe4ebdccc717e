"""Opening the store at boot: finds what was counted before, and where to go on. Imported to do it, then dropped."""

from struct import unpack_from

from app.store import BOOT, CURSOR, NOTE, RECORD, SAMPLE, Store, names_of
from micropython import const
from ring_log import HEADER_BYTES, PAGE_BYTES, RingLog
from ring_open import find_head, find_tail

_SEQ_BLOCK = const(1000)
_RAM_BYTES = const(4096)  # 126 samples of one or two values
_RAM_SECTOR_BYTES = const(512)
_LOOK_BACK = const(100)  # samples, for a total whose newest is null


def open_store(flash: "Any", names: str, boot: int, clock: "Any", count_up: "Any") -> Store:
    """The store on `flash`, in memory if that is None. `count_up("seq", n)` durably takes n sequence numbers and
    returns how many were taken before, as it does for "boot": OSError if it can't. `store.boot` is higher than `boot`
    if NVS has lost count."""
    is_memory = flash is None
    if is_memory:
        from ring_ram import RamFlash

        flash = RamFlash(_RAM_BYTES, _RAM_SECTOR_BYTES)
    log = RingLog(flash, 15 + 4 * max(2, names.count(",") + 1), None)
    find_head(log)
    find_tail(log)
    store = Store(log, names, boot, clock, count_up)
    store.is_memory = is_memory
    last_boot = _count(store) if log.number else 0
    store.last = store.next_seq - 1, ()
    if boot <= last_boot:
        count_up("boot", last_boot + 1 - boot)
        store.boot = last_boot + 1
    _number(store, last_boot == boot - 1)
    return store


def _count(store: Store) -> int:
    """Take over the counts of the newest sector's header and count on over its records; the number of the last boot."""
    log = store.log
    size = log.header(log.number, log.page)
    (
        store.next_seq, store.stored, store.cursor, store.acknowledged, store.expired, store.rejected,
        last_boot, _, _,
    ) = unpack_from(NOTE, log.page, HEADER_BYTES)
    if names_of(log.page, size) != store.names:
        log.at = log.flash.sector_bytes  # other values from now on: in the next sector, whose header names them
    for i in log.records(log.number, log.page):
        seq, _, kind, _, a, b = unpack_from(RECORD, log.page, i)
        kind &= 7
        if kind == SAMPLE:
            store.stored += 1
            store.next_seq = seq + 1
        elif kind == CURSOR:
            store.cursor, store.acknowledged = a, b
        elif kind == BOOT:
            last_boot = a
    oldest = log.oldest(log.number)
    while not log.header(oldest, log.page):
        oldest += 1
    first, before = unpack_from("<II", log.page, HEADER_BYTES)
    store.give_up(first - 1, before)
    store.marked = store.acknowledged
    _hold(store, first)
    return last_boot


def _hold(store: Store, first: int) -> None:
    """Take over what is held, and with it what the log does not say between two headers: samples up to the cursor
    that are neither acknowledged nor held have expired. `first` is the oldest sample."""
    from app.held import read, write

    seqs, after = read()
    if after == [store.cursor, store.acknowledged]:
        store.acknowledged += 1  # the power was cut before the log said so
    if seqs and seqs[-1] > store.cursor:  # it was cut before the cursor moved: they are sent again
        seqs = [seq for seq in seqs if seq <= store.cursor]
        write(seqs, after)
    store.held = len([seq for seq in seqs if seq >= first])
    store.expired = max(0, _passed(store) - store.acknowledged - store.held)


def _passed(store: Store) -> int:
    """How many samples were stored up to the cursor: those before the sector it lies in, and those in there."""
    log = store.log
    page = log.page
    number = log.find(lambda page: unpack_from("<I", page, HEADER_BYTES)[0] <= store.cursor + 1)
    log.header(number, page)
    count = unpack_from("<I", page, HEADER_BYTES + 4)[0]
    for i in log.records(number, page):
        count += page[i + 8] & 7 == SAMPLE and unpack_from("<I", page, i)[0] <= store.cursor
    return count


def _number(store: Store, is_newest: bool) -> None:
    """Go on where the log ends if it `is_newest`: it ends with the boot before this one. Else it was erased, or an
    older copy put back: numbers were taken that it knows nothing of, and none of those is ever used again."""
    taken = store.count_up("seq", 0)
    if not is_newest or store.next_seq <= taken - _SEQ_BLOCK:
        store.next_seq = max(store.next_seq, taken + 1)
    store.block_end = max(taken, store.next_seq - 1)
    if store.block_end > taken:  # NVS has lost count
        store.count_up("seq", store.block_end - taken)


def newest(store: Store) -> tuple:
    """Put the newest sample into `store.last`; (its time in Unix seconds, 0 for none, {name: last number} of the
    totals)."""
    last_s = 0
    totals = {}
    first = max(1, store.last[0] - _LOOK_BACK)
    for seq, unix_s, _, _, names, values in store.samples(first, bytearray(PAGE_BYTES)):
        last_s = unix_s or 0
        if names == store.names:
            store.last = seq, values
        if "_total" in names:
            for name, value in zip(names.split(","), values):
                if name.endswith("_total") and not isinstance(value, str):
                    totals[name] = value
    return last_s, totals
