"""In place of main.py: takes samples into the log as the application would have, without waiting for their time.

`SAMPLES` of one a `PERIOD_S` that end at Unix second `END_S`, in `BOOTS` boots; the text is put together by
host_tests/test_outage.py, which puts these four in front.
"""

import gc

gc.threshold(4096)
import tally
from app import board
from app.store import BOOT
from app.store_open import open_store


class Clock:
    quality = 2
    steps_s = shift_ms = 0

    def __init__(self, now_s):
        self.now_s = self.base_s = now_s

    def stamp(self, at_ms=0):
        return self.now_s


clock = Clock(END_S - SAMPLES * PERIOD_S)
for n in range(BOOTS):
    boot = board.count_up("boot", 1) + 1
    clock.base_s = clock.now_s
    store = open_store(board.log_flash(), "temp_c", boot, clock, board.count_up)
    store.mark(BOOT, 2, clock.base_s, boot, 1)
    for _ in range(SAMPLES * (n + 1) // BOOTS - SAMPLES * n // BOOTS):
        clock.now_s += PERIOD_S
        store.append(clock.now_s, 2, (24,))
        store.tend()
    gc.collect()
print("filled: next", store.next_seq, "stored", store.stored, "expired", store.expired, "rejected", store.rejected)
