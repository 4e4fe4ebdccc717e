"""Time in the log: what the clock of an earlier boot turned out to be, and where a time begins. Imported when it is
asked for, then dropped."""

from struct import unpack_from

from app.store import BOOT, RECORD, SYNC
from ring_log import HEADER_BYTES, PAGE_BYTES

_BOOT_AT = HEADER_BYTES + 24


def clock_of(log: "Any", boot: int) -> tuple:
    """(Unix second of uptime 0 or 0, seconds the clock was stepped after its first sync) as known when `boot` ended."""
    page = bytearray(PAGE_BYTES)
    number = log.find(lambda page: unpack_from("<I", page, _BOOT_AT)[0] <= boot)
    found = base_s = steps_s = 0
    if number and log.header(number, page):
        found, base_s, steps_s = unpack_from("<IIi", page, _BOOT_AT)
    for i in log.records(number, page):
        _, time_s, kind, _, a, b = unpack_from(RECORD, page, i)
        kind &= 7
        if kind == BOOT:
            if a > boot:
                break
            found, base_s, steps_s = a, time_s, 0
        elif kind == SYNC:
            base_s, steps_s = a, b
    return (base_s, steps_s) if found == boot else (0, 0)


def first_since(store: "Any", unix_s: int) -> int:
    """A sequence number near, and not behind, the first sample that is not older than `unix_s`."""

    def begins_before(page: bytearray) -> "Any":
        at = unpack_from("<H", page, 6)[0]
        if at + 9 > PAGE_BYTES:
            return None
        _, time_s, kind = unpack_from("<IIB", page, at)
        boot, _, steps_s = unpack_from("<IIi", page, _BOOT_AT)
        if kind & 7 == BOOT:
            found_s = time_s or None
        else:
            found_s = time_s if kind & 7 == SYNC else store.unix(boot, time_s, kind >> 3, steps_s)[0]
        return None if found_s is None else found_s <= unix_s

    log = store.log
    number = log.find(begins_before)
    return unpack_from("<I", log.page, HEADER_BYTES)[0] if number and log.header(number, log.page) else 0
