"""The receiving rules of telemetry version 1, as the reference collector keeps them.

Owns the proof that scripts/collector.py does what docs/telemetry.md says.
Must not know the collector's inside: it talks HTTP, or to the public methods of Collector.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts import collector as collector_module
from scripts.collector import Collector, main
from scripts.console import EXIT_ENVIRONMENT, EXIT_OK, EXIT_USAGE, ROOT, Problem

JSON_TYPE = {"Content-Type": "application/json"}
READY_LIMIT_S = 30.0
DEVICE = "tally-a1b2c3"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]


def batch(*readings: list[Any], **changes: Any) -> dict[str, Any]:
    rows = list(readings) or [[1, 1_800_000_000, 2, 21.5]]
    whole = {"device": DEVICE, "app": "1.0.0", "boot": 17, "fields": ["temp_c"], "readings": rows}
    return whole | changes


def reading(seq: int, value: float | None = 21.5) -> list[Any]:
    return [seq, 1_800_000_000 + seq, 2, value]


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return Reply(response.status, response.headers, response.read())


def call(collector: Collector, method: str, path: str, *args: Any) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=10)
    with contextlib.closing(connection):
        return exchange(connection, method, path, *args)


def post(collector: Collector, body: dict[str, Any] | bytes, **headers: str) -> Reply:
    """POST a body; `Idempotency_Key=...` becomes the header of that name."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(collector, "POST", "/readings", raw, JSON_TYPE | named)


def raw_exchange(collector: Collector, request: bytes, half_close: bool = False) -> bytes:
    """Send bytes as they are and return all that comes until the other end closes."""
    with socket.create_connection(("127.0.0.1", collector.port), timeout=10) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


# --- the body ---------------------------------------------------------------------------------


def test_a_good_batch_is_stored_and_counted(collector: Collector) -> None:
    reply = post(collector, batch(reading(1), reading(2)))
    assert (reply.status, reply.json) == (200, {"stored": 2, "repeated": 0})
    assert reply.headers["Content-Type"] == "application/json"
    assert [row["seq"] for row in collector.readings()] == [1, 2]


def test_a_stored_reading_has_every_part_of_what_was_sent(collector: Collector) -> None:
    fields = ["temp_c", "rh_pct"]
    with freeze_time("2026-01-31T12:00:00Z"):
        post(collector, batch([7, 1_769_860_700, 1, 21.5, None], fields=fields))
    assert collector.readings() == [
        {
            "device": DEVICE,
            "boot": 17,
            "seq": 7,
            "unix_s": 1_769_860_700,
            "quality": 1,
            "values": {"temp_c": 21.5, "rh_pct": None},
            "received_s": 1_769_860_800,
        }
    ]


GOOD_BODIES: dict[str, dict[str, Any]] = {
    "null time with quality unset": batch([1, None, 0, 1]),
    "a time with quality unset": batch([1, 5, 0, 1]),
    "a time before 1970": batch([1, -5, 1, 1]),
    "quality estimated": batch([1, 5, 1, 1]),
    "quality synced": batch([1, 5, 2, 1]),
    "a null value": batch([1, 5, 2, None]),
    "gaps in seq": batch(reading(1), reading(5), reading(900)),
    "boot 0": batch(boot=0),
    "a device name of 32": batch(device="a" * 32),
    "32 fields": batch([1, 5, 2, *range(32)], fields=[f"f{n}" for n in range(32)]),
    "1000 readings": batch(*(reading(seq) for seq in range(1, 1001))),
    "the largest seq": batch([2**63 - 1, 5, 2, 1]),
    "a very large whole value": batch([1, 5, 2, 10**400]),
    "a field name beyond ASCII": batch(fields=["temp °C \ud800"]),
}


@pytest.mark.parametrize("body", GOOD_BODIES.values(), ids=GOOD_BODIES)
def test_a_body_inside_the_rules_is_taken_whole(collector: Collector, body: dict[str, Any]) -> None:
    assert post(collector, body).json == {"stored": len(body["readings"]), "repeated": 0}
    names = body["fields"]
    assert [
        [row["seq"], row["unix_s"], row["quality"], *(row["values"][name] for name in names)]
        for row in collector.readings()
    ] == body["readings"]


