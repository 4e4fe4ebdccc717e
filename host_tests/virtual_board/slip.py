"""SLIP frames, in which esptool and the chip's loader talk: bytes in, payloads out and back.

Owns the escapes and where a frame begins and ends. Must not know what is in a frame, nor any port.
"""

from __future__ import annotations

END = b"\xc0"
_ESCAPE = b"\xdb"
_UNESCAPED = {b"\xdc": END, b"\xdd": _ESCAPE}


def encode(payload: bytes) -> bytes:
    """One frame with its delimiters, as RFC 1055 escapes it."""
    return END + payload.replace(_ESCAPE, b"\xdb\xdd").replace(END, b"\xdb\xdc") + END


class Decoder:
    """Cuts a byte stream into payloads; what it gives doesn't depend on the pieces in which the stream came.

    Bytes between frames, empty frames and frames with a wrong escape are dropped. After a frame that was cut off, the
    next one is taken for noise and the one after that is found again.
    """

    def __init__(self) -> None:
        self._open = False
        self._pending = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, in order; none is empty."""
        *pieces, rest = (self._pending + data).split(END)
        payloads = [payload for piece in pieces if (payload := self._at_delimiter(piece))]
        self._pending = rest if self._open else b""
        return payloads

    def _at_delimiter(self, piece: bytes) -> bytes | None:
        """What a delimiter after these bytes means: a frame's start, or its end and then its payload."""
        if not self._open or not piece:
            self._open = True
            return None
        self._open = False
        return _unescaped(piece)


def _unescaped(piece: bytes) -> bytes | None:
    """The payload of an escaped piece; None if an escape is wrong."""
    first, *rest = piece.split(_ESCAPE)
    if any(part[:1] not in _UNESCAPED for part in rest):
        return None
    return first + b"".join(_UNESCAPED[part[:1]] + part[1:] for part in rest)
