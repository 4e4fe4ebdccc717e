"""What the store costs on the VM: erases, reads to open, heap. Each function prints its figures as JSON."""

import gc
import json

from app.store import CONFIG, SYNC
from app.store_open import open_store
from ring_log import PAGE_BYTES
from store_flash import Flash
from store_world import UNIX_S, Board

_FOUR = "temperature_c,humidity_percent,pressure_hpa,pulses_total"
_A_DAY = 8640  # samples, one in 10 s


def _take(board, count):
    """Samples as the board takes them: delivered every minute, the clock set every 6 hours, a boot and a change a day."""
    store = board.store
    clock = board.clock
    for i in range(count):
        clock.now_s += 10
        seq = store.next_seq
        store.append(clock.now_s, 2, (21.5, 48.25, "timeout", seq))
        if seq % 6 == 0:
            store.acknowledge(seq, store.stored)
        if seq % (_A_DAY // 4) == 0:
            store.mark(SYNC, 1, clock.now_s, clock.base_s, 0, 5)
        if seq % _A_DAY == 0:
            store = board.boot()
            store.mark(CONFIG, 2, clock.now_s, 10, 0)
        store.tend()


def wear(records):
    """Sector erases in a small ring, from its second lap on."""
    flash = Flash(16)
    board = Board(flash, _FOUR)
    board.boot()
    _take(board, 16 * 130)
    before = flash.erases
    _take(board, records)
    mean = flash.erases / len(flash.wear)
    late = board.store.log.late
    print(json.dumps({"erases": (flash.erases - before) / records, "hottest": max(flash.wear) / mean, "late": late}))


def opens():
    """Most reads that opening 1 MB takes: wherever the head is, the sector behind it erased or not."""
    flash = Flash(256)
    board = Board(flash, ",".join("abcdefghijkl"))
    most = {"first lap": 0, "full": 0}
    store = board.open()
    number = 0
    while number < 2 * 256:
        while store.log.number == number:
            store.mark(CONFIG, 0, 0, 0, 0)
        for _ in range(number % 60):
            store.mark(CONFIG, 0, 0, 0, 0)
        number = store.log.number
        lap = "first lap" if number < 256 else "full"
        for _ in range(2):
            before = flash.reads
            store = board.open()
            most[lap] = max(most[lap], flash.reads - before)
            store.log.tend()
    print(json.dumps(most))


def heap(samples):
    """Bytes that a scan of many samples leaves on the heap, and that one append takes from it."""
    flash = Flash(256)
    board = Board(flash, _FOUR)
    board.boot()
    _take(board, samples)
    store = board.boot()
    _scan(store, 10)  # what is imported for it comes and goes as app.site.evict says
    gc.collect()
    before = gc.mem_alloc()
    count = _scan(store, samples)
    gc.collect()
    scan = gc.mem_alloc() - before
    own = _flash_alloc(flash)
    plain = []
    begun = []
    values = 21.5, 48.25, "timeout", 123
    for _ in range(20):
        gc.collect()
        gc.disable()
        for _ in range(20):
            number = store.log.number
            now = board.clock.now_s
            before = gc.mem_alloc()
            store.append(now, 2, values)
            cost = gc.mem_alloc() - before - own
            (plain if store.log.number == number else begun).append(cost)
        gc.enable()
    mean = sum(plain) / len(plain)
    print(json.dumps({"scan": scan, "count": count, "mean": mean, "most": max(plain), "begun": max(begun), "own": own}))


def _scan(store, count):
    page = bytearray(PAGE_BYTES)
    seen = 0
    for sample in store.samples(1, page):
        seen += 1
        if seen == count:
            break
    return seen


def _flash_alloc(flash):
    """What this model of a flash takes from the heap for one program and one read; the board's driver takes nothing."""
    buf = bytearray(32)
    gc.collect()
    gc.disable()
    flash.power_on()
    before = gc.mem_alloc()
    flash.program(flash.size_bytes - 32, buf)
    flash.read(flash.size_bytes - 32, buf)
    cost = gc.mem_alloc() - before
    gc.enable()
    return cost
