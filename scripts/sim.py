"""`make sim`: the whole device on this computer: virtual board, access point, time server, telemetry collector.

Owns the journey from sources to READY and the faults a person can ask for. The board itself is
host_tests/virtual_board; what it runs is the same build/device tree that a deploy sends.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from host_tests.virtual_board import sensor_world, stand_in
from host_tests.virtual_board.board import VirtualBoard
from host_tests.virtual_board.name_server import NameServer
from host_tests.virtual_board.pty_port import PtyPort
from host_tests.virtual_board.serial_board import SerialBoard
from host_tests.virtual_board.state import BoardState
from host_tests.virtual_board.time_server import TimeServer
from host_tests.virtual_board.vm import registers as r
from scripts import console, vfs_image
from scripts.build import build, translate_traceback
from scripts.collector import Collector
from scripts.console import BUILD_DIR, EXIT_FAULT, EXIT_OK, EXIT_USAGE, Problem, stop_on_signals
from scripts.vm import find_vm

SSID = "tally-sim"
PASSWORD = "virtual-board"
SETTINGS_PATH = "/settings.json"
READY_TIMEOUT_S = 60
WIRED = "ds18b20 pin=4; bme280 sda=5 scl=6"
_COLLECTOR_PREFIX = "http://127.0.0.1:"


def parse_heap(text: str) -> int:
    """Heap in bytes from "64k", "65536" or "1m". At least 32k: below that nothing starts."""
    scale = {"k": 1024, "m": 1024 * 1024}.get(text[-1:].lower(), 1)
    digits = text[:-1] if scale > 1 else text
    if not digits.isdigit() or not 32 * 1024 <= int(digits) * scale <= 64 * 1024 * 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a heap from 32k to 64m, such as 64k")
    return int(digits) * scale


def parse_port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="make sim", description="Run the whole device here.")
    p.add_argument("--port", type=parse_port, default=8080, help="SIM_PORT: the board's pages")
    p.add_argument("--collector-port", type=parse_port, default=8081, help="COLLECTOR_PORT")
    p.add_argument("--heap", type=parse_heap, default=parse_heap("64k"), help="HEAP")
    p.add_argument("--state", help="STATE: folder kept between runs (default: a fresh one)")
    p.add_argument("--serial", metavar="PATH", help="an empty board with its serial port there, to flash and deploy")
    p.add_argument("--sensors", metavar="TEXT", help=f"the setting; wired up are: {WIRED}")
    faults = p.add_argument_group("the world and its faults (ARGS)")
    for name, what in (
        ("no-wifi", "the access point is gone"),
        ("wrong-password", "the access point has another password"),
        ("no-dhcp", "no address is given out"),
        ("no-ntp", "no time server answers: the clock stays unset"),
        ("dns-dead", "no name server answers"),
        ("sensor-fail", "the temperature can't be read"),
        ("no-collector", "nothing listens at the telemetry address"),
        ("blank", "a board as flashed: nothing provisioned"),
        ("flash-fail", "from READY on every flash write fails"),
    ):
        faults.add_argument("--" + name, action="store_true", help=what)
    faults.add_argument("--temperature", type=int, default=24, help="what the sensor measures, C")
    faults.add_argument("--write-max", type=int, default=0, help="bytes a socket takes at a time")
    faults.add_argument("--sockets-taken", type=int, default=0, help="of the 10, taken by others")
    faults.add_argument("--idf-taken", type=int, default=0, help="IDF heap bytes taken by others")
    return p


@contextlib.contextmanager
def state_folder(named: str | None) -> Iterator[Path]:
    """The STATE folder, held for this process alone; a fresh one is removed at the end."""
    if not named:
        folder = Path(tempfile.mkdtemp(prefix="tally-sim-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = Path(named).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "w")  # noqa: SIM115  (held below)
    except OSError as error:
        why = error.strerror
        raise Problem(f"STATE={named} can't be used: {why}. Name a folder of yours.", EXIT_USAGE) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Problem(
                f"another simulator is running on STATE={named}. Stop it or name another folder.",
                EXIT_USAGE,
            ) from error
        yield folder


def wire_up(state: BoardState) -> None:
    """Sensors on the pins, for those who want to see more than the chip's own temperature."""
    sensor_world.plug_ds18b20(state, 4, [sensor_world.rom("0000000000a1")])
    sensor_world.set_ds18b20(state, 0, 18.5)
    sensor_world.plug_bme280(state)
    sensor_world.set_bme280(state)


def provision(settings: dict, collector_port: int) -> dict:
    """What `make provision` would set on this board; an address of a person's own choice is kept."""
    url = str(settings.get("telemetry_url", _COLLECTOR_PREFIX))
    if url.startswith(_COLLECTOR_PREFIX):
        settings = {**settings, "telemetry_url": f"{_COLLECTOR_PREFIX}{collector_port}/readings"}
    return {"version": 1, "wifi_ssid": SSID, "wifi_password": PASSWORD, **settings}


def install(flash_path: Path, collector_port: int | None, sensors: str | None = None) -> None:
    """Put the built tree, and unless `collector_port` is None the settings, on the board's file system."""
    tree, _ = build()
    with vfs_image.mounted(flash_path, format_blank=True) as fs:
        vfs_image.sync_tree(fs, tree)
        if collector_port is None:
            return
        try:
            settings = json.loads(vfs_image.read_file(fs, SETTINGS_PATH) or b"{}")
        except ValueError:
            return  # a damaged file is the board's to handle: that is what one comes here to see
        if sensors is not None:
            settings["sensors"] = sensors
        content = json.dumps(provision(settings, collector_port)).encode()
        vfs_image.write_file(fs, SETTINGS_PATH, content)


