"""Power-on of the virtual board: installs the fakes, mounts the flash, runs main.py, stays at the "REPL".

Run as `micropython -X heapsize=N -c "import boot"` by the host, which set N so that, with the fakes
resident, the application has HEAP_BYTES. When that does not come out (the fakes changed), it says what it has in
HEAP_HAVE_BYTES and stops; the host starts it again with the difference.
"""

import gc
import sys

import _board
import _names
import registers as r
from _board import words

_DEVICE_BOOT_USED_BYTES = 1952  # GC bytes in use at the stock image's prompt
_CALIBRATION_SLACK_BYTES = 48


def _install():
    import _gc
    import errno, machine, network, esp32, ntptime, os, select, socket, time  # noqa: E401,F401

    sys.modules["gc"] = _gc


def _mount():
    import os
    from esp32 import Partition

    os.umount("/")
    partition = Partition.find(Partition.TYPE_DATA, label="vfs")[0]
    os.mount(os.VfsLfs2(partition), "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]


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


def _run():
    try:
        execfile("/main.py", {"__name__": "__main__"})
    except SystemExit:
        import machine

        machine.soft_reset()
    except BaseException as error:
        sys.print_exception(error)


def _repl():
    import time

    words[r.STATE] = r.STATE_REPL
    print("MicroPython v1.24.1 on 2024-11-29; ESP32C3 module with ESP32C3 (virtual)\r\n>>> ", end="")
    while True:
        try:
            time.sleep_ms(100)
        except KeyboardInterrupt:
            pass


_install()
_mount()
_calibrate()
words[r.STATE] = r.STATE_RUNNING
_run()
_repl()