def _raw(text: str) -> bytes:
    return json.dumps(batch()).replace("21.5", text).encode()


BAD_BODIES: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "empty": (b"", "not JSON"),
    "cut short": (b'{"device":', "not JSON"),
    "not UTF-8": (b'"\xff"', "not JSON"),
    "with a byte order mark": (b"\xef\xbb\xbf" + _raw("1"), "not JSON"),
    "nested too deep": (b"[" * 60000, "not JSON"),
    "a number of 5000 digits": (_raw("1" * 5000), "not JSON"),
    "a list": (b"[]", "names"),
    "without boot": ({k: v for k, v in batch().items() if k != "boot"}, "names"),
    "with a name too many": (batch(extra=1), "names"),
    "with a name twice": (b'{"boot":1,' + _raw("1")[1:], "once"),
    "device null": (batch(device=None), "'device'"),
    "device a number": (batch(device=123), "'device'"),
    "device empty": (batch(device=""), "'device'"),
    "device too long": (batch(device="a" * 33), "'device'"),
    "device in capitals": (batch(device="Tally"), "'device'"),
    "device with a line end": (batch(device="tally\n"), "'device'"),
    "app a number": (batch(app=1), "'app'"),
    "app empty": (batch(app=""), "'app'"),
    "app too long": (batch(app="1" * 65), "'app'"),
    "boot negative": (batch(boot=-1), "'boot'"),
    "boot true": (batch(boot=True), "'boot'"),
    "boot a float": (batch(boot=1.0), "'boot'"),
    "boot above 64 bits": (batch(boot=2**63), "'boot'"),
    "fields a text": (batch(fields="temp_c"), "'fields'"),
    "fields empty": (batch([1, 5, 2], fields=[]), "'fields'"),
    "33 fields": (batch([1, 5, 2, *range(33)], fields=[f"f{n}" for n in range(33)]), "'fields'"),
    "a field without name": (batch(fields=[""]), "'fields'"),
    "a field that is a list": (batch(fields=[[]]), "'fields'"),
    "a field twice": (batch([1, 5, 2, 1, 1], fields=["a", "a"]), "'fields'"),
    "readings an object": (batch(readings={}), "'readings'"),
    "no reading": (batch(readings=[]), "'readings'"),
    "1001 readings": (batch(*(reading(seq) for seq in range(1, 1002))), "'readings'"),
    "a reading that is a text": (batch(readings=["1234"]), "readings[0]"),
    "a reading with a value too few": (batch([1, 5, 2]), "readings[0]"),
    "a reading with a value too many": (batch([1, 5, 2, 1, 1]), "readings[0]"),
    "seq 0": (batch(reading(0)), "seq"),
    "seq true": (batch([True, 5, 2, 1]), "seq"),
    "seq a float": (batch([1.0, 5, 2, 1]), "seq"),
    "seq null": (batch([None, 5, 2, 1]), "seq"),
    "seq above 64 bits": (batch([2**63, 5, 2, 1]), "seq"),
    "seq twice in a batch": (batch(reading(1), reading(2), reading(2)), "readings[2]"),
    "seq going back": (batch(reading(2), reading(1)), "readings[1]"),
    "time a float": (batch([1, 5.0, 2, 1]), "unix_s"),
    "time true": (batch([1, True, 2, 1]), "unix_s"),
    "time a text": (batch([1, "5", 2, 1]), "unix_s"),
    "time above 64 bits": (batch([1, 2**63, 2, 1]), "unix_s"),
    "null time with quality estimated": (batch([1, None, 1, 1]), "quality 0"),
    "null time with quality synced": (batch([1, None, 2, 1]), "quality 0"),
    "quality 3": (batch([1, 5, 3, 1]), "quality"),
    "quality negative": (batch([1, 5, -1, 1]), "quality"),
    "quality true": (batch([1, 5, True, 1]), "quality"),
    "quality null": (batch([1, 5, None, 1]), "quality"),
    "a value that is true": (_raw("true"), "values"),
    "a value that is a text": (_raw('"21.5"'), "values"),
    "a value that is a list": (_raw("[]"), "values"),
    "a value NaN": (_raw("NaN"), "values"),
    "a value Infinity": (_raw("Infinity"), "values"),
    "a value -Infinity": (_raw("-Infinity"), "values"),
    "a value that overflows": (_raw("1e999"), "values"),
}


