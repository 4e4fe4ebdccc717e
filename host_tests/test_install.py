"""A deploy that was committed, and the power: what the next boot makes of /next, on the real VM."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest
from littlefs import LittleFS, LittleFSError

from host_tests.device import Device
from host_tests.virtual_board.board import VirtualBoard
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import registers as r
from scripts import build, sim, vfs_image
from scripts.console import ROOT
from scripts.vm import Vm

pytestmark = pytest.mark.vm

RECORD = "tally deploy 1"
SOURCE = (ROOT / "device" / "lib" / "install.py").read_text()
APP_RUNS = "INFO wifi: joining"  # all parts are made and the tasks run
CUT = "power cut at a flash operation"
RESET = "[board] reset"
# What the old application has and the new one has not: a folder with one file, and a .py that hides a .mpy.
STALE = {"/app/old/deep/gone.mpy": b"x", "/config.py": (ROOT / "device" / "config.py").read_bytes()}
NEW_FILE = "/www/img/deep/logo.svg.gz"
FEWEST_OPERATIONS = 20  # less than this would not be all the steps of an installation
MOST_CUTS = 300

Files = dict[str, bytes]


# --- flash --------------------------------------------------------------------------------------


def files_of(fs: LittleFS) -> Files:
    """All files by path, and every folder as its path with a / behind it."""
    found: Files = {}
    for folder, folders, names in fs.walk("/"):
        found |= {str(PurePosixPath(folder) / name) + "/": b"" for name in folders}
        paths = [str(PurePosixPath(folder) / name) for name in names]
        found |= {path: vfs_image.read_file(fs, path) or b"" for path in paths}
    return found


def on_flash(state: BoardState) -> Files:
    with vfs_image.mounted(state.flash_path) as fs:
        return files_of(fs)


def with_folders(files: Mapping[str, bytes]) -> Files:
    """The same with the folders that these files need, as files_of tells them."""
    folders = {str(parent) + "/" for path in files for parent in PurePosixPath(path).parents if parent.name}
    return {**files, **dict.fromkeys(folders, b"")}


def staged(files: Mapping[str, bytes], stale: list[str] | None, record: str = RECORD) -> Files:
    """What `make deploy` leaves in /next; without a list of stale files it has not been committed."""
    next_files = {"/next/" + path[1:].replace("/", "!"): content for path, content in files.items()}
    if stale is not None:
        next_files["/next/commit"] = "\n".join([record, *stale, ""]).encode()
    return next_files


def put(state: BoardState, files: Mapping[str, bytes]) -> None:
    with vfs_image.mounted(state.flash_path, format_blank=True) as fs:
        for path, content in files.items():
            vfs_image.write_file(fs, path, content)


def fill_up(state: BoardState) -> None:
    """Leave no free block."""
    with vfs_image.mounted(state.flash_path) as fs, pytest.raises(LittleFSError, match="28"):
        for number in itertools.count():
            with fs.open(f"/data{number}", "wb") as file:
                file.write(bytes(4096))


def armed_cuts(state: BoardState, folder: Path) -> Iterator[int]:
    """For k = 1, 2, ... what the flash holds now, with the power to be cut at the k-th operation from here."""
    shutil.copy(state.flash_path, folder / "before.bin")
    for k in range(1, MOST_CUTS):
        shutil.copy(folder / "before.bin", state.flash_path)
        state[r.CUT_AT_FLASH_OP] = state[r.FLASH_OPS] + k
        yield k
    raise AssertionError(f"{MOST_CUTS} flash operations and no end")


# --- a whole application ------------------------------------------------------------------------


@functools.cache
def tree() -> Files:
    """The application as it is built, without the wait for Ctrl-C in main.py."""
    folder, _ = build.build()
    files = {"/" + p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return files | {"/main.py": files["/main.py"].replace(b"GRACE_MS = 2000", b"GRACE_MS = 0")}


def new_tree(old: Files) -> Files:
    """The next version: main.py and app/compose tell that they are new, and there is a file in a new folder."""
    compose = (ROOT / "device" / "app" / "compose.py").read_text() + '\nprint("new compose")\n'
    new = old | {
        "/main.py": old["/main.py"].replace(b"import gc\n", b'print("new main")\nimport gc\n', 1),
        "/app/compose.mpy": build.compile_text(compose, "app/compose.py"),
        NEW_FILE: b"logo",
    }
    del new["/manifest.json"]
    return new | {"/manifest.json": json.dumps({p: hashlib.sha256(c).hexdigest() for p, c in new.items()}).encode()}


def changed(old: Files, new: Files) -> Files:
    return {path: content for path, content in new.items() if old.get(path) != content}


@pytest.fixture
def device(make_device: Callable[..., Device]) -> Device:
    """A board that is off, with the old application and its stale files on it."""
    device = make_device()
    put(device.state, {**tree(), **STALE})
    return device


def boots(lines: list[str]) -> list[list[str]]:
    """The log cut at each reset."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.startswith(RESET):
            found.append([])
        found[-1].append(line)
    return found


