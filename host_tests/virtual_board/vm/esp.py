"""Fake `esp`: the size of the flash, which is all that is asked of it."""

import registers as _r


def flash_size():
    return _r.FLASH_SIZE_BYTES