@pytest.mark.parametrize(("body", "about"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_outside_the_rules_is_refused_with_a_sentence(
    collector: Collector, body: dict[str, Any] | bytes, about: str
) -> None:
    reply = post(collector, body)
    assert reply.status == 400
    assert about in reply.error
    assert reply.error.startswith("Nothing") and reply.error.endswith(".")
    assert collector.stats()["refused"] == 1


def test_nothing_of_a_refused_body_is_stored(collector: Collector) -> None:
    rows = [reading(seq) for seq in range(1, 999)]
    assert post(collector, batch(*rows, [999, 5, 9, 1]), Idempotency_Key="k").status == 400
    assert collector.readings() == []
    assert post(collector, batch(*rows), Idempotency_Key="k").json["stored"] == 998


# --- the request around it --------------------------------------------------------------------


def test_a_post_without_content_length_is_411(collector: Collector) -> None:
    head = b"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n"
    answer = raw_exchange(collector, head + b"{}", half_close=True)
    assert answer.startswith(b"HTTP/1.1 411 ") and b"Content-Length" in answer


def test_a_chunked_post_is_411(collector: Collector) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/readings", iter([b"{}"]), JSON_TYPE, encode_chunked=True)
        assert connection.getresponse().status == 411


@pytest.mark.parametrize("length", ["-1", "+2", "2x", "1_0", "", "9" * 19])
def test_a_content_length_that_is_no_number_is_400(collector: Collector, length: str) -> None:
    head = f"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    assert raw_exchange(collector, head.encode()).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_ends_early_is_400_and_not_stored(collector: Collector) -> None:
    body = json.dumps(batch()).encode()
    head = f"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}\r\n\r\n"
    answer = raw_exchange(collector, head.encode() + body, half_close=True)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert collector.readings() == []


def test_a_body_of_exactly_the_limit_is_taken(collector: Collector) -> None:
    body = json.dumps(batch()).encode()
    assert post(collector, body.ljust(65536)).status == 200


@pytest.mark.parametrize("size", [65537, 3_500_000])
def test_a_body_above_the_limit_is_413_and_the_answer_arrives(collector: Collector, size: int) -> None:
    reply = post(collector, json.dumps(batch()).encode().ljust(size))
    assert reply.status == 413
    assert "65536" in reply.error
    assert reply.headers["Connection"] == "close"
    assert collector.readings() == []


def test_a_client_that_stops_sending_is_let_go(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module._Handler, "timeout", 0.05)  # pyright: ignore[reportPrivateUsage]
    head = b"POST /readings HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    assert raw_exchange(collector, head) == b""
    assert collector.readings() == []


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_the_json_type_may_have_parameters_and_capitals(collector: Collector, kind: str) -> None:
    assert post(collector, batch(), Content_Type=kind).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonx", "application/x-ndjson", ""])
def test_another_content_type_is_415(collector: Collector, kind: str) -> None:
    reply = post(collector, batch(), Content_Type=kind)
    assert reply.status == 415
    assert "application/json" in reply.error


def test_a_missing_content_type_is_415(collector: Collector) -> None:
    assert call(collector, "POST", "/readings", json.dumps(batch()).encode()).status == 415


@pytest.mark.parametrize("path", ["/reading", "/readings/", "/stats/x", "/favicon.ico"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_path_is_404(collector: Collector, method: str, path: str) -> None:
    reply = call(collector, method, path)
    assert reply.status == 404
    assert reply.error


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/readings", "GET, POST"),
        ("DELETE", "/readings", "GET, POST"),
        ("BREW", "/readings", "GET, POST"),
        ("HEAD", "/readings", "GET, POST"),
        ("POST", "/stats", "GET"),
        ("OPTIONS", "/stats", "GET"),
        ("POST", "/", "GET"),
    ],
)
def test_another_method_is_405_with_allow(collector: Collector, method: str, path: str, allowed: str) -> None:
    reply = call(collector, method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)
    assert collector.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b" 400 "),
        (b"GET / HTTP/9.9\r\n\r\n", b" 505 "),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b" 431 "),
    ],
    ids=["nonsense", "HTTP 9.9", "a long line", "many headers"],
)
def test_what_is_no_http_gets_an_error_and_no_traceback(
    collector: Collector,
    request_bytes: bytes,
    status: bytes,
    capfd: pytest.CaptureFixture[str],
) -> None:
    answer = raw_exchange(collector, request_bytes)
    # The base class answers a request line it can't read as HTTP/0.9: without a status line.
    assert status in answer or answer.startswith(b'{"error": "')
    collector.stop()
    assert capfd.readouterr() == ("", "")


