"""Weighs modules on the VM: imports each in turn, prints how many heap bytes it holds after a collect, and the VM's own
line on names. After app.compose its constructors are dropped, as at the end of a boot.

Run by `make size` with the names on the command line; the built tree is read from TALLY_TREE.
"""

import gc
import micropython
import sys
from collections import OrderedDict  # noqa: F401  (touched now, so that no module is charged for its first use)

import errno, machine, network, esp32, ntptime, onewire, os, select, socket, time  # noqa: E401,F401
import _board
import _names
import uos


def _settled():
    gc.collect()
    gc.collect()
    return gc.mem_alloc()


uos.chdir(uos.getenv("TALLY_TREE"))  # relative, as on the board: a module keeps the path it came from
names = uos.getenv("TALLY_MODULES").split(",")
sys.path[:] = ["", ".frozen", "lib"]
_names.settle()
micropython.qstr_info()
for name in names:
    before = _settled()
    __import__(name)
    print("SIZE", name, _settled() - before)
    if name == "app.compose":
        before = _settled()
        sys.modules[name].forget_constructors()
        print("SIZE", "constructors", _settled() - before)
    micropython.qstr_info()

_board.halt(0)  # logging 0.6.1 hangs its shutdown on sys.atexit, which the board has not
