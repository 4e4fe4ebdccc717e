"""From an empty board to a running logger and again in seconds: flash, deploy, provision, serve, log, deploy, doctor.

One journey on one board with the real esptool and mpremote. Without options the board is the virtual one;
`make test-board PORT=/dev/ttyACM0` runs the same on real hardware, which is erased.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from host_tests.commands import run_command
from host_tests.serial_device import SerialDevice
from host_tests.trees import changed_tree
from host_tests.virtual_board.stand_in import stand_in_image
from scripts import sim
from scripts.console import ROOT

pytestmark = pytest.mark.vm

MINUTE_MS = 60_000


class Target(Protocol):
    """The board of the journey."""

    options: list[str]
    firmware: list[str]
    network: tuple[str, str] | None
    telemetry: list[str]

    def plug_in(self) -> None: ...
    def page(self, url: str) -> str: ...
    def check_telemetry(self) -> None: ...


class Virtual:
    """The virtual board, blank."""

    def __init__(self, device: SerialDevice, folder: Path) -> None:
        image = folder / "image.bin"
        image.write_bytes(stand_in_image())
        digest = hashlib.sha256(image.read_bytes()).hexdigest()
        self.device = device
        self.options = device.options
        self.firmware = [f"--firmware={image}", f"--firmware-sha256={digest}"]
        self.network: tuple[str, str] | None = (sim.SSID, sim.PASSWORD)
        device.start_collector()
        self.telemetry = [f"--set=telemetry_url=http://127.0.0.1:{device.collector_port}/readings"]

    def plug_in(self) -> None:
        self.device.plug_in()

    def page(self, url: str) -> str:
        assert url == "http://127.0.0.1/"
        return self.device.get("/").text

    def check_telemetry(self) -> None:
        self.device.advance(2 * MINUTE_MS)
        assert self.device.collector and self.device.collector.readings()
        self.device.board.skip_at_boot_ms = 0  # from here on it starts as slowly as a real one, so that its log is seen


class Real:
    """A board on this computer's port; SSID and PASSWORD in the environment bring it into a network."""

    def __init__(self, config: pytest.Config) -> None:
        self.options = [f"--port={config.getoption('--port')}", f"--esptool-args={config.getoption('--esptool-args')}"]
        self.firmware = [f"--firmware={config.getoption('--firmware')}", "--force"]
        ssid, password = os.environ.get("SSID"), os.environ.get("PASSWORD", "")
        self.network = (ssid, password) if ssid else None
        self.telemetry: list[str] = []

    def plug_in(self) -> None:
        pass

    def page(self, url: str) -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    def check_telemetry(self) -> None:
        pass


@pytest.fixture
def target(
    request: pytest.FixtureRequest, make_serial: Callable[..., SerialDevice], tmp_path: Path
) -> Iterator[Target]:
    if request.config.getoption("--port"):
        yield Real(request.config)
    else:
        yield Virtual(make_serial(has="nothing"), tmp_path)


def run(target: Target, module: str, *arguments: str, **environment: str) -> str:
    """A command that must end well; its output."""
    done = run_command(module, *target.options, *arguments, timeout_s=300, **environment)
    assert done.returncode == 0, f"{module}: {done.stdout}{done.stderr}"
    return done.stdout


def follow_log(target: Target, seconds: float) -> str:
    """`make log` for some seconds, ended by Ctrl-C."""
    argv = [sys.executable, "-m", "scripts.monitor", *target.options]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    return output


@pytest.mark.timeout(900)
def test_from_an_empty_board_to_a_running_logger_and_again_in_seconds(target: Target, tmp_path: Path) -> None:
    target.plug_in()
    assert "MicroPython v1.24.1 answers" in run(target, "flash", *target.firmware)

    first = run(target, "deploy")
    assert int(re.search(r"^(\d+) files sent, 0 removed", first, re.MULTILINE)[1]) > 20  # type: ignore[index]
    assert "make provision" in first

    if target.network:
        ssid, password = target.network
        joined = run(target, "provision", f"--ssid={ssid}", *target.telemetry, PASSWORD=password)
        assert password not in joined
        url = re.search(r"http://\S+/", joined)
        assert url and "Tally" in target.page(url[0])
        target.check_telemetry()

    run(target, "board", "reset")
    assert re.search(r"INFO main: tally \d", follow_log(target, 6))

    again = run(target, "deploy")
    assert "0 files sent, 0 removed" in again

    changed = changed_tree(tmp_path / "changed", {"www/icon.svg.gz": b"changed", "lib/further.mpy": b"M\x06\x00\x1f"})
    assert "2 files sent, 0 removed" in run(target, "deploy", f"--tree={changed}")
    one = changed_tree(tmp_path / "one", {"www/icon.svg.gz": b"changed once more", "lib/further.mpy": b"M\x06\x00\x1f"})
    assert "1 file sent, 0 removed" in run(target, "deploy", f"--tree={one}")
    back = run(target, "deploy")
    assert "1 file sent, 1 removed" in back

    run(target, "doctor")