# --- repeats ----------------------------------------------------------------------------------


def test_a_repeated_reading_is_counted_and_the_first_one_wins(collector: Collector) -> None:
    post(collector, batch(reading(1, 10.0), reading(2, 20.0)))
    reply = post(collector, batch(reading(2, 99.0), reading(3, 30.0), boot=18))
    assert reply.json == {"stored": 1, "repeated": 1}
    assert [row["values"]["temp_c"] for row in collector.readings()] == [10.0, 20.0, 30.0]
    assert [row["boot"] for row in collector.readings()] == [17, 17, 18]
    assert collector.stats()["repeated_readings"] == 1


def test_the_same_seq_of_two_devices_is_no_repeat(collector: Collector) -> None:
    post(collector, batch())
    assert post(collector, batch(device="tally-2")).json == {"stored": 1, "repeated": 0}


def test_a_repeated_key_gets_the_first_answer_again(collector: Collector) -> None:
    first = post(collector, batch(), Idempotency_Key="tally-1-1")
    again = post(collector, batch(), Idempotency_Key="tally-1-1")
    assert "Idempotent-Replay" not in first.headers
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.json == first.json == {"stored": 1, "repeated": 0}
    stats = collector.stats()
    assert (stats["readings"], stats["repeated_keys"], stats["repeated_readings"]) == (1, 1, 0)


def test_a_repeated_key_with_another_body_is_422(collector: Collector) -> None:
    post(collector, batch(), Idempotency_Key="k")
    reply = post(collector, batch(reading(2)), Idempotency_Key="k")
    assert reply.status == 422
    assert "different body" in reply.error
    assert [row["seq"] for row in collector.readings()] == [1]
    assert collector.stats()["refused"] == 1


def test_after_a_422_the_same_body_without_key_loses_nothing(collector: Collector) -> None:
    post(collector, batch([1, None, 0, 1.0]), Idempotency_Key="k")
    restamped = batch([1, 1_800_000_000, 2, 1.0], reading(2))
    assert post(collector, restamped, Idempotency_Key="k").status == 422
    assert post(collector, restamped).json == {"stored": 1, "repeated": 1}


def test_a_refused_body_does_not_use_up_its_key(collector: Collector) -> None:
    assert post(collector, batch(boot=-1), Idempotency_Key="k").status == 400
    reply = post(collector, batch(), Idempotency_Key="k")
    assert (reply.status, reply.headers["Idempotent-Replay"]) == (200, None)


@pytest.mark.parametrize("key", ["k", " ".join("ab"), "~" * 128])
def test_a_key_of_up_to_128_printable_characters_is_taken(collector: Collector, key: str) -> None:
    assert post(collector, batch(), Idempotency_Key=key).status == 200


@pytest.mark.parametrize("key", ["", "~" * 129, "k\xe9", "a\tb"])
def test_another_key_is_400(collector: Collector, key: str) -> None:
    reply = post(collector, batch(), Idempotency_Key=key)
    assert reply.status == 400
    assert "Idempotency-Key" in reply.error
    assert collector.readings() == []


def test_many_clients_with_the_same_batch_store_it_once(collector: Collector) -> None:
    body = batch(*(reading(seq) for seq in range(1, 101)))
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: post(collector, body).json, range(64)))
    assert sum(reply["stored"] for reply in replies) == 100
    assert sum(reply["repeated"] for reply in replies) == 6300
    assert collector.stats()["repeated_readings"] == 6300


