"""When the oldest sample was taken that waits to be sent. For a status that is asked for often: unlike a scan of the
store it takes nothing from the heap for the records that it passes over."""

from binascii import crc32
from struct import unpack_from

from app.store import BOOT, RECORD, SAMPLE, SYNC
from ring_log import HEADER_BYTES, PAGE_BYTES


def oldest_s(store: "Any") -> int | None:
    """Unix seconds; None if it has no time or is not in the sector where it should be."""
    log = store.log
    cursor = store.cursor
    page = bytearray(PAGE_BYTES)
    view = memoryview(page)
    number = log.find(lambda page: unpack_from("<I", page, HEADER_BYTES)[0] <= cursor + 1)
    at = number and log.header(number, page)
    size = page[5]
    boot, _, steps_s = unpack_from("<IIi", page, HEADER_BYTES + 24)
    end = log.at if number == log.number else log.flash.sector_bytes
    while at and at + size <= end:
        n = min(PAGE_BYTES, end - at) // size * size
        log.flash.read(log.offset(number) + at, view[:n])
        at += n
        for i in range(0, n, size):
            kind = page[i + 8] & 7
            if kind == SAMPLE and page[i] + (page[i + 1] << 8) + (page[i + 2] << 16) + (page[i + 3] << 24) <= cursor:
                continue
            if kind not in (SAMPLE, BOOT, SYNC):
                continue
            if crc32(view[i : i + size - 4], number) != unpack_from("<I", page, i + size - 4)[0]:
                continue
            _, time_s, info, _, a, b = unpack_from(RECORD, page, i)
            if kind == SAMPLE:
                return store.unix(boot, time_s, info >> 3, steps_s)[0]
            if kind == BOOT:
                boot, b = a, 0
            steps_s = b
    return None
