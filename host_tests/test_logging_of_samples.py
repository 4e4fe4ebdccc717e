"""From sensor to server: slots, queue, telemetry, and what happens when the other end is away. Board's time only."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from host_tests.device import Device
from host_tests.virtual_board.vm import registers as r
from scripts.partitions import TABLE_OFFSET, read_csv, to_bytes

pytestmark = pytest.mark.vm

MINUTE_MS = 60_000
BACKOFF_MS = 20 * MINUTE_MS  # more than the longest pause after an outage of minutes, whatever the dice say


def readings(device: Device) -> list[dict]:
    assert device.collector
    return device.collector.readings()


def seqs(device: Device) -> list[int]:
    return [reading["seq"] for reading in readings(device)]


def assert_nothing_lost_or_doubled(device: Device) -> None:
    """At the collector: every number once, in order; on the board: a true ledger and no slot missed."""
    got = seqs(device)
    assert got == list(range(got[0], got[0] + len(got)))
    status = device.status()
    ledger = status["ledger"]
    assert ledger["taken"] == ledger["stored"] + ledger["rejected"]
    assert ledger["stored"] == ledger["acknowledged"] + ledger["pending"] + ledger["expired"]
    assert ledger["expired"] == ledger["rejected"] == 0
    assert status["sampling"]["missed_slots"] == 0


def test_readings_arrive_within_a_minute_and_go_on_coming(device: Device) -> None:
    device.advance(MINUTE_MS)
    first = len(readings(device))
    assert first >= 3
    device.advance(MINUTE_MS)
    assert len(readings(device)) >= first + 5
    assert_nothing_lost_or_doubled(device)


def test_samples_are_taken_on_the_slots_of_the_clock(device: Device) -> None:
    device.advance(3 * MINUTE_MS)
    synced = [reading["unix_s"] for reading in readings(device) if reading["quality"] == 2]
    assert len(synced) >= 10
    assert all(unix_s % 10 == 0 for unix_s in synced)
    assert {b - a for a, b in zip(synced, synced[1:], strict=False)} == {10}


def test_a_reading_is_what_the_sensor_said(device: Device) -> None:
    for temperature in (-7, 0, 63):
        device.state[r.TEMPERATURE_C] = temperature
        device.advance(MINUTE_MS)
        assert readings(device)[-1]["values"] == {"temp_c": temperature}


def test_a_collector_that_is_away_for_two_minutes_costs_nothing(device: Device) -> None:
    device.advance(MINUTE_MS)
    before = seqs(device)
    device.stop_collector()
    for _ in range(4):
        device.advance(30_000)
        assert device.get("/").status == 200
        assert device.get("/tips").status == 200
    assert device.status()["ledger"]["pending"] >= 11
    device.start_collector()
    device.advance(BACKOFF_MS)
    assert seqs(device)[: len(before)] == before
    assert len(seqs(device)) >= len(before) + 20
    assert_nothing_lost_or_doubled(device)


def test_an_answer_that_is_lost_after_the_commit_doubles_nothing(device: Device) -> None:
    assert device.collector
    device.collector.answer_next(500, commit=True)
    device.advance(2 * MINUTE_MS)
    assert device.collector.stats()["refused"] == 0
    assert_nothing_lost_or_doubled(device)


def test_retry_after_is_kept_to(device: Device) -> None:
    assert device.collector
    device.advance(MINUTE_MS)
    device.collector.answer_next(503, {"Retry-After": "300"})
    device.advance(MINUTE_MS)
    requests = device.collector.stats()["requests"]
    device.advance(4 * MINUTE_MS)
    assert device.collector.stats()["requests"] == requests
    device.advance(2 * MINUTE_MS)
    assert device.collector.stats()["requests"] > requests
    assert_nothing_lost_or_doubled(device)


def test_a_server_that_wants_smaller_batches_gets_them(device: Device) -> None:
    assert device.collector
    device.post("/settings", b"telemetry_period_s=120")
    device.advance(3 * MINUTE_MS)
    device.collector.answer_next(413)
    device.collector.answer_next(413)
    device.advance(5 * MINUTE_MS)
    assert device.log().count("the server wants less at once") == 2
    assert_nothing_lost_or_doubled(device)
    assert device.status()["ledger"]["pending"] <= 12


def test_a_server_that_refuses_access_is_asked_once_a_minute_and_shown(device: Device) -> None:
    assert device.collector
    for _ in range(3):
        device.collector.answer_next(401)
    device.advance(MINUTE_MS)
    assert "401" in device.get("/").text
    requests = device.collector.stats()["requests"]
    device.advance(MINUTE_MS)
    assert device.collector.stats()["requests"] <= requests + 1
    device.advance(3 * MINUTE_MS)
    assert_nothing_lost_or_doubled(device)


def repartition(device: Device, name: str, size_bytes: int) -> None:
    """Another row in place of `log` in the table in flash, before the board starts."""
    rows = [row if row.name != "log" else replace(row, name=name, size_bytes=size_bytes) for row in read_csv()]
    with open(device.state.flash_path, "r+b") as file:
        file.seek(TABLE_OFFSET)
        file.write(to_bytes(rows))


def fill(device: Device) -> dict:
    """Sample each second for 10 minutes with nobody to take it; the ledger then."""
    device.post("/settings", b"sample_period_s=1")
    device.stop_collector()
    device.advance(10 * MINUTE_MS)
    ledger = device.status()["ledger"]
    assert ledger["expired"] > 0
    assert ledger["taken"] == ledger["stored"] + ledger["rejected"]
    assert ledger["stored"] == ledger["acknowledged"] + ledger["pending"] + ledger["expired"]
    shown = re.search(r"(\d+) expired", device.get("/").text)
    assert shown is not None
    assert ledger["expired"] <= int(shown[1]) <= device.status()["ledger"]["expired"]  # more go as time goes on
    return ledger


def drain(device: Device) -> None:
    device.start_collector()
    device.advance(BACKOFF_MS)
    got = seqs(device)
    assert len(got) == len(set(got))
    assert device.status()["ledger"]["pending"] < 40


def test_a_log_that_is_full_gives_up_the_oldest_and_says_so(make_device: Callable[..., Device]) -> None:
    device = make_device()
    repartition(device, "log", 4 * 4096)
    device.start()
    assert 3 * 160 - 170 < fill(device)["pending"] <= 3 * 168
    assert device.status()["storage"]["late_erases"] == 0
    drain(device)


def test_without_a_log_partition_samples_are_kept_in_memory_and_every_page_warns(
    make_device: Callable[..., Device],
) -> None:
    device = make_device()
    repartition(device, "else", 1 << 20)
    device.start()
    assert "WARNING store: no log partition: samples are in memory only" in device.log()
    assert device.status()["storage"]["kind"] == "memory"
    for path in ("/", "/tips"):
        assert "samples are in memory only and gone at a reset" in device.get(path).text
    assert 100 <= fill(device)["pending"] <= 130
    drain(device)
    assert_nothing_is_rejected(device)


def assert_nothing_is_rejected(device: Device) -> None:
    status = device.status()
    assert status["ledger"]["rejected"] == status["storage"]["errors"] == status["sampling"]["missed_slots"] == 0


def test_a_flash_that_takes_nothing_costs_samples_which_are_counted_and_no_more(device: Device) -> None:
    device.advance(MINUTE_MS)
    before = device.status()["ledger"]
    device.state[r.FLASH_FAIL] = 1
    device.advance(MINUTE_MS)
    ledger = device.status()["ledger"]
    assert ledger["rejected"] == ledger["taken"] - ledger["stored"] >= 5
    assert ledger["stored"] == before["stored"] or ledger["stored"] == before["stored"] + 1
    assert "rejected" in device.get("/").text
    device.state[r.FLASH_FAIL] = 0
    device.advance(2 * MINUTE_MS)
    got = seqs(device)
    assert got == sorted(set(got))
    assert got[-1] - got[0] + 1 - len(got) == device.status()["ledger"]["rejected"]  # their numbers are left out
    assert device.status()["ledger"]["stored"] > ledger["stored"]
    assert device.status()["restarts"] == {}


def test_samples_survive_a_power_cut_and_none_is_sent_twice_for_good(device: Device) -> None:
    device.advance(2 * MINUTE_MS)
    device.stop_collector()
    device.advance(5 * MINUTE_MS)
    waiting = device.status()["ledger"]["pending"]
    assert waiting >= 25
    device.board.stop()
    device.start_collector()
    device.power_on()
    device.advance(5 * MINUTE_MS)
    got = seqs(device)
    assert got == list(range(1, len(got) + 1))
    assert {reading["boot"] for reading in readings(device)} == {1, 2}
    assert len(got) > waiting + 30
    assert_nothing_lost_or_doubled(device)


def test_a_reading_that_failed_is_null_with_a_reason_and_never_made_up(device: Device) -> None:
    device.advance(MINUTE_MS)
    device.state[r.SENSOR_FAIL] = 1
    device.advance(MINUTE_MS)
    assert readings(device)[-1]["values"] == {"temp_c": None}
    assert "the sensor says: absent" in device.get("/").text
    assert device.status()["sampling"]["failed_readings"] > 0
    device.state[r.SENSOR_FAIL] = 0
    device.advance(MINUTE_MS)
    assert readings(device)[-1]["values"] == {"temp_c": 24}
    assert_nothing_lost_or_doubled(device)


@pytest.fixture
def no_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector whose answers do not tell the time."""
    monkeypatch.setattr("scripts.collector._Handler.date_time_string", lambda self, timestamp=None: "-")


