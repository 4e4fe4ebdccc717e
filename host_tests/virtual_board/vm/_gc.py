"""Fake `gc`: the device's figures on this VM's heap.

`mem_alloc` starts at the device's boot figure, whatever the fakes weigh; `mem_free` adds the largest IDF block,
because on the device the heap could grow by it. Installed under the name `gc` by boot, since the built-in can't
be shadowed by a file.
"""

import _idf
import gc as _gc
import registers as _r
from _board import words as _words

enable = _gc.enable
disable = _gc.disable
isenabled = _gc.isenabled
threshold = _gc.threshold


def collect():
    _gc.collect()


def mem_alloc():
    return _gc.mem_alloc() - _words[_r.FAKES_BYTES]


def mem_free():
    return _gc.mem_free() + _idf.largest_bytes()
