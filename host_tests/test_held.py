"""app/held on a model of flash and files: nothing held is lost, and the ledger is true whenever the power goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from app import held

from host_tests.bench import store as bench
from host_tests.nor import PowerCut
from host_tests.store_board import PER_SECTOR, SECTOR, SECTORS, Board
from scripts import log_check, log_format
from scripts.backup_save import Contents
from scripts.deploy_plan import BoardFile, Inventory, stale_files
from scripts.vm import Vm

MOST = 64
SEEDS = range(12)
"""Of the chance by which an operation that power cut short has had its effect."""
FEWEST_OPERATIONS = 3  # a file that is made, closed and renamed; the log comes on top


def told(board: Board) -> dict[str, Any]:
    return json.loads(board.files.texts[held.FILE])


def ledger(board: Board) -> tuple[int, int, int, int]:
    """(acknowledged, expired, held, waiting), which are all that is stored."""
    store = board.store
    found = store.acknowledged, store.expired, store.held, store.waiting()
    assert sum(found) == store.stored
    assert store.pending() == store.held + store.waiting()
    return found


def waiting(board: Board) -> list[int]:
    return board.seqs(board.store.cursor + 1)


@pytest.fixture
def board() -> Board:
    """40 samples: 8 were delivered, 2 refused, 10 delivered, and the next one refused."""
    board = Board()
    board.take(40)
    board.deliver(8)
    board.hold(2)
    board.deliver(10)
    board.hold(1)
    return board


HELD = [9, 10, 21]
LEDGER = (18, 0, 3, 19)


# --- what is held ---------------------------------------------------------------------------------


def test_held_samples_are_pending_and_not_waiting_and_the_cursor_is_behind_them(board: Board) -> None:
    assert ledger(board) == LEDGER
    assert board.store.pending() == 22
    assert held.numbers(board.store) == HELD
    assert waiting(board) == list(range(22, 41))


def test_held_samples_survive_a_restart(board: Board) -> None:
    for _ in range(3):
        board.start()
        assert ledger(board) == LEDGER
        assert held.numbers(board.store) == HELD
    assert [sample for sample in board.seqs() if sample in HELD] == HELD


def test_a_refusal_among_samples_that_were_taken_settles_both(board: Board) -> None:
    """Telemetry sends on behind a suspect, and holds it once another was taken."""
    assert held.hold(board.store, [23, 24], 30, board.store.settled() + 9)
    assert ledger(board) == (18 + 7, 0, 5, 10)
    assert waiting(board)[0] == 31
    assert ledger(board.start() and board) == (25, 0, 5, 10)


def test_the_rest_is_delivered_around_held_samples(board: Board) -> None:
    while waiting(board):
        board.deliver(7)
    assert ledger(board) == (37, 0, 3, 0)
    (seq,) = board.take()
    assert board.deliver(7) == [seq]
    assert ledger(board) == (38, 0, 3, 0)


def test_a_held_sample_that_is_taken_after_all_is_acknowledged_once(board: Board) -> None:
    for _ in range(2):
        assert held.release(board.store, 10)
        assert ledger(board) == (19, 0, 2, 19)
    assert held.release(board.store, 3)  # never held
    assert held.numbers(board.start()) == [9, 21]
    assert ledger(board) == (19, 0, 2, 19)


def test_an_answer_for_what_lies_before_the_cursor_changes_nothing(board: Board) -> None:
    """A held sample that was on its way when a person gave it up."""
    board.store.acknowledge(10, board.store.settled() + 1)
    assert (ledger(board), board.store.cursor) == (LEDGER, 21)


def test_held_samples_that_are_given_up_have_expired(board: Board) -> None:
    assert held.forget(board.store, 9)
    assert ledger(board) == (18, 1, 2, 19)
    assert held.forget(board.store)
    assert ledger(board) == (18, 3, 0, 19)
    assert held.numbers(board.start()) == []
    assert ledger(board) == (18, 3, 0, 19)
    assert board.deliver(5) == list(range(22, 27))


def test_no_more_are_held_than_there_is_room_for() -> None:
    board = Board(sectors=12)
    board.take(MOST + 5)
    board.hold(MOST)
    before = ledger(board), dict(board.files.texts)
    assert not held.hold(board.store, [MOST + 1], MOST + 1, board.store.settled() + 1)
    assert (ledger(board), board.files.texts) == before
    assert held.forget(board.store, 1)
    assert board.hold(1) == [MOST + 1]


@pytest.mark.parametrize("name", ["hold", "release", "forget"])
def test_files_that_can_not_be_written_change_nothing(board: Board, name: str) -> None:
    board.files.failing = True
    assert not OPERATIONS[name](board)
    assert (ledger(board), held.numbers(board.store)) == (LEDGER, HELD)
    board.files.failing = False
    assert OPERATIONS[name](board)
    assert ledger(board) != LEDGER


@pytest.mark.parametrize(
    "text", ["", "{", "[1,2]", "17", '{"seqs":[9,10,21]}', '{"seqs":7,"after":null}', '{"seqs":["9",null],"after":1}']
)
def test_held_samples_whose_file_is_damaged_expire(board: Board, text: str) -> None:
    board.files.texts[held.FILE] = text
    board.start()
    assert ledger(board) == (18, 3, 0, 19)
    assert board.deliver(40) == list(range(22, 41))
    assert ledger(board) == (37, 3, 0, 0)


def test_held_samples_whose_file_is_lost_while_the_board_runs_expire(board: Board) -> None:
    board.files.texts.clear()
    assert held.numbers(board.store) == []
    assert ledger(board) == (18, 3, 0, 19)


# --- the ring comes round -------------------------------------------------------------------------


def test_held_samples_expire_with_their_sector(board: Board) -> None:
    board.take(SECTORS * PER_SECTOR)
    assert waiting(board)[0] > 40
    assert ledger(board)[2] == 3  # nobody has looked yet
    assert held.numbers(board.store) == []
    acknowledged, expired, count, left = ledger(board)
    assert (acknowledged, count, left) == (18, 0, len(board.seqs()))
    assert ledger(board.start() and board) == (acknowledged, expired, 0, left)


def test_a_restart_sees_that_held_samples_have_expired(board: Board) -> None:
    board.take(3 * PER_SECTOR)
    board.deliver(1000)
    board.take(2 * PER_SECTOR)
    assert board.seqs()[0] > 21
    assert ledger(board.start() and board) == (15 + 3 + 19 + 3 * PER_SECTOR, 3, 0, 2 * PER_SECTOR)


def test_held_samples_that_expire_while_a_batch_is_sent_are_counted_once() -> None:
    board = Board()
    board.take(5)
    board.hold(3)
    board.take((SECTORS - 1) * PER_SECTOR - 10)
    batch = waiting(board)[: PER_SECTOR + 4]
    settled = board.store.settled() + len(batch)
    board.take(PER_SECTOR)
    assert board.store.expired > 0
    assert held.numbers(board.store) == []
    board.store.acknowledge(batch[-1], settled)
    assert waiting(board)[0] == batch[-1] + 1
    gone = board.store.expired
    assert ledger(board) == (settled - gone, gone, 0, len(waiting(board)))
    assert ledger(board.start() and board)[1:3] == (gone, 0)


def test_what_expires_before_it_is_held_is_not_held() -> None:
    board = Board()
    board.take((SECTORS - 1) * PER_SECTOR - 5)
    batch = board.seqs()[: PER_SECTOR + 4]
    settled = board.store.settled() + len(batch)
    board.take(10)
    expired = board.store.expired
    assert 0 < expired < len(batch)
    assert held.hold(board.store, [batch[0], batch[-1]], batch[-1], settled)
    assert held.numbers(board.store) == [batch[-1]]
    assert ledger(board) == (len(batch) - expired - 1, expired, 1, len(waiting(board)))
    board.take(6 * PER_SECTOR)
    assert held.hold(board.store, batch, batch[-1], settled)
    assert held.numbers(board.store) == []


def test_samples_that_can_not_be_read_any_more_are_given_up_without_the_held_ones(board: Board) -> None:
    log = board.store.log
    board.flash.damage(log.offset(2) + 60, SECTOR - 60)
    board.flash.damage(log.offset(3) + 60, log.at - 60)
    assert waiting(board) == []
    board.store.give_up(board.store.next_seq - 1, board.store.stored)
    assert ledger(board) == (18, 19, 3, 0)


@pytest.mark.parametrize("restarts", [True, False])
def test_what_was_lost_before_the_cursor_expires(board: Board, restarts: bool) -> None:
    """Delivered around a piece that was damaged, it counts as waiting, until a restart or until telemetry finds
    nothing to read."""
    log = board.store.log
    board.flash.damage(log.offset(2) + 100, 200)
    while board.deliver(50):
        pass
    lost = board.store.waiting()
    assert 0 < lost < 12
    board.store.save_cursor()
    if restarts:
        board.start()
    else:
        board.store.give_up(board.store.next_seq - 1, board.store.stored)
    assert ledger(board) == (18 + 19 - lost, lost, 3, 0)


# --- a copy of the log ----------------------------------------------------------------------------


def test_a_copy_of_the_log_with_held_samples_is_not_wrong_on_a_computer(board: Board) -> None:
    assert (
        checked(board)
        == "ledger: 40 stored = 18 acknowledged + 19 pending + 0 expired + 3 held, or given up since; 0 rejected"
    )
    held.forget(board.store, 9)
    held.release(board.store, 10)
    assert "+ 3 held, or given up since" in checked(board)
    board.deliver(2)
    board.store.save_cursor()
    assert "= 21 acknowledged + 17 pending + 0 expired + 2 held, or given up since" in checked(board)
    board.take(2 * PER_SECTOR)
    assert "+ 1 expired + 1 held, or given up since" in checked(board)


def test_more_that_is_neither_than_was_ever_held_is_wrong(board: Board) -> None:
    board.store.acknowledged -= 2
    board.store.save_cursor()
    _, wrong = log_check.check(log_format.parse(bytes(board.flash.cells), SECTOR))
    assert any("does not add up: +5 samples" in sentence for sentence in wrong)


def test_the_file_is_in_a_backup_and_no_deploy_removes_it() -> None:
    contents = Contents.__new__(Contents)
    contents.inventory = Inventory("1.24.1", 0, 4096, {held.FILE: BoardFile("0", 30), "/main.py": BoardFile("1", 9)})
    contents.manifest = json.dumps({"files": {"/main.py": {"sha256": "1", "size_bytes": 9}}})
    assert list(contents.own_files()) == [held.FILE]
    assert stale_files(contents.inventory, {}, {"/app/held.mpy": BoardFile("2", 9)}) == []


# --- power cuts -----------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Board], bool]] = {
    "hold": lambda board: held.hold(board.store, [22, 24], 24, board.store.settled() + 3),
    "release": lambda board: held.release(board.store, 10),
    "release after deliveries": lambda board: bool(board.deliver(4)) and held.release(board.store, 10),
    "forget": lambda board: held.forget(board.store),
}
# (acknowledged, expired, held) and what is held, before and after; "hold" may also be undone altogether.
BEFORE = (18, 0, 3), HELD
OUTCOMES: dict[str, list[Any]] = {
    "hold": [BEFORE, ((19, 0, 5), [9, 10, 21, 22, 24])],
    "release": [BEFORE, ((19, 0, 2), [9, 21])],
    "release after deliveries": [BEFORE, ((22, 0, 3), HELD), ((23, 0, 2), [9, 21])],
    "forget": [BEFORE, ((18, 3, 0), [])],
}


def checked(board: Board) -> str:
    """What `make read-log --check` says of the ledger in a copy of the log, in which nothing may be wrong."""
    lines, wrong = log_check.check(log_format.parse(bytes(board.flash.cells), SECTOR))
    assert wrong == []
    return lines[-1]


def state(board: Board) -> tuple[Any, ...]:
    seqs = held.numbers(board.store)
    *counts, left = ledger(board)
    checked(board)
    assert waiting(board) == list(range(board.store.cursor + 1, 41)), "lost"
    assert left == len(waiting(board))
    return tuple(counts), seqs


def lives(cuts: Callable[[Board], Any], seed: int) -> Iterator[tuple[int, Board, bool]]:
    """For k = 0, 1, ... a board on which `cuts` was done with the power cut at its operation k, and whether it was;
    up to the first that came through."""
    for k in range(100):
        board = board_of(seed)
        board.flash.cut_after(k)
        try:
            cuts(board)
        except PowerCut:
            yield k, board, True
        else:
            assert k >= FEWEST_OPERATIONS
            yield k, board, False
            return


def board_of(seed: int) -> Board:
    board = Board(seed=seed)
    board.take(40)
    board.deliver(8)
    board.hold(2)
    board.deliver(10)
    board.hold(1)
    return board


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_power_cut_at_any_operation_leaves_a_true_ledger_and_loses_nothing(name: str) -> None:
    seen = set()
    for seed in SEEDS:
        for k, board, was_cut in lives(OPERATIONS[name], seed):
            board.start()
            found = state(board)
            assert found in OUTCOMES[name], (seed, k)
            assert was_cut or found == OUTCOMES[name][-1]
            seen.add(str(found))
            assert state(board.start() and board) == found
            board.deliver(40)
            board.store.save_cursor()
            end = ledger(board)
            assert end[3] == 0
            assert ledger(board.start() and board) == end
    assert len(seen) == len(OUTCOMES[name])


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_power_cut_in_the_start_after_a_power_cut_changes_nothing_more(name: str) -> None:
    """The start writes the file when numbers in it are not held after all."""
    cut_starts = 0
    for seed in SEEDS:
        for k, first, _ in lives(OPERATIONS[name], seed):
            first.start(mark=False)
            expected = state(first)
            for second in range(8):
                board = next(board for n, board, _ in lives(OPERATIONS[name], seed) if n == k)
                board.flash.power_on()
                board.flash.cut_after(second)
                try:
                    board.open(mark=False)
                    break
                except PowerCut:
                    cut_starts += 1
                    board.start(mark=False)
                    assert state(board) == expected, (seed, k, second)
    assert (cut_starts > 0) == (name == "hold")


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_follows_a_start_after_a_power_cut_may_be_cut_as_well(name: str) -> None:
    """What the file says of the last release holds until the log says it too, whatever is done to the file between."""
    for seed in SEEDS[:4]:
        for k, first, _ in lives(OPERATIONS[name], seed):
            board = first
            board.start()
            counts, seqs = state(board)
            for n in range(20):
                copy = board_of(seed)
                copy.flash.cells[:] = board.flash.cells
                copy.files.texts = dict(board.files.texts)
                copy.nvs = dict(board.nvs)
                copy.start()
                copy.flash.cut_after(n)
                try:
                    copy.hold(1)
                    break
                except PowerCut:
                    copy.start()
                    found, left = state(copy)
                    assert found[:2] == counts[:2], (seed, k, n)
                    assert state(copy.start() and copy) == (found, left), (seed, k, n)
                    assert left in (seqs, [*seqs, max(40 - len(waiting(board)) + 1, 1)]), (seed, k, n)


@pytest.mark.vm
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_power_cut_at_any_operation_of_the_compiled_modules_on_littlefs_loses_nothing(vm: Vm, seed: int) -> None:
    bench.build()
    found = bench.on_vm(vm, f"held_cuts.main({seed})")
    expected = {
        "hold": [[18, 0, HELD], [19, 0, [9, 10, 21, 22, 24]]],
        "release": [[18, 0, HELD], [21, 0, HELD], [22, 0, [9, 21]]],
        "forget": [[18, 0, HELD], [18, 3, []]],
    }
    for name, outcomes in expected.items():
        assert [outcome for outcome in found[name] if outcome not in outcomes] == []
        assert found[name][0] == outcomes[0] and found[name][-1] == outcomes[-1]
        assert len(found[name]) > FEWEST_OPERATIONS


def test_a_start_that_can_not_write_the_file_holds_what_is_held() -> None:
    for seed in SEEDS:
        for k, board, _ in lives(OPERATIONS["hold"], seed):
            board.files.failing = True
            board.start()
            found = state(board)
            assert found in OUTCOMES["hold"], (seed, k)
            board.files.failing = False
            assert board.start() and state(board) == found
