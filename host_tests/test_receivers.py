"""What the board's formats write, taken by the servers of others and read back from them; the recipes of the page."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from host_tests.bodies import DEVICE, Sample, body
from host_tests.device import free_port
from host_tests.receivers import Point, Receiver, influxdb_on, request, running, victoria_on, vmauth_on
from scripts.console import ROOT

PAGE = ROOT / "docs" / "telemetry.md"
NAMES = "temp_c,rh_pct,gas_pulse_total"
DAY_S = 86400
NOW_S = int(time.time())


@pytest.fixture
def influxdb(tmp_path: Path) -> Iterator[Receiver]:
    with influxdb_on(tmp_path / "influxdb") as receiver:
        yield receiver


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[Receiver]:
    with victoria_on(tmp_path / "victoria") as receiver:
        yield receiver


def float_32(value: float) -> float:
    """As the log gives it back."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def sample(seq: int, unix_s: int | None, quality: int, *values: object) -> Sample:
    return seq, unix_s, quality, 17, NAMES, tuple(float_32(v) if isinstance(v, float) else v for v in values)


SENT: list[Sample] = [
    sample(2, None, 0, 21.5, 40.2, 0),
    sample(3, None, 0, "absent", "absent", "error"),
    sample(38, NOW_S - 400 * DAY_S, 1, -0.0625, 1013.25, 1),
    sample(39, NOW_S - 60 * DAY_S, 1, 21.0, 40.0, 4294967278),
    sample(40, NOW_S - 120, 2, 21.37, "crc", 4294967279),
    sample(41, NOW_S - 60, 2, "timeout", "range", "error"),
    *(sample(42 + i, NOW_S - 59 + i, 2, 20 + i / 16, 40 + i / 7, i * 1000003) for i in range(50)),
]


def expected(samples: list[Sample]) -> list[Point]:
    """What was sent: times in full, values to 7 digits, nothing where there was none."""
    points = []
    for seq, unix_s, quality, boot, names, values in samples:
        pairs = zip(names.split(","), values, strict=True)
        fields = {k: float(f"{v:.7g}") if isinstance(v, float) else v for k, v in pairs if not isinstance(v, str)}
        points.append((seq, seq if unix_s is None else unix_s, {**fields, "boot": boot, "quality": quality}))
    return points


def post(url: str, text: str, **headers: str) -> int:
    return request("POST", url, text.encode(), headers)[0]


def test_influxdb_has_exactly_what_was_sent_and_repeats_change_nothing(influxdb: Receiver) -> None:
    assert influxdb.points() == []
    for _ in range(2):
        assert post(influxdb.url, body("line", SENT)) == 204
        assert influxdb.points() == expected(SENT)
    assert post(influxdb.url, body("line", SENT[3:7], "tally-000002")) == 204
    assert influxdb.points("tally-000002") == expected(SENT[3:7])
    assert influxdb.points(DEVICE) == expected(SENT)


def test_influxdb_that_forgets_after_a_year_refuses_an_older_point_and_keeps_the_rest(influxdb: Receiver) -> None:
    query = "CREATE+RETENTION+POLICY+year+ON+tally+DURATION+52w+REPLICATION+1+DEFAULT"
    assert post(influxdb.url.replace("/write?db=tally", f"/query?q={query}"), "") == 200
    assert post(influxdb.url, body("line", SENT)) == 400
    assert influxdb.points() == expected(SENT[3:])


@pytest.mark.parametrize("way", ["url", "url_v2"])
def test_victoria_has_exactly_what_was_sent_and_repeats_change_nothing(victoria: Receiver, way: str) -> None:
    assert victoria.points() == []
    for _ in range(2):
        assert post(getattr(victoria, way), body("line", SENT)) == 204
        assert victoria.points() == expected(SENT)
    assert post(getattr(victoria, way), body("line", SENT[3:7], "tally-000002")) == 204
    assert victoria.points("tally-000002") == expected(SENT[3:7])
    assert victoria.points(DEVICE) == expected(SENT)