deliveries = st.lists(
    st.tuples(
        st.sampled_from(["tally-a", "tally-b"]),
        st.sets(st.integers(1, 12), min_size=1),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
).flatmap(lambda made: st.lists(st.sampled_from(list(enumerate(made))), min_size=1, max_size=10))


@given(deliveries)
@settings(max_examples=60, deadline=None)
def test_any_order_with_any_repeats_ends_with_each_reading_once_and_the_first_value(
    sent: list[tuple[int, tuple[str, set[int], bool]]],
) -> None:
    expected: dict[tuple[str, int], float] = {}
    with Collector() as collector:
        for number, (device, seqs, with_key) in sent:
            rows = [reading(seq, float(number * 100 + seq)) for seq in sorted(seqs)]
            key = {"Idempotency_Key": f"{device}-{number}"} if with_key else {}
            reply = post(collector, batch(*rows, device=device), **key)
            assert reply.status == 200 and sum(reply.json.values()) == len(rows)
            for seq, _, _, value in rows:
                expected.setdefault((device, seq), value)
        found = collector.readings()
        assert [(row["device"], row["seq"]) for row in found] == sorted(expected)
        assert {(r["device"], r["seq"]): r["values"]["temp_c"] for r in found} == expected


# --- reading it back --------------------------------------------------------------------------


@pytest.fixture
def filled(collector: Collector) -> Collector:
    for device in ("tally-b", "tally-a"):
        post(collector, batch(*(reading(seq) for seq in range(1, 1101, 2)), device=device))
        post(collector, batch(*(reading(seq) for seq in range(2, 1101, 2)), device=device))
    return collector


def listed(collector: Collector, query: str) -> list[tuple[str, int]]:
    reply = call(collector, "GET", f"/readings{query}")
    assert reply.status == 200
    return [(row["device"], row["seq"]) for row in reply.json]


def test_readings_are_listed_by_device_and_seq(filled: Collector) -> None:
    everything = listed(filled, "?after=0&limit=10000")
    assert everything == [(d, seq) for d in ("tally-a", "tally-b") for seq in range(1, 1101)]


def test_readings_are_those_above_after_of_one_device_up_to_limit(filled: Collector) -> None:
    query = "?after=7&device=tally-b&limit=2"
    assert listed(filled, query) == [("tally-b", 8), ("tally-b", 9)]
    assert listed(filled, "?after=1100") == listed(filled, "?device=nobody") == []


def test_a_thousand_readings_are_listed_unless_limit_says_more(filled: Collector) -> None:
    assert len(listed(filled, "")) == 1000
    assert len(filled.readings()) == 2200


def test_the_method_readings_gives_what_http_gives(filled: Collector) -> None:
    reply = call(filled, "GET", "/readings?after=1090&device=tally-a&limit=5")
    assert reply.json == filled.readings(1090, "tally-a", 5)


@pytest.mark.parametrize(
    "query",
    [
        "after=x", "after=-1", "after=", "after=1.5", f"after={10**18}", "limit=0",
        "limit=10001", "limit=-1", "limit=", "device=", "device=A", "device=a%0A", "nonsense=1",
        "after=1&after=2", "after=\u0661",
    ],
)  # fmt: skip
def test_a_bad_parameter_is_400_with_a_sentence(collector: Collector, query: str) -> None:
    path = "/readings?" + query.replace("\u0661", "%D9%A1")
    reply = call(collector, "GET", path)
    assert reply.status == 400
    assert "limit (1 to 10000)" in reply.error


def test_stats_of_an_empty_collector_are_zeros(collector: Collector) -> None:
    assert call(collector, "GET", "/stats").json == {
        "readings": 0,
        "requests": 0,
        "refused": 0,
        "repeated_keys": 0,
        "repeated_readings": 0,
        "devices": {},
    }


def test_stats_say_what_is_stored_and_missing_of_each_device(collector: Collector) -> None:
    with freeze_time("2026-01-31T12:00:00Z"):
        post(collector, batch(reading(10), reading(12), boot=9))
    with freeze_time("2026-01-31T12:00:05Z"):
        post(collector, batch(reading(4), [20, None, 0, 1], boot=10))
        post(collector, batch(device="tally-2"))
        post(collector, b"nonsense")
    stats = call(collector, "GET", "/stats").json
    assert stats == collector.stats()
    assert (stats["readings"], stats["requests"], stats["refused"]) == (5, 4, 1)
    assert sorted(stats["devices"]) == ["tally-2", DEVICE]
    assert stats["devices"][DEVICE] == {
        "readings": 4,
        "first_seq": 4,
        "last_seq": 20,
        "missing": 16,  # 11 of boot 9, 5 to 19 of boot 10; between boots numbers are skipped by design
        "boots": [9, 10],
        "last_unix_s": None,
        "last_received_s": 1_769_860_805,
    }


def test_the_root_page_says_in_plain_text_what_this_is(collector: Collector) -> None:
    post(collector, batch())
    reply = call(collector, "GET", "/")
    assert reply.headers.get_content_type() == "text/plain"
    text = reply.body.decode()
    assert "reference collector" in text and "docs/telemetry.md" in text and DEVICE in text


# --- connections ------------------------------------------------------------------------------


def test_one_connection_takes_many_requests_refused_ones_too(collector: Collector) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=10)
    with contextlib.closing(connection):
        connection.connect()
        kept = connection.sock
        for body in (json.dumps(batch()).encode(), b"nonsense", b""):
            exchange(connection, "POST", "/readings", body, JSON_TYPE)
        assert exchange(connection, "GET", "/stats").json["requests"] == 3
        assert connection.sock is kept


