"""The ports of the virtual board: an echo behind them, then the loader driven by the real, unmodified esptool.

esptool runs as a person would run it. The sentences are those of esptool 5.6.0; a new one may say something else.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial

from host_tests.virtual_board import rom_loader as rom
from host_tests.virtual_board.flash_file import FlashFile
from host_tests.virtual_board.port_pump import QUEUE_BYTES, Pump
from host_tests.virtual_board.pty_port import PtyPort
from host_tests.virtual_board.rfc2217_port import Rfc2217Port
from host_tests.virtual_board.rom_flash import BAD_CHECKSUM, WRITE_FAILED
from host_tests.virtual_board.rom_loader import Faults, RomLoader
from host_tests.virtual_board.slip import Decoder, encode
from host_tests.virtual_board.stand_in import stand_in_image

NO_RESET = ("--before", "no-reset", "--after", "no-reset")
TIMEOUT_S = 30
OVERSIZE_BYTES = 3 * QUEUE_BYTES
IMAGE = stand_in_image()


class Echo:
    """A board that says what it hears, and keeps count of what a port does to it."""

    def __init__(self) -> None:
        self.on_output: Callable[[bytes], None] = lambda data: None
        self.heard = b""
        self.hang_ups = 0
        self.lines: list[tuple[bool, bool]] = []

    def feed(self, data: bytes) -> None:
        self.heard += data
        self.on_output(data)

    def hang_up(self) -> None:
        self.hang_ups += 1

    def set_lines(self, dtr: bool, rts: bool) -> None:
        self.lines.append((dtr, rts))


class LoaderBoard:
    """A board with nothing but the loader. `boots`: what each rise of EN started; GPIO9 (DTR) chooses."""

    def __init__(self, flash: FlashFile) -> None:
        self.on_output: Callable[[bytes], None] = lambda data: None
        self.flash = flash
        self.ops: list[int] = []
        self.on_command: Callable[[int, bytes], None | int | str] = lambda op, data: None
        self.loader = RomLoader(flash, Faults(self._asked))
        self.boots: list[str] = []
        self.lines: list[tuple[bool, bool]] = []
        self._decoder = Decoder()
        self._in_reset = False

    def _asked(self, op: int, data: bytes) -> None | int | str:
        self.ops.append(op)
        return self.on_command(op, data)

    def feed(self, data: bytes) -> None:
        for payload in self._decoder.feed(data):
            for reply in self.loader.feed(payload):
                self.on_output(encode(reply))

    def hang_up(self) -> None:
        self.loader.reset()
        self._decoder = Decoder()

    def set_lines(self, dtr: bool, rts: bool) -> None:
        self.lines.append((dtr, rts))
        if self._in_reset and not rts:
            self.loader.reset()
            self.boots.append("download" if dtr else "app")
        self._in_reset = rts


def wait_until(condition: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end_s, f"waited in vain until {what}"
        time.sleep(0.002)


def esptool(port: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run esptool; what it says is in stdout, errors too."""
    return subprocess.run(
        [sys.executable, "-m", "esptool", "--chip", "esp32c3", "--port", port, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def pty(echo: Echo, tmp_path: Path) -> Iterator[PtyPort]:
    port = PtyPort(echo, tmp_path / "ttyECHO")
    yield port
    port.close()


@pytest.fixture
def tcp(echo: Echo) -> Iterator[Rfc2217Port]:
    port = Rfc2217Port(echo)
    yield port
    port.close()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[LoaderBoard]:
    flash = FlashFile(tmp_path / "flash.bin")
    yield LoaderBoard(flash)
    flash.close()


@pytest.fixture
def tool(board: LoaderBoard, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """esptool on the board over a PTY, without resets."""
    port = PtyPort(board, tmp_path / "ttyBOARD")
    yield lambda *arguments: esptool(str(port.link), *NO_RESET, *arguments)
    port.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(IMAGE)
    return path


# --- the PTY ------------------------------------------------------------------------------------


def test_bytes_of_every_value_go_through_a_pty_both_ways(pty: PtyPort, echo: Echo) -> None:
    content = bytes(range(256)) * 40
    with serial.Serial(str(pty.link), timeout=TIMEOUT_S) as host:
        writer = threading.Thread(target=host.write, args=(content,))
        writer.start()
        assert host.read(len(content)) == content
        writer.join(TIMEOUT_S)
    assert echo.heard == content


def test_a_host_that_sets_nothing_up_finds_neither_echo_nor_line_editing(pty: PtyPort, echo: Echo) -> None:
    host = os.open(pty.link, os.O_RDWR | os.O_NOCTTY)
    os.write(host, b"\x03\x04\r")
    assert select.select([host], [], [], TIMEOUT_S)[0]
    answer = b""
    while len(answer) < 3:
        answer += os.read(host, 100)
    os.close(host)
    wait_until(lambda: echo.hang_ups, "the board heard that the host hung up")
    assert answer == echo.heard == b"\x03\x04\r"


def test_hang_up_comes_once_for_each_host_that_closes(pty: PtyPort, echo: Echo) -> None:
    for count in (1, 2, 3):
        with serial.Serial(str(pty.link), timeout=TIMEOUT_S) as host:
            host.write(b"?")
            assert host.read(1) == b"?"
            assert echo.hang_ups == count - 1
        wait_until(lambda: echo.hang_ups >= count, "the board heard that the host hung up")
    time.sleep(0.03)  # several looks of the port
    assert echo.hang_ups == 3


def test_what_a_host_wrote_before_it_left_is_still_heard(pty: PtyPort, echo: Echo) -> None:
    heard_at_hang_up = []
    echo.hang_up = lambda: heard_at_hang_up.append(echo.heard)
    with serial.Serial(str(pty.link)) as host:
        host.write(b"last words")
    wait_until(lambda: heard_at_hang_up, "the board heard that the host hung up")
    assert heard_at_hang_up == [b"last words"]


def test_output_without_a_host_is_lost_as_on_a_uart(pty: PtyPort, echo: Echo) -> None:
    echo.on_output(b"nobody hears this")
    with serial.Serial(str(pty.link), timeout=TIMEOUT_S) as host:
        host.write(b"?")
        assert host.read(1) == b"?"
        assert host.in_waiting == 0


def test_output_that_a_host_left_unread_does_not_reach_the_next_one(pty: PtyPort, echo: Echo) -> None:
    with serial.Serial(str(pty.link)):
        echo.on_output(b"x" * 100_000)
    wait_until(lambda: echo.hang_ups, "the board heard that the host hung up")
    with serial.Serial(str(pty.link), timeout=TIMEOUT_S) as host:
        host.write(b"?")
        assert host.read(1) == b"?"


def test_output_from_another_thread_reaches_a_host_that_only_listens(pty: PtyPort, echo: Echo) -> None:
    with serial.Serial(str(pty.link), timeout=TIMEOUT_S) as host:
        threads = [threading.Thread(target=echo.on_output, args=(b"line\n" * 100,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert host.read(2000) == b"line\n" * 400
        for thread in threads:
            thread.join(TIMEOUT_S)


def test_a_host_that_reads_nothing_neither_blocks_the_board_nor_fills_memory(pty: PtyPort, echo: Echo) -> None:
    with serial.Serial(str(pty.link), timeout=TIMEOUT_S) as host:
        for _ in range(OVERSIZE_BYTES // 4096):
            echo.on_output(b"x" * 4096)
        host.write(b"still heard")
        wait_until(lambda: echo.heard == b"still heard", "the board heard the host")
        content = b""
        while select.select([host], [], [], 0.1)[0]:
            content += os.read(host.fileno(), 65536)
    assert QUEUE_BYTES * 0.9 < len(content) < QUEUE_BYTES + 64 * 1024


def test_close_ends_the_thread_and_takes_its_link_away(echo: Echo, tmp_path: Path) -> None:
    threads = threading.active_count()
    link = tmp_path / "ttyGONE"
    link.symlink_to("/dev/pts/of-a-run-that-was-killed")
    port = PtyPort(echo, link)
    assert link.resolve().is_char_device()
    port.close()
    port.close()
    echo.on_output(b"too late")
    assert not link.is_symlink()
    assert threading.active_count() == threads


def test_a_file_where_the_link_should_be_is_not_replaced(echo: Echo, tmp_path: Path) -> None:
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(FileExistsError):
        PtyPort(echo, mine)
    assert mine.read_text() == "mine"


# --- RFC 2217 -----------------------------------------------------------------------------------


PYSERIAL_IS_OLD = pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")


@PYSERIAL_IS_OLD
def test_rfc_2217_carries_bytes_of_every_value_lines_and_hang_up(tcp: Rfc2217Port, echo: Echo) -> None:
    content = bytes(range(256)) * 20
    with serial.serial_for_url(tcp.url, timeout=TIMEOUT_S) as host:
        host.write(content)
        assert host.read(len(content)) == content
        echo.lines.clear()
        host.rts = False
        host.dtr = False
        host.rts = True
        host.rts = True  # no change: not told again
        assert echo.lines == [(True, False), (False, False), (False, True)]
    wait_until(lambda: echo.hang_ups, "the board heard that the host hung up")
    assert echo.heard == content
    assert echo.lines[3:] == [(False, False)]


def close_at_once(port: Pump) -> float:
    start_s = time.monotonic()
    port.close()
    port.close()
    return time.monotonic() - start_s


@PYSERIAL_IS_OLD
def test_rfc_2217_closes_with_and_without_a_host(tcp: Rfc2217Port, echo: Echo) -> None:
    with serial.serial_for_url(tcp.url, timeout=TIMEOUT_S):
        assert close_at_once(tcp) < 2
    assert close_at_once(Rfc2217Port(echo)) < 2


def test_esptool_resets_into_the_loader_and_then_into_the_app_over_rfc_2217(board: LoaderBoard) -> None:
    port = Rfc2217Port(board)
    result = esptool(port.url, "--no-stub", "read-mac")  # few commands: pyserial takes 0.2 s for each
    port.close()
    assert result.returncode == 0, result.stdout
    assert "70:b8:f6:0c:3f:01" in result.stdout
    assert set(board.boots[:-1]) == {"download"}
    assert board.boots[-1] == "app"
    assert board.lines[-2:] == [(False, True), (False, False)]  # EN low alone, then both lines released


# --- esptool over the PTY: what works -----------------------------------------------------------

STUB_OR_NOT = pytest.mark.parametrize("stub", [(), ("--no-stub",)], ids=["stub", "no-stub"])


@pytest.mark.parametrize(("size_code", "said"), [(rom.FLASH_4_MB, "4MB"), (rom.FLASH_2_MB, "2MB")])
def test_esptool_finds_the_chip_and_its_flash(board: LoaderBoard, tool, size_code: int, said: str) -> None:
    board.loader = RomLoader(board.flash, size_code=size_code)
    result = tool("flash-id")
    assert result.returncode == 0, result.stdout
    assert f"Detected flash size: {said}" in result.stdout
    assert "ESP32-C3" in result.stdout
    assert "revision v0.4" in result.stdout


@STUB_OR_NOT
def test_esptool_writes_verifies_and_reads_back(board: LoaderBoard, tool, image: Path, stub: tuple[str, ...]) -> None:
    board.flash.program(0, bytes(5000))
    written = tool(*stub, "--baud", "460800", "write-flash", "0x0", str(image))
    assert written.returncode == 0, written.stdout
    assert "Hash of data verified." in written.stdout
    assert (rom.FLASH_DEFL_DATA in board.ops, rom.FLASH_DATA in board.ops) == ((False, True) if stub else (True, False))
    assert board.flash.read(0, len(IMAGE)) == IMAGE
    assert set(board.flash.read(len(IMAGE), 4096)) == {0xFF}
    assert tool(*stub, "verify-flash", "0x0", str(image)).returncode == 0
    out = image.with_name("read.bin")
    read = tool(*stub, "read-flash", "0x10000", "0x1000", str(out))
    assert read.returncode == 0, read.stdout
    assert out.read_bytes() == IMAGE[0x10000:0x11000]


def test_esptool_reads_more_than_the_stub_sends_unacknowledged(board: LoaderBoard, tool, tmp_path: Path) -> None:
    board.flash.program(0x100000, b"\xc0\xdb" * 0x28000)  # every byte is escaped
    out = tmp_path / "read.bin"
    result = tool("read-flash", "0x100000", "0x60000", str(out))
    assert result.returncode == 0, result.stdout
    assert out.read_bytes() == board.flash.read(0x100000, 0x60000)


def test_verify_flash_sees_a_byte_that_differs(board: LoaderBoard, tool, image: Path) -> None:
    board.flash.program(0, IMAGE)
    board.flash.program(0x10000, b"\0")
    result = tool("verify-flash", "0x0", str(image))
    assert result.returncode != 0
    assert "Verification failed" in result.stdout


@STUB_OR_NOT
def test_erase_region_erases_that_region_only(board: LoaderBoard, tool, stub: tuple[str, ...]) -> None:
    board.flash.program(0, bytes(0x5000))
    assert tool(*stub, "erase-region", "0x1000", "0x2000").returncode == 0
    assert board.flash.read(0, 0x5000) == bytes(0x1000) + b"\xff" * 0x2000 + bytes(0x2000)


def test_erase_flash_erases_all_with_the_stub(board: LoaderBoard, tool) -> None:
    board.flash.program(0, bytes(0x400000))
    assert tool("erase-flash").returncode == 0
    assert board.flash.read(0, 0x400000) == b"\xff" * 0x400000


def test_erase_flash_needs_the_stub(board: LoaderBoard, tool) -> None:
    board.flash.program(0, b"kept")
    result = tool("--no-stub", "erase-flash")
    assert (result.returncode, "does not support function erase_flash" in result.stdout) == (2, True)
    assert board.flash.read(0, 4) == b"kept"


# --- esptool over the PTY: what goes wrong ------------------------------------------------------


def on_blocks(answer: int | str, only: int | None = None) -> Callable[[int, bytes], None | int | str]:
    """A fault of every block written to flash, or only of the n-th one (from 1)."""
    seen = 0

    def fault(op: int, data: bytes) -> None | int | str:
        nonlocal seen
        if op not in (rom.FLASH_DATA, rom.FLASH_DEFL_DATA):
            return None
        seen += 1
        return answer if only in (None, seen) else None

    return fault


def assert_fails(result: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert result.returncode == 2, result.stdout
    assert sentence in result.stdout


def test_another_chip_is_refused(board: LoaderBoard, tool) -> None:
    board.loader = RomLoader(board.flash, chip_id=9)
    assert_fails(tool("flash-id"), "This chip is ESP32-S3, not ESP32-C3. Wrong chip argument?")


def test_a_silent_board_is_no_serial_data(board: LoaderBoard, tool) -> None:
    board.on_command = lambda op, data: "silent"
    result = tool("--connect-attempts", "1", "flash-id")
    assert_fails(result, "Failed to connect to ESP32-C3: No serial data received.")


def test_a_board_that_goes_silent_in_a_write_times_out(board: LoaderBoard, tool, image: Path) -> None:
    board.on_command = on_blocks("silent", only=1)
    assert_fails(tool("write-flash", "0x0", str(image)), "No more data to read from the serial port.")
    assert board.ops[-1] == rom.FLASH_DEFL_DATA


@STUB_OR_NOT
def test_a_flash_that_can_not_be_written_is_told_after_three_attempts(
    board: LoaderBoard, tool, image: Path, stub: tuple[str, ...]
) -> None:
    board.on_command = on_blocks(WRITE_FAILED)
    assert_fails(tool(*stub, "write-flash", "0x0", str(image)), "Flash write error")
    assert board.ops.count(rom.FLASH_DATA) + board.ops.count(rom.FLASH_DEFL_DATA) == 3


@STUB_OR_NOT
def test_a_block_that_was_refused_once_is_sent_again(
    board: LoaderBoard, tool, image: Path, stub: tuple[str, ...]
) -> None:
    board.on_command = on_blocks(BAD_CHECKSUM, only=1)
    result = tool(*stub, "write-flash", "0x0", str(image))
    assert result.returncode == 0, result.stdout
    assert "Hash of data verified." in result.stdout
    assert board.flash.read(0, len(IMAGE)) == IMAGE


@STUB_OR_NOT
def test_one_corrupted_block_fails_the_md5(board: LoaderBoard, tool, image: Path, stub: tuple[str, ...]) -> None:
    board.on_command = on_blocks("corrupt", only=1)
    assert_fails(tool(*stub, "write-flash", "0x0", str(image)), "MD5 of file does not match data in flash!")


@STUB_OR_NOT
def test_a_wrong_md5_from_the_board_is_told(board: LoaderBoard, tool, image: Path, stub: tuple[str, ...]) -> None:
    board.on_command = lambda op, data: "corrupt" if op == rom.SPI_FLASH_MD5 else None
    assert_fails(tool(*stub, "write-flash", "0x0", str(image)), "MD5 of file does not match data in flash!")


def test_a_late_answer_is_waited_for(board: LoaderBoard, tool, image: Path) -> None:
    late = on_blocks("late", only=1)
    board.on_command = lambda op, data: time.sleep(0.5) if late(op, data) else None
    assert tool("write-flash", "0x0", str(image)).returncode == 0
    assert board.flash.read(0, len(IMAGE)) == IMAGE


def test_a_stub_left_by_a_host_that_was_killed_is_gone_for_the_next_one(
    board: LoaderBoard, tool, image: Path, tmp_path: Path
) -> None:
    start_stub = struct.pack("<BBHIII", 0, rom.MEM_END, 8, 0, 0, 0x4038_0000)
    with serial.Serial(str(tmp_path / "ttyBOARD")) as host:
        host.write(encode(start_stub))
        wait_until(lambda: board.loader.is_stub, "the stub was up")
    wait_until(lambda: not board.loader.is_stub, "the loader was reset by hang-up")
    result = tool("--no-stub", "write-flash", "0x0", str(image))
    assert result.returncode == 0, result.stdout
