"""What a person sees of telemetry and does about it, on the whole device: a server that refuses some samples, the
dashboard, /api/status, the export of the held ones, and the form."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from host_tests.device import Device
from host_tests.virtual_board.vm import registers as r

pytestmark = pytest.mark.vm

POISON = {4, 5, 11}
MINUTE_MS = 60_000


class Picky:
    """A server that takes JSON bodies and refuses, whole, those with a number in `poison`. `got` has the numbers it
    took, as often as it took them."""

    def __init__(self, port: int) -> None:
        self.poison = set(POISON)
        self.got: list[int] = []
        self.posts = 0
        picky = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # noqa: N802
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = picky.answer([reading[0] for reading in body["readings"]])
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, seqs: list[int]) -> int:
        self.posts += 1
        if self.poison & set(seqs):
            return 400
        self.got += seqs
        return 200

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def picky(make_device: Callable[..., Device]) -> Iterator[tuple[Device, Picky]]:
    """A board that holds three samples, and the server that refused them."""
    device = make_device(settings={"sample_period_s": 5, "telemetry_period_s": 10})
    server = Picky(device.collector_port)
    device.state[r.SKIP_SOCKETS] = 1
    device.start(collector=False)
    try:
        until(device, lambda: device.status()["post"]["held"] == len(POISON))
        yield device, server
    finally:
        server.stop()


def until(device: Device, test: Callable[[], Any]) -> None:
    """Let the board's time pass until it is so."""
    end = time.monotonic() + 30
    while not test():
        assert time.monotonic() < end, device.log()
        device.advance(5_000)


def check_ledger(device: Device) -> dict[str, Any]:
    status = device.status()
    ledger, post = status["ledger"], status["post"]
    assert ledger["stored"] == ledger["acknowledged"] + ledger["pending"] + ledger["expired"]
    assert ledger["pending"] == post["waiting"] + post["held"]
    return status


def do(device: Device, what: str) -> str:
    answer = device.post("/telemetry", f"do={what}".encode())
    assert (answer.status, answer.headers.get("location")) == (303, "/tips"), f"{answer}\n{device.log()}"
    return device.get("/tips").text


def test_refused_samples_are_held_shown_and_exported(picky: tuple[Device, Picky]) -> None:
    device, server = picky
    status = check_ledger(device)
    assert status["post"]["held_seqs"] == sorted(POISON)
    assert status["telemetry"] == status["post"]["state"]
    assert status["post"]["posts"] > 0
    assert len(server.got) == len(set(server.got)) >= status["ledger"]["acknowledged"]
    page = device.get("/").text
    assert '<a href="/export?held=1">3 refused</a>' in page
    for value, label in (("send", "Send now"), ("retry", "Try the refused again"), ("forget", "Give the refused up")):
        assert f'<button name="do" value="{value}">{label}</button>' in page
    rows = list(csv.DictReader(io.StringIO(device.get("/export?held=1").text)))
    every = {row["seq"]: row for row in csv.DictReader(io.StringIO(device.get("/export").text))}
    assert [int(row["seq"]) for row in rows] == sorted(POISON)
    assert rows == [every[row["seq"]] for row in rows]
    lines = [json.loads(line) for line in device.get("/export?fmt=ndjson&held=1&after=4").text.splitlines()]
    assert [line["seq"] for line in lines] == [5, 11]
    assert device.get("/export?held=1", "HEAD").body == b""


def test_held_samples_stay_held_through_a_restart(picky: tuple[Device, Picky]) -> None:
    device, server = picky
    device.board.stop()
    device.power_on()
    until(device, lambda: device.status()["post"]["posts"] > 1)
    assert check_ledger(device)["post"]["held_seqs"] == sorted(POISON)
    assert not POISON & set(server.got)


def test_held_samples_are_sent_once_more_when_a_person_says_so(picky: tuple[Device, Picky]) -> None:
    device, server = picky
    assert "3 held, each is sent once more by itself" in do(device, "retry")
    until(device, lambda: "sample 11 again" in device.log())
    assert check_ledger(device)["post"]["held_seqs"] == sorted(POISON)
    server.poison = {5}
    do(device, "retry")
    until(device, lambda: device.status()["post"]["held"] == 1)
    status = check_ledger(device)
    assert status["post"]["held_seqs"] == [5]
    assert server.got.count(4) == server.got.count(11) == 1
    assert status["ledger"]["expired"] == 0


def test_held_samples_are_given_up_when_a_person_says_so(picky: tuple[Device, Picky]) -> None:
    device, _ = picky
    assert "3 held samples, which now count as expired" in do(device, "forget")
    status = check_ledger(device)
    assert (status["post"]["held"], status["post"]["held_seqs"], status["ledger"]["expired"]) == (0, [], 3)
    page = device.get("/").text
    assert "Send now" in page
    assert "refused" not in page.split("Settings")[0]
    assert "no sample is held" in do(device, "retry")
    assert device.get("/export?held=1").text.count("\n") == 1
    device.board.stop()
    device.power_on()
    assert check_ledger(device)["ledger"]["expired"] == 3


@pytest.fixture
def waiting(make_device: Callable[..., Device]) -> Device:
    """A board whose samples wait for an hour."""
    device = make_device(settings={"sample_period_s": 5, "telemetry_period_s": 3600})
    device.start()
    until(device, lambda: device.status()["post"]["posts"])
    device.advance(MINUTE_MS)
    return device


def test_send_now_does_not_wait_for_the_period(waiting: Device) -> None:
    before = check_ledger(waiting)["post"]
    assert before["waiting"] >= 10
    assert "waiting, the next POST goes out now" in do(waiting, "send")
    until(waiting, lambda: waiting.status()["post"]["posts"] > before["posts"])
    assert check_ledger(waiting)["post"]["waiting"] < before["waiting"]


def test_the_age_of_the_oldest_waiting_sample_is_known(waiting: Device) -> None:
    status = waiting.status()
    oldest = waiting.get(f"/export?fmt=ndjson&after={status['storage']['cursor']}").text.splitlines()[0]
    assert abs(status["post"]["oldest_age_s"] - (status["unix_s"] - json.loads(oldest)["unix_s"])) <= 1


def test_what_the_form_can_not_do_is_said(make_device: Callable[..., Device]) -> None:
    device = make_device(settings={"telemetry_url": "", "sample_period_s": 5})
    device.start(collector=False)
    assert "neither send, retry nor forget" in do(device, "dance")
    assert "neither send, retry nor forget" in do(device, "")
    until(device, lambda: device.status()["post"]["waiting"])
    assert "no address is set" in do(device, "send")
    assert "no sample is held" in do(device, "retry")
    assert device.get("/telemetry").status == 405
    assert device.status()["post"]["posts"] == 0
    assert isinstance(device.status()["post"]["oldest_age_s"], int)
