"""The REPL of MicroPython v1.24.1 on the esp32 port, friendly and raw, as bytes in and calls out.

Owns the two modes, raw paste, line input, paste mode, the input buffer and Ctrl-C. Must not know ports, processes or
how source is run: that is the actor's. Behaviour follows shared/runtime/pyexec.c, shared/readline and py/repl.c, less
what only a person at a terminal would miss: escape sequences, history, completion, auto-indent, a cursor to move.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, Protocol

INPUT_BUFFER_BYTES = 260
"""What the device keeps of input that nobody reads (stdin_ringbuf of ports/esp32)."""
PASTE_WINDOW_BYTES = 128
"""Raw paste: the host may be two windows ahead; each window read earns it another."""

_CTRL_A, _CTRL_B, _CTRL_C, _CTRL_D, _CTRL_E = range(1, 6)
_BACKSPACE, _CR, _DELETE = 8, 13, 127
_PROMPT = b">>> "
_MORE_PROMPT = b"... "
_RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
_PASTE_BANNER = b"\r\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\r\n=== "
_SOFT_REBOOT = b"MPY: soft reboot\r\n"
_END = b"\x04"
_ERASE_LEFT = b"\b\x1b[K"
_COMPOUND = re.compile(rb"@|(?:if|while|for|try|with|def|class|async)\b")
_STRING = re.compile(rb"""'''.*?(?:'''|\Z)|\"{3}.*?(?:\"{3}|\Z)|'(?:\\.|[^'\\])*'?|"(?:\\.|[^"\\])*"?""", re.DOTALL)


class Actor(Protocol):
    """What the Repl acts on. Any of these may call back into the Repl before it returns."""

    def write(self, data: bytes) -> None:
        """Send bytes to the host."""

    def execute(self, source: bytes, single: bool) -> None:
        """Start running source; `Repl.done` when it ended. single: print the values of expression statements."""

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running program; there may be none yet while a soft reset goes on."""

    def soft_reset(self) -> None:
        """Start the interpreter anew; `Repl.idle` when it is at its prompt."""


def needs_more(source: bytes) -> bool:
    """Whether the prompt asks for another line: an open bracket, a backslash, or a block not ended by an empty line."""
    code = _STRING.sub(b"", source)
    depth = sum((byte in b"([{") - (byte in b")]}") for byte in code)
    return depth > 0 or code.endswith(b"\\") or (not source.endswith(b"\n") and bool(_COMPOUND.match(source)))


class Repl:
    """One REPL for the life of a board. It starts busy: boot.py and main.py run before there is a prompt.

    Not locked: one call at a time, but for those that the actor makes from within its own methods.
    """

    def __init__(self, actor: Actor, banner: bytes, raw_paste: bool = True) -> None:
        """`banner` is the first line of the friendly banner, without its line end. raw_paste=False: an old device."""
        self.mode: Literal["friendly", "raw"] = "friendly"
        self.busy = True
        self._actor = actor
        self._friendly_banner = banner + b'\r\nType "help()" for more information.\r\n' + _PROMPT
        self._raw_paste = raw_paste
        self._input = bytearray()
        self._handling_input = False
        self._interrupted = False
        self._restart()

    # --- what the host sends --------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes from the host, in pieces of any size."""
        self._interrupted = False
        for byte in data:
            if self.busy and byte == _CTRL_C:
                self._interrupt()
            elif len(self._input) < INPUT_BUFFER_BYTES:
                self._input.append(byte)
                self._handle_input()

    def _interrupt(self) -> None:
        """Once for all Ctrl-C that come at once: to the device they are one pending exception."""
        if not self._interrupted:
            self._interrupted = True
            self._actor.interrupt()

    def _handle_input(self) -> None:
        if self._handling_input:  # a source ended within execute(): the loop outside goes on
            return
        self._handling_input = True
        try:
            while self._input and not self.busy:
                self._read(self._input.pop(0))
        finally:
            self._handling_input = False

    # --- what the program does ------------------------------------------------------------------

    def output(self, data: bytes) -> None:
        """What the program printed, with CRLF line ends."""
        self._actor.write(data)

    def done(self, error: bytes) -> None:
        """The executed source ended; `error` is its traceback with CRLF line ends, or nothing."""
        self._write(_END + error + _END + b">" if self.mode == "raw" else error + _PROMPT)
        self._wait()

    def idle(self) -> None:
        """boot.py and main.py ended, after a reset of either kind."""
        self._write(self._banner())
        self._wait()

    def started(self, mode_friendly: bool) -> None:
        """A boot began: by a hard reset (mode_friendly), which loses the input too, or by a soft one (keeps both)."""
        self.busy = True
        if mode_friendly:
            self.mode = "friendly"
            self._input.clear()
        self._restart()

    def _wait(self) -> None:
        self.busy = False
        self._handle_input()

    def _write(self, data: bytes) -> None:
        self._actor.write(data)

    def _banner(self) -> bytes:
        return _RAW_BANNER if self.mode == "raw" else self._friendly_banner

    def _restart(self, answer: bytes = b"") -> None:
        """Forget what was typed, back to the mode's own input, and say so with `answer`."""
        self._source = bytearray()
        self._line = bytearray()
        self._read: Callable[[int], None] = self._read_raw if self.mode == "raw" else self._read_friendly
        if answer:
            self._write(answer)

    def _run(self, source: bytes, single: bool, answer: bytes = b"") -> None:
        self._restart(answer)
        self.busy = True
        self._interrupted = False
        self._actor.execute(source, single)

    def _soft_reset(self, answer: bytes) -> None:
        self._restart(answer + _SOFT_REBOOT)
        self.busy = True
        self._interrupted = False
        self._actor.soft_reset()

    def _enter(self, mode: Literal["friendly", "raw"]) -> None:
        self.mode = mode
        self._restart(b"\r\n" + self._banner())

    # --- raw REPL -------------------------------------------------------------------------------

    def _read_raw(self, byte: int) -> None:
        if byte == _CTRL_A:
            self._reset_raw()
        elif byte == _CTRL_B:
            self._enter("friendly")
        elif byte == _CTRL_C:
            self._restart()
        elif byte != _CTRL_D:
            self._line.append(byte)
        elif self._line:
            self._run(bytes(self._line), False, b"OK")
        else:
            self._soft_reset(b"OK\r\n")

    def _reset_raw(self) -> None:
        """Ctrl-A: the banner again, or the answer to a request for raw paste (the line 05 'A')."""
        request = bytes(self._line)
        if not self._raw_paste or len(request) != 2 or request[0] != _CTRL_E:
            self._restart(_RAW_BANNER)
        elif request[1:] != b"A":
            self._restart(b"R\x00>")
        else:
            self._restart(b"R\x01" + PASTE_WINDOW_BYTES.to_bytes(2, "little") + b"\x01")
            self._read = self._read_raw_paste

    def _read_raw_paste(self, byte: int) -> None:
        if byte == _CTRL_C:
            self._restart(_END + _END + b"KeyboardInterrupt: \r\n" + _END + b">")
        elif byte == _CTRL_D:
            self._run(bytes(self._line), False, _END)
        else:
            self._line.append(byte)
            if len(self._line) % PASTE_WINDOW_BYTES == 0:
                self._write(b"\x01")

    # --- friendly REPL --------------------------------------------------------------------------

    def _read_friendly(self, byte: int) -> None:
        if byte == _CR:
            self._accept_line()
        elif byte == _CTRL_C:
            self._restart(b"\r\n" + _PROMPT)
        elif 32 <= byte < _DELETE:
            self._line.append(byte)
            self._write(bytes((byte,)))
        elif not self._line:
            self._obey(byte)
        elif byte in (_BACKSPACE, _DELETE):
            self._line.pop()
            self._write(_ERASE_LEFT)

    def _accept_line(self) -> None:
        self._write(b"\r\n")
        self._source += self._line
        self._line.clear()
        if not self._source:
            self._write(_PROMPT)
        elif needs_more(bytes(self._source)):
            self._source += b"\n"
            self._write(_MORE_PROMPT)
        else:
            self._run(bytes(self._source), True)

    def _obey(self, byte: int) -> None:
        """A control byte on an empty line; in a statement of several lines only Ctrl-D, which ends it."""
        if self._source:
            if byte == _CTRL_D:
                self._run(bytes(self._source), True)
        elif byte == _CTRL_A:
            self._enter("raw")
        elif byte == _CTRL_B:
            self._enter("friendly")
        elif byte == _CTRL_D:
            self._soft_reset(b"\r\n")
        elif byte == _CTRL_E:
            self._restart(_PASTE_BANNER)
            self._read = self._read_paste

    def _read_paste(self, byte: int) -> None:
        if byte == _CTRL_C:
            self._restart(b"\r\n" + _PROMPT)
        elif byte == _CTRL_D:
            self._run(bytes(self._line), False, b"\r\n")
        else:
            self._line.append(byte)
            self._write(b"\r\n=== " if byte == _CR else bytes((byte,)))
