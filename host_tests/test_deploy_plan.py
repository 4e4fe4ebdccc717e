"""The plan of a deploy: what is sent, taken over from a broken-off one, and removed. Pure logic."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.console import Problem
from scripts.deploy_plan import (
    MANIFEST_PATH,
    NEXT,
    BoardFile,
    Inventory,
    check_space,
    files_of,
    make_plan,
    read_inventory,
    staged_name,
)

OLD, NEW = BoardFile("a" * 64, 100), BoardFile("b" * 64, 200)
MAIN, TALLY, INDEX, LOGGING = "/main.py", "/tally.mpy", "/app/web/index.mpy", "/lib/logging.mpy"
WANTED = {MAIN: NEW, TALLY: NEW, INDEX: NEW, LOGGING: NEW, MANIFEST_PATH: NEW}


def board(files: dict[str, BoardFile], free_bytes: int = 1_000_000) -> Inventory:
    return Inventory("1.24.1", free_bytes, 4096, files)


def test_an_empty_board_gets_everything_and_the_manifest_last() -> None:
    plan = make_plan(board({}), {}, WANTED)
    assert plan.send == list(WANTED)
    assert plan.send[-1] == MANIFEST_PATH
    assert plan.remove == []


def test_a_board_that_has_everything_gets_nothing() -> None:
    assert make_plan(board(WANTED), WANTED, WANTED).is_empty


def test_only_what_changed_is_sent() -> None:
    assert make_plan(board({**WANTED, INDEX: OLD}), WANTED, WANTED).send == [INDEX]


def test_what_a_broken_off_deploy_left_whole_is_not_sent_again() -> None:
    left = {NEXT + staged_name(INDEX): NEW, NEXT + staged_name(TALLY): OLD, NEXT + "part": NEW}
    plan = make_plan(board({**WANTED, INDEX: OLD, TALLY: OLD, **left}), WANTED, WANTED)
    assert plan.send == [TALLY]
    assert plan.staged == [INDEX]
    assert plan.left_over == ["part", staged_name(TALLY)]


def test_a_module_gone_from_the_tree_is_removed_if_the_last_deploy_brought_it() -> None:
    gone = {"/lib/gone.mpy": OLD, "/lib/yours.mpy": OLD}
    plan = make_plan(board({**WANTED, **gone}), {**WANTED, "/lib/gone.mpy": OLD}, WANTED)
    assert plan.remove == ["/lib/gone.mpy"]


def test_what_nobody_deployed_to_app_and_www_is_removed_and_elsewhere_left() -> None:
    strangers = {"/app/old.mpy": OLD, "/www/x.css": OLD, "/lib/mip.mpy": OLD, "/boot.py": OLD, "/tools.py": OLD}
    assert make_plan(board({**WANTED, **strangers}), {}, WANTED).remove == ["/app/old.mpy", "/www/x.css"]


@pytest.mark.parametrize("path", ["/tally.py", "/app/web/index.py", "/lib/logging.py", "/logging.py", "/logging.mpy"])
def test_a_file_that_would_be_imported_instead_of_ours_is_removed(path: str) -> None:
    assert make_plan(board({**WANTED, path: OLD}), {}, WANTED).remove == [path]


@pytest.mark.parametrize("path", ["/part", "/commit", "/www/a!b.css"])
def test_a_name_that_staging_needs_is_refused(path: str) -> None:
    with pytest.raises(Problem, match="can't be called"):
        make_plan(board({}), {}, {path: NEW})


def test_too_little_room_is_said_with_both_figures_before_anything_is_sent() -> None:
    plan = make_plan(board({}), {}, WANTED)
    with pytest.raises(Problem, match=r"disk full on the board: the new files need 53,248 bytes .* 50,000 are free"):
        check_space(board({}, free_bytes=50_000), plan, WANTED)
    check_space(board({}, free_bytes=53_248), plan, WANTED)


def test_room_that_left_overs_take_counts_as_free() -> None:
    held = board({NEXT + "part": BoardFile("c" * 64, 40_000)}, free_bytes=20_000)
    check_space(held, make_plan(held, {}, WANTED), WANTED)


def test_the_inventory_is_read_with_spaces_in_names() -> None:
    text = '{"release": "1.24.1", "free_bytes": 8192, "block_bytes": 4096}\r\n' + "c" * 64 + " 7 /app/a b.py\r\n"
    assert read_inventory(text) == Inventory("1.24.1", 8192, 4096, {"/app/a b.py": BoardFile("c" * 64, 7)})


@pytest.mark.parametrize("text", ["", "Traceback", '{"release": "1.24.1"}', '{"a": 1}\nx', "[]\n", "{}\n1 2"])
def test_an_inventory_that_is_none_is_a_sentence(text: str) -> None:
    with pytest.raises(Problem, match="list of its files can't be read"):
        read_inventory(text)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": []}', '{"files": {"/a": {}}}', '{"files": {"/a": 1}}'])
def test_a_damaged_manifest_lists_nothing(text: str) -> None:
    assert files_of(text) == {}


def test_a_manifest_lists_its_files() -> None:
    text = json.dumps({"files": {"/a": {"sha256": "d" * 64, "size_bytes": 3}}})
    assert files_of(text) == {"/a": BoardFile("d" * 64, 3)}


PATHS = st.sampled_from(
    [
        *WANTED,
        "/settings.json",
        "/settings.old",
        "/lib/gone.mpy",
        "/lib/logging.py",
        "/app/x.py",
        "/notes.txt",
        "/www/y",
    ]
)
FILES = st.dictionaries(PATHS, st.sampled_from([OLD, NEW]))
STAGED = st.dictionaries(st.sampled_from([NEXT + staged_name(p) for p in WANTED] + [NEXT + "part"]), st.just(NEW))


@given(FILES, STAGED, FILES)
def test_carrying_out_any_plan_gives_the_wanted_files_and_touches_no_others(
    files: dict[str, BoardFile], staged: dict[str, BoardFile], old: dict[str, BoardFile]
) -> None:
    plan = make_plan(board({**files, **staged}), old, WANTED)
    after = {path: file for path, file in files.items() if path not in plan.remove}
    after |= {path: WANTED[path] for path in (*plan.send, *plan.staged)}
    assert {path: after.get(path) for path in WANTED} == WANTED
    assert not {"/settings.json", "/settings.old", "/notes.txt"} & {*plan.remove, *plan.send} - {*old}
    assert make_plan(board(after), WANTED, WANTED).is_empty
    assert {NEXT + name for name in plan.left_over} | {NEXT + staged_name(p) for p in plan.staged} == set(staged)