def test_a_client_that_asks_to_close_is_closed(collector: Collector) -> None:
    request = b"GET /stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw_exchange(collector, request)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nConnection: close\r\n" in answer


def test_an_http_1_0_client_is_closed(collector: Collector) -> None:
    assert b"\r\nConnection: close\r\n" in raw_exchange(collector, b"GET / HTTP/1.0\r\n\r\n")


def test_a_body_where_none_is_taken_never_becomes_the_next_request(collector: Collector) -> None:
    hidden = b"POST /readings HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    head = f"GET /stats HTTP/1.1\r\nHost: x\r\nContent-Length: {len(hidden)}\r\n\r\n"
    answer = raw_exchange(collector, head.encode() + hidden)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert collector.stats()["requests"] == 0


def test_a_chunked_body_never_becomes_the_next_request(collector: Collector) -> None:
    head = b"POST /readings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw_exchange(collector, head + b"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1 and b"\r\nConnection: close\r\n" in answer


def test_a_client_that_expects_100_continue_is_served(collector: Collector) -> None:
    assert post(collector, batch(), Expect="100-continue").status == 200


def test_nothing_is_printed_per_request(collector: Collector, capfd: pytest.CaptureFixture[str]) -> None:
    post(collector, batch())
    post(collector, b"nonsense")
    call(collector, "GET", "/nowhere")
    collector.stop()
    assert capfd.readouterr() == ("", "")


def test_verbose_prints_one_line_per_post(capfd: pytest.CaptureFixture[str]) -> None:
    with Collector(verbose=True) as collector:
        post(collector, batch())
        call(collector, "GET", "/stats")
        post(collector, b"nonsense")
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("POST /readings 200 ") and lines[1].startswith("POST /readings 400 ")


# --- durable ----------------------------------------------------------------------------------


def test_the_batch_is_committed_before_the_200_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with Collector(db_path=path) as collector:
        assert post(collector, batch()).status == 200
        with contextlib.closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT COUNT(*) FROM readings").fetchone() == (1,)


def test_a_database_that_fails_is_500_and_stores_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    with Collector(db_path=path) as collector:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON readings WHEN NEW.seq = 2"
                          " BEGIN SELECT RAISE(ABORT, 'disk is full'); END")  # fmt: skip
        reply = post(collector, batch(reading(1), reading(2)), Idempotency_Key="k")
        assert reply.status == 500
        assert "disk is full" in reply.error
        assert collector.readings() == []
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("DROP TRIGGER full")
        reply = post(collector, batch(reading(1), reading(2)), Idempotency_Key="k")
        assert reply.json == {"stored": 2, "repeated": 0}


