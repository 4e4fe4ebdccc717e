"""The owner of a virtual board: starts the VM, restarts it on reset, bites when the watchdog is not fed.

Owns processes and the log. What survives is in `state`; what the chip does is in `vm/`; the REPL is `console`. A
`VirtualBoard` is used by `make sim` and by the tests alike; it never sends a signal to a process it did not start.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from host_tests.virtual_board.console import Console
from host_tests.virtual_board.fakes import FAKES_BUILD_DIR, build_fakes
from host_tests.virtual_board.rom_boot import NoBoot, find_firmware
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.vm import registers as r
from scripts.vm import Vm

DEFAULT_HEAP_BYTES = 64 * 1024
_FIRST_GUESS_FAKES_BYTES = 72 * 1024
_MOST_CALIBRATIONS = 5
_UART_BYTES = 4096  # of output may be under way, then print() waits
_PATIENCE_S = 1  # before a program that waits for nothing gets a signal, which may hit the VM where it can't take it


def app_heap_bytes(heap_bytes: int) -> int:
    """GC bytes the application sees for a heap of that size: 64,000 of 65,536."""
    return int(heap_bytes / 16.384) * 16


class VirtualBoard:
    """One board. `start()` is power-on; `stop()` takes the power away; `log_lines` is all it ever printed."""

    def __init__(
        self,
        vm: Vm,
        state: BoardState,
        heap_bytes: int = DEFAULT_HEAP_BYTES,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.vm = vm
        self.state = state
        self.heap_bytes = heap_bytes
        self.log_lines: list[str] = []
        self.resets: list[str] = []
        self._on_line = on_line
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner: threading.Thread | None = None
        self._on = False
        self._vm_heap_bytes = heap_bytes + 33 * (state[r.FAKES_BYTES] or _FIRST_GUESS_FAKES_BYTES) // 32
        self._calibrations = 0
        self._interrupted_s = 0.0
        self._woken = threading.Event()
        self._soft = False  # the next boot comes from a soft reset
        self.console = Console(self, self._add_line)
        self.skip_at_boot_ms = 0  # of its sleep after each reset: the grace period, joining the network
        self.on_boot: Callable[[], None] = lambda: None
        self.may_skip: Callable[[], bool] = lambda: True  # asked from each boot on until it is true
        self._to_skip_ms = 0
        self.wait_for_room: Callable[[], None] = lambda: None  # a serial port takes no more than the host reads

    # --- power ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Power on; returns at once. Wait with `wait_for_line`."""
        if self._on:
            raise RuntimeError("the board is on already")
        build_fakes()
        self._on = True
        self.state.power_off()
        owner = threading.Thread(target=self._live, name="virtual board", daemon=True)
        owner.start()
        self._owner = owner  # once it can be joined

    def stop(self) -> None:
        """Pull the plug: the VM is killed between two instructions; flash keeps what was programmed."""
        self._on = False
        self._kill()
        if self._owner:
            self._owner.join(10)
            self._owner = None

    def power_cycle(self) -> None:
        self.stop()
        self.start()

    def press_reset(self) -> None:
        """The RESET button: like a power cycle, but RTC memory survives."""
        self._reset(2)

    def _reset(self, cause: int) -> None:
        self.state[r.RESET_CAUSE] = cause
        self.state[r.STATE] = r.STATE_RESET
        self._kill()

    # --- the console's side ---------------------------------------------------------------------

    def interrupt(self) -> None:
        """Ctrl-C on the serial console: the running program gets it when it next waits for something."""
        self._interrupted_s = time.monotonic()
        self.state[r.INTERRUPT] = 1

    def execute(self, source: bytes, single: bool) -> None:
        """Have the VM run a source; its end is a mark in the output."""
        frame = (b"1" if single else b"x") + len(source).to_bytes(4, "little") + source
        assert self._process and self._process.stdin
        try:
            self._process.stdin.write(frame)
            self._process.stdin.flush()
        except OSError:
            pass  # a reset came first

    def soft_reset(self) -> None:
        """Ctrl-D at the prompt."""
        self._reset(5)

    def _kill(self) -> None:
        self._woken.set()
        if self._process and self._process.poll() is None:
            self._process.kill()

    # --- life -----------------------------------------------------------------------------------

    def _live(self) -> None:
        """Boot after boot, until the power is off or the program died in a way no chip would."""
        while self._on:
            state = self._one_boot()
            if state == r.STATE_CALIBRATE:
                self._calibrate()
            elif state == r.STATE_POWER_CUT:
                self._on = False
                self._note("power cut at a flash operation")
            elif state == r.STATE_SLEEP:
                time.sleep(self.state[r.SLEEP_MS] / 1000)
            elif state != r.STATE_RESET:
                was_on, self._on = self._on, False
                if was_on:
                    self._note(self._death())

    def _calibrate(self) -> None:
        """Give the VM what the fakes weigh, so that the application has its heap to itself."""
        self._vm_heap_bytes += self.state[r.HEAP_BYTES] - self.state[r.HEAP_HAVE_BYTES]
        self._calibrations += 1
        if self._calibrations > _MOST_CALIBRATIONS:
            self._note("the VM's heap can't be brought to the size asked for")
            self._on = False

    def _one_boot(self) -> int:
        """Run the VM until it ends; returns the STATE word it left behind."""
        soft, self._soft = self._soft, False
        try:
            firmware = find_firmware(self.state.flash_path.read_bytes())
        except NoBoot as reason:
            return self._wait_for_firmware(str(reason))
        self.state.prepare_boot(app_heap_bytes(self.heap_bytes) if self.vm.word_bits == 32 else 0, soft)
        self.state.put_text(r.FIRMWARE_TEXT, f"{firmware.release};{firmware.version};{firmware.chip}")
        self.state[r.INTERRUPT] = 0
        self.console.boot(firmware.banner, soft)
        self.state[r.RUN_MAIN] = self.console.friendly
        self._to_skip_ms = self.skip_at_boot_ms
        self.on_boot()
        self._process = subprocess.Popen(
            [*self.vm.argv, "-X", f"heapsize={self._heap_option()}", "-c", "import boot"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pipesize=_UART_BYTES,
            env=self._environment(),
            start_new_session=True,  # Ctrl-C in the terminal is for the simulator, not for the chip
        )
        watch = threading.Thread(target=self._watch, args=(self._process,), daemon=True)
        watch.start()
        if not self._on:  # stop() may have run before there was a process to kill
            self._kill()
        self._read_output(self._process)
        self._process.wait()
        self._process.stdin.close()  # type: ignore[union-attr]
        watch.join()
        state = self.state[r.STATE]
        if state == r.STATE_RESET:
            self._soft = self.state[r.RESET_CAUSE] == 5
            self._note(self._reset_reason())
        if state == r.STATE_CALIBRATE:
            self._soft = soft
        else:
            self._calibrations = 0
        return state

    def _wait_for_firmware(self, why: str) -> int:
        """The boot ROM's endless loop. Returns at a reset or when the power goes."""
        self.state[r.STATE] = r.STATE_OFF
        self.console.boot("")
        self._woken.clear()
        while self._on and self.state[r.STATE] != r.STATE_RESET:
            self.console.say(why)
            self._woken.wait(10)
        return self.state[r.STATE]

    def _heap_option(self) -> int:
        return self._vm_heap_bytes if self.vm.word_bits == 32 else 3 * self._vm_heap_bytes

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "MICROPYPATH": str(FAKES_BUILD_DIR),
            "TALLY_BOARD": str(self.state.board_path),
            "TALLY_FLASH": str(self.state.flash_path),
        }

    def _death(self) -> str:
        """Words for a VM that ended as no chip would; killed from outside, it is a power cut."""
        assert self._process
        code = self._process.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"the VM ended {how}, so the board is off; start it again on the same STATE, it will boot"

    def _reset_reason(self) -> str:
        return {3: "watchdog reset", 5: "soft reset"}.get(self.state[r.RESET_CAUSE], "reset")

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            if self.state.watchdog_expired():
                self._reset(3)
                return
            if not self.console.busy:
                self.state[r.INTERRUPT] = 0
            runs = self.state[r.STATE] in (r.STATE_RUNNING, r.STATE_REPL)
            if runs and self._to_skip_ms and self.may_skip():
                self._skip(self._to_skip_ms)
                self._to_skip_ms = 0
            if self.state[r.INTERRUPT] and runs and time.monotonic() > self._interrupted_s + _PATIENCE_S:
                self.state[r.INTERRUPT] = 0
                process.send_signal(signal.SIGINT)
            time.sleep(0.02)

    def _read_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            while data := os.read(process.stdout.fileno(), _UART_BYTES):
                self.console.from_vm(data)
                self.wait_for_room()
        self.console.vm_ended()

    def _note(self, what: str) -> None:
        with self._changed:
            self.resets.append(what)
        self._add_line(f"[board] {what}")

    def _add_line(self, line: str) -> None:
        with self._changed:
            self.log_lines.append(line)
            self._changed.notify_all()
        if self._on_line:
            self._on_line(line)

    def wait_for_line(self, pattern: str, timeout_s: float = 30, after: int = 0) -> str:
        """First log line from index `after` on that matches; TimeoutError quotes the end of the log."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for line in self.log_lines[after:]:
                    if regex.search(line):
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    tail = "\n  ".join(self.log_lines[-25:])
                    raise TimeoutError(f"no line /{pattern}/ in {timeout_s} s; the log ends:\n  {tail}")

    def wait_for_state(self, state: int, timeout_s: float = 30) -> None:
        """Until the chip's STATE word is `state`; TimeoutError otherwise."""
        deadline = time.monotonic() + timeout_s
        while self.state[r.STATE] != state:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the board is in state {self.state[r.STATE]}, not {state}")
            time.sleep(0.005)

    def advance(self, ms: int, timeout_s: float = 60) -> None:
        """Let `ms` of the board's time pass, skipping what it sleeps through; returns when it has."""
        self._skip(ms)
        deadline = time.monotonic() + timeout_s
        while self.state[r.SKIP_ON]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the board did not get through {ms} ms in {timeout_s} s")
            time.sleep(0.002)

    def _skip(self, ms: int) -> None:
        self.state[r.SKIP_UNTIL] = (self.state.ticks_ms() + ms) & ((1 << 30) - 1)
        self.state[r.SKIP_ON] = 1

    def is_on(self) -> bool:
        return self._on
