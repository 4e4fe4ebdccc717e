"""Samples held, released and given up on the VM, with the file of app.held in a real LittleFS and the power cut at each
flash operation, of the log's or the file system's. `main(seed)` prints what the board found after each cut as JSON.
"""

import json
import os
import random

import app.restamp  # noqa: F401  (while the folder it is in is mounted)
from app import held
from app.store_open import newest
from ring_log import PAGE_BYTES
from store_flash import Flash, PowerCut, room
from store_world import UNIX_S, Board

_DISK_AT = 1 << 20
_BLOCKS = 16
_SAMPLES = 40
_ERASED = b"\xff" * 4096


class Disk:
    """Flash of a file system whose power goes with the log's. From then on nothing reaches it, also not what the
    collector closes, of which the VM prints that it failed."""

    def __init__(self, flash):
        self.flash = flash
        self.cells = room(_DISK_AT, _BLOCKS * 4096)
        self.is_off = False

    def readblocks(self, block, buf, offset=0):
        at = block * 4096 + offset
        buf[:] = self.cells[at : at + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        is_cut = self.is_cut()
        at = block * 4096 + offset
        for i in range(random.randrange(len(buf) + 1) if is_cut else len(buf)):
            self.cells[at + i] &= buf[i]
        if is_cut:
            raise PowerCut

    def ioctl(self, op, block):
        if op == 4:
            return _BLOCKS
        if op == 5:
            return 4096
        if op == 6:
            is_cut = self.is_cut()
            if not is_cut or random.randrange(2):
                self.cells[block * 4096 : (block + 1) * 4096] = _ERASED
            if is_cut:
                raise PowerCut
        return 0

    def is_cut(self):
        if self.is_off:
            raise PowerCut
        self.is_off = self.flash._is_cut()
        return self.is_off


class Run:
    """A board with 40 samples: 8 delivered, 2 refused, 10 delivered, one refused."""

    def __init__(self):
        self.flash = Flash(8)
        self.disk = Disk(self.flash)
        for block in range(_BLOCKS):
            self.disk.ioctl(6, block)
        os.VfsLfs2.mkfs(self.disk)
        os.mount(os.VfsLfs2(self.disk), "/")
        self.board = Board(self.flash, "a,b")
        store = self.store = self.board.boot()
        for seq in range(1, _SAMPLES + 1):
            store.append(UNIX_S + seq, 2, (seq, 0))
        store.acknowledge(8, 8)
        held.hold(store, [9, 10], 10, 10)
        store.acknowledge(20, 20)
        held.hold(store, [21], 21, 21)

    def restart(self):
        """What the start after a power cut finds: counts, and the numbers of what is held and what waits."""
        os.umount("/")
        self.flash.power_on()
        self.disk = Disk(self.flash)
        os.mount(os.VfsLfs2(self.disk), "/")
        store = self.board.open()
        newest(store)
        seqs = held.numbers(store)
        waiting = [sample[0] for sample in store.samples(store.cursor + 1, bytearray(PAGE_BYTES))]
        if waiting != list(range(store.cursor + 1, _SAMPLES + 1)) or len(waiting) != store.waiting():
            raise ValueError(waiting)
        return store.acknowledged, store.expired, seqs


def hold(store):
    return held.hold(store, [22, 24], 24, store.settled() + 3)


def release(store):
    store.acknowledge(24, store.settled() + 3)
    return held.release(store, 10)


def forget(store):
    return held.forget(store)


def main(seed):
    random.seed(seed)
    os.umount("/")
    told = {}
    for operation in (hold, release, forget):
        found = []
        is_cut = True
        while is_cut:
            run = Run()
            run.flash.cut_at = 1 + len(found)
            try:
                is_cut = not operation(run.store)
            except PowerCut:
                pass
            found.append(run.restart())
            again = run.restart()
            if again != found[-1]:
                raise ValueError(again)
            os.umount("/")
        told[operation.__name__] = found
    print(json.dumps(told))