def test_readings_and_keys_outlive_the_collector(tmp_path: Path) -> None:
    with Collector(db_path=tmp_path / "c.db") as first:
        post(first, batch(), Idempotency_Key="k")
        port, before = first.port, first.readings()
    with Collector(port, tmp_path / "c.db") as second:
        assert second.readings() == before
        assert second.stats()["requests"] == 0
        assert post(second, batch(), Idempotency_Key="k").headers["Idempotent-Replay"] == "true"


# --- start and stop ---------------------------------------------------------------------------


def test_it_listens_on_the_loopback_address_only(collector: Collector) -> None:
    assert collector.url == f"http://127.0.0.1:{collector.port}/"
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", collector.port), 5):
        pass


def test_stop_and_start_may_be_called_twice() -> None:
    collector = Collector()
    collector.stop()
    collector.start()
    collector.start()
    port = collector.port
    collector.stop()
    collector.stop()
    collector.start()
    assert collector.port == port
    collector.stop()


def test_stop_frees_the_port_while_clients_hold_connections() -> None:
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(Collector())
        for _ in range(5):
            connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=10)
            stack.callback(connection.close)
            assert exchange(connection, "GET", "/stats").status == 200
        collector.stop()
        with Collector(collector.port) as second:
            assert call(second, "GET", "/stats").status == 200


def test_stop_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with Collector() as collector:
        held = socket.create_connection(("127.0.0.1", collector.port))
        call(collector, "GET", "/")
    held.close()
    assert threading.active_count() == before


def test_stop_waits_for_the_batch_that_is_being_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, store = threading.Event(), collector_module.Store.add

    def slow_add(*args: Any) -> Any:
        entered.set()
        time.sleep(0.2)
        return store(*args)

    monkeypatch.setattr(collector_module.Store, "add", slow_add)
    path = tmp_path / "c.db"
    collector = Collector(db_path=path)
    collector.start()
    body = json.dumps(batch())
    head = f"POST /readings HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
    request = f"{head}Content-Type: application/json\r\n\r\n{body}".encode()
    with socket.create_connection(("127.0.0.1", collector.port), timeout=10) as connection:
        connection.sendall(request)
        assert entered.wait(10)
        collector.stop()
    with Collector(db_path=path) as second:
        assert len(second.readings()) == 1


def test_a_port_that_is_taken_is_a_problem_that_says_what_to_do(collector: Collector) -> None:
    with pytest.raises(Problem, match=rf"port {collector.port} .* choose another") as caught:
        Collector(collector.port).start()
    assert caught.value.exit_code == EXIT_ENVIRONMENT


def test_a_port_beyond_65535_is_a_problem() -> None:
    with pytest.raises(Problem, match="port 70000 .*0-65535") as caught:
        Collector(70000).start()
    assert caught.value.exit_code == EXIT_USAGE


def test_a_database_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, it is a text of some length" * 100)
    for path in (tmp_path / "no" / "such.db", tmp_path / "text.db"):
        with pytest.raises(Problem, match=f"{re.escape(str(path))} .* --db"):
            Collector(db_path=path).start()


# --- the fault hook ---------------------------------------------------------------------------


def test_a_queued_answer_is_given_once_and_nothing_is_stored(collector: Collector) -> None:
    collector.answer_next(503, {"Retry-After": "7"})
    reply = post(collector, batch())
    assert (reply.status, reply.headers["Retry-After"]) == (503, "7")
    assert collector.readings() == []
    assert post(collector, batch()).json == {"stored": 1, "repeated": 0}
    assert collector.stats()["refused"] == 0


def test_a_queued_answer_with_commit_stores_and_the_retry_is_a_replay(
    collector: Collector,
) -> None:
    collector.answer_next(500, commit=True)
    assert post(collector, batch(), Idempotency_Key="k").status == 500
    assert len(collector.readings()) == 1
    again = post(collector, batch(), Idempotency_Key="k")
    assert (again.status, again.headers["Idempotent-Replay"]) == (200, "true")
    assert again.json == {"stored": 1, "repeated": 0}


