"""Shared fixtures: device modules on CPython, a whole virtual device with its collector, the HTTP server alone.

Device libraries are appended to sys.path, never put first: device/lib's `logging` must not hide CPython's.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT), str(ROOT / "device" / "lib"), str(ROOT / "device")]
if "micropython" not in sys.modules:
    micropython = types.ModuleType("micropython")
    micropython.const = lambda value: value  # type: ignore[attr-defined]
    sys.modules["micropython"] = micropython

from host_tests.device import Device  # noqa: E402
from host_tests.httpd_board import HttpdBoard, running  # noqa: E402
from host_tests.serial_device import SerialDevice  # noqa: E402
from scripts.vm import Vm, find_vm  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make test-board`: the board that the journey is made on, instead of the virtual one."""
    for name in ("--port", "--esptool-args", "--firmware"):
        parser.addoption(name, default="", help="see make test-board")


@pytest.fixture(scope="session")
def vm() -> Vm:
    """The MicroPython VM; fails with its way out, and never skips, when there is none."""
    return find_vm()


@pytest.fixture
def make_device(vm: Vm, tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """Factory of virtual devices on ephemeral ports; all are stopped at the end."""
    made: list[Device] = []

    def make(**options: object) -> Device:
        device = Device(vm, tmp_path / f"board{len(made)}", **options)  # type: ignore[arg-type]
        made.append(device)
        return device

    yield make
    for device in made:
        device.close()


@pytest.fixture
def make_serial(vm: Vm, tmp_path: Path) -> Iterator[Callable[..., SerialDevice]]:
    """Factory of virtual boards on serial ports."""
    made: list[SerialDevice] = []

    def make(**options: object) -> SerialDevice:
        made.append(SerialDevice(vm, tmp_path / f"serial{len(made)}", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for device in made:
        device.close()


@pytest.fixture
def at_prompt(make_serial: Callable[..., SerialDevice]) -> SerialDevice:
    """A board with MicroPython and nothing else, at its prompt."""
    device = make_serial(has="firmware")
    device.plug_in()
    device.wait_at_prompt()
    return device


@pytest.fixture
def device(make_device: Callable[..., Device]) -> Device:
    """A device that is up: connected, time set, collector listening."""
    device = make_device()
    device.start()
    return device


@pytest.fixture(scope="module")
def module_board(
    request: pytest.FixtureRequest, vm: Vm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HttpdBoard]:
    """The HTTP server alone on a board, one for all tests of a module, with the FILES the module names on its flash."""
    yield from running(vm, tmp_path_factory.mktemp("httpd"), getattr(request.module, "FILES", None))


@pytest.fixture
def board(module_board: HttpdBoard) -> HttpdBoard:
    """The same, started anew if the test before left it in pieces."""
    return module_board.well()
