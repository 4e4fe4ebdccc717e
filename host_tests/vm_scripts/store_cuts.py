"""Power cuts at random while samples are taken and delivered, on the VM: what was durable is there after each.

`main(records, cuts, sectors, seed)` prints the counts as JSON. A sample's values follow from its number, so the model
is one byte for each number: whether it was durable. `wipe` clears the newest record before every so many boots, to see
that it is missed.
"""

import json
import random

from app.store import BOOT
from app.store_open import newest
from ring_log import PAGE_BYTES
from store_flash import Flash, PowerCut, room
from store_world import UNIX_S, Board

_NAMES = "a,b_total,c,d"
_MODEL_AT = 1 << 20
_MODEL_BYTES = 3 << 20
_LOOK_AT_ALL = 50  # boots


def values(seq):
    return float(seq), seq ^ 0x5A5A5A, "crc" if seq % 7 == 0 else -0.5 * seq, float(seq & 255)


class Run:
    def __init__(self, sectors, wipe):
        self.wipe = wipe
        self.flash = Flash(sectors)
        self.board = Board(self.flash, _NAMES)
        self.sectors = sectors
        self.durable = room(_MODEL_AT, _MODEL_BYTES)
        self.begins = [1] * sectors  # number of the first sample in each sector of the ring
        self.number = 0  # of the newest sector that is known
        self.page = bytearray(PAGE_BYTES)
        self.records = self.stored = self.cuts = self.lost = self.false = self.repeated = self.missing = 0
        self.unusable = self.wrong_counts = self.most_in_a_row = 0

    # --- what has to be there

    def note_sector(self, seq):
        """`seq` is the first sample that can lie in a sector begun since the last look."""
        while self.number < self.board.store.log.number:
            self.number += 1
            self.begins[self.number % self.sectors] = seq

    def check(self, in_flight, first):
        """Compare the log from sample `first` on with the model. The sample in flight may be there or not."""
        store = self.board.store
        self.note_sector(in_flight or store.next_seq)
        oldest = max(1, self.number + 2 - self.sectors)
        expected = max(first, self.begins[oldest % self.sectors])
        last = 0
        landed = False
        for seq, unix_s, quality, _, names, got in store.samples(expected, self.page):
            if seq <= last:
                self.repeated += 1
                continue
            last = seq
            if seq == in_flight and not self.durable[seq]:
                landed = True
                self.note_durable(seq)
            if not self.durable[seq] or got != values(seq) or unix_s != UNIX_S + seq or quality != 2 or names != _NAMES:
                self.false += 1
            while expected < seq:
                self.lost += self.durable[expected]
                expected += 1
            expected = seq + 1
        while expected < store.next_seq:
            self.lost += self.durable[expected]
            expected += 1
        self.missing += in_flight > 0 and not landed
        counted = store.acknowledged + store.pending() + store.expired
        self.wrong_counts += store.stored != self.stored or counted != self.stored or store.pending() < 0

    def note_durable(self, seq):
        self.durable[seq] = 1
        self.records += 1
        self.stored += 1

    # --- what happens

    def arm(self, records, cuts):
        """Have the next cut come so soon that all of them fit into the records that are left. False if that was all."""
        if self.cuts >= cuts:
            return False
        most = 2 * max(1, (records - self.records) // (cuts - self.cuts))
        kind = random.randrange(10)
        if kind < 2 and most > 20 and self.number >= self.sectors:
            self.flash.cut_erase = True
        elif kind == 2 and most > 20:
            self.flash.cut_header = 1 + random.randrange(2)
        elif kind == 3:
            self.flash.cut_at = 1 + random.randrange(4)
        else:
            self.flash.cut_at = 1 + random.randrange(most)
        return True

    def take(self):
        """One sample, delivered with others every minute unless the server is away, and a moment to tend."""
        board = self.board
        store = board.store
        self.in_flight = seq = store.next_seq
        self.repeated += self.durable[seq]
        board.clock.now_s = UNIX_S + seq
        store.append(UNIX_S + seq, 2, values(seq))
        self.in_flight = 0
        if store.next_seq == seq:
            self.unusable += 1
            return
        self.note_durable(seq)
        self.note_sector(seq)
        if seq % 6 == 0 and store.boot % 8:
            store.acknowledge(seq, store.stored)
        store.tend()

    def wipe_one(self):
        log = self.board.store.log
        self.flash.program(log.offset(log.number) + log.at - 2 * len(log.record), bytes(len(log.record)))

    def live(self, records, cuts):
        in_a_row = 0
        in_flight = 0
        since = 1
        while self.records < records or self.cuts < cuts:
            store = self.board.open()
            newest(store)
            self.check(in_flight, 1 if store.boot % _LOOK_AT_ALL == 0 else since)
            since = in_flight or max(1, store.next_seq - 1)
            is_armed = self.arm(records, cuts)
            self.in_flight = 0
            before = self.records
            try:
                store.mark(BOOT, 2, self.board.clock.base_s, store.boot, 1)
                while self.records < records or is_armed:
                    self.take()
            except PowerCut:
                self.cuts += 1
            in_a_row = in_a_row + 1 if self.records == before else 0
            self.most_in_a_row = max(self.most_in_a_row, in_a_row)
            in_flight = self.in_flight
            self.flash.power_on()
            if self.wipe and store.boot % self.wipe == 0:
                self.wipe_one()
        self.board.open()
        self.check(in_flight, 1)


def main(records, cuts, sectors, seed, wipe=0):
    random.seed(seed)
    run = Run(sectors, wipe)
    run.live(records, cuts)
    flash = run.flash
    print(
        json.dumps(
            {
                "records": run.records,
                "cuts": run.cuts,
                "torn": flash.torn,
                "half_erased": flash.half_erased,
                "cuts_in_a_row": run.most_in_a_row + 1,
                "lost": run.lost,
                "false": run.false,
                "repeated": run.repeated,
                "missing": run.missing,
                "unusable": run.unusable,
                "wrong_counts": run.wrong_counts,
                "erases": flash.erases,
                "hottest": max(flash.wear) * sectors / max(1, flash.erases),
            }
        )
    )