def runs(boot: list[str]) -> str:
    """Which application ran in this boot: "old", "new", "mix", or "" when it did not come that far."""
    if not any(APP_RUNS in line for line in boot):
        return ""
    told = {line for line in boot if line in ("new main", "new compose")}
    return {0: "old", 2: "new"}.get(len(told), "mix")


def power_on_until(device: Device, pattern: str) -> list[str]:
    """Power on until the log says `pattern`, then pull the plug. What ran, boot by boot; no boot may crash."""
    device.board.log_lines.clear()
    device.board.start()
    device.board.wait_for_line(f"{pattern}|^crash ")
    device.board.stop()
    assert "crash " not in device.log(), device.log()
    return [runs(boot) for boot in boots(device.board.log_lines)]


def test_a_committed_deploy_of_all_files_is_put_in_place_at_boot_and_started(device: Device) -> None:
    new, settings = new_tree(tree()), on_flash(device.state)[sim.SETTINGS_PATH]
    put(device.state, staged(new, list(STALE)))
    assert power_on_until(device, APP_RUNS) == ["", "new"]
    device.power_on("connected ip=")
    assert device.get("/").status == 200
    device.board.stop()
    assert on_flash(device.state) == with_folders({**new, sim.SETTINGS_PATH: settings})


def test_a_committed_deploy_is_put_in_place_in_rescue_mode_too(device: Device) -> None:
    old = tree()
    device.state[r.NTP_OK] = 0  # the chip's clock tells how old the crashes are, and must not be set meanwhile
    device.board.start()
    device.board.wait_for_line(APP_RUNS)
    device.state.put_bytes(r.RTC_MEMORY, b"3 0 x")
    device.state[r.RTC_MEMORY_LEN] = 5
    device.state.set_clock(r.RTC, 10)
    put(device.state, staged(changed(old, new_tree(old)), []))  # the program writes no file before it is reset
    after = len(device.board.log_lines)
    device.board.press_reset()
    device.board.wait_for_line(APP_RUNS, after=after)
    device.board.stop()
    _, rescue, rescue_again = boots(device.board.log_lines)
    assert any("rescue mode" in line for line in rescue), device.log()
    assert (runs(rescue), runs(rescue_again)) == ("", "new"), device.log()


def check_order(old: Files, new: Files, now: Files) -> None:
    """main.py comes after all that it starts, and the manifest, which says that all is there, after main.py."""
    last = ["/main.py", "/manifest.json"]
    others = all(now.get(path) == content for path, content in new.items() if path not in last)
    assert others or now["/main.py"] == old["/main.py"]
    assert now["/main.py"] == new["/main.py"] or now["/manifest.json"] == old["/manifest.json"]


