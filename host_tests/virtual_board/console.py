"""The serial console of a board: the REPL's protocol on one side, the VM's stdin and stdout on the other.

Owns the marks that the VM puts into its output (vm/boot.py), the CR before each LF, and the log of lines. Must not know
processes, which are the VirtualBoard's, nor how the bytes travel, which is a port's.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Protocol

from host_tests.virtual_board.raw_repl import Repl
from host_tests.virtual_board.vm import registers as r

_IDLE, _DONE, _END = (mark.encode() for mark in (r.REPL_IDLE, r.REPL_DONE, r.REPL_END))
_MARK = re.compile(b"|".join(re.escape(mark) for mark in (_IDLE, _DONE, _END)))

_FRAME_OF_OURS = re.compile(rb'  File "virtual_board/boot.py", .*\r\n')


class Chip(Protocol):
    """What the console asks of the board."""

    def execute(self, source: bytes, single: bool) -> None: ...
    def interrupt(self) -> None: ...
    def soft_reset(self) -> None: ...


def device_line_ends(data: bytes) -> bytes:
    """LF becomes CR LF, as the firmware's stdout does it."""
    return data.replace(b"\n", b"\r\n")


class Console:
    """`from_vm` takes what the VM printed, `feed` what came over the line. `on_output` gets the bytes for the line and
    `on_line` each whole line of them. Safe to call from several threads."""

    def __init__(self, chip: Chip, on_line: Callable[[str], None]) -> None:
        self.on_output: Callable[[bytes], None] | None = None
        self._chip = chip
        self._on_line = on_line
        self._lock = threading.RLock()
        self._held = b""
        self._line = b""
        self._error: bytes | None = None  # between DONE and END: the traceback so far
        self.boot("")

    def boot(self, banner: str, soft: bool = False) -> None:
        """The VM starts: friendly REPL and an empty input buffer, unless the reset was a soft one."""
        with self._lock:
            self._held, self._error = b"", None
            if not soft:
                self._repl = Repl(self, banner.encode())
            self._repl.started(not soft)

    @property
    def friendly(self) -> bool:
        return self._repl.mode == "friendly"

    @property
    def busy(self) -> bool:
        """True while a program runs, which Ctrl-C would end."""
        return self._repl.busy

    def feed(self, data: bytes) -> None:
        """Bytes from the host."""
        with self._lock:
            self._repl.feed(data)

    def from_vm(self, data: bytes) -> None:
        """Bytes from the VM's stdout, in any pieces."""
        with self._lock:
            data = self._held + data
            self._held = b""
            while match := _MARK.search(data):
                self._pass_on(data[: match.start()])
                data = data[match.end() :]
                self._mark(match.group())
            cut = data.rfind(b"\0")
            if cut >= 0 and any(mark.startswith(data[cut:]) for mark in (_IDLE, _DONE, _END)):
                data, self._held = data[:cut], data[cut:]
            self._pass_on(data)

    def vm_ended(self) -> None:
        """Nothing more comes from this VM: a line it had begun is complete."""
        with self._lock:
            self._pass_on(self._held)
            self._held = b""
            if self._line:
                self._show(self._line)
                self._line = b""

    def say(self, text: str) -> None:
        """A line of the boot ROM."""
        with self._lock:
            self.write(text.encode() + b"\r\n")

    def _pass_on(self, data: bytes) -> None:
        data = device_line_ends(data)
        if self._error is not None:
            self._error += data
        elif data:
            self._repl.output(data)

    def _mark(self, mark: bytes) -> None:
        if mark == _IDLE:
            self._repl.idle()
        elif mark == _DONE:
            self._error = b""
        else:
            error, self._error = self._error or b"", None
            self._repl.done(_FRAME_OF_OURS.sub(b"", error))

    # --- what the REPL asks for -------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        *ended, self._line = (self._line + data).split(b"\n")
        for line in ended:
            self._show(line)
        if self.on_output:
            self.on_output(data)

    def _show(self, line: bytes) -> None:
        self._on_line(line.decode(errors="replace").rstrip("\r"))

    def execute(self, source: bytes, single: bool) -> None:
        self._chip.execute(source, single)

    def interrupt(self) -> None:
        self._chip.interrupt()

    def soft_reset(self) -> None:
        self._chip.soft_reset()
