"""Runs on the board, through `mpremote resume run`, where the application was just stopped: how the chip is.

The application is still loaded and leaves 8 to 16 KB, so this and app_facts.py are short and import only what the
firmware has built in. They own the answer's form, one JSON object a line; what was told before memory ran out counts.
"""

import gc
import json
import time

import esp32
import machine


def tell(**facts: object) -> None:
    print(json.dumps(facts))


gc.collect()
heaps = esp32.idf_heap_info(esp32.HEAP_DATA)
tell(gc_used=gc.mem_alloc(), idf_free=sum([h[1] for h in heaps]), idf_largest=max([h[2] for h in heaps]))
tell(chip_s=time.time(), reset_cause=machine.reset_cause(), rtc_memory=repr(machine.RTC().memory()))