def test_a_power_cut_at_any_flash_operation_of_the_boot_that_installs_ends_in_the_new_application(
    device: Device, tmp_path: Path
) -> None:
    old = tree()
    new, settings = new_tree(old), on_flash(device.state)[sim.SETTINGS_PATH]
    put(device.state, staged(changed(old, new), [*STALE, "/app/never/there.py"]) | {"/next/part": b"half"})
    for k in armed_cuts(device.state, tmp_path):
        ran = power_on_until(device, f"{CUT}|{APP_RUNS}")
        device.state[r.CUT_AT_FLASH_OP] = 0
        if len(ran) > 1:  # it came to the reset: all of the installation was before operation k
            assert k > FEWEST_OPERATIONS
            return
        assert ran == [""], f"cut at operation {k}"
        check_order(old, new, on_flash(device.state))
        assert power_on_until(device, APP_RUNS)[-1] == "new", f"cut at operation {k}"
        assert on_flash(device.state) == with_folders({**new, sim.SETTINGS_PATH: settings}), f"cut at operation {k}"


@pytest.mark.parametrize("part", [None, b"", b"tally dep"])
def test_what_is_staged_counts_for_nothing_before_the_commit_record_exists(device: Device, part: bytes | None) -> None:
    put(device.state, staged(new_tree(tree()), None) | ({} if part is None else {"/next/part": part}))
    put(device.state, {"/lib/install.mpy": b"not byte code"})  # not even imported
    before = on_flash(device.state)
    assert power_on_until(device, APP_RUNS) == ["old"]
    assert "deploy" not in device.log()
    assert on_flash(device.state) == before


def check_old_boots_and_says(device: Device, line: str) -> None:
    """The old application boots after this one line, and no file changes."""
    before = on_flash(device.state)
    assert power_on_until(device, APP_RUNS) == ["old"]
    assert [said for said in device.board.log_lines if "deploy" in said] == [line]
    assert on_flash(device.state) == before


@pytest.mark.parametrize("record", ["tally deploy 2", "tally deploy 10", ""])
def test_a_record_of_an_unknown_format_is_left_alone_and_said(device: Device, record: str) -> None:
    put(device.state, staged({NEW_FILE: b"logo"}, list(STALE), record))
    said = "the deploy in /next is of a format this board does not know and was left alone: deploy again"
    check_old_boots_and_says(device, said)


def test_a_full_flash_stops_a_deploy_before_any_file_moved_and_the_old_application_boots(device: Device) -> None:
    old = tree()
    neighbours = {"/app/a.mpy": b"first", "/www/z.svg.gz": b"last"}  # around the one that needs a new folder
    put(device.state, staged(changed(old, new_tree(old)) | neighbours, list(STALE)))
    fill_up(device.state)
    check_old_boots_and_says(device, "deploy not finished: OSError(28,)")


def test_a_board_without_the_installer_boots_all_the_same(device: Device) -> None:
    put(device.state, staged({NEW_FILE: b"logo"}, list(STALE)))
    with vfs_image.mounted(device.state.flash_path) as fs:
        fs.remove("/lib/install.mpy")
    check_old_boots_and_says(device, "deploy not finished: ImportError(\"no module named 'install'\",)")


# --- apply() alone, as deploy sends it ----------------------------------------------------------


class Bare:
    """A board with nothing but files and, as main.py, the source of lib/install and a call of it."""

    def __init__(self, vm: Vm, folder: Path) -> None:
        self.state = BoardState(folder)
        self.board = VirtualBoard(vm, self.state)

    def put(self, files: Mapping[str, bytes]) -> None:
        put(self.state, {"/main.py": f'{SOURCE}\nprint("result", apply())\n'.encode(), **files})

    def apply(self) -> str:
        """Power on and call apply(); its last line: "result True" or an exception, or that the power was cut."""
        self.board.log_lines.clear()
        self.board.start()
        said = self.board.wait_for_line(rf"^(result|\w*Error)|{CUT}")
        self.board.stop()
        return said

    def files(self) -> Files:
        return {path: content for path, content in on_flash(self.state).items() if path != "/main.py"}


