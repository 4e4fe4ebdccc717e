"""The loader without a port: commands in, replies out, and what they do to the flash, power cuts included.

The invariants, for any requests:

- how the bytes are cut, and noise between frames, changes neither the replies nor the flash;
- flash outside the sectors of a write stays as it was;
- a block lands where its number says, however often and in which order blocks are sent.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import operator
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from host_tests.virtual_board import rom_loader as rom
from host_tests.virtual_board.flash_file import SECTOR_BYTES, FlashFile, PowerCut
from host_tests.virtual_board.rom_flash import (
    BAD_CHECKSUM,
    BAD_DEFLATE,
    BAD_MESSAGE,
    FAILED,
    READ_FAILED,
    WRITE_FAILED,
)
from host_tests.virtual_board.rom_loader import Faults, RomLoader
from host_tests.virtual_board.slip import Decoder, encode

FLASH_BYTES = 16 * SECTOR_BYTES
BLOCK_BYTES = 64
OK_ROM, OK_STUB = bytes(4), bytes(2)


def request(op: int, *words: int, content: bytes = b"", checksum: int = 0) -> bytes:
    data = struct.pack(f"<{len(words)}I", *words) + content
    return struct.pack("<BBHI", 0, op, len(data), checksum) + data


def block_request(op: int, number: int, content: bytes) -> bytes:
    checksum = functools.reduce(operator.xor, content, 0xEF)
    return request(op, len(content), number, 0, 0, content=content, checksum=checksum)


def begin_request(op: int, size_bytes: int, offset: int) -> bytes:
    return request(op, size_bytes, -(-size_bytes // BLOCK_BYTES), BLOCK_BYTES, offset, 0)


def reply(op: int, data: bytes, value: int = 0) -> bytes:
    return struct.pack("<BBHI", 1, op, len(data), value) + data


def error_of(replies: list[bytes]) -> int:
    """The error code of the one reply; fails if it's a success."""
    (only,) = replies
    assert only[8] == 1, only
    return only[9]