def test_queued_answers_come_in_order_and_only_to_posts(collector: Collector) -> None:
    for status in (429, 307, 204):
        collector.answer_next(status, {"Location": "/elsewhere"})
    assert call(collector, "GET", "/stats").status == 200
    assert [post(collector, batch()).status for _ in range(4)] == [429, 307, 204, 200]


def test_a_queued_answer_keeps_the_connection_in_step(collector: Collector) -> None:
    collector.answer_next(204)
    collector.answer_next(503)
    connection = http.client.HTTPConnection("127.0.0.1", collector.port, timeout=10)
    with contextlib.closing(connection):
        body = json.dumps(batch()).encode()
        replies = [exchange(connection, "POST", "/readings", body, JSON_TYPE) for _ in range(3)]
    assert [reply.status for reply in replies] == [204, 503, 200]
    assert replies[0].body == b""


# --- the command ------------------------------------------------------------------------------


@contextlib.contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], Collector]]:
    """The command as its own process, ready; yields it and a stand-in that knows its port."""
    command = [sys.executable, "-m", "scripts.collector", "--port", "0", *options]
    # A shell that started us in the background may have had SIGINT ignored; children inherit that.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    finally:
        signal.signal(signal.SIGINT, earlier)
    guard = threading.Timer(READY_LIMIT_S, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        ready = re.fullmatch(r"collector: http://127\.0\.0\.1:(\d+)/ db=(.+)\n",
                             process.stdout.readline())  # fmt: skip
        assert ready, "the ready line did not come"
        yield process, Collector(int(ready[1]), ready[2])
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=READY_LIMIT_S)
    return process.returncode, out, err


def test_ctrl_c_ends_the_command_with_0_and_says_nothing() -> None:
    with running() as (process, remote):
        assert remote.db == "memory"
        assert post(remote, batch()).status == 200
        assert interrupt(process) == (EXIT_OK, "", "")


def test_ctrl_c_ends_the_command_while_a_client_holds_its_connection() -> None:
    with running() as (process, remote), socket.create_connection(("127.0.0.1", remote.port)):
        assert interrupt(process) == (EXIT_OK, "", "")


def test_the_command_keeps_its_data_between_runs_with_db(tmp_path: Path) -> None:
    path = str(tmp_path / "kept.db")
    with running("--db", path) as (process, remote):
        assert remote.db == path
        post(remote, batch())
        assert interrupt(process)[0] == EXIT_OK
    with running("--db", path, "--verbose") as (process, remote):
        assert [row["seq"] for row in call(remote, "GET", "/readings?after=0").json] == [1]
        assert post(remote, batch()).json == {"stored": 0, "repeated": 1}
        assert interrupt(process)[1].startswith("POST /readings 200 ")


def test_a_killed_command_has_lost_nothing_it_answered_for(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    with running("--db", str(path)) as (process, remote):
        assert post(remote, batch()).status == 200
        process.kill()
        process.wait()
    with Collector(db_path=path) as collector:
        assert len(collector.readings()) == 1


def test_a_taken_port_ends_the_command_with_a_sentence(
    collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port", str(collector.port)]) == EXIT_ENVIRONMENT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: the collector did not start: ") and err.count("\n") == 1
    assert str(collector.port) in err and "--port" in err


# --- the page ---------------------------------------------------------------------------------


def documented(language: str) -> list[str]:
    text = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_example_body_of_the_page_is_taken(collector: Collector) -> None:
    body = documented("json")[0]
    assert post(collector, body.encode()).status == 200


def test_the_curl_examples_of_the_page_work(collector: Collector) -> None:
    blocks = documented("sh")
    commands = [line for line in "".join(blocks).replace("\\\n", " ").splitlines() if "curl" in line]
    answers: list[str] = []
    for command in commands:
        words = shlex.split(command.replace("http://127.0.0.1:8081/", collector.url))
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
        answers.append(done.stdout)
    assert len(answers) == 5
    assert '{"stored": 2, "repeated": 0}' in answers[0]
    assert "Idempotent-Replay: true" in answers[1] and '{"stored": 2' in answers[1]
    assert len(json.loads(answers[2])) == 2
    assert json.loads(answers[3])["repeated_keys"] == 1
    assert "reference collector" in answers[4]
