"""What the store needs of the board, for its runs on the VM: a clock and numbers in NVS. Boots as app.compose does."""

from app.store import BOOT
from app.store_open import newest, open_store

UNIX_S = 1750000000


class Clock:
    quality = 2
    base_s = UNIX_S
    steps_s = shift_ms = 0
    now_s = UNIX_S

    def stamp(self, ms=0):
        return self.now_s


class Board:
    def __init__(self, flash, names):
        self.flash = flash
        self.names = names
        self.clock = Clock()
        self.nvs = {"boot": 0, "seq": 0}
        self.store = None

    def count_up(self, key, by):
        self.nvs[key] += by
        return self.nvs[key] - by

    def open(self):
        boot = self.count_up("boot", 1) + 1
        self.store = open_store(self.flash, self.names, boot, self.clock, self.count_up)
        return self.store

    def boot(self):
        store = self.open()
        newest(store)
        store.mark(BOOT, 2, self.clock.base_s, store.boot, 1)
        return store
