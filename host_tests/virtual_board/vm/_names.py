"""Name (qstr) pools, evened out: what names cost the application here is what they cost it on the board.

Pools double as names come. On the board the firmware's names are in ROM and the application's start with the smallest
pools; here the fakes' names are in the way, and the next pool would be charged to whoever brings the 620th name.
"""

import gc

DEVICE_POOLS_BYTES = 4530  # pools of 10, 20, 40, 80, 160 and 320 entries at 7 bytes: the board's, for DEVICE_NAMES
DEVICE_NAMES = 630
_NEXT_POOL_BYTES = 4000
_BATCH = 50


def settle():
    """Let the fakes pay for a pool that is large enough for all that follows.

    The strings of a batch are all made before the first becomes a name: else each would leave a hole between two
    pieces of the names' memory, and the board's heap begins without holes."""
    i = 0
    while True:
        names = ["filler_%d" % n for n in range(i, i + _BATCH)]
        i += _BATCH
        for name in names:
            before = gc.mem_alloc()
            hasattr(gc, name)
            if gc.mem_alloc() - before > _NEXT_POOL_BYTES:
                return
