"""Finding the head and the tail of a ring log after a restart, by bisection. Imported to do it, then dropped.

Owns what a power cut can leave behind: a torn header or record, a sector erased by half. Changes nothing on the flash.
"""

from struct import unpack_from


def find_head(log: "Any") -> None:
    """Set the number of the newest sector, 0 on a flash that holds no log. About 20 reads of a full ring; each sector
    is looked at in the first lap and when a header that decides is damaged."""
    base = 0
    first = _number(log, 0)
    if not first:  # it may be the blank one
        base = 1
        first = _number(log, 1)
    low = base
    high = log.sectors - 1
    while first and low < high:
        middle = (low + high + 1) // 2
        if _number(log, middle) == first + middle - base:
            low = middle
        else:
            high = middle - 1
    log.number = first + low - base if first else 0
    # Behind the head lies one sector that is blank, or broken off while it was erased or begun, then the oldest.
    oldest = log.number + 2 - log.sectors
    if oldest <= 0 or _number(log, (log.number + 1) % log.sectors) != oldest:
        for index in range(low + 1, log.sectors):
            log.number = max(log.number, _number(log, index))


def _number(log: "Any", index: int) -> int:
    """The number of the sector at a place, 0 if none is there; a number fits one place only."""
    page = log.page
    log.flash.read(index * log.flash.sector_bytes, page)
    number = unpack_from("<I", page, 8)[0]
    return number if (number - 1) % log.sectors == index and log.header(number, page) else 0


def find_tail(log: "Any") -> None:
    """Set where the next record goes: behind the last place of the newest sector that is not blank. A newest sector
    with records of another size is left as it is and the next one begun."""
    log.at = log.flash.sector_bytes
    page = log.page
    end = log.header(log.number, page) if log.number else 0
    size = page[5]
    if not end or size != len(log.record):
        return
    at = end
    view = memoryview(page)
    while at + size <= log.flash.sector_bytes:
        n = min(len(page), log.flash.sector_bytes - at) // size * size
        log.flash.read(log.offset(log.number) + at, view[:n])
        for i in range(0, n, size):
            at += size
            if bytes(view[i : i + size]) != b"\xff" * size:
                end = at
    log.at = end
