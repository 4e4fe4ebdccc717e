"""A device under test with a serial port: what `make flash`, `make deploy` and the other board commands work on.

Owns the port and how a command is run against it. The board is that of host_tests/device.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from host_tests.commands import run_command
from host_tests.device import BOOT_MS, Device
from host_tests.virtual_board.pty_port import PtyPort
from host_tests.virtual_board.serial_board import SerialBoard
from host_tests.virtual_board.vm import registers as r
from scripts.vm import Vm

# A PTY has no reset lines: without these esptool warns of it each time.
NO_RESET = "--before no-reset --after no-reset"


class SerialDevice(Device):
    """`tty` is the path of its port. After a reset it skips what it would sleep through, from then on time runs; a host
    that had the port open at the reset is given the time to close it and look at the log of the start."""

    def __init__(self, vm: Vm, folder: Path, chip_id: int = 5, size_code: int = 0x16, **options: object) -> None:
        super().__init__(vm, folder, **options)  # type: ignore[arg-type]
        self.serial = SerialBoard(self.board, chip_id, size_code)
        self.tty = folder / "ttyBOARD"
        self.options = [f"--port={self.tty}", f"--esptool-args={NO_RESET}"]
        self._port = PtyPort(self.serial, self.tty)
        self._reset_by_host = False
        self._hang_ups = 0
        self.board.on_boot = self._boots
        self.board.may_skip = self._may_skip
        self.board.skip_at_boot_ms = BOOT_MS
        self.board.wait_for_room = self._port.wait_for_room

    def _boots(self) -> None:
        self._reset_by_host, self._hang_ups = self._port.has_host, self.serial.hang_ups

    def _may_skip(self) -> bool:
        return not self._reset_by_host or (self.serial.hang_ups > self._hang_ups and self._port.has_host)

    def plug_in(self) -> None:
        """Power, without waiting for anything."""
        self.serial.power_on()

    def close(self) -> None:
        self._port.close()
        self.serial.close()
        super().close()

    def run(
        self, module: str, *arguments: str, timeout_s: float = 60, answer: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`python -m scripts.MODULE --port TTY ARGUMENTS`, as the make target does it."""
        return run_command(module, *self.options, *arguments, timeout_s=timeout_s, answer=answer, **environment)

    def wait_at_prompt(self) -> None:
        """Until the board is at its REPL."""
        self.board.wait_for_state(r.STATE_REPL)
