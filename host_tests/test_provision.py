"""Settings over the serial port: what is stored, what is refused, and that no secret shows anywhere."""

from __future__ import annotations

import argparse
import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from host_tests.serial_device import SerialDevice
from host_tests.virtual_board.vm import registers as r
from scripts import ports, provision, sim
from scripts.console import BUILD_DIR, EXIT_FAULT, EXIT_OK, EXIT_USAGE, ROOT, Problem
from scripts.failures import ToolProblem
from scripts.link import Link

MakeSerial = Callable[..., SerialDevice]
CANARY = "canary-7f3a-b2e9"
QUICK_S = 20
JOINING_MS = 25_000
"""More than one try to join takes."""


@pytest.fixture
def device(make_serial: MakeSerial) -> SerialDevice:
    """A board with its application, that begins to run."""
    return begun(make_serial())


def begun(device: SerialDevice) -> SerialDevice:
    """Its time is skipped only when asked, so that nothing is logged before the command follows."""
    device.board.skip_at_boot_ms = 0
    device.plug_in()
    device.wait_booted()
    return device


def quickly(device: SerialDevice, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, without waiting for the network."""
    return device.run("provision", "--no-wait", *options, **environment)  # type: ignore[arg-type]


# --- what is stored -------------------------------------------------------------------------------


@pytest.mark.vm
def test_values_arrive_as_they_were_given(device: SerialDevice):
    ssid = 'It\'s "x\\n" \\ {0} %s'
    password = "pä$$'\"\"\"'''\\u0041 #`~ 😀"
    password += "." * (63 - len(password.encode()))
    name = "名前 \u200b\u00a0"
    done = quickly(
        device, f"--ssid={ssid}", f"--set=sample_period_s=60 'name={name}' telemetry_url=", PASSWORD=password
    )
    assert done.returncode == EXIT_OK, done.stderr
    assert device.read_settings() == {
        **device.read_settings(),
        "wifi_ssid": ssid,
        "wifi_password": password,
        "name": name,
        "sample_period_s": 60,
        "telemetry_url": "",
    }
    assert "stored: sample_period_s, name, telemetry_url, wifi_ssid, wifi_password\n" in done.stdout


@pytest.mark.vm
def test_settings_alone_leave_the_network_as_it_is(device: SerialDevice):
    before = device.read_settings()
    done = quickly(device, "--set=sample_period_s=7")
    assert done.returncode == EXIT_OK, done.stderr
    assert device.read_settings() == {**before, "sample_period_s": 7}


@pytest.mark.vm
def test_the_application_runs_again_afterwards(device: SerialDevice):
    after = len(device.board.log_lines)
    done = quickly(device, "--set=name=Bert")
    assert done.returncode == EXIT_OK, done.stderr
    assert re.search(r"machine\.WDT.*\n(.*\n)*.* soft-reset run .*\n(.*\n)*.* reset\n", done.stdout)
    device.board.wait_for_line(r"^\[board\] reset$", after=after)
    device.wait_booted()
    device.advance(6000)
    device.board.wait_for_line("INFO web: up at ", after=after)
    assert device.status()["name"] == "Bert"


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.vm
def test_a_value_that_the_board_refuses_stores_nothing_and_the_board_says_why(device: SerialDevice):
    before = device.read_settings()
    after = len(device.board.log_lines)
    done = quickly(
        device,
        "--ssid=x",
        "--set=sample_period_s=0 web_port=many name=Ada time_zone=Berlin sensors='bme280 sda'",
        PASSWORD=CANARY + "x" * (64 - len(CANARY)),
    )
    assert done.returncode == EXIT_FAULT
    assert "nothing was stored" in done.stderr
    for sentence in (
        "sample_period_s must be 1 to 86400",
        "web_port must be a whole number",
        "wifi_password must be 0 to 63 bytes long",
        "time_zone: no difference from UTC, as in CET-1",
        "sensors: bme280: sda is not one option=value, each given once.",
    ):
        assert f"\n  {sentence}\n" in done.stderr
    assert CANARY not in done.stdout + done.stderr
    assert device.read_settings() == before
    device.board.wait_for_line(r"^\[board\] reset$", after=after)


@pytest.mark.vm
def test_an_unknown_setting_is_refused_with_the_names_there_are(device: SerialDevice):
    before = device.read_settings()
    done = quickly(device, "--set=sample_period=60 name=Ada")
    assert done.returncode == EXIT_FAULT
    assert "there is no setting sample_period\n" in done.stderr
    assert "sample_period_s, sensors, telemetry_auth" in done.stderr
    assert device.read_settings() == before


@pytest.mark.vm
def test_a_board_without_the_application_asks_for_a_deploy(make_serial: MakeSerial):
    device = make_serial(has="firmware")
    device.plug_in()
    device.wait_at_prompt()
    done = quickly(device, "--ssid=x", PASSWORD=CANARY)
    assert done.returncode == EXIT_FAULT
    assert "has no Tally. Run make deploy first" in done.stderr
    assert CANARY not in done.stdout + done.stderr + device.log()


SETTINGS_MODULE = """
SCHEMA = {{"wifi_ssid": 0, "wifi_password": 0}}
def load():
    return {{}}, []
def change(settings, changes):
    {change}
"""


@pytest.mark.vm
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("raise ValueError(changes)", "the board could not store the settings (ValueError)"),
        ("return changes[changes['wifi_password']]", "the board could not store the settings (KeyError)"),
        ("raise OSError(5, changes['wifi_password'])", "the board could not store the settings (OSError 5)"),
        ("raise OSError(28)", "is full"),
    ],
)
def test_a_failure_on_the_board_is_told_without_a_value(make_serial: MakeSerial, change, words):
    device = make_serial(has="firmware")
    device.plug_in()
    device.wait_at_prompt()  # it has made its file system
    device.write_file("/app/settings.py", SETTINGS_MODULE.format(change=change).encode())
    done = quickly(device, "--ssid=x", PASSWORD=CANARY)
    assert done.returncode == EXIT_FAULT
    assert words in done.stderr
    assert CANARY not in done.stdout + done.stderr + device.log()


@pytest.mark.vm
@pytest.mark.parametrize("broken", ["def provision(:", "def provision(changes):\n    return undefined"])
def test_a_traceback_of_the_board_shows_no_value(device: SerialDevice, monkeypatch, tmp_path: Path, capfd, broken):
    (tmp_path / "provision.py").write_text(broken)
    monkeypatch.setattr(provision.session, "ON_BOARD_DIR", tmp_path)
    with pytest.raises(ToolProblem) as caught:
        provision.store(Link(str(device.tty)), {"wifi_password": CANARY})
    assert "Traceback" in caught.value.output
    assert CANARY not in str(caught.value) + caught.value.output + "".join(capfd.readouterr()) + device.log()


# --- joining --------------------------------------------------------------------------------------


class Following:
    """The command with its wait, in a process of its own."""

    def __init__(self, device: SerialDevice, *options: str, **environment: str) -> None:
        self._device = device
        self._after = len(device.board.log_lines)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scripts.provision", *device.options, *options],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""

    def end(self) -> int:
        """The exit code, after skipping what the board sleeps through while the command follows."""
        self._device.board.wait_for_line(r"^\[board\] reset$", after=self._after)
        while (ports.holder_of(str(self._device.tty)) or (0, ""))[0] != self.process.pid:
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)
        self._device.wait_booted()
        self._device.advance(JOINING_MS)
        output, _ = self.process.communicate(timeout=QUICK_S)
        self.output += output
        return self.process.returncode


@pytest.mark.vm
@pytest.mark.parametrize(
    ("ssid", "password", "why"),
    [
        (sim.SSID, CANARY, "wrong password. Run make provision again with the right PASSWORD."),
        ("elsewhere", sim.PASSWORD, "network not found. Check the name (SSID, capitals count)"),
    ],
)
def test_a_board_that_can_not_join_tells_why_and_what_to_do(device: SerialDevice, ssid, password, why):
    command = Following(device, f"--ssid={ssid}", PASSWORD=password)
    assert command.end() == EXIT_FAULT
    assert f"stored, but the board is not in the network yet, and goes on trying: {why}" in command.output
    assert password not in command.output + device.log()
    assert device.read_settings()["wifi_ssid"] == ssid


@pytest.mark.vm
def test_settings_of_a_board_without_a_network_are_stored_with_a_hint(make_serial: MakeSerial):
    device = begun(make_serial(settings={"wifi_ssid": ""}))
    command = Following(device, "--set=name=Ada")
    assert command.end() == EXIT_OK, command.output
    assert command.output.endswith("Tally runs, without a network. Name one with: make provision SSID=...\n")


class Spy(threading.Thread):
    """Looks at every process of this machine, again and again: who has the canary in its arguments, and which tool at
    that port in its environment."""

    def __init__(self, port: Path) -> None:
        super().__init__(daemon=True)
        self._tool = f"-m\0mpremote\0connect\0{port}\0".encode()
        self.found: set[str] = set()
        self.tools_seen = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                self._look(folder)

    def _look(self, folder: Path) -> None:
        try:
            arguments = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes() if self._tool in arguments else b""
        except OSError:  # it has just ended
            return
        if CANARY.encode() in arguments:
            self.found.add(f"arguments of {arguments!r}")
        if CANARY.encode() in environment:
            self.found.add(f"environment of {arguments!r}")
        self.tools_seen += bool(environment)


def files_with(secret: str, *folders: Path) -> list[Path]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.vm
def test_the_password_reaches_the_board_and_shows_nowhere_else(device: SerialDevice, tmp_path: Path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    device.state.put_text(r.PASSWORD_TEXT, CANARY)
    spy = Spy(device.tty)
    spy.start()
    made_with_it = {"PASSWORD": CANARY, "MAKEFLAGS": f" -- PASSWORD={CANARY}", "TMPDIR": str(temporary)}
    command = Following(device, f"--ssid={sim.SSID}", **made_with_it)
    code = command.end()
    spy.done.set()
    spy.join(QUICK_S)
    assert code == EXIT_OK, command.output
    assert command.output.endswith("Tally is up: http://127.0.0.1/\n")
    assert device.read_settings()["wifi_password"] == CANARY
    assert CANARY not in command.output + device.log()
    assert spy.tools_seen > 3
    assert not spy.found
    assert not files_with(CANARY, temporary, BUILD_DIR)


@pytest.mark.vm
def test_make_provision_shows_no_value_in_any_process_list(device: SerialDevice):
    """Also those of SET: later ones will be secrets."""
    device.state.put_text(r.PASSWORD_TEXT, CANARY)
    spy = Spy(device.tty)
    spy.start()
    values = {"PASSWORD": CANARY, "SSID": sim.SSID, "SET": f"name={CANARY}", "PORT": str(device.tty)}
    done = subprocess.run(
        ["make", "--no-print-directory", "provision"],
        cwd=ROOT,
        env={**os.environ, **values},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    spy.done.set()
    spy.join(QUICK_S)
    assert "stored: name, wifi_ssid, wifi_password" in done.stdout, done.stdout + done.stderr
    assert spy.tools_seen > 3
    assert not spy.found
    assert CANARY not in done.stdout + done.stderr + device.log()


# --- asking ---------------------------------------------------------------------------------------


def at_a_terminal(argv: list[str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run it with a terminal of its own and answer its questions; exit code and what the terminal showed."""
    master, slave = pty.openpty()
    login = "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    environment = {name: value for name, value in os.environ.items() if name != "PASSWORD"}
    process = subprocess.Popen([sys.executable, "-c", login, *argv], cwd=ROOT, env=environment, stdin=slave)
    os.close(slave)
    shown = b""
    deadline_s = time.monotonic() + QUICK_S
    try:
        while time.monotonic() < deadline_s:
            if answers and answers[0][0].encode() in shown:
                os.write(master, answers.pop(0)[1].encode() + b"\n")
            try:
                shown += os.read(master, 4096)
            except OSError:  # it has ended
                break
        return process.wait(QUICK_S), shown.decode()
    finally:
        process.kill()
        process.wait(QUICK_S)
        os.close(master)


@pytest.mark.vm
def test_at_a_terminal_it_asks_and_does_not_show_the_password(device: SerialDevice):
    argv = ["-m", "scripts.provision", *device.options, "--no-wait"]
    answers = [("Wi-Fi network (SSID): ", "My Network"), ("Wi-Fi password", CANARY)]
    code, shown = at_a_terminal(argv, answers)
    assert code == EXIT_OK, shown
    assert "My Network" in shown
    assert CANARY not in shown
    assert device.read_settings()["wifi_ssid"] == "My Network"
    assert device.read_settings()["wifi_password"] == CANARY


def wanted(monkeypatch, password: str | None = None, ssid: str = "", more: str = "") -> dict[str, str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.delenv("PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("PASSWORD", password)
    return provision.wanted(argparse.Namespace(ssid=ssid, set=more, ca=""))


@pytest.mark.parametrize(
    ("password", "ssid", "more", "words"),
    [
        (None, "", "", "no network is named. Give SSID="),
        (CANARY, "", "", "no network is named. Give SSID="),
        (CANARY, "", "name=Ada", "no network is named. Give SSID="),
        (None, "x", "", "no password is given. Set the environment variable PASSWORD"),
        (CANARY + "\n", "x", "", "wifi_password has a line break"),
        (CANARY + "\udcff", "x", "", "wifi_password has a line break, a control character or no valid UTF-8"),
        (CANARY, "x\x1b[2J", "", "wifi_ssid has a line break, a control character"),
        (CANARY, "x", "name=Ada " + CANARY, "word 2 of SET is no name=value"),
        (CANARY, "x", "my-name=" + CANARY, "word 1 of SET is no name=value"),
        (CANARY, "x", "name='" + CANARY, "SET can't be read (No closing quotation). Close the quote."),
        (None, "", "wifi_password=" + CANARY, "wifi_password does not belong into SET"),
        (None, "", "wifi_ssid=x", "wifi_ssid does not belong into SET"),
    ],
)
def test_what_is_missing_or_can_not_be_sent_is_said_without_a_value(monkeypatch, password, ssid, more, words):
    with pytest.raises(Problem) as caught:
        wanted(monkeypatch, password, ssid, more)
    assert caught.value.exit_code == EXIT_USAGE
    assert words in str(caught.value)
    assert CANARY not in str(caught.value)


def test_an_empty_password_is_an_open_network(monkeypatch):
    assert wanted(monkeypatch, "", "Café") == {"wifi_ssid": "Café", "wifi_password": ""}


def test_no_answer_at_the_terminal_changes_nothing(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("PASSWORD", raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    with pytest.raises(Problem, match="Nothing was changed") as caught:
        provision.wanted(argparse.Namespace(ssid="", set="", ca=""))
    assert caught.value.exit_code == EXIT_USAGE


def test_more_than_a_pipe_holds_is_refused_before_the_board_is_asked():
    with pytest.raises(Problem, match="too long for a board") as caught:
        provision.store(Link("/dev/ttyNONE"), {"name": "x" * 20_000})
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("said", ["", "[1]\n", "hello\n", json.dumps({"a": 1}), "stored\n", "5\n"])
def test_an_answer_that_can_not_be_read_is_no_success(monkeypatch, said):
    monkeypatch.setattr(provision.tools, "mpremote", lambda *_, **__: said)
    with pytest.raises(Problem, match="can't be read"):
        provision.store(Link("/dev/ttyNONE"), {"name": "x"})
