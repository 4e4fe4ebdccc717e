"""A board as its serial line shows it: the ROM's loader or the firmware's console, and the reset between the two.

Owns which of them listens. On a port without reset lines (a PTY) a finger on BOOT is assumed: the first byte of a
SLIP frame finds the loader, and when the host hangs up after loading, the board is started again. With reset lines (RFC
2217) EN and GPIO9 decide, as on a board with the usual two transistors. Must not know ports.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from host_tests.virtual_board.board import VirtualBoard
from host_tests.virtual_board.flash_file import FlashFile, PowerCut
from host_tests.virtual_board.rom_loader import Faults, RomLoader
from host_tests.virtual_board.slip import END, Decoder, encode

_EN_RISES_S = 0.1


class SerialBoard:
    """`feed` bytes of the host in, `on_output` bytes of the board out.

    `silent`: a board that neither hears nor speaks; `boot_held` False: nobody holds BOOT, so that a port without reset
    lines finds no loader; `noise` changes bytes on their way to the firmware."""

    def __init__(self, board: VirtualBoard, chip_id: int = 5, size_code: int = 0x16) -> None:
        self.board = board
        self.on_output: Callable[[bytes], None] = lambda _: None
        self.faults = Faults()
        self.flash = FlashFile(board.state.flash_path)
        self.noise: Callable[[bytes], bytes] = lambda data: data
        self.silent = False
        self.boot_held = True
        self.loads = self.hang_ups = 0
        self._loader = RomLoader(self.flash, self.faults, chip_id=chip_id, size_code=size_code)
        self._decoder = Decoder()
        self._loading = False
        self._has_lines = self._in_reset = self._rising = self._gpio9_low = False
        self._riser: threading.Timer | None = None
        self._lock = threading.Lock()
        board.console.on_output = self._send

    @property
    def loading(self) -> bool:
        """True while the ROM's loader listens."""
        return self._loading

    def power_on(self) -> None:
        """Start into the firmware, or into the ROM's complaint that there is none."""
        self._loading = False
        self.board.start()

    def close(self) -> None:
        with self._lock:
            self._rising = False
            if self._riser:
                self._riser.cancel()
        self.board.stop()
        self.flash.close()

    def feed(self, data: bytes) -> None:
        with self._lock:
            if self.silent:
                return
            if not self._loading and not self._has_lines and self.boot_held and data[:1] == END:
                self._start_loader()
            if self._loading:
                self._load(data)
            else:
                self.board.console.feed(self.noise(data))

    def hang_up(self) -> None:
        """The host closed the port."""
        with self._lock:
            self.hang_ups += 1
            if self._loading and not self._has_lines:
                self._start_app()

    def set_lines(self, dtr: bool, rts: bool) -> None:
        """RTS alone holds EN low, DTR alone GPIO9. A capacitor lets EN rise slowly, so that a host which sets DTR first
        and then clears RTS still finds the loader."""
        with self._lock:
            self._has_lines = True
            in_reset = rts and not dtr
            if self._in_reset and not in_reset:
                self._rising = True
                self._riser = threading.Timer(_EN_RISES_S, self._risen)
                self._riser.start()
            self._in_reset = in_reset
            self._gpio9_low = dtr and not rts
            if self._gpio9_low:
                self._has_risen()

    def _risen(self) -> None:
        with self._lock:
            self._has_risen()

    def _has_risen(self) -> None:
        if not self._rising:
            return
        self._rising = False
        if self._gpio9_low:
            self._start_loader()
        else:
            self._start_app()

    def _start_loader(self) -> None:
        self.board.stop()
        self._loader.reset()
        self._decoder = Decoder()
        self._loading = True
        self.loads += 1

    def _start_app(self) -> None:
        self.board.stop()
        self._loading = False
        self.board.start()

    def _load(self, data: bytes) -> None:
        for payload in self._decoder.feed(data):
            try:
                replies = self._loader.feed(payload)
            except PowerCut:
                self.silent = True
                return
            for reply in replies:
                self.on_output(encode(reply))
        if self._loader.left:
            self._start_app()

    def _send(self, data: bytes) -> None:
        if not self.silent:
            self.on_output(data)