@pytest.mark.usefixtures("no_date")
def test_samples_from_before_the_clock_was_set_get_their_time_later(make_device: Callable[..., Device]) -> None:
    device = make_device()
    device.state[r.NTP_OK] = 0
    device.start(until="no time from NTP")
    device.advance(20_000)
    assert readings(device) == []
    taken = device.status()["ledger"]["taken"]
    assert taken >= 2
    device.state[r.NTP_OK] = 1
    device.advance(2 * MINUTE_MS)
    got = readings(device)
    estimated = [x for x in got if x["quality"] == 1]
    assert len(estimated) >= taken
    times = [x["unix_s"] for x in got]
    assert times == sorted(times)
    assert times[-1] - times[0] < 300
    assert_nothing_lost_or_doubled(device)


@pytest.mark.usefixtures("no_date")
def test_without_any_clock_samples_go_out_after_a_minute_without_a_time(make_device: Callable[..., Device]) -> None:
    device = make_device()
    device.state[r.NTP_OK] = 0
    device.start(until="no time from NTP")
    device.advance(3 * MINUTE_MS)
    assert len(readings(device)) >= 10
    assert {(x["quality"], x["unix_s"]) for x in readings(device)} == {(0, None)}
    assert "no time server has answered yet" in device.get("/").text


