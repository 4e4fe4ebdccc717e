"""`make sim` as a person runs it: READY, pages, readings, Ctrl-C, and the same STATE again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host_tests.commands import run_command
from host_tests.device import free_port
from scripts.console import ROOT

pytestmark = pytest.mark.vm


@contextmanager
def simulator(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str], str, str]]:
    """(process, lines so far, web, collector) of a simulator that said READY; ended by SIGINT if it still runs."""
    ports = ["--port", str(free_port()), "--collector-port", str(free_port())]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.sim", *ports, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # As a shell script's `make sim &` does: Ctrl-C must stop it all the same.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            ready = re.fullmatch(
                r"READY web=(http://127\.0\.0\.1:\d+/) collector=(http://127\.0\.0\.1:\d+/)", lines[-1]
            )
            if ready:
                break
        else:
            raise AssertionError("the simulator ended before READY:\n" + "\n".join(lines))
        yield process, lines, ready[1], ready[2]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.close()


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def test_make_sim_gets_ready_serves_and_stops_with_ctrl_c() -> None:
    with simulator() as (process, lines, web, collector):
        assert lines[0].startswith("micropython: ")
        assert b"<title>Dashboard" in read(web)
        assert b"refresh" in read(web + "tips")
        assert "devices" in json.loads(read(collector + "stats"))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_readings_arrive_in_real_time_too() -> None:
    with simulator() as (_, _, web, collector):
        form = b"sample_period_s=1&telemetry_period_s=1"
        with urllib.request.urlopen(web + "settings", form, timeout=20) as answer:
            assert answer.url == web + "tips"
        deadline = time.monotonic() + 30
        while json.loads(read(collector + "stats"))["readings"] < 3:
            assert time.monotonic() < deadline, "no readings at the collector within 30 s"
            time.sleep(0.2)  # the simulator runs in real time: this waits for it, bounded


def test_a_state_folder_keeps_settings_and_refuses_a_second_simulator(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    with simulator("--state", state) as (_, _, web, _):
        urllib.request.urlopen(web + "settings", b"name=Kept", timeout=20).close()
        second = run_command("sim", "--state", state, "--port", str(free_port()))
        assert second.returncode == 2
        assert "another simulator is running on STATE" in second.stderr
    with simulator("--state", state) as (_, lines, web, _):
        assert json.loads(read(web + "api/status"))["name"] == "Kept"
        assert any("boot 2 after power on" in line for line in lines)


def test_faults_can_be_asked_for() -> None:
    with simulator("--sensor-fail", "--no-ntp", "--heap", "96k") as (_, _, web, _):
        status = json.loads(read(web + "api/status"))
        assert status["clock_quality"] == 0
        assert status["memory"]["gc_used"] + status["memory"]["gc_free"] > 90_000
