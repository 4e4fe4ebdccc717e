"""The serial loader of an ESP32-C3: what the ROM answers, and esptool's stub after it was loaded.

Owns commands, replies and the two states; takes payloads and returns payloads, without SLIP and without a port. The
stub's code is taken and thrown away: what it would do is here. Must not know the application nor the REPL.
Sources: esptool's documentation of the serial protocol; numbers measured with esptool 5.6.0.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import struct
from collections.abc import Callable
from typing import NamedTuple

from host_tests.virtual_board import rom_flash
from host_tests.virtual_board.flash_file import FlashFile
from host_tests.virtual_board.rom_flash import BAD_CHECKSUM, BAD_MESSAGE, FAILED, Refused, one_byte_wrong
from host_tests.virtual_board.rom_registers import Registers

ESP32_C3 = 5
FLASH_4_MB = 0x16
FLASH_2_MB = 0x15
MAC = bytes((0x70, 0xB8, 0xF6, 0x0C, 0x3F, 0x01))

FLASH_BEGIN, FLASH_DATA, FLASH_END = 0x02, 0x03, 0x04
MEM_BEGIN, MEM_END, MEM_DATA = 0x05, 0x06, 0x07
SYNC, WRITE_REG, READ_REG = 0x08, 0x09, 0x0A
SPI_SET_PARAMS, SPI_ATTACH, READ_FLASH_SLOW, CHANGE_BAUDRATE = 0x0B, 0x0D, 0x0E, 0x0F
FLASH_DEFL_BEGIN, FLASH_DEFL_DATA, FLASH_DEFL_END = 0x10, 0x11, 0x12
SPI_FLASH_MD5, GET_SECURITY_INFO = 0x13, 0x14
ERASE_FLASH, ERASE_REGION, READ_FLASH, RUN_USER_CODE = 0xD0, 0xD1, 0xD2, 0xD3

_REQUEST, _REPLY = 0, 1
_HEADER = struct.Struct("<BBHI")
_BLOCK_HEADER_BYTES = 16
_SLOW_READ_BYTES = 64
_SYNC_REPLIES = 8
_SYNC_VALUE_OF_ROM = 0x20120707  # a stub answers 0: that is how esptool sees that one is running
_STUB_IS_UP = b"OHAI"


class Faults:
    """What goes wrong. `on_command(op, data)` is asked before each command and returns:

    None: nothing; an int: refuse with that error code, do nothing; "drop": lose the command; "silent": lose it and all
    that follow until reset; "corrupt": one byte is wrong, of what gets programmed or else of what the reply brings.
    For a delay it sleeps: the chip has one thread, too.
    """

    def __init__(self, on_command: Callable[[int, bytes], None | int | str] = lambda op, data: None) -> None:
        self.on_command = on_command


class _Answer(NamedTuple):
    value: int = 0
    data: bytes = b""
    copies: int = 1
    then: tuple[bytes, ...] = ()


_DONE = _Answer()


class RomLoader:
    """One loader on one flash. `left` is True after a command that starts the application; then it answers nothing.

    `size_code` is what the flash says about its size (FLASH_4_MB, FLASH_2_MB), whatever `flash` has. `mac`: 6 bytes.
    """

    def __init__(
        self,
        flash: FlashFile,
        faults: Faults | None = None,
        *,
        chip_id: int = ESP32_C3,
        size_code: int = FLASH_4_MB,
        mac: bytes = MAC,
    ) -> None:
        self.flash = flash
        self.faults = faults or Faults()
        self.chip_id = chip_id
        self.registers = Registers(mac, size_code)
        self._commands: dict[int, Callable[[bytes], _Answer]] = {
            SYNC: self._sync,
            GET_SECURITY_INFO: self._security_info,
            READ_REG: self._read_register,
            WRITE_REG: self._write_register,
            FLASH_BEGIN: self._flash_begin,
            FLASH_END: self._flash_end,
            FLASH_DEFL_BEGIN: self._flash_begin,
            FLASH_DEFL_END: self._flash_end,
            SPI_FLASH_MD5: self._flash_md5,
            READ_FLASH_SLOW: self._read_slow,
            MEM_END: self._memory_end,
            **dict.fromkeys((SPI_ATTACH, SPI_SET_PARAMS, CHANGE_BAUDRATE, MEM_BEGIN), lambda data: _DONE),
        }
        self._block_commands = {
            FLASH_DATA: self._flash_block,
            FLASH_DEFL_DATA: self._deflated_block,
            MEM_DATA: lambda number, block: _DONE,
        }
        self._stub_commands: dict[int, Callable[[bytes], _Answer]] = {
            ERASE_FLASH: self._erase_all,
            ERASE_REGION: self._erase_region,
            READ_FLASH: self._read,
            RUN_USER_CODE: self._run_user_code,
        }
        self.reset()

    def reset(self) -> None:
        """What a reset into download mode does: the ROM's loader, with nothing begun."""
        self.is_stub = False
        self.left = False
        self._silent = False
        self._corrupt = False
        self._writing: rom_flash.Write | None = None
        self._reading: rom_flash.Read | None = None

    def feed(self, payload: bytes) -> list[bytes]:
        """The payloads that answer one payload; none to what isn't a whole request. Flash may raise PowerCut."""
        if self.left or self._silent:
            return []
        if self._reading and len(payload) == 4:
            return list(self._reading.frames(int.from_bytes(payload, "little")))
        self._reading = None
        if len(payload) < _HEADER.size:
            return []
        direction, op, size_bytes, checksum = _HEADER.unpack_from(payload)
        data = payload[_HEADER.size :]
        if direction != _REQUEST or len(data) != size_bytes:
            return []
        return self._command(op, data, checksum)

    def _command(self, op: int, data: bytes, checksum: int) -> list[bytes]:
        fault = self.faults.on_command(op, data)
        if fault in ("drop", "silent"):
            self._silent = fault == "silent"
            return []
        self._corrupt = fault == "corrupt"
        status_bytes = 2 if self.is_stub else 4  # as before the command, which may switch
        try:
            if isinstance(fault, int):
                raise Refused(fault)
            answer = self._do(op, data, checksum)
        except Refused as refused:
            return [_reply(op, _DONE, bytes((1, refused.code)).ljust(status_bytes, b"\0"))]
        except struct.error:  # too short for its command
            return [_reply(op, _DONE, bytes((1, BAD_MESSAGE)).ljust(status_bytes, b"\0"))]
        if op == RUN_USER_CODE:  # gone before it could answer
            return []
        if self._corrupt:
            answer = answer._replace(data=one_byte_wrong(answer.data))
        return [_reply(op, answer, bytes(status_bytes))] * answer.copies + list(answer.then)

    def _do(self, op: int, data: bytes, checksum: int) -> _Answer:
        if write_block := self._block_commands.get(op):
            size_bytes, number = struct.unpack_from("<2I8x", data)
            block = data[_BLOCK_HEADER_BYTES:]
            if len(block) != size_bytes:
                raise Refused(BAD_MESSAGE)
            if checksum != functools.reduce(operator.xor, block, 0xEF):
                raise Refused(BAD_CHECKSUM)
            return write_block(number, block)
        command = self._commands.get(op) or (self.is_stub and self._stub_commands.get(op))
        if not command:
            raise Refused(BAD_MESSAGE)
        return command(data)

    # --- who is there ---------------------------------------------------------------------------

    def _sync(self, data: bytes) -> _Answer:
        return _Answer(value=0 if self.is_stub else _SYNC_VALUE_OF_ROM, copies=_SYNC_REPLIES)

    def _security_info(self, data: bytes) -> _Answer:
        return _Answer(data=struct.pack("<IB7xII", 0, 0, self.chip_id, 0))

    def _read_register(self, data: bytes) -> _Answer:
        return _Answer(value=self.registers.read(*struct.unpack("<I", data)))

    def _write_register(self, data: bytes) -> _Answer:
        self.registers.write(*struct.unpack_from("<3I", data))
        return _DONE

    # --- flash ----------------------------------------------------------------------------------

    def _flash_begin(self, data: bytes) -> _Answer:
        self._writing = None  # also when this one is refused
        self._writing = rom_flash.Write(self.flash, *struct.unpack_from("<4I", data))
        return _DONE

    def _flash_block(self, number: int, block: bytes) -> _Answer:
        self._begun().plain(number, block, self._corrupt)
        return _DONE

    def _deflated_block(self, number: int, block: bytes) -> _Answer:
        self._begun().deflated(number, block, self._corrupt)
        return _DONE

    def _begun(self) -> rom_flash.Write:
        if not self._writing:
            raise Refused(FAILED)
        return self._writing

    def _flash_end(self, data: bytes) -> _Answer:
        """The ROM leaves for the application in any case; the stub stays (1) or goes back to the ROM (0)."""
        (stay,) = struct.unpack("<I", data)
        self._writing = None
        self.left = not self.is_stub
        self.is_stub = self.is_stub and stay != 0
        return _DONE

    def _erase_all(self, data: bytes) -> _Answer:
        rom_flash.erase(self.flash, 0, self.flash.size_bytes)
        return _DONE

    def _erase_region(self, data: bytes) -> _Answer:
        rom_flash.erase(self.flash, *struct.unpack("<2I", data))
        return _DONE

    def _flash_md5(self, data: bytes) -> _Answer:
        digest = hashlib.md5(rom_flash.read(self.flash, *struct.unpack_from("<2I", data)))
        return _Answer(data=digest.digest() if self.is_stub else digest.hexdigest().encode())

    def _read_slow(self, data: bytes) -> _Answer:
        offset, size_bytes = struct.unpack("<2I", data)
        if size_bytes > _SLOW_READ_BYTES:
            raise Refused(BAD_MESSAGE)
        return _Answer(data=rom_flash.read(self.flash, offset, size_bytes).ljust(_SLOW_READ_BYTES, b"\0"))

    def _read(self, data: bytes) -> _Answer:
        offset, size_bytes, block_bytes, most_in_flight = struct.unpack("<4I", data)
        if not size_bytes or not block_bytes or not most_in_flight:
            raise Refused(BAD_MESSAGE)
        content = rom_flash.read(self.flash, offset, size_bytes)
        self._reading = rom_flash.Read(content, block_bytes, block_bytes * most_in_flight)
        return _Answer(then=self._reading.frames(0))

    # --- out of the loader ----------------------------------------------------------------------

    def _memory_end(self, data: bytes) -> _Answer:
        _, entry = struct.unpack("<2I", data)
        if not entry:
            return _DONE
        self.is_stub = True
        return _Answer(then=(_STUB_IS_UP,))

    def _run_user_code(self, data: bytes) -> _Answer:
        self.left = True
        return _DONE


def _reply(op: int, answer: _Answer, status: bytes) -> bytes:
    data = answer.data + status
    return _HEADER.pack(_REPLY, op, len(data), answer.value) + data