def set_world(state: BoardState, args: argparse.Namespace) -> None:
    """Write the asked-for faults into the board's words."""
    state[r.PORT_MAP], state[r.PORT_MAP + 1] = 80, args.port
    state.put_text(r.SSID_TEXT, SSID)
    state.put_text(r.PASSWORD_TEXT, "another-one" if args.wrong_password else PASSWORD)
    state[r.AP_PRESENT] = not args.no_wifi
    state[r.DHCP_OK] = not args.no_dhcp
    state[r.NTP_OK] = not args.no_ntp
    state[r.DNS_DEAD] = args.dns_dead
    state[r.SENSOR_FAIL] = args.sensor_fail
    state[r.TEMPERATURE_C] = args.temperature
    state[r.WRITE_MAX] = args.write_max
    state[r.SOCKETS_TAKEN] = args.sockets_taken
    state[r.IDF_TAKEN] = args.idf_taken


def page_answers(port: int) -> bool:
    """True when the board's status page can be read."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=2) as answer:
            return answer.status == 200
    except (OSError, ValueError):
        return False


def wait_until_ready(board: VirtualBoard, port: int) -> None:
    """Return when pages are served. Problem when the board died or a minute passed."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if page_answers(port):
            return
        if not board.is_on():
            raise Problem("the board stopped before its pages came up; its log above says why")
        time.sleep(0.1)
    raise Problem(f"no page within {READY_TIMEOUT_S} s; the log above says what the board is doing")


def say(line: str) -> None:
    print(translate_traceback(line), flush=True)


def simulate(args: argparse.Namespace) -> int:
    vm = find_vm()
    say(vm.line())
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(state_folder(args.state))
        console.check_free_port(args.port, "board's pages", "make sim SIM_PORT=8090")
        if not args.no_collector:
            console.check_free_port(args.collector_port, "collector", "make sim COLLECTOR_PORT=8091")
            db = folder / "collector.sqlite" if args.state else None
            stack.enter_context(Collector(args.collector_port, db))
        state = BoardState(folder, blank=bool(args.serial))
        stack.callback(state.close)
        set_world(state, args)
        stack.enter_context(NameServer(state))
        stack.enter_context(TimeServer(state))
        board = VirtualBoard(vm, state, args.heap, say_log if args.serial else say)
        if args.serial:
            return serve_port(board, args, stack)
        wire_up(state)
        install(state.flash_path, None if args.blank else args.collector_port, args.sensors)
        stack.callback(board.stop)
        board.start()
        return serve(board, args)


def say_log(line: str) -> None:
    """A line of the board's log; what tools and the raw REPL say to one another is left out."""
    if line.isprintable() and line.strip(">") and not line.startswith((">", "raw REPL; CTRL-B")):
        say(line)


def serve_port(board: VirtualBoard, args: argparse.Namespace, stack: contextlib.ExitStack) -> int:
    """Put the board at a serial port and say how to bring it to life; until Ctrl-C."""
    port = Path(args.serial)
    if port.exists() and not port.is_symlink():
        raise Problem(f"{port} exists. Name a path for the board's port that is free.", EXIT_USAGE)
    serial = SerialBoard(board)
    stack.callback(serial.close)
    try:
        pty = PtyPort(serial, port)
    except OSError as error:
        raise Problem(f"no port can be made at {port} ({error.strerror}). Name another path.", EXIT_USAGE) from error
    stack.callback(pty.close)
    board.wait_for_room = pty.wait_for_room
    image = BUILD_DIR / "stand-in.bin"
    image.parent.mkdir(exist_ok=True)
    firmware = stand_in.write(image)
    say(f"SERIAL port={port}: an empty board. In another terminal:")
    say(f'  make flash PORT={port} ESPTOOL_ARGS="--before no-reset --after no-reset" {firmware}')
    say(f"  make deploy PORT={port}")
    url = f"telemetry_url={_COLLECTOR_PREFIX}{args.collector_port}/readings"
    say(f'  make provision PORT={port} SSID={SSID} PASSWORD={PASSWORD} SET="{url}"')
    say(f"Then its pages, which the board calls port 80, are at http://127.0.0.1:{args.port}/. What the board prints:")
    serial.power_on()
    while True:
        time.sleep(1)


def serve(board: VirtualBoard, args: argparse.Namespace) -> int:
    """Announce READY, then live until Ctrl-C or until the board is dead."""
    collector = "off" if args.no_collector else f"http://127.0.0.1:{args.collector_port}/"
    if args.no_wifi or args.blank or args.wrong_password or args.no_dhcp:
        say("NO LINK as asked: pages come up when the board has a network")
    else:
        wait_until_ready(board, args.port)
        board.state[r.FLASH_FAIL] = args.flash_fail
        say(f"READY web=http://127.0.0.1:{args.port}/ collector={collector}")
    while board.is_on():
        time.sleep(0.2)
    raise Problem("the board is off; its log above says why", EXIT_FAULT)


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    stop_on_signals()

    def command() -> int:
        with console.own_terminal():
            try:
                return simulate(args)
            except KeyboardInterrupt:
                say("stopped")
                return EXIT_OK

    return console.run(command)


if __name__ == "__main__":
    sys.exit(main())
