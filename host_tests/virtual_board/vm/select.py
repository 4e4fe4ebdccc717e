"""Fake `select`: poll over the fakes' sockets with the device's 10 ms tick.

On the device a wait looks at every object, sleeps one FreeRTOS tick and looks again: data never wakes it
early. Time skips (see `_board.idle`) only while no connection is registered, unless the host allows it, because
what is at the other end runs in real time.
"""

import _board
import _lockstep
import _radio
import _udp
import registers as _r
import uselect as _u
from _board import words as _words
from utime import sleep_ms as _u_sleep_ms

POLLIN = _u.POLLIN
POLLOUT = _u.POLLOUT
POLLERR = _u.POLLERR
POLLHUP = _u.POLLHUP

_REAL_WAIT_MS = 20


class poll:
    def __init__(self):
        self._poll = _u.poll()
        self._objects = {}
        self._native = None
        self._flags = 0

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        self._objects[id(obj._native)] = obj
        self._poll.register(obj._native, eventmask)

    def unregister(self, obj):
        native = obj._native
        self._poll.unregister(native)
        self._objects.pop(id(native), None)

    def modify(self, obj, eventmask):
        if id(obj._native) not in self._objects:
            raise OSError(2)
        self._poll.modify(obj._native, eventmask)

    def poll(self, timeout=-1):
        return [(o, flags) for o, flags in self.ipoll(timeout)]

    def ipoll(self, timeout=-1, flags=0):
        if flags:
            raise ValueError("virtual board: one-shot polling is not modelled")
        self._wait(timeout)
        return self

    def __iter__(self):
        return self

    def __next__(self):
        native = self._native
        while native is None:
            native, flags = next(self._poll)
            self._flags = self._as_lwip(native, flags)
            if not self._flags:
                native = None
        self._native = None
        return self._objects[id(native)], self._flags

    def _as_lwip(self, native, flags):
        """What lwIP would see of it: nothing without a link, no room in a full buffer, errors as IN and OUT."""
        if not _words[_r.LINK] and not _radio.link_is_up():
            return 0
        if flags & POLLOUT and not flags & (POLLERR | POLLHUP) and self._objects[id(native)]._free() <= 0:
            flags &= ~POLLOUT
        if flags & POLLIN and self._objects[id(native)]._datagrams and not _udp.arrived(native):
            flags &= ~POLLIN
        return flags & ~POLLERR

    def _look(self, timeout_ms):
        """True when something is ready; the first one is kept for __next__, the rest stay with the poll."""
        self._native = None
        hidden = False
        for native, flags in self._poll.ipoll(timeout_ms):
            self._flags = self._as_lwip(native, flags)
            if self._flags:
                self._native = native
                return True
            hidden = True
        if hidden and timeout_ms:  # the host's wait ended for what lwIP does not see
            _u_sleep_ms(timeout_ms)
            return self._look(0)
        return False

    def _wait(self, timeout):
        _board.check_interrupt()
        if self._look(0) or timeout == 0:
            return
        _words[_r.POLL_WAITS] += 1
        start = _board.ticks_ms()
        while True:
            left = 1000 if timeout < 0 else timeout - _board.ticks_diff(_board.ticks_ms(), start)
            if left <= 0:
                return
            if self._pause(left):
                return

    def _pause(self, left_ms):
        """Let at most `left_ms` pass; true when something became ready."""
        _board.check_interrupt()
        if _words[_r.SKIP_ON]:
            to_skip_ms = _board.ticks_diff(_words[_r.SKIP_UNTIL], _board.ticks_ms())
            if to_skip_ms <= 0:
                _words[_r.SKIP_ON] = 0
                return self._look(0)
            if _lockstep.is_busy():
                return self._look(1)
            busy = any(not (o._listening or o._in_step) for o in self._objects.values())
            allowed = not busy or _words[_r.SKIP_SOCKETS]
            if allowed and not self._look(_REAL_WAIT_MS // allowed if busy else 0):
                left_ms = _lockstep.left_ms(left_ms)
                if not left_ms:
                    return self._look(1)
                _board.idle(min(left_ms, to_skip_ms))  # what would be left of it is real time, with sockets to look at
                return self._look(0)
        tick_ms = _words[_r.TICK_MS]
        if tick_ms:
            _u_sleep_ms(tick_ms - _board.ticks_ms() % tick_ms)
            return self._look(0)
        return self._look(min(left_ms, 10))