@contextmanager
def blank_flash(fill: bytes = b"\xff") -> Iterator[FlashFile]:
    """A small flash in a temporary folder, full of `fill`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flash.bin"
        path.write_bytes(fill * FLASH_BYTES)
        flash = FlashFile(path)
        yield flash
        flash.close()


@pytest.fixture
def flash() -> Iterator[FlashFile]:
    with blank_flash() as flash:
        yield flash


@pytest.fixture
def loader(flash: FlashFile) -> RomLoader:
    return RomLoader(flash)


@pytest.fixture
def stub(loader: RomLoader) -> RomLoader:
    loader.feed(request(rom.MEM_END, 0, 0x4038_0000))
    return loader


# --- any requests -------------------------------------------------------------------------------

WORDS = st.lists(st.sampled_from((0, 1, 2, 64, 100, 4096, 8192, 0x60002000, 0xFFFF_FFFF)), max_size=5)
REQUESTS = st.one_of(
    st.builds(lambda op, words: request(op, *words), st.integers(0, 0x15) | st.integers(0xD0, 0xD3), WORDS),
    st.builds(
        block_request,
        st.sampled_from((rom.FLASH_DATA, rom.FLASH_DEFL_DATA, rom.MEM_DATA)),
        st.integers(0, 3),
        st.binary(min_size=1, max_size=BLOCK_BYTES) | st.just(zlib.compress(b"some text")),
    ),
    st.builds(begin_request, st.sampled_from((rom.FLASH_BEGIN, rom.FLASH_DEFL_BEGIN)), WORDS.map(len), st.just(4096)),
    st.just(request(rom.MEM_END, 0, 0x4038_0000)),
    st.binary(min_size=1, max_size=20),
)
NOISE = st.binary(max_size=9).map(lambda noise: noise.replace(b"\xc0", b""))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NOISE, REQUESTS), max_size=12))
def test_pieces_and_noise_change_neither_replies_nor_flash(frames: list[tuple[bytes, bytes]]) -> None:
    with blank_flash() as direct_flash, blank_flash() as serial_flash:
        direct, serial, decoder = RomLoader(direct_flash), RomLoader(serial_flash), Decoder()
        expected = [reply for _, payload in frames for reply in direct.feed(payload)]
        stream = b"".join(noise + encode(payload) for noise, payload in frames)
        payloads = [payload for byte in stream for payload in decoder.feed(bytes((byte,)))]
        assert [reply for payload in payloads for reply in serial.feed(payload)] == expected
        assert serial_flash.read(0, FLASH_BYTES) == direct_flash.read(0, FLASH_BYTES)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, FLASH_BYTES - 400), st.binary(min_size=1, max_size=300), st.booleans())
@example(SECTOR_BYTES - 10, bytes(100), False)
def test_flash_outside_the_sectors_of_a_write_is_untouched(offset: int, content: bytes, deflated: bool) -> None:
    start, end = offset - offset % SECTOR_BYTES, -(-(offset + len(content)) // SECTOR_BYTES) * SECTOR_BYTES
    with blank_flash(b"\xa5") as flash:
        loader = RomLoader(flash)
        if deflated:
            loader.feed(request(rom.FLASH_DEFL_BEGIN, len(content), 1, 0x400, offset, 0))
            assert loader.feed(block_request(rom.FLASH_DEFL_DATA, 0, zlib.compress(content)))[0][8:] == OK_ROM
        else:
            loader.feed(begin_request(rom.FLASH_BEGIN, len(content), offset))
            for number, at in enumerate(range(0, len(content), BLOCK_BYTES)):
                loader.feed(block_request(rom.FLASH_DATA, number, content[at : at + BLOCK_BYTES]))
        expected = bytearray(b"\xa5" * FLASH_BYTES)
        expected[start:end] = b"\xff" * (end - start)
        expected[offset : offset + len(content)] = content
        assert flash.read(0, FLASH_BYTES) == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=8))
def test_blocks_sent_again_and_out_of_order_land_in_the_same_place(numbers: list[int]) -> None:
    content = bytes(range(256))
    with blank_flash() as flash:
        loader = RomLoader(flash)
        loader.feed(begin_request(rom.FLASH_BEGIN, len(content), 4096))
        for number in itertools.chain(numbers, range(4)):
            at = number * BLOCK_BYTES
            loader.feed(block_request(rom.FLASH_DATA, number, content[at : at + BLOCK_BYTES]))
        assert flash.read(4096, 300) == content + b"\xff" * 44


# --- commands -----------------------------------------------------------------------------------


def test_sync_is_answered_eight_times_and_tells_rom_from_stub(loader: RomLoader) -> None:
    sync = request(rom.SYNC, content=b"\x07\x07\x12\x20" + b"U" * 32)
    from_rom = loader.feed(sync)
    assert len(from_rom) == 8
    assert {frame[4:8] == bytes(4) for frame in from_rom} == {False}
    loader.feed(request(rom.MEM_END, 0, 0x4038_0000))
    assert loader.feed(sync) == [reply(rom.SYNC, OK_STUB)] * 8


def test_the_stub_says_ohai_after_the_roms_reply(loader: RomLoader) -> None:
    assert loader.feed(request(rom.MEM_END, 0, 0x4038_0000)) == [reply(rom.MEM_END, OK_ROM), b"OHAI"]
    assert loader.is_stub


def test_memory_without_an_entry_stays_in_the_rom(loader: RomLoader) -> None:
    assert loader.feed(request(rom.MEM_END, 1, 0)) == [reply(rom.MEM_END, OK_ROM)]
    assert not loader.is_stub


@pytest.mark.parametrize("op", [rom.ERASE_FLASH, rom.ERASE_REGION, rom.READ_FLASH, 0x7F])
def test_the_rom_does_not_know_the_stubs_commands(loader: RomLoader, op: int) -> None:
    assert loader.feed(request(op, 0, 4096, 64, 1)) == [reply(op, bytes((1, BAD_MESSAGE, 0, 0)))]


def test_md5_is_text_from_the_rom_and_raw_from_the_stub(loader: RomLoader) -> None:
    digest = hashlib.md5(b"\xff" * 100)
    md5 = request(rom.SPI_FLASH_MD5, 0, 100, 0, 0)
    assert loader.feed(md5) == [reply(rom.SPI_FLASH_MD5, digest.hexdigest().encode() + OK_ROM)]
    loader.feed(request(rom.MEM_END, 0, 0x4038_0000))
    assert loader.feed(md5) == [reply(rom.SPI_FLASH_MD5, digest.digest() + OK_STUB)]


def test_registers_change_by_mask_and_give_the_mac(flash: FlashFile) -> None:
    loader = RomLoader(flash, mac=bytes.fromhex("aabb11223344"))
    loader.feed(request(rom.WRITE_REG, 0x6000_0000, 0x12345678, 0xFFFF_0000, 0))
    words = [loader.feed(request(rom.READ_REG, at))[0][4:8] for at in (0x6000_0000, 0x60008844, 0x60008848)]
    assert [int.from_bytes(word, "little") for word in words] == [0x12340000, 0x11223344, 0xAABB]


def test_leaving_the_rom_for_the_application_is_reported_and_ends_all_answers(loader: RomLoader) -> None:
    assert loader.feed(request(rom.FLASH_END, 0)) == [reply(rom.FLASH_END, OK_ROM)]
    assert loader.left
    assert loader.feed(request(rom.SYNC)) == []
    loader.reset()
    assert loader.feed(request(rom.SYNC))


def test_the_stub_stays_or_goes_back_to_the_rom_as_flash_end_says(stub: RomLoader) -> None:
    assert stub.feed(request(rom.FLASH_DEFL_END, 1)) == [reply(rom.FLASH_DEFL_END, OK_STUB)]
    assert stub.is_stub
    assert stub.feed(request(rom.FLASH_END, 0)) == [reply(rom.FLASH_END, OK_STUB)]
    assert (stub.is_stub, stub.left) == (False, False)


def test_run_user_code_leaves_without_an_answer(stub: RomLoader) -> None:
    assert stub.feed(request(rom.RUN_USER_CODE)) == []
    assert stub.left


def test_a_block_with_a_wrong_checksum_is_refused_and_not_programmed(loader: RomLoader) -> None:
    loader.feed(begin_request(rom.FLASH_BEGIN, 4, 0))
    assert error_of(loader.feed(request(rom.FLASH_DATA, 4, 0, 0, 0, content=b"abcd", checksum=1))) == BAD_CHECKSUM
    assert loader.flash.read(0, 4) == b"\xff" * 4


def test_a_deflated_block_sent_again_changes_nothing(loader: RomLoader) -> None:
    content = bytes(range(200))
    packed = zlib.compress(content, 0)
    loader.feed(begin_request(rom.FLASH_DEFL_BEGIN, len(packed), 0))
    for number in (0, 1, 1, 0, 2, 3):
        part = packed[number * BLOCK_BYTES :][:BLOCK_BYTES]
        assert loader.feed(block_request(rom.FLASH_DEFL_DATA, number, part))[0][8:] == OK_ROM
    assert loader.flash.read(0, 201) == content + b"\xff"


def test_a_deflated_block_that_is_refused_can_be_sent_again(loader: RomLoader) -> None:
    packed = zlib.compress(b"text")
    loader.feed(begin_request(rom.FLASH_DEFL_BEGIN, len(packed), 0))
    assert error_of(loader.feed(block_request(rom.FLASH_DEFL_DATA, 0, b"no zlib stream"))) == BAD_DEFLATE
    assert loader.feed(block_request(rom.FLASH_DEFL_DATA, 0, packed))[0][8:] == OK_ROM
    assert loader.flash.read(0, 5) == b"text\xff"


def test_blocks_that_nobody_announced_are_refused(loader: RomLoader) -> None:
    assert error_of(loader.feed(block_request(rom.FLASH_DATA, 0, b"abcd"))) == FAILED
    loader.feed(begin_request(rom.FLASH_DEFL_BEGIN, 128, 0))
    assert error_of(loader.feed(block_request(rom.FLASH_DEFL_DATA, 2, b"abcd"))) == FAILED
    assert error_of(loader.feed(block_request(rom.FLASH_DEFL_DATA, 1, b"abcd"))) == FAILED


def test_addresses_outside_the_flash_are_refused(stub: RomLoader) -> None:
    assert error_of(stub.feed(begin_request(rom.FLASH_BEGIN, 1, FLASH_BYTES))) == FAILED
    assert error_of(stub.feed(request(rom.ERASE_REGION, 0, FLASH_BYTES + SECTOR_BYTES))) == FAILED
    assert error_of(stub.feed(request(rom.ERASE_REGION, 100, SECTOR_BYTES))) == FAILED
    assert error_of(stub.feed(request(rom.SPI_FLASH_MD5, 1, FLASH_BYTES, 0, 0))) == READ_FAILED
    stub.feed(request(rom.FLASH_BEGIN, 0, 9, BLOCK_BYTES, FLASH_BYTES, 0))
    assert error_of(stub.feed(block_request(rom.FLASH_DATA, 0, b"abcd"))) == WRITE_FAILED


def test_reading_keeps_to_the_window_and_ends_with_the_md5(stub: RomLoader) -> None:
    content = bytes(range(250))
    stub.flash.program(0, content)
    assert stub.feed(request(rom.READ_FLASH, 0, 250, 100, 2)) == [
        reply(rom.READ_FLASH, OK_STUB),
        content[:100],
        content[100:200],
    ]
    assert stub.feed(struct.pack("<I", 100)) == [content[200:]]
    assert stub.feed(struct.pack("<I", 200)) == []
    assert stub.feed(struct.pack("<I", 250)) == [hashlib.md5(content).digest()]


def test_a_command_ends_a_reading_whose_host_has_gone(stub: RomLoader) -> None:
    stub.feed(request(rom.READ_FLASH, 0, 250, 100, 1))
    assert len(stub.feed(request(rom.SYNC))) == 8
    assert stub.feed(struct.pack("<I", 100)) == []


# --- faults -------------------------------------------------------------------------------------


def test_a_refused_command_is_not_done(loader: RomLoader) -> None:
    loader.flash.program(0, b"kept")
    loader.faults.on_command = lambda op, data: WRITE_FAILED if op == rom.FLASH_BEGIN else None
    assert error_of(loader.feed(begin_request(rom.FLASH_BEGIN, 4, 0))) == WRITE_FAILED
    assert loader.flash.read(0, 4) == b"kept"


def test_a_dropped_command_is_not_done_and_the_next_one_is_answered(loader: RomLoader) -> None:
    loader.flash.program(0, b"kept")
    loader.faults.on_command = lambda op, data: "drop" if op == rom.FLASH_BEGIN else None
    assert loader.feed(begin_request(rom.FLASH_BEGIN, 4, 0)) == []
    assert loader.flash.read(0, 4) == b"kept"
    assert loader.feed(request(rom.SYNC))


def test_a_board_that_went_silent_answers_again_after_reset(flash: FlashFile) -> None:
    loader = RomLoader(flash, Faults(lambda op, data: "silent" if op == rom.SPI_ATTACH else None))
    assert loader.feed(request(rom.SPI_ATTACH, 0, 0)) == []
    assert loader.feed(request(rom.SYNC)) == []
    loader.reset()
    assert loader.feed(request(rom.SYNC))


def test_a_corrupt_block_is_taken_and_differs_in_one_byte(loader: RomLoader) -> None:
    loader.faults.on_command = lambda op, data: "corrupt" if op == rom.FLASH_DATA else None
    loader.feed(begin_request(rom.FLASH_BEGIN, 4, 0))
    assert loader.feed(block_request(rom.FLASH_DATA, 0, b"abcd")) == [reply(rom.FLASH_DATA, OK_ROM)]
    assert loader.flash.read(0, 4) == b"`bcd"


# --- the flash itself ---------------------------------------------------------------------------


def test_programming_only_clears_bits_until_a_sector_is_erased(flash: FlashFile) -> None:
    flash.program(10, b"\xf0")
    flash.program(10, b"\x3c")
    assert flash.read(9, 3) == b"\xff\x30\xff"
    flash.erase(0, SECTOR_BYTES)
    assert flash.read(10, 1) == b"\xff"


def test_a_power_cut_leaves_half_of_a_program_and_half_of_an_erase(flash: FlashFile) -> None:
    flash.cut_at = 2
    flash.program(0, b"before")
    with pytest.raises(PowerCut):
        flash.program(4096, b"abcdef")
    assert flash.read(4096, 6) == b"abc\xff\xff\xff"
    flash.program(2 * SECTOR_BYTES - 1, bytes(2))
    flash.cut_at = flash.operations + 1
    with pytest.raises(PowerCut):
        flash.erase(SECTOR_BYTES, 2 * SECTOR_BYTES)
    assert flash.read(4096, 3) + flash.read(2 * SECTOR_BYTES - 1, 2) == b"\xff" * 4 + b"\0"


@pytest.mark.parametrize("cut_at", [1, 2, 3])
def test_a_power_cut_reaches_the_caller_of_the_loader(loader: RomLoader, cut_at: int) -> None:
    loader.flash.cut_at = cut_at
    with pytest.raises(PowerCut):
        loader.feed(begin_request(rom.FLASH_BEGIN, 128, 0))
        for number in range(2):
            loader.feed(block_request(rom.FLASH_DATA, number, b"x" * BLOCK_BYTES))
    assert loader.flash.operations == cut_at


def test_two_that_map_the_same_file_see_each_others_writes(tmp_path: Path) -> None:
    first, second = (FlashFile(tmp_path / "flash.bin", FLASH_BYTES) for _ in range(2))
    first.program(5, b"here")
    assert second.read(4, 6) == b"\xffhere\xff"
    assert (tmp_path / "flash.bin").stat().st_size == second.size_bytes == FLASH_BYTES


@pytest.mark.parametrize(("offset", "size_bytes"), [(FLASH_BYTES, 1), (-1, 1), (0, FLASH_BYTES + 1)])
def test_outside_the_flash_is_an_error(flash: FlashFile, offset: int, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="not within"):
        flash.read(offset, size_bytes)
    with pytest.raises(ValueError, match="not within"):
        flash.program(offset, bytes(size_bytes))
    with pytest.raises(ValueError, match="not within"):
        flash.erase(offset, size_bytes)
    with pytest.raises(ValueError, match="whole sectors"):
        flash.erase(0, 100)
