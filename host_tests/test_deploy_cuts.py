"""Power lost at every flash operation of a deploy: the next boot runs the old or the new application, never a mix, and
the next deploy repairs.

What mpremote has the board execute is recorded once and executed again for each cut, so that every one can be tried.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from host_tests.device import BOOT_MS
from host_tests.serial_device import SerialDevice
from host_tests.test_deploy import deploy
from host_tests.trees import changed_tree, files_of, tree_files
from host_tests.virtual_board.board import VirtualBoard
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import registers as r
from scripts import deploy as deploy_command
from scripts import session, sim
from scripts.build import DEVICE_DIR, build, compile_mpy
from scripts.vm import Vm

pytestmark = pytest.mark.vm

EXECUTED_TIMEOUT_S = 20


class Replayed:
    """A board on a copy of a flash, on which recorded sources are executed until they end or the power does."""

    def __init__(self, vm: Vm, folder: Path, flash: Path) -> None:
        folder.mkdir()
        shutil.copy(flash, folder / "flash.bin")
        self.state = BoardState(folder)
        sim.set_world(self.state, sim.parser().parse_args(["--no-wifi"]))
        self.state[r.TICK_MS] = 1
        self.board = VirtualBoard(vm, self.state)

    def close(self) -> None:
        self.board.stop()
        self.state.close()

    def execute(self, sources: list[bytes], cut_at: int) -> int:
        """Run the sources at the raw prompt, without main.py, with the power cut at that flash operation (0: never).
        Returns how many flash operations there were."""
        self.board.start()
        self.board.wait_for_state(r.STATE_RUNNING)
        self.board.console.feed(b"\x03")
        self._wait_at_prompt()
        self.board.console.feed(b"\r\x01\x04")
        self._wait_at_prompt()
        before = self.state[r.FLASH_OPS]
        self.state[r.CUT_AT_FLASH_OP] = before + cut_at if cut_at else 0
        for source in sources:
            self.board.console.feed(source + b"\x04")
            self._wait_at_prompt()
        done = self.state[r.FLASH_OPS] - before
        self.board.stop()
        self.state[r.CUT_AT_FLASH_OP] = 0
        return done

    def _wait_at_prompt(self) -> None:
        until_s = time.monotonic() + EXECUTED_TIMEOUT_S
        while self.board.console.busy and self.board.is_on():
            assert time.monotonic() < until_s, self.board.log_lines[-10:]
            time.sleep(0.0005)

    def boot(self) -> None:
        """Power on, until the application says who it is."""
        self.board.skip_at_boot_ms = BOOT_MS
        after = len(self.board.log_lines)
        self.board.start()
        line = self.board.wait_for_line(r"INFO main: tally |^crash |rescue|deploy not finished", after=after)
        assert "INFO main" in line, self.board.log_lines[after:]
        self.board.stop()


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """(old, new): one module gone, one changed, one new in a folder of its own, and one that hides another."""
    timing = compile_mpy(DEVICE_DIR / "lib" / "timing.py", "changed.py")
    main = (build()[0] / "main.py").read_bytes() + b"# changed\n"
    new = changed_tree(
        tmp_path / "new",
        {"lib/timing.mpy": timing, "main.py": main, "www/new/x.txt": b"new", "lib/cookies.mpy": None},
    )
    return build()[0], new


def record(device: SerialDevice, new: Path) -> list[bytes]:
    """The sources that a deploy of `new` has the board execute, from the first that writes to the reset."""
    sources: list[bytes] = []
    execute = device.board.execute

    def recording(source: bytes, single: bool) -> None:
        sources.append(source)
        execute(source, single)

    device.board.execute = recording  # type: ignore[method-assign]
    deploy(device, f"--tree={new}")
    device.board.stop()
    inventory = next(i for i, source in enumerate(sources) if b"def inventory" in source)
    assert b"machine.reset()" in sources[-1]
    return sources[inventory:-1]


@pytest.mark.timeout(600)
def test_power_cut_at_every_flash_operation_of_a_deploy(
    vm: Vm, make_serial: Callable[..., SerialDevice], tmp_path: Path, trees: tuple[Path, Path]
) -> None:
    old_board = {**tree_files(trees[0]), "/lib/forms.py": b"1/0"}
    new = tree_files(trees[1])
    device = make_serial()
    device.write_file("/lib/forms.py", b"1/0")
    before = tmp_path / "before.bin"
    shutil.copy(device.state.flash_path, before)
    device.plug_in()
    sources = record(device, trees[1])
    new_board = {path: content for path, content in files_of(device.state).items() if not path.startswith("/settings")}
    assert new_board == new
    untouched = Replayed(vm, tmp_path / "k0", before)
    operations = untouched.execute(sources, cut_at=0)
    untouched.close()
    outcomes = {"old": 0, "new": 0}
    for k in range(1, operations + 1):
        replayed = Replayed(vm, tmp_path / f"k{k}", before)
        try:
            replayed.execute(sources, cut_at=k)
            replayed.boot()
            now = files_of(replayed.state)
        finally:
            replayed.close()
        settings = now.pop("/settings.json", b"")
        assert b"tally-sim" in settings
        running = {path: content for path, content in now.items() if not path.startswith("/next/")}
        which = "new" if running == new else "old"
        differing = sorted(path for path in {*running, *old_board} if running.get(path) != old_board.get(path))
        assert which == "new" or not differing, f"a mix after a cut at operation {k} of {operations}: {differing}"
        outcomes[which] += 1
        shutil.rmtree(tmp_path / f"k{k}")
    assert outcomes["old"] > 10 and outcomes["new"] > 10, outcomes
    print(f"{operations} cuts: {outcomes}")


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.9])
def test_the_deploy_after_a_power_cut_repairs(
    make_serial: Callable[..., SerialDevice],
    trees: tuple[Path, Path],
    part: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "ANSWER_TIMEOUT_S", 5)  # for a board that is off
    device = make_serial()
    shutil.copy(device.state.flash_path, device.folder / "before.bin")
    device.plug_in()
    device.wait_booted()
    first = device.state[r.FLASH_OPS]
    again = [*device.options, f"--tree={trees[1]}"]
    assert deploy_command.main(again) == 0
    operations = device.state[r.FLASH_OPS] - first
    device.board.stop()
    shutil.copy(device.folder / "before.bin", device.state.flash_path)
    device.plug_in()
    device.wait_booted()
    device.state[r.CUT_AT_FLASH_OP] = device.state[r.FLASH_OPS] + int(part * operations)
    assert deploy_command.main(again) == 1
    assert not device.board.is_on()
    device.state[r.CUT_AT_FLASH_OP] = 0
    device.plug_in()
    assert deploy_command.main(again) == 0
    device.board.stop()
    assert {**files_of(device.state), **tree_files(trees[1])} == files_of(device.state)
    assert not [path for path in files_of(device.state) if path.startswith("/next")]
