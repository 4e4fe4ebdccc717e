"""The chip under the fakes: maps registers and flash, moves the clock, resets, cuts the power.

Owns ffi and every host call that is not a socket. Must not know the application or any fake above it.
Time skips only while the board would sleep, in steps that end where the sleeper asked to be woken.
"""

import ffi
import registers as r
import uctypes
import uos
import utime

_TICKS_MASK = 0x3FFFFFFF
_HALF = 0x20000000

_libc = ffi.open("libc.so.6")
_mmap = _libc.func("p", "mmap", "LLiiil")
_open = _libc.func("i", "open", "si")
memmove = _libc.func("p", "memmove", "LPL")
memcmp = _libc.func("i", "memcmp", "LPL")
ioctl = _libc.func("i", "ioctl", "iLP")
_exit = _libc.func("v", "_exit", "i")

_PROT_READ_WRITE = 3
_MAP_SHARED_FIXED = 0x11
_O_RDWR = 2


def _map(path, address, size_bytes):
    fd = _open(path, _O_RDWR)
    if fd < 0 or _mmap(address, size_bytes, _PROT_READ_WRITE, _MAP_SHARED_FIXED, fd, 0) != address:
        raise RuntimeError("virtual board: cannot map " + path)


def _words(address, count):
    return uctypes.struct(address, {"w": (uctypes.ARRAY, count | uctypes.UINT32)}).w


_map(uos.getenv("TALLY_BOARD"), r.BASE, r.SIZE_BYTES)
_map(uos.getenv("TALLY_FLASH"), r.FLASH, r.FLASH_SIZE_BYTES)
words = _words(r.BASE, r.WORDS)
flash = uctypes.bytearray_at(r.FLASH, r.FLASH_SIZE_BYTES)


def halt(state):
    """Leave the VM at once, as a reset leaves the program: no finally, no flush. The host reads STATE."""
    words[r.STATE] = state
    _exit(0)


# --- time --------------------------------------------------------------------------------------


def ticks_ms():
    return (utime.ticks_ms() + words[r.TICKS_OFFSET]) & _TICKS_MASK


def ticks_diff(a, b):
    return ((a - b + _HALF) & _TICKS_MASK) - _HALF


def clock_read(clock, skip_ms=0):
    """Bring a wall clock to now and return its whole seconds; the rest stays in its second word."""
    mono = utime.ticks_ms()
    ms = words[clock + 1] + ticks_diff(mono, words[clock + 2]) + skip_ms
    words[clock] += ms // 1000
    words[clock + 1] = ms % 1000
    words[clock + 2] = mono
    return words[clock]


def clock_set(clock, seconds, ms=0):
    words[clock] = seconds
    words[clock + 1] = ms
    words[clock + 2] = utime.ticks_ms()


def _skip(ms):
    clock_read(r.RTC, ms)
    clock_read(r.NTP, ms)
    words[r.SKIPPED_MS] += ms
    words[r.TICKS_OFFSET] = (words[r.TICKS_OFFSET] + ms) & _TICKS_MASK


def check_interrupt():
    """Raise the Ctrl-C that the host left here, and deliver the edges at the pins. Called where programs wait: a signal
    could break a flash operation or a collection, which on the device are C."""
    if words[r.INTERRUPT]:
        words[r.INTERRUPT] = 0
        raise KeyboardInterrupt
    if words[r.PULSES] != words[r.PULSES_SEEN]:
        on_pulses()


def on_pulses():
    """Pulses came at a pin that nobody asked about; replaced by what `Pin.irq` was given."""
    words[r.PULSES_SEEN] = words[r.PULSES]


def idle(ms, deaf=False):
    """Sleep `ms`, or jump over it while the host asks for a time skip. Returns when that time has passed; unless it is
    `deaf`, Ctrl-C ends it."""
    until = ticks_ms() + ms
    while True:
        if not deaf:
            check_interrupt()
        left = ticks_diff(until, ticks_ms())
        if left <= 0:
            return
        if words[r.SKIP_ON]:
            to_skip = ticks_diff(words[r.SKIP_UNTIL], ticks_ms())
            if to_skip <= left:
                words[r.SKIP_ON] = 0
            _skip(max(0, min(left, to_skip)))
        else:
            utime.sleep_ms(min(left, 10))


# --- NOR flash ---------------------------------------------------------------------------------


def _flash_op(address, size_bytes, source):
    """Count a flash operation; on the host's chosen one program or erase half of it and lose power."""
    words[r.FLASH_OPS] += 1
    if words[r.FLASH_FAIL]:
        raise OSError(5)
    if words[r.CUT_AT_FLASH_OP] and words[r.FLASH_OPS] >= words[r.CUT_AT_FLASH_OP]:
        _program(address, source, size_bytes // 2)
        halt(r.STATE_POWER_CUT)


_ERASED = b"\xff" * 128


def _program(address, source, size_bytes):
    if source is None:
        _fill(address, size_bytes)
        return
    done = 0
    view = memoryview(source)
    while done < size_bytes:
        n = min(size_bytes - done, len(_ERASED))
        if memcmp(address + done, _ERASED, n):
            _and_bytes(address + done, view, done, n)
        else:
            memmove(address + done, view[done : done + n], n)
        done += n


def _and_bytes(address, view, start, n):
    at = address - r.FLASH
    for i in range(n):
        flash[at + i] &= view[start + i]


def _fill(address, size_bytes):
    for i in range(0, size_bytes, len(_ERASED)):
        memmove(address + i, _ERASED, len(_ERASED))


def flash_program(address, source):
    """Program bytes: bits go from 1 to 0 only, as in NOR flash; what was 0 stays 0."""
    _flash_op(address, len(source), source)
    _program(address, source, len(source))


def flash_erase(address, size_bytes):
    _flash_op(address, size_bytes, None)
    _fill(address, size_bytes)


def text(address):
    """NUL-terminated UTF-8 text that the host wrote into a register block."""
    raw = bytes(uctypes.bytearray_at(address, r.TEXT_SIZE_BYTES))
    return raw[: raw.find(b"\0")].decode()