def test_a_new_period_counts_at_once(device: Device) -> None:
    device.post("/settings", b"sample_period_s=2&telemetry_period_s=5")
    before = device.status()["ledger"]["taken"]
    device.advance(20_000)
    assert 8 <= device.status()["ledger"]["taken"] - before <= 11
    assert device.status()["sampling"]["missed_slots"] == 0


def test_another_address_is_tried_at_once_and_not_after_the_backoff(device: Device) -> None:
    device.post("/settings", b"telemetry_url=http%3A%2F%2F127.0.0.1%3A1%2F")
    device.advance(30 * MINUTE_MS)
    assert "connecting failed: it refused or broke off (error 104)" in device.status()["telemetry"]
    url = f"http://127.0.0.1:{device.collector_port}/readings".encode()
    device.post("/settings", b"telemetry_url=" + url)
    device.advance(5_000)
    assert len(readings(device)) > 20


def test_telemetry_without_an_address_is_off_and_says_so(device: Device) -> None:
    device.post("/settings", b"telemetry_url=")
    device.advance(2 * MINUTE_MS)
    assert device.status()["telemetry"] == "off, no address is set"
    assert device.status()["ledger"]["pending"] > 5


def test_an_address_that_is_none_is_refused_in_words(device: Device) -> None:
    device.post("/settings", b"telemetry_url=ftp://x/")
    device.advance(2 * MINUTE_MS)
    assert "the address is not http://host:port/path" in device.get("/").text


