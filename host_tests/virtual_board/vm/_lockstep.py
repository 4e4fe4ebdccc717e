"""The server that keeps in step with the board, on the board's side: it is told of all that it has to deal with.

Owns the words that tell (registers.PEER_PORT and the next). Time is skipped, see select, only when the server has dealt
with all of it, and never past the tick at which it does its next thing; so no look at the host's clock is needed.
"""

import _board
import registers as _r
from _board import words as _words


def is_at(port):
    """Whether that port of the host is the server's."""
    return port == _words[_r.PEER_PORT]


def told(method, what):
    """A call that gives the server something to do: it is told before and after, so that it can't take what it saw in
    between for all."""
    _words[_r.PEER_SENT] += 1
    try:
        return method(what)
    finally:
        _words[_r.PEER_SENT] += 1


def left():
    """The board closed its connection: whatever the server did not see of it, it need not see any more."""
    _words[_r.PEER_READ] = _words[_r.PEER_SENT]


def is_busy():
    return _words[_r.PEER_SENT] != _words[_r.PEER_READ]


def left_ms(ms):
    """How much of `ms` may be skipped for it; 0 while it is at work."""
    due = _words[_r.PEER_DUE]
    return min(ms, max(0, _board.ticks_diff(due, _board.ticks_ms()))) if due else ms
