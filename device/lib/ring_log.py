"""An append-only log of fixed-size records on NOR flash: sectors in a ring, the oldest erased for the newest.

Owns sector headers, CRCs and the place of the next record (docs/storage.md, format 2). Must not know what a record
holds beyond its key. Finding head and tail again after a restart is in ring_open, done once.

`flash` offers size_bytes, sector_bytes, read(offset, buf), program(offset, buf), which only clears bits, and
erase(offset) of one sector. Sector `number` (1, 2, ...) lies at index (number - 1) % sectors, so neither can be wrong
alone. A record is durable when `append` returns, since it is read back; one that power cut short fails its CRC.
"""

from binascii import crc32
from struct import pack_into, unpack_from

from micropython import const

PAGE_BYTES = const(352)  # the longest header, and what a scan reads at a time
HEADER_BYTES = const(12)  # before the note; magic, version, record size, offset of the first record, number
_HEADER = "<4sBBHI"
_MAGIC = b"Tlog"
_VERSION = const(2)
_TRIES = const(3)
_EIO = const(5)


class RingLog:
    """`record` is the caller's to fill but for its last 4 bytes; it begins with a u32 key that never decreases.
    `note(number)` gives the owner's part of the header of a new sector: bytes that begin with the key of the next
    record to come. `erases` and `errors` (places that did not take what was written) count since start, `late` the
    erases that an append had to wait for."""

    def __init__(self, flash: "Any", record_bytes: int, note: "Any") -> None:
        self.flash = flash
        self.note = note
        self.sectors = flash.size_bytes // flash.sector_bytes
        self.number = 0  # of the sector being written, 0 before the first
        self.at = flash.sector_bytes  # where its next record goes
        self.is_ahead = False  # the next sector is blank
        self.erases = self.errors = self.late = 0
        self.record = bytearray(record_bytes)
        self._payload = memoryview(self.record)[:-4]
        self._seen = bytearray(record_bytes)
        self.page = bytearray(PAGE_BYTES)

    def offset(self, number: int) -> int:
        """Where sector `number` lies on the flash, if it is there."""
        return (number - 1) % self.sectors * self.flash.sector_bytes

    def oldest(self, number: int) -> int:
        """The oldest sector that is kept when `number` is the newest: the one behind the newest is blank or due."""
        return max(1, number + 2 - self.sectors)

    def append(self) -> None:
        """Make `record` durable. A place that does not take it is left out; OSError after three, or from the driver."""
        record = self.record
        for _ in range(_TRIES):
            if self.at + len(record) > self.flash.sector_bytes:
                self._advance()
            pack_into("<I", record, len(record) - 4, crc32(self._payload, self.number))
            at = self.offset(self.number) + self.at
            self.at += len(record)
            if self._program(at, record, self._seen):
                return
        raise OSError(_EIO)

    def _program(self, at: int, data: bytearray, seen: "Any") -> bool:
        self.flash.program(at, data)
        self.flash.read(at, seen)
        self.errors += seen != data
        return seen == data

    def tend(self) -> bool:
        """Erase the next sector unless it is blank, 45 ms or more: to be called when there is time, so that append
        need not. True if it did."""
        if self.is_ahead:
            return False
        at = self.offset(self.number + 1)
        is_due = not self._is_blank(at)
        if is_due:
            self.erases += 1
            self.flash.erase(at)
        self.is_ahead = True
        return is_due

    def _is_blank(self, at: int) -> bool:
        page = memoryview(self.page)[:256]
        for _ in range(self.flash.sector_bytes // 256):
            self.flash.read(at, page)
            if page != _BLANK:
                return False
            at += 256
        return True

    def _advance(self) -> None:
        """Begin the next sector that takes a header; a bad one keeps its number, so that numbers follow places."""
        for _ in range(_TRIES):
            self.late += self.tend()
            number = self.number + 1
            note = self.note(number)
            header = bytearray(HEADER_BYTES + len(note) + 4)
            pack_into(_HEADER, header, 0, _MAGIC, _VERSION, len(self.record), len(header), number)
            header[HEADER_BYTES:-4] = note
            pack_into("<I", header, len(header) - 4, crc32(memoryview(header)[:-4]))
            self.is_ahead = False
            is_written = self._program(self.offset(number), header, memoryview(self.page)[: len(header)])
            self.number = number
            if is_written:
                self.at = len(header)
                return
        raise OSError(_EIO)

    def header(self, number: int, page: "Any") -> int:
        """Read the header of sector `number` into `page`, where the note begins at HEADER_BYTES; the size of the
        header, 0 if that sector is not there."""
        self.flash.read(self.offset(number), page)
        magic, version, _, size, found = unpack_from(_HEADER, page, 0)
        if magic != _MAGIC or version != _VERSION or found != number or not HEADER_BYTES < size <= len(page):
            return 0
        is_whole = crc32(memoryview(page)[: size - 4]) == unpack_from("<I", page, size - 4)[0]
        return size if is_whole else 0

    def find(self, test: "Any") -> int:
        """Number of the last sector whose header passes `test(page)`, which must hold up to some sector and for none
        behind it; 0 if it holds for none. A sector without a header, or of which the test says None, is passed over."""
        low = self.oldest(self.number) - 1
        high = self.number
        best = 0
        while low < high:
            middle = number = (low + high + 1) // 2
            passes = None
            while number > low:
                if self.header(number, self.page):
                    passes = test(self.page)
                if passes is not None:
                    break
                number -= 1
            if passes is False:
                high = number - 1
            else:
                low = middle
                best = number if passes else best
        return best

    def records(self, number: int, page: bytearray) -> "Any":
        """Yield the offset in `page` of each whole record of sector `number`, oldest first; none if it is not there."""
        at = self.header(number, page)
        size = page[5]
        view = memoryview(page)
        while at:
            end = self.at if number == self.number else self.flash.sector_bytes  # which moves on meanwhile
            n = min(len(page), end - at) // size * size
            if n <= 0:
                break
            self.flash.read(self.offset(number) + at, view[:n])
            for i in range(0, n, size):
                if crc32(view[i : i + size - 4], number) == unpack_from("<I", page, i + size - 4)[0]:
                    yield i
            at += n


_BLANK = b"\xff" * 256
