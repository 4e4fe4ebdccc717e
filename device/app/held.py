"""Samples that the server refused one by one while it took others: kept in the log, their numbers in a file.

Owns /held.json and what its changes are in the ledger (docs/storage.md, "Held samples"). The file is written first and
the log after it, so that app.store_open can tell what a power cut left. Must not know why a sample was refused.
Imported when there is something to hold or to show, then dropped.
"""

import json
import os
from struct import unpack_from

from micropython import const
from ring_log import HEADER_BYTES

FILE = "/held.json"
_NEW = "/held.new"
_MOST = const(64)


def numbers(store: "Any") -> list:
    """The numbers of the held samples in order. Those that the log has lost meanwhile have expired."""
    return _look(store)[0]


def hold(store: "Any", seqs: list, last_seq: int, settled: int) -> bool:
    """As store.acknowledge(last_seq, settled), but `seqs` of these samples are held. False if that can't be, for 64
    are held or the flash refuses: then nothing has changed."""
    held, after = _look(store)
    new = [seq for seq in seqs if seq > store.cursor]
    count = settled - store.settled()
    if count > 0:
        if len(held) + len(new) > _MOST or not write(held + new, after):
            return False
        store.held += len(new)
        store.acknowledged += count - len(new)
        store.cursor = last_seq
        store.save_cursor()
    return True


def release(store: "Any", seq: int) -> bool:
    """The server has taken a held sample after all. False if the flash refuses: then it is still held."""
    held, _ = _look(store)
    if seq in held:
        store.save_cursor()  # a log that is found with these counts lacks what the file says
        held.remove(seq)
        if not write(held, [store.cursor, store.acknowledged]):
            return False
        store.held -= 1
        store.acknowledged += 1
    return True


def forget(store: "Any", seq: int = 0) -> bool:
    """Give up one held sample, or all of them: they expire. False if the flash refuses: then they are still held."""
    held, after = _look(store)
    if not write([one for one in held if seq and one != seq], after):
        return False
    _look(store)
    return True


def read() -> tuple:
    """(numbers in order, [cursor, acknowledged] before the last release) of the file, none if it is damaged."""
    try:
        with open(FILE) as file:
            told = json.load(file)
        return sorted([seq for seq in told["seqs"] if isinstance(seq, int)]), told["after"]
    except (OSError, ValueError, KeyError, TypeError):
        return [], None


def write(seqs: list, after: list | None) -> bool:
    """Write beside, then rename: at every instant one whole file is there. False if the flash refuses."""
    try:
        with open(_NEW, "w") as file:
            json.dump({"seqs": seqs, "after": after}, file)
        os.rename(_NEW, FILE)
    except OSError:
        return False
    return True


def _look(store: "Any") -> tuple:
    """What the file says, without numbers that the log has no more; the ledger follows."""
    seqs, after = read()
    log = store.log
    number = log.oldest(log.number)
    while number <= log.number and not log.header(number, log.page):
        number += 1
    first = unpack_from("<I", log.page, HEADER_BYTES)[0] if number <= log.number else store.next_seq
    seqs = [seq for seq in seqs if first <= seq <= store.cursor]
    store.expired += store.held - len(seqs)
    store.held = len(seqs)
    return seqs, after
