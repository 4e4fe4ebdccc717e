"""The servers of others that the board posts to, as Debian has them: InfluxDB 1.x, VictoriaMetrics, vmauth.

Owns starting them on 127.0.0.1 for one test, with their data in its folder, and stopping them by their id; and reading
back what they hold through their own query interface.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from host_tests.device import free_port

START_LIMIT_S = 20
INSTALL = "apt-get install --no-install-recommends influxdb victoria-metrics"
VICTORIA_FLAGS = ("-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms")
Point = tuple[int, int, dict[str, Any]]

INFLUX_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
[http]
bind-address = "127.0.0.1:{port}"
"""


@dataclass
class Receiver:
    """`url` takes the board's line protocol, `url_v2` the same as InfluxDB 2 has it, "" where there is none.
    `points(device="")` is all that is stored, oldest first: (seq, unix_s, {field: value}); boot and quality are fields.
    """

    url: str
    url_v2: str
    points: Callable[..., list[Point]]


def request(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of one HTTP request."""
    parts = urllib.parse.urlsplit(url)
    client = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        client.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def program(name: str) -> str:
    """Path of a receiver's program. Without it a test is skipped, and that is said loudly; in CI it fails."""
    found = shutil.which(name)
    if not found:
        why = f"{name} is not installed, so nothing shows that it takes what the board posts: {INSTALL}"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        with warnings.catch_warnings():  # seen in the summary also where skips are not, and no error
            warnings.simplefilter("always")
            warnings.warn(f"SKIPPED: {why}", stacklevel=2)
        pytest.skip(why)
    return found


@contextmanager
def running(argv: list[str], folder: Path, ready_url: str) -> Iterator[None]:
    """A server of its own for the time of the block; it is there when `ready_url` is answered."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait(process, ready_url, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _wait(process: subprocess.Popen[bytes], ready_url: str, log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < until:
        try:
            request("GET", ready_url)
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args} does not start:\n{log.read_text()[-2000:]}")


# --- InfluxDB -----------------------------------------------------------------------------------


def influx_points(base: str, device: str = "") -> list[Point]:
    query = urllib.parse.urlencode({"db": "tally", "epoch": "ns", "q": "SELECT * FROM tally ORDER BY time"})
    status, body = request("GET", f"{base}/query?{query}")
    assert status == 200, body
    series = json.loads(body)["results"][0].get("series", [])
    rows = [dict(zip(s["columns"], row, strict=True)) for s in series for row in s["values"]]
    return [
        _point(row.pop("time"), 10**9, {name: value for name, value in row.items() if value is not None})
        for row in rows
        if row.pop("device") == device or not device
    ]


def _point(stamp: int, per_second: int, fields: dict[str, Any]) -> Point:
    unix_s, rest = divmod(stamp, per_second)
    assert rest == 0, f"{stamp} is no whole second"
    return fields.pop("seq"), unix_s, fields


@contextmanager
def influxdb_on(folder: Path) -> Iterator[Receiver]:
    """InfluxDB 1.x with an empty database `tally`."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "influxdb.conf"
    config.write_text(INFLUX_CONFIG.format(folder=folder, port=port, rpc_port=free_port()))
    with running([program("influxd"), "run", "-config", str(config)], folder, f"{base}/ping"):
        status, body = request("POST", f"{base}/query?q=CREATE+DATABASE+tally")
        assert status == 200, body
        yield Receiver(f"{base}/write?db=tally", "", lambda device="": influx_points(base, device))


# --- VictoriaMetrics ----------------------------------------------------------------------------


def victoria_points(base: str, device: str = "") -> list[Point]:
    request("GET", f"{base}/internal/force_flush")
    # A board whose time is skipped is ahead of this computer's clock, where an export ends by itself.
    end = str(int(time.time()) + 86400)
    query = urllib.parse.urlencode({"match[]": '{__name__=~"tally_.*"}', "start": "0", "end": end})
    status, body = request("GET", f"{base}/api/v1/export?{query}")
    assert status == 200, body
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for line in body.splitlines():
        series = json.loads(line)
        labels = series["metric"]
        name = labels.pop("__name__").removeprefix("tally_")
        for stamp, value in zip(series["timestamps"], series["values"], strict=True):
            if labels["device"] == device or not device:
                fields = found.setdefault((stamp, str(labels)), {})
                assert name not in fields, f"{name} of {stamp} is there twice"
                fields[name] = value
    return [_point(stamp, 1000, fields) for (stamp, _), fields in sorted(found.items())]


@contextmanager
def victoria_on(folder: Path, *flags: str) -> Iterator[Receiver]:
    """VictoriaMetrics with the flags that docs/telemetry.md names, or others."""
    base = f"http://127.0.0.1:{free_port()}"
    argv = [program("victoria-metrics"), f"-httpListenAddr={base[7:]}", f"-storageDataPath={folder / 'data'}"]
    with running([*argv, *(flags or VICTORIA_FLAGS)], folder, f"{base}/health"):
        yield Receiver(
            f"{base}/write?precision=ns",
            f"{base}/api/v2/write?org=home&bucket=tally&precision=ns",
            lambda device="": victoria_points(base, device),
        )


@contextmanager
def vmauth_on(folder: Path, config: str) -> Iterator[str]:
    """vmauth with a configuration; its address."""
    base = f"http://127.0.0.1:{free_port()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "auth.yml").write_text(config)
    argv = [program("vmauth"), f"-httpListenAddr={base[7:]}", f"-auth.config={folder / 'auth.yml'}"]
    with running(argv, folder, f"{base}/health"):
        yield base
