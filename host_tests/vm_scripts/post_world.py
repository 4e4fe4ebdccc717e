"""What is measured of a POST on the VM, whoever sends it: how much memory it takes of the heap.

To be imported before the sender, which then finds thin sockets (post_socket) and the VM's own poll in place of the
virtual board's; clock and chip are the virtual board's. `begin` is the steady state, `end` prints the figures.

  peak     Each allocation collects first, so that nothing is on the heap that is not in use, and what is in use is
           counted at every read of the flash, every call of a socket and every import. Besides, the heap is filled but
           for one hole with a pattern in it: how far the pattern is gone is how far allocations reached, with the
           gaps that are too small for what came next.
  need     So many bytes are left free, and collections come as on the board. Who posts succeeds or does not.
  garbage  Nothing is collected, so all that is allocated is still there.
"""

import builtins
import gc
import json
import sys

import _gc
import post_socket
import uctypes
import uselect

BOARDS_THRESHOLD_BYTES = 4096  # main.py's
PEAK_ROOM_BYTES = 24 * 1024
_BLOCK_BYTES = 16
_BALLAST_BYTES = 1024, 128, 32  # what is left then goes to single blocks
_PATTERN = 0x5A

_mode = ""
_free = 0  # at the start
_used = 0  # on the heap at the start
_ballast = [None]
_hole = None
_before_log = [0, 0]  # in use at most, reached at most
_most = [0]  # bytes in use
_import = __import__

sys.modules["socket"] = post_socket
sys.modules["select"] = uselect
sys.modules["gc"] = _gc


def begin(mode, free_bytes):
    """From here on it counts. `free_bytes` are for "need"."""
    global _mode, _free, _used
    _mode = mode
    for _ in range(3):
        gc.collect()
    _used = gc.mem_alloc()
    if mode == "garbage":
        gc.disable()
        _gc.collect = lambda: None
        _used = gc.mem_alloc()
        return
    builtins.__import__ = _watch
    gc.threshold(1 if mode == "peak" else BOARDS_THRESHOLD_BYTES)
    _fill(PEAK_ROOM_BYTES if mode == "peak" else free_bytes)
    gc.collect()
    _free = gc.mem_free()


def note():
    """Count what is in use now."""
    if _mode == "peak" and _hole is not None:
        gc.collect()
        _most[0] = max(_most[0], _free - gc.mem_free())


def end(done, error, held=0):
    """Print the figures as JSON. `done`: records that were acknowledged; `error`: what went wrong, or None; `held`:
    bytes of what is sent that were on the heap before."""
    figures = {"done": done, "error": error and repr(error), "held": held}
    if _mode == "garbage":
        figures["garbage"] = gc.mem_alloc() - _used
    elif _mode == "peak":
        figures["with_log"] = _most[0]
        figures["peak"] = _before_log[0] or _most[0]
        figures["reach"] = _before_log[1] or _touched()
    if _mode:
        figures["free"] = _free
    gc.threshold(BOARDS_THRESHOLD_BYTES)
    _ballast[0] = None
    print("FIGURES", json.dumps(figures))


def _fill(free_bytes):
    """Take all memory but a hole of `free_bytes`."""
    global _hole
    data = bytearray(b"\x5a" * (free_bytes - _BLOCK_BYTES))
    # Its second word, as the collector would take the address of its first block for a use of whatever lies there.
    _hole = uctypes.bytearray_at(uctypes.addressof(data) + 4, len(data) - 4)
    chain = None
    for size in _BALLAST_BYTES:
        try:
            while True:
                chain = chain, bytearray(size)
        except MemoryError:
            pass
    try:
        while True:
            chain = chain, None
    except MemoryError:
        pass
    _ballast[0] = chain


def _touched():
    """Bytes of the free memory that were in use at some time: up to the last block without the pattern."""
    hole = _hole
    at = len(hole) - 1
    while at > 0 and hole[at] == _PATTERN:
        at -= _BLOCK_BYTES
    return _free - (len(hole) - 1 - at)


def _watch(name, globals=None, locals=None, fromlist=None, level=0):
    """`import`, which notes the peak before the log line: its module is the application's to import for any line."""
    if name == "logging" and _mode == "peak" and not _before_log[0]:
        _before_log[:] = _most[0], _touched()
    note()
    module = _import(name, globals, locals, fromlist, level)
    note()
    return module


def noting_calls(kind, *names):
    """Have these methods of a class count what is in use before and after."""
    for name in names:
        setattr(kind, name, _around(getattr(kind, name)))


def _around(method):
    def counted(*args):
        note()
        result = method(*args)
        note()
        return result

    return counted


noting_calls(post_socket.socket, "connect", "write", "readinto", "read", "close")
