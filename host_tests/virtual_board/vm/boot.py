"""Power-on of the virtual board: installs the fakes, mounts the flash, runs boot.py and main.py, then what the REPL says.

Run as `micropython -X heapsize=N -c "import boot"` by the host, which set N so that, with the fakes
resident, the application has HEAP_BYTES. When that does not come out (the fakes changed), it says what it has in
HEAP_HAVE_BYTES and stops; the host starts it again with the difference.

The REPL's protocol is the host's (raw_repl.py); here its sources are executed. They come on stdin as frames: one byte
for the kind ("x" a program, "1" an interactive line), four for the length, little-endian, then the text. On stdout IDLE marks
the first prompt, and DONE, the traceback if there is one, and END the end of a source.
"""

import gc
import sys

import _board
import _names
import registers as r
from _board import words

_DEVICE_BOOT_USED_BYTES = 1952  # GC bytes in use at the stock image's prompt
_CALIBRATION_SLACK_BYTES = 48
_COLLECT_EVERY_BYTES = 4096  # so that the fakes lie close together: the board's heap begins in one piece


def _install():
    import _gc, _tls
    import errno, machine, network, esp, esp32, ntptime, onewire, os, select, socket, time  # noqa: E401,F401

    sys.modules["gc"] = _gc
    sys.modules["tls"] = _tls


_BLANK_BYTES = 4096
_BOOT_PY = "# This file is executed on every boot (including wake-boot from deepsleep)\n"


def _mount():
    """As the frozen _boot.py: mount vfs; format a blank one; say so for ever when it is neither."""
    import os
    from esp32 import Partition

    os.umount("/")
    found = Partition.find(Partition.TYPE_DATA, label="vfs")
    if not found:
        return
    try:
        os.mount(os.VfsLfs2(found[0]), "/")
    except OSError:
        _format(os, found[0])
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]


def _format(os, partition):
    import time

    first = bytearray(_BLANK_BYTES)
    partition.readblocks(0, first)
    while any(byte != 0xFF for byte in first):
        print("The filesystem starting at sector 0 with size %d sectors appears to be corrupted." % partition.ioctl(4))
        time.sleep_ms(3000)
    print("Performing initial setup")
    os.VfsLfs2.mkfs(partition)
    os.mount(os.VfsLfs2(partition), "/")
    with open("/boot.py", "w") as file:
        file.write(_BOOT_PY)


_ballast = []


def _calibrate():
    _names.settle()
    gc.collect()
    fakes = gc.mem_alloc() - _DEVICE_BOOT_USED_BYTES
    _ballast.append(bytearray(_names.DEVICE_POOLS_BYTES))
    wanted = words[r.HEAP_BYTES]
    have = gc.mem_alloc() + gc.mem_free() - fakes
    words[r.FAKES_BYTES] = fakes
    words[r.HEAP_HAVE_BYTES] = have
    if wanted and abs(have - wanted) > _CALIBRATION_SLACK_BYTES:
        _board.halt(r.STATE_CALIBRATE)


_globals = {"__name__": "__main__"}


def _run(path):
    """Run a file as the firmware does at boot; False when it did not end well."""
    try:
        execfile(path, _globals)
        return True
    except SystemExit:
        import machine

        machine.soft_reset()
    except BaseException as error:
        sys.print_exception(error)
    return False


def _is_there(path):
    import os

    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _programs():
    """boot.py, then main.py unless boot.py failed or a soft reset came from the raw REPL."""
    if (not _is_there("/boot.py") or _run("/boot.py")) and words[r.RUN_MAIN] and _is_there("/main.py"):
        _run("/main.py")


def _read_frame():
    kind = sys.stdin.buffer.read(1)
    if not kind:  # nobody holds the other end any more
        _board.halt(r.STATE_OFF)
    size_bytes = int.from_bytes(sys.stdin.buffer.read(4), "little")
    return kind, str(sys.stdin.buffer.read(size_bytes), "utf-8")


def _execute(kind, source):
    """The exception that ended the source, or None."""
    try:
        exec(compile(source, "<stdin>", "single" if kind == b"1" else "exec"), _globals)
    except SystemExit:
        import machine

        machine.soft_reset()
    except BaseException as error:
        return error


def _serve(poll):
    """Wait for a source, run it, report."""
    import time

    while not poll.poll(20):
        if words[r.SKIP_ON]:
            time.sleep_ms(20)
    error = _execute(*_read_frame())
    print(r.REPL_DONE, end="")
    if error is not None:
        sys.print_exception(error)
    print(r.REPL_END, end="")


def _repl():
    import uselect

    poll = uselect.poll()
    poll.register(sys.stdin, uselect.POLLIN)
    words[r.STATE] = r.STATE_REPL
    print(r.REPL_IDLE, end="")
    while True:
        try:
            _serve(poll)
        except KeyboardInterrupt:
            pass


gc.threshold(_COLLECT_EVERY_BYTES)
_install()
_mount()
_calibrate()
gc.threshold(-1)
words[r.STATE] = r.STATE_RUNNING
try:
    _programs()
except KeyboardInterrupt:
    pass
_repl()