@pytest.fixture
def bare(vm: Vm, tmp_path: Path) -> Iterator[Bare]:
    bare = Bare(vm, tmp_path / "bare")
    yield bare
    bare.board.stop()
    bare.state.close()


def test_without_a_deploy_nothing_is_done(bare: Bare) -> None:
    bare.put({"/keep": b"1"})
    assert bare.apply() == "result False"
    assert bare.files() == {"/keep": b"1"}


def test_a_second_call_finds_nothing_to_do(bare: Bare) -> None:
    bare.put(staged({"/lib/a.mpy": b"new"}, []))
    assert bare.apply() == "result True"
    assert bare.apply() == "result False"
    assert bare.files() == with_folders({"/lib/a.mpy": b"new"})


def test_listed_paths_that_do_not_exist_are_no_error(bare: Bare) -> None:
    bare.put(
        {"/lib/a.mpy": b"1", **staged({}, ["/gone.py", "/no/such/folder.py", "/lib/a.mpy/below.py", "/lib/b.mpy"])}
    )
    assert bare.apply() == "result True"
    assert bare.files() == with_folders({"/lib/a.mpy": b"1"})


def test_a_folder_that_is_not_empty_stays_when_a_file_of_it_is_removed(bare: Bare) -> None:
    bare.put({"/www/mine.txt": b"1", "/www/old.css": b"2", **staged({}, ["/www/old.css"])})
    assert bare.apply() == "result True"
    assert bare.files() == with_folders({"/www/mine.txt": b"1"})


def test_leftovers_of_an_earlier_deploy_go_with_next(bare: Bare) -> None:
    bare.put({"/next/part": b"half", "/next/folder/file": b"1", **staged({"/a": b"new"}, [])})
    assert bare.apply() == "result True"
    assert bare.files() == {"/a": b"new"}


def test_a_flash_that_refuses_is_an_error_and_the_deploy_stays_committed(bare: Bare) -> None:
    bare.put(staged({"/a": b"new"}, []))
    bare.state[r.FLASH_FAIL] = 1
    assert bare.apply() == "OSError: [Errno 5] EIO"
    bare.state[r.FLASH_FAIL] = 0
    assert bare.apply() == "result True"
    assert bare.files() == {"/a": b"new"}


@pytest.mark.parametrize("second", [0, 1, 4])
def test_files_and_folders_change_places_whenever_the_power_goes_once_or_twice(
    bare: Bare, tmp_path: Path, second: int
) -> None:
    old = {"/app/file": b"1", "/app/folder/x/y": b"2", "/lib/only/z": b"3", "/settings.json": b"{}"}
    new = {"/app/file/now/folder": b"4", "/app/folder": b"5", "/www/empty": b"6", "/manifest.json": b"7"}
    bare.put({**old, **staged(new, ["/app/file", "/app/folder/x/y", "/lib/only/z"])})
    with vfs_image.mounted(bare.state.flash_path) as fs:
        fs.makedirs("/www/empty")
    for k in armed_cuts(bare.state, tmp_path):
        said = bare.apply()
        was_cut = CUT in said
        if was_cut and second:
            bare.state[r.CUT_AT_FLASH_OP] = bare.state[r.FLASH_OPS] + second
            said = bare.apply()
        bare.state[r.CUT_AT_FLASH_OP] = 0
        if CUT in said:
            said = bare.apply()
        # False when only the very last step was missing, which main.py makes up for: an empty /next
        assert said in ("result True", "result False"), f"cut at operation {k}"
        left = {path: content for path, content in bare.files().items() if path != "/next/"}
        assert left == with_folders({**new, "/settings.json": b"{}"}), f"cut at operation {k}"
        if not was_cut:
            assert k > FEWEST_OPERATIONS
            return
