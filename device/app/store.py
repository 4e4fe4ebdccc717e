"""Samples that wait for the server: a queue in memory, and the loss ledger. The durable store will take its place.

Owns sequence numbers and the two identities `taken = stored + rejected`, `stored = acknowledged + pending +
expired`. Plain code without I/O or clock. Full: the oldest sample expires, so that sampling never stops.
"""

from struct import calcsize, pack_into, unpack_from

from micropython import const

_SEQ_BLOCK = const(1000)


class SampleQueue:
    """`capacity` samples of `fields` numbers in one buffer made at start: 5 + 4 * fields bytes each.

    `count_up("seq", n)` durably takes n sequence numbers and returns the one before the first; numbers that a crash
    left unused are skipped, never repeated."""

    def __init__(self, capacity: int, fields: int, count_up: "Any") -> None:
        self._format = "<IB" + "f" * fields
        self._size = calcsize(self._format)
        self._buffer = bytearray(capacity * self._size)
        self._capacity = capacity
        self._count_up = count_up
        self.next_seq = self.first_pending = count_up("seq", _SEQ_BLOCK) + 1
        self._block_end = self.next_seq + _SEQ_BLOCK
        self.rejected = self.acknowledged = self.expired = 0

    def pending(self) -> int:
        return self.next_seq - self.first_pending

    def append(self, unix_s: int, quality: int, values: tuple) -> None:
        """Keep one sample, None for a value that could not be read, or count it as rejected."""
        if self.next_seq == self._block_end:
            try:
                self._count_up("seq", _SEQ_BLOCK)
            except OSError:  # without a number that is never given twice, a sample can't be told from another
                self.rejected += 1
                return
            self._block_end += _SEQ_BLOCK
        if self.pending() == self._capacity:
            self.first_pending += 1
            self.expired += 1
        self.put(self.next_seq, unix_s, quality, [float("nan") if v is None else v for v in values])
        self.next_seq += 1

    def put(self, seq: int, unix_s: int, quality: int, numbers: list) -> None:
        """Write the place of sample `seq`; a value that could not be read is not a number."""
        pack_into(self._format, self._buffer, seq % self._capacity * self._size, unix_s, quality, *numbers)

    def read(self, seq: int) -> tuple:
        """(unix_s, quality, number...) of a sample still held."""
        return unpack_from(self._format, self._buffer, seq % self._capacity * self._size)

    def acknowledge(self, last_seq: int) -> None:
        """The server has everything up to and including `last_seq`, of which some may have expired meanwhile."""
        count = max(0, last_seq + 1 - self.first_pending)
        self.acknowledged += count
        self.first_pending += count


def number(value: float) -> str:
    """A reading as JSON has it; 7 digits are what a 32-bit float holds."""
    return "null" if value != value else "%.7g" % value