def test_a_dead_name_server_blocks_for_a_while_but_never_for_good(device: Device) -> None:
    device.state[r.DNS_DEAD] = 1
    device.post("/settings", b"telemetry_url=http%3A%2F%2Fserver.example%2F")
    device.advance(3 * MINUTE_MS)
    assert device.get("/").status == 200
    assert "the name has no address (error -202)" in device.status()["telemetry"]
    assert device.board.resets == []


def test_a_server_that_accepts_and_stays_silent_is_given_up_after_its_time(device: Device) -> None:
    import socket

    device.stop_collector()
    device.state[r.SKIP_SOCKETS] = 1
    with socket.create_server(("127.0.0.1", device.collector_port)):
        device.advance(MINUTE_MS)
        assert "waiting for its answer failed: took too long" in device.status()["telemetry"]
        assert device.get("/").status == 200
    device.state[r.SKIP_SOCKETS] = 0
    device.start_collector()
    device.advance(2 * MINUTE_MS)
    assert_nothing_lost_or_doubled(device)


ANSWERS = [
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "delivered", id="a good one, byte by byte"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 600 + b"\r\n\r\n", "delivered", id="a head over the buffer"),
    pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", "the answer is no HTTP", id="another protocol"),
    pytest.param(b"", "waiting for its answer failed: it refused or broke off", id="a close without a word"),
    pytest.param(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "the server answers 302", id="a redirect"),
]


@pytest.mark.parametrize(("answer", "state"), ANSWERS)
def test_whatever_a_server_answers_is_understood_or_said_in_words(device: Device, answer: bytes, state: str) -> None:
    import socket
    import threading

    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        listener.close()  # further tries are refused at once
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = b""
            while not request.endswith(b"]}"):  # all of it: closing on unread input would be a reset
                request += client.recv(4096)
            assert request.startswith(b"POST /readings HTTP/1.1\r\n")
            for byte in answer:
                client.sendall(bytes([byte]))

    device.stop_collector()
    with socket.create_server(("127.0.0.1", device.collector_port)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        device.advance(5 * MINUTE_MS)
        server.join(20)
        assert state in device.status()["telemetry"] or state in device.log()
    assert device.state[r.SOCKETS_OPEN] <= 2  # the listener, and the page that was just read


@pytest.mark.timeout(300)
def test_two_thousand_mixed_requests_leave_memory_where_it_was(device: Device) -> None:
    def round_of_requests(count: int) -> None:
        form = b"name=Load+test+%C3%BC&sample_period_s=10"
        for i in range(count):
            kind = i % 5
            if kind == 4:
                assert device.post("/settings", form).status == 303
            else:
                path, status = (("/", 200), ("/tips", 200), ("/nope", 404), ("/api/status", 200))[kind]
                assert device.get(path).status == status
            if i % 50 == 49:
                device.advance(10_000)

    round_of_requests(200)
    device.advance(MINUTE_MS)
    start = device.status()
    round_of_requests(1800)
    device.advance(MINUTE_MS)
    end = device.status()
    assert end["memory"]["gc_settled"] <= start["memory"]["gc_settled"] + 512
    assert end["http"]["failed"] == start["http"]["failed"] == 0
    assert end["restarts"] == {}
    assert "MemoryError" not in device.log()
    assert end["ledger"]["acknowledged"] > start["ledger"]["acknowledged"]
    assert_nothing_lost_or_doubled(device)
