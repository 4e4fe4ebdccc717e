"""What the chip's loader does to the flash: a write in numbered blocks, erasing, reading with acknowledgements.

Owns where a block lands, what gets erased, decompression and the loader's error codes. Must not know commands, replies
and who asks.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from host_tests.virtual_board.flash_file import SECTOR_BYTES, FlashFile

BAD_MESSAGE, FAILED, BAD_CHECKSUM, WRITE_FAILED, READ_FAILED, BAD_DEFLATE = 0x05, 0x06, 0x07, 0x08, 0x09, 0x0B


class Refused(Exception):
    """A command that the loader answers with an error code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def _refusing(code: int) -> Iterator[None]:
    """Outside the flash or not whole sectors is that error code."""
    try:
        yield
    except ValueError as error:
        raise Refused(code) from error


def one_byte_wrong(content: bytes) -> bytes:
    return bytes((content[0] ^ 1,)) + content[1:] if content else content


def erase(flash: FlashFile, offset: int, size_bytes: int) -> None:
    """Erase whole sectors; Refused(FAILED) if they aren't."""
    with _refusing(FAILED):
        flash.erase(offset, size_bytes)


def read(flash: FlashFile, offset: int, size_bytes: int) -> bytes:
    with _refusing(READ_FAILED):
        return flash.read(offset, size_bytes)


class Write:
    """A write from its BEGIN to its END; makes room first, in whole sectors.

    A plain block goes where its number says, so that one sent again doesn't move those behind it. The blocks of a
    deflated write are one zlib stream; its state only moves on when a block is in flash.
    """

    def __init__(self, flash: FlashFile, erase_bytes: int, blocks: int, block_bytes: int, offset: int) -> None:
        self._flash = flash
        self._blocks = blocks
        self._block_bytes = block_bytes
        self._offset = offset
        self._inflate = zlib.decompressobj()
        self._inflated_bytes = 0
        self._next_deflated = 0
        if erase_bytes:
            start = offset - offset % SECTOR_BYTES
            erase(flash, start, -(-(offset + erase_bytes - start) // SECTOR_BYTES) * SECTOR_BYTES)

    def plain(self, number: int, block: bytes, corrupt: bool) -> None:
        self._check(number)
        self._program(self._offset + number * self._block_bytes, block, corrupt)

    def deflated(self, number: int, block: bytes, corrupt: bool) -> None:
        """Blocks come in order; one that is done already, sent again because its reply got lost, changes nothing."""
        self._check(number)
        if number < self._next_deflated:
            return
        if number > self._next_deflated:
            raise Refused(FAILED)
        inflate = self._inflate.copy()
        try:
            content = inflate.decompress(block)
        except zlib.error as error:
            raise Refused(BAD_DEFLATE) from error
        if content:
            self._program(self._offset + self._inflated_bytes, content, corrupt)
        self._inflate = inflate
        self._inflated_bytes += len(content)
        self._next_deflated += 1

    def _check(self, number: int) -> None:
        if number >= self._blocks:
            raise Refused(FAILED)

    def _program(self, offset: int, content: bytes, corrupt: bool) -> None:
        with _refusing(WRITE_FAILED):
            self._flash.program(offset, one_byte_wrong(content) if corrupt else content)


@dataclass
class Read:
    """What a host reads in blocks, at most `window_bytes` ahead of what it has acknowledged."""

    content: bytes
    block_bytes: int
    window_bytes: int
    _sent_bytes: int = 0

    def frames(self, received_bytes: int) -> tuple[bytes, ...]:
        """What to send when that much has arrived; the MD5 of it all when it was the last."""
        if received_bytes >= len(self.content):
            return (hashlib.md5(self.content).digest(),)
        frames = []
        while self._sent_bytes < min(len(self.content), received_bytes + self.window_bytes):
            frames.append(self.content[self._sent_bytes : self._sent_bytes + self.block_bytes])
            self._sent_bytes += self.block_bytes
        return tuple(frames)