def test_victoria_takes_any_batch_but_keeps_it_only_with_what_the_recipe_says(tmp_path: Path) -> None:
    """Why the recipe has precision=ns and two flags."""
    timed = expected(SENT[2:])
    with victoria_on(tmp_path / "no precision", "-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms") as victoria:
        url = victoria.url.removesuffix("?precision=ns")
        assert post(url, body("line", SENT)) == 204
        assert victoria.points() == timed, "2e9 is taken for seconds, which are not over yet"
        assert post(url, body("line", [sample(1500, None, 0, 1.0, 1.0, 1)], "tally-000002")) == 204
        assert victoria.points("tally-000002")[0][:2] == (1500, 1500000000), "1500e9 is taken for milliseconds"
    with victoria_on(tmp_path / "one month", "-retentionPeriod=1", "-dedup.minScrapeInterval=1ms") as victoria:
        assert post(victoria.url, body("line", SENT)) == 204
        assert victoria.points() == timed[2:], "older than the retention period"
    with victoria_on(tmp_path / "no dedup", "-retentionPeriod=100y") as victoria:
        assert [post(victoria.url, body("line", SENT)) for _ in range(2)] == [204, 204]
        with pytest.raises(AssertionError, match="is there twice"):
            victoria.points()


def block(name: str) -> str:
    """A block of code of the page, by the comment before it."""
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"docs/telemetry.md has no block {name}"
    return found[1]


def run_curl(port_on_page: int, url: str) -> list[str]:
    """What the page's curl commands for a server print, pointed at the one that listens at `url`."""
    lines = [
        line for line in PAGE.read_text().splitlines() if line.startswith("curl") and f"SERVER:{port_on_page}/" in line
    ]
    there = urllib.parse.urlsplit(url).netloc
    commands = [shlex.split(line.replace(f"SERVER:{port_on_page}", there)) for line in lines]
    return [subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout for words in commands]


def test_the_page_s_curl_commands_do_what_it_says(influxdb: Receiver, victoria: Receiver) -> None:
    for receiver in (influxdb, victoria):
        assert post(receiver.url, body("line", SENT)) == 204
    victoria.points()  # stored for good
    created, asked = run_curl(8086, influxdb.url)
    assert "error" not in created
    last_day = [fields["temp_c"] for _, at, fields in expected(SENT) if at > NOW_S - DAY_S and "temp_c" in fields]
    assert [row[1] for row in json.loads(asked)["results"][0]["series"][0]["values"]] == last_day
    (exported,) = run_curl(8428, victoria.url)
    seqs = [json.loads(line)["values"] for line in exported.splitlines() if '"tally_seq"' in line]
    assert seqs == [[seq for seq, *_ in SENT]]


class Upstream(HTTPServer):
    """A vminsert that only notes what it is asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Note)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self.thread.start()


class _Note(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        self.server.seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.shutdown()
    server.thread.join(5)
    server.server_close()


def test_the_fleet_s_vmauth_lets_boards_write_with_their_token_and_nothing_else(
    tmp_path: Path, upstream: Upstream
) -> None:
    config = re.sub(r"http://vminsert-\d:8480", f"http://127.0.0.1:{upstream.server_port}", block("auth.yml"))
    path = "/insert/0/influx/write?precision=ns"
    with vmauth_on(tmp_path, config) as base:
        assert post(base + path, "a", Authorization="Bearer tokens-are-long-and-random") == 204
        assert post(base + path, "b", Authorization="Token tokens-are-long-and-random") == 204
        assert [(p, text) for p, text in upstream.seen] == [(path, b"a"), (path, b"b")]
        assert post(base + path, "c", Authorization="Bearer other") in (400, 401), "1.79 says 400"
        assert post(base + path, "d") == 401
        assert post(base + "/delete/0/all", "e", Authorization="Bearer tokens-are-long-and-random") >= 400
    assert len(upstream.seen) == 2


def test_the_page_s_receiver_in_python_keeps_each_reading_once(tmp_path: Path) -> None:
    source = block("receiver.py")
    assert len(source.splitlines()) <= 25
    (tmp_path / "receiver.py").write_text(source)
    base = f"http://127.0.0.1:{free_port()}/"
    database = tmp_path / "readings.sqlite"
    argv = [sys.executable, str(tmp_path / "receiver.py"), "127.0.0.1", base[17:-1], str(database)]
    with running(argv, tmp_path / "log", base):
        for _ in range(2):
            assert post(base, body("ndjson", SENT)) == 204
        assert post(base, body("ndjson", SENT[:1]) + "{}\n") == 400
        assert post(base, "nonsense\n") == 400
    with sqlite3.connect(database) as db:
        rows = db.execute("SELECT seq, unix_s, quality, name, value FROM reading ORDER BY seq").fetchall()
    db.close()
    assert len(rows) == 3 * len(SENT)
    for seq, unix_s, quality, boot, names, values in SENT:
        for name, value in zip(names.split(","), values, strict=True):
            kept = None if isinstance(value, str) else float(f"{value:.7g}") if isinstance(value, float) else value
            assert (seq, unix_s, quality, name, kept) in rows
