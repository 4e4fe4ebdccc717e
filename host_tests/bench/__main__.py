"""`make bench`: runs all measurements and prints the table. Exit 1 when Tally misses what it is to reach.

Owns the order of the measurements. Must not know how each is made.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from host_tests.bench import client, measure, post, store, tree
from host_tests.bench.report import HEAP_AFTER_START, KB, MICRODOT, NAMES, TALLY, Row, as_json, missed, table
from host_tests.bench.server import App
from scripts import console
from scripts.console import EXIT_FAULT, EXIT_OK, EXIT_USAGE, Problem
from scripts.vm import Vm, find_vm

ROUNDS = 15
BUSY_CLIENT = 0.8


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def size_rows(sizes: tree.Sizes) -> list[Row]:
    return [
        Row(".mpy bytes, core", {TALLY: sizes.bundle, MICRODOT: sizes.microdot}, most=5000),
        Row(".mpy bytes, core as 3 files", {TALLY: sizes.one_by_one}),
        Row(".mpy bytes, with on-demand modules", {TALLY: sizes.with_on_demand}, most=9000),
    ]


def heap_rows(vm: Vm) -> list[Row]:
    """Heap after start and garbage: one app after the other, each by itself."""
    bare = measure.bare_vm(vm)
    ready: dict[str, float | None] = {}
    gets: dict[str, float | None] = {}
    posts: dict[str, float | None] = {}
    for name in NAMES:
        with App(vm, name, measure.GARBAGE_HEAP) as app:
            ready[name] = app.ready - bare
            gets[name] = measure.garbage(app, client.GET)
            posts[name] = measure.garbage(app, client.POST)
    return [
        Row("heap after start, less the bare VM", ready, most=HEAP_AFTER_START, word_bits=vm.word_bits),
        Row("garbage per browser GET, bytes", gets, most=1600, word_bits=vm.word_bits),
        Row("garbage per browser POST, bytes", posts, most=4000, word_bits=vm.word_bits),
    ]


def speed_rows(speed: measure.Speed) -> list[Row]:
    rows = []
    for at_once in measure.AT_ONCE:
        ratios: dict[str, float | None] = {name: speed.ratio(name, at_once, MICRODOT) for name in NAMES}
        what = f"speed, {at_once} connection{'s' if at_once > 1 else ''} at once"
        rows.append(Row(what, ratios, least=4.5 if at_once == 1 else None, is_ratio=True))
    kept = {TALLY: speed.ratio(TALLY, 0, MICRODOT)}
    return [*rows, Row("speed, one kept connection", kept, is_ratio=True)]


def smallest_rows(vm: Vm) -> list[Row]:
    rows = []
    for at_once, most, what in ((1, 20 * KB, "one after the other"), (4, 22 * KB, "4 at once")):
        heaps = {name: measure.smallest_heap(vm, name, at_once) for name in NAMES}
        rows.append(Row(f"smallest heap, {what}", heaps, most=most, word_bits=vm.word_bits))
    return rows


def context(vm: Vm, sizes: tree.Sizes, speed: measure.Speed) -> list[str]:
    """What helps to read the table and is no claim."""
    lines = [vm.line(), f"floor's app is {sizes.floor_app} bytes of .mpy and checks nothing: a lower bound, no server"]
    for at_once in (*measure.AT_ONCE, 0):
        names = NAMES if at_once else (TALLY,)
        figures = ", ".join(f"{name} {speed.per_second(name, at_once):,.0f}" for name in names)
        lines.append(f"req/s on this machine, {f'{at_once} at once' if at_once else 'one kept connection'}: {figures}")
    share = speed.client_share()
    lines.append(f"the client was busy {share:.0%} of the time at most" + (": TOO MUCH" if share > BUSY_CLIENT else ""))
    return lines


def bench(rounds: int, json_path: Path | None) -> int:
    started = time.monotonic()
    vm = find_vm()
    sizes = tree.build()
    rows = size_rows(sizes)
    try:
        say("garbage...")
        rows += heap_rows(vm)
        say(f"speed, {rounds} rounds...")
        speed = measure.Speed(vm, NAMES, rounds)
        rows += speed_rows(speed)
        say("smallest heaps...")
        rows += smallest_rows(vm)
        say("the store, 2,000 power cuts...")
        store_rows = store.rows(vm)
        say("one POST of 120 records...")
        post_rows = post.rows(vm)
    except client.Wrong as error:
        raise Problem(f"a server of the bench answered wrong ({error}), so its figures mean nothing") from None
    print(table(rows))
    print("\nThe durable store:\n" + table(store_rows))
    print(f"\nOne POST of {post.RECORDS} records:\n" + table(post_rows, post.COLUMNS))
    rows += store_rows + post_rows
    print("\nSpeed is times microdot's at as many connections; a PC's requests per second say nothing about a board's.")
    lines = context(vm, sizes, speed)
    print("\n".join(lines))
    print(f"{time.monotonic() - started:.0f} s")
    if json_path:
        json_path.write_text(json.dumps(as_json(rows, {"context": lines}), indent=1) + "\n")
    if names := missed(rows):
        say(f"error: {len(names)} not reached: {'; '.join(names)}. docs/bench.md says how each is measured")
        return EXIT_FAULT
    return EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of the speed measurement, at least 5")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(arguments)

    def command() -> int:
        if options.rounds < 5:
            raise Problem(f"--rounds {options.rounds} is too few for a median to mean much; give 5 or more", EXIT_USAGE)
        return bench(options.rounds, options.json)

    console.stop_on_signals()
    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
