"""What outlives a run of the board: flash.bin (4 MB of NOR) and board.bin (the words shared with the VM).

Owns the two files, their first content and typed access to the words. Must not know processes.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

from host_tests.virtual_board.stand_in import stand_in_image
from host_tests.virtual_board.vm import registers as r
from scripts.console import EXIT_USAGE, Problem
from scripts.firmware import patched

EPOCH_2000_S = 946684800
_TICKS_MASK = (1 << 30) - 1
_FIRMWARE = "1.24.1;v1.24.1 on 2024-11-29;ESP32C3 module with ESP32C3"  # what os.uname() says, until a boot reads it
_MAC = bytes((0x70, 0xB8, 0xF6, 0x0C, 0x3F, 0x01))


def monotonic_ms() -> int:
    """The clock that the VM's ticks run on (CLOCK_MONOTONIC), in ms."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000


class BoardState:
    """Flash and shared words of one board in one folder. Words are unsigned 32-bit, little-endian."""

    def __init__(self, folder: Path, blank: bool = False) -> None:
        """A new folder holds a flashed board without files, or one as it leaves the factory if `blank`."""
        self.folder = folder
        self.flash_path = folder / "flash.bin"
        self.board_path = folder / "board.bin"
        folder.mkdir(parents=True, exist_ok=True)
        self._prepare_flash(blank)
        if not self.board_path.exists():
            self.board_path.write_bytes(b"\0" * r.SIZE_BYTES)
        if self.board_path.stat().st_size != r.SIZE_BYTES:
            raise _broken(self.board_path, f"has not the {r.SIZE_BYTES} bytes it should have")
        self._file = open(self.board_path, "r+b")
        self._words = mmap.mmap(self._file.fileno(), r.SIZE_BYTES)
        self._set_world()

    def close(self) -> None:
        self._words.close()
        self._file.close()

    def _prepare_flash(self, blank: bool) -> None:
        if not self.flash_path.exists():
            image = b"" if blank else patched(stand_in_image())
            self.flash_path.write_bytes(image.ljust(r.FLASH_SIZE_BYTES, b"\xff"))
        if self.flash_path.stat().st_size != r.FLASH_SIZE_BYTES:
            raise _broken(self.flash_path, "is not 4 MB long")

    def _set_world(self) -> None:
        """A good world: an access point, DHCP, a time server, a room at 24 C; faults are set by the tests."""
        for word, value in (
            (r.AP_PRESENT, 1),
            (r.DHCP_OK, 1),
            (r.RSSI, -58),
            (r.NTP_OK, 1),
            (r.TICK_MS, 10),
            (r.TEMPERATURE_C, 24),
        ):
            self[word] = value
        for word in (r.DNS_DEAD, r.SENSOR_FAIL, r.CUT_AT_FLASH_OP, r.FLASH_FAIL, r.WRITE_MAX):
            self[word] = 0
        for word in (r.SOCKETS_TAKEN, r.IDF_TAKEN, r.IDF_LARGEST_CAP, r.SKIP_SOCKETS, r.TXPOWER_MAX):
            self[word] = 0
        self.put_bytes(r.UNIQUE_ID, _MAC)
        self.put_text(r.FIRMWARE_TEXT, _FIRMWARE)
        self.set_clock(r.NTP, int(time.time()) - EPOCH_2000_S)

    def __getitem__(self, word: int) -> int:
        return struct.unpack_from("<I", self._words, 4 * word)[0]

    def __setitem__(self, word: int, value: int) -> None:
        struct.pack_into("<I", self._words, 4 * word, value & 0xFFFFFFFF)

    def put_bytes(self, address: int, content: bytes) -> None:
        self._words[address - r.BASE : address - r.BASE + len(content)] = content

    def put_text(self, address: int, text: str) -> None:
        raw = text.encode()
        if len(raw) >= r.TEXT_SIZE_BYTES:
            raise Problem(f"{text!r} is longer than {r.TEXT_SIZE_BYTES - 1} bytes", EXIT_USAGE)
        self.put_bytes(address, raw.ljust(r.TEXT_SIZE_BYTES, b"\0"))

    def set_clock(self, clock: int, seconds: int) -> None:
        """Set a wall clock (r.RTC or r.NTP) to whole seconds since 2000-01-01."""
        self[clock], self[clock + 1], self[clock + 2] = seconds, 0, monotonic_ms() & _TICKS_MASK

    def ticks_ms(self) -> int:
        """The board's ticks_ms() now."""
        return (monotonic_ms() + self[r.TICKS_OFFSET]) & _TICKS_MASK

    def power_off(self) -> None:
        """What a cut of the supply takes: RTC memory and RTC clock. Flash stays."""
        self[r.RTC_MEMORY_LEN] = 0
        self.set_clock(r.RTC, 0)
        self[r.RESET_CAUSE] = 1
        self[r.STATE] = r.STATE_OFF

    def prepare_boot(self, heap_bytes: int, soft: bool = False) -> None:
        """What any reset clears: sockets; unless it is a soft one also radio, watchdog and ticks.

        Ticks do not start at 0 but at the host's uptime: asyncio's C half stamps new tasks with the VM's own ticks,
        so the board's may only be ahead of them, by less than half their period of 12 days.
        """
        for word in (r.SOCKETS_OPEN, r.SKIP_ON, r.STATE):
            self[word] = 0
        if not soft:
            for word in (r.LINK, r.IDF_WLAN, r.WDT_TIMEOUT_MS, r.TICKS_OFFSET):
                self[word] = 0
        self[r.HEAP_BYTES] = heap_bytes

    def watchdog_expired(self) -> bool:
        timeout_ms = self[r.WDT_TIMEOUT_MS]
        if not timeout_ms:
            return False
        unfed_ms = (self.ticks_ms() - self[r.WDT_FED_TICKS] + (1 << 29)) % (1 << 30) - (1 << 29)
        return unfed_ms > timeout_ms


def _broken(path: Path, why: str) -> Problem:
    return Problem(
        f"{path} {why}, so this STATE folder is not a board's. Remove it or name another STATE folder.",
        EXIT_USAGE,
    )
