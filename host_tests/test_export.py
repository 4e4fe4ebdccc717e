"""GET /export on the whole device: the same rows as the host's reader has from the same flash, little memory, no lies
about time."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
from argparse import Namespace
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from host_tests.device import Answer, Device
from host_tests.test_read_log import Dump, real
from host_tests.virtual_board.vm import registers as r
from scripts import log_format, read_log
from scripts.log_format import EARLIEST_UNIX_S

pytestmark = pytest.mark.vm

MINUTE_MS = 60_000
LOG_OFFSET, LOG_BYTES = 0x300000, 0x100000
THEN_S = 1_790_000_000
PER_SECTOR = 160
BIG = 75  # sectors: 12,000 samples
NAMES = "temp_c"


def old_log(sectors: int) -> Dump:
    """A log of so many sectors of one boot, a sample every 10 s up to a day ago; one in 50 has no value."""
    dump = Dump(LOG_BYTES // 4096, 4096)
    first_s = THEN_S - 10 * sectors * PER_SECTOR
    for number in range(1, sectors + 1):
        seqs = range(PER_SECTOR * (number - 1) + 1, PER_SECTOR * number + 1)
        records = [
            (seq, first_s + 10 * seq, 1, 2, 3, 0x7FC00002 if seq % 50 == 0 else real(20 + seq % 97 / 8)) for seq in seqs
        ]
        dump.sector(number, *records, names=NAMES)
    return dump


def with_log(make_device: Callable[..., Device], dump: Dump, **settings: Any) -> Device:
    device = make_device(settings=settings)
    with open(device.state.flash_path, "r+b") as file:
        file.seek(LOG_OFFSET)
        file.write(dump.cells)
    return device


def host_log(device: Device) -> log_format.Log:
    return log_format.parse(read_log.load(device.folder))


def host_rows(device: Device, form: str) -> str:
    out = io.StringIO()
    args = Namespace(marks=False, after=0, since=None, until=None)
    (read_log.write_csv if form == "csv" else read_log.write_ndjson)(host_log(device), args, out)
    return out.getvalue()


def rows(answer: Answer | str) -> list[dict[str, str]]:
    text = answer if isinstance(answer, str) else answer.text
    return list(csv.DictReader(io.StringIO(text)))


def as_board_has_it(line: str) -> dict[str, Any]:
    """A line of the host's NDJSON in the board's form."""
    row = json.loads(line)
    reasons = {} if row["status"] == "ok" else dict(part.split(":") for part in row["status"].split())
    return {name: row[name] for name in ("seq", "boot", "unix_s", "quality", "values")} | {"status": reasons}


def assert_same_as_host(device: Device) -> int:
    """Both forms, all samples; the number of rows. The host looks second and may have one more."""
    table = device.get("/export")
    assert (table.status, table.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert table.headers["content-disposition"] == f"attachment; filename={device.status()['device']}.csv"
    lines = table.text.splitlines()
    assert lines == host_rows(device, "csv").splitlines()[: len(lines)]
    stream = device.get("/export?fmt=ndjson")
    assert (stream.status, stream.headers["content-type"]) == (200, "application/x-ndjson")
    found = [json.loads(line) for line in stream.text.splitlines()]
    assert found == [as_board_has_it(line) for line in host_rows(device, "ndjson").splitlines()[: len(found)]]
    assert abs(len(found) - len(lines) + 1) <= 1
    return len(found)


def test_rows_are_those_of_the_hosts_reader(make_device: Callable[..., Device]) -> None:
    """Over another boot's log with other values, samples from before the sync, failed readings and a restart."""
    device = with_log(make_device, old_log(3), sensors="internal name=chip; pulse pin=1 name=gas")
    device.state[r.NTP_OK] = 0
    device.start(collector=False, until="no time from NTP")
    device.advance(30_000)
    device.state[r.SENSOR_FAIL] = 1
    device.state[r.NTP_OK] = 1
    device.advance(MINUTE_MS)
    device.state[r.SENSOR_FAIL] = 0
    device.advance(MINUTE_MS)
    device.board.stop()
    device.power_on()
    device.advance(MINUTE_MS)
    count = assert_same_as_host(device)
    assert count > 3 * PER_SECTOR + 15
    assert device.get("/export").text.startswith(
        "seq,boot,unix_s,time_utc,quality,temp_c,chip_temp_c,gas_pulse_total,status\n"
    )
    found = rows(device.get("/export"))
    assert {row["quality"] for row in found} == {"1", "2"}
    assert {row["status"] for row in found} == {"ok", "temp_c:crc", "chip_temp_c:absent"}
    assert {row["chip_temp_c"] for row in found[: 3 * PER_SECTOR]} == {""}


def test_a_range_has_what_is_in_it_and_nothing_else(make_device: Callable[..., Device]) -> None:
    device = with_log(make_device, old_log(6))
    device.start(collector=False)
    every = rows(device.get("/export"))
    for query, test in (
        (f"from={THEN_S - 3000}", lambda s: s >= THEN_S - 3000),
        (f"to={THEN_S - 3000}", lambda s: s <= THEN_S - 3000),
        (f"from={THEN_S - 5005}&to={THEN_S - 4990}", lambda s: THEN_S - 5005 <= s <= THEN_S - 4990),
        (f"from={THEN_S + 1}&to={THEN_S + 2}", lambda s: False),
        ("from=4000000000", lambda s: False),
        ("from=0&to=0", lambda s: True),
    ):
        got = [row["seq"] for row in rows(device.get(f"/export?fmt=csv&{query}"))]
        wanted = [row["seq"] for row in every if test(int(row["unix_s"] or 0))]
        assert got[: len(wanted)] == wanted and len(got) <= len(wanted) + 3, query
    assert [row["seq"] for row in rows(device.get("/export?after=950"))][:10] == [str(n) for n in range(951, 961)]
    assert rows(device.get("/export?after=99999999")) == []


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_download_that_broke_off_goes_on_where_it_was(make_device: Callable[..., Device], form: str) -> None:
    device = with_log(make_device, old_log(6))
    device.start(collector=False)
    asked = f"/export?fmt={form}&to={THEN_S}"
    whole = device.get(asked).body
    assert whole.count(b"\n") >= 6 * PER_SECTOR
    for size in (20_000, 777):
        part = whole[: whole.rindex(b"\n", 0, size) + 1]
        seq = re.findall(rb'"seq":(\d+)' if form == "ndjson" else rb"(?m)^(\d+),", part)[-1]
        rest = device.get(f"{asked}&after={int(seq)}").body
        assert part + (rest if form == "ndjson" else rest[rest.index(b"\n") + 1 :]) == whole


@pytest.mark.parametrize(
    "query",
    [
        "fmt=xml",
        "fmt=",
        "from=2026-01-01",
        "from=-1",
        "to=1e9",
        "after=",
        "after=12345678901",
        "limit=3",
        "x",
        "&",
        "from",
    ],
)
def test_a_query_that_is_none_is_refused_in_a_sentence(refusing: Device, query: str) -> None:
    answer = refusing.get(f"/export?{query}")
    assert answer.status == 400
    assert "use fmt=csv or ndjson, from= and to= in Unix seconds, after= a sequence number" in answer.text


@pytest.fixture(scope="module")
def refusing(vm: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    device = Device(vm, tmp_path_factory.mktemp("export"))
    device.start(collector=False)
    yield device
    device.close()


def test_head_has_the_head_and_no_body(refusing: Device) -> None:
    for query in ("", "?fmt=ndjson"):
        answer = refusing.get("/export" + query, "HEAD")
        assert (answer.status, answer.body) == (200, b"")
        assert "attachment" in answer.headers["content-disposition"]
    assert refusing.get("/export", "HEAD", "Connection: close\r\n").status == 200
    assert refusing.connections_left() <= 1


def assert_no_time_before_2024(device: Device) -> list[str]:
    """The cells of the times, in the order of the log."""
    found = rows(device.get("/export"))
    for row in found:
        assert (row["unix_s"] == "") == (row["time_utc"] == "") == (row["quality"] == "0")
        assert not row["unix_s"] or int(row["unix_s"]) >= EARLIEST_UNIX_S
        assert not row["time_utc"] or "2024" <= row["time_utc"] < "2068"
    for line in device.get("/export?fmt=ndjson").text.splitlines():
        row = json.loads(line)
        assert row["unix_s"] is None or row["unix_s"] >= EARLIEST_UNIX_S
    return [row["unix_s"] for row in found]


def test_no_row_has_a_time_before_2024_whatever_the_clock_went_through(make_device: Callable[..., Device]) -> None:
    """Cold boot without a network, a server that lies, a reset, the first sync, a power cut; time never goes back."""
    device = make_device(settings={"telemetry_url": ""})
    device.state[r.AP_PRESENT] = 0
    device.board.start()
    device.wait_booted()
    device.advance(40_000)
    device.state[r.AP_PRESENT] = 1
    device.times.all.offset_ms = -15 * 365 * 86_400_000  # it lives in 2011
    device.advance(2 * MINUTE_MS)
    assert set(assert_no_time_before_2024(device)) == {""}
    device.board.press_reset()
    device.wait_booted()
    device.advance(MINUTE_MS)
    assert set(assert_no_time_before_2024(device)) == {""}
    device.times.all.offset_ms = 0
    device.advance(12 * MINUTE_MS)
    assert device.status()["clock_quality"] == 2
    times = assert_no_time_before_2024(device)
    assert times[0] == ""  # of a boot that never knew
    assert times[-1] != "" and times.count("") < len(times) / 2
    device.board.stop()
    device.state[r.NTP_OK] = 0
    device.power_on(until="no time from NTP")
    device.advance(MINUTE_MS)
    times = [int(cell) for cell in assert_no_time_before_2024(device) if cell]
    assert times == sorted(set(times))
    assert assert_same_as_host(device) > 70


def stepped_log() -> Dump:
    """Samples from before the first sync, then from clocks that were stepped back two hours and ahead one; a boot that
    never knew the time, and one that did."""
    dump = Dump(LOG_BYTES // 4096, 4096)
    base_s = THEN_S - 90_000

    def sync(seq: int, now_s: int, steps_s: int) -> tuple[int, ...]:
        return (seq, now_s, 3, 1, 0x8000, base_s, steps_s)

    dump.sector(
        1, *((n, 10 * n, 1, 0, 0, real(n)) for n in range(1, 21)), (20, 0, 4, 0, 0, 2, 1),
        *((n, 10 * n, 1, 0, 0, real(n)) for n in range(21, 41)), sync(40, base_s + 405, 0),
        *((n, base_s + 10 * n, 1, 2, 0, real(n)) for n in range(41, 61)), sync(60, base_s - 6590, -7200),
        *((n, base_s - 7200 + 10 * n, 1, 2, 0, real(n)) for n in range(61, 81)), sync(80, base_s - 2790, -3600),
        *((n, base_s - 3600 + 10 * n, 1, 2, 0, real(n)) for n in range(81, 101)),
        names=NAMES,
    )  # fmt: skip
    dump.sector(2, *((n, base_s - 3600 + 10 * n, 1, 2, 0, real(n)) for n in range(101, 121)), boot=2, base_s=base_s,
                steps_s=-3600, names=NAMES)  # fmt: skip
    return dump


def test_samples_of_a_clock_that_was_stepped_are_in_order_and_as_the_host_has_them(
    make_device: Callable[..., Device],
) -> None:
    device = with_log(make_device, stepped_log())
    device.start(collector=False)
    times = assert_no_time_before_2024(device)
    assert times[:20] == [""] * 20
    known = [int(cell) for cell in times[20:120]]
    assert {b - a for a, b in pairwise(known)} == {10}
    assert known[-1] == THEN_S - 93_600 + 1200
    assert assert_same_as_host(device) >= 120


# --- memory and time ----------------------------------------------------------------------------


@pytest.fixture
def big(make_device: Callable[..., Device]) -> Device:
    device = with_log(make_device, old_log(BIG), telemetry_url="")
    device.start(collector=False)
    return device


def slow_reader(device: Device, asked: str = "/export") -> socket.socket:
    client = socket.socket()
    client.settimeout(20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", device.port))
    client.sendall(f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1:{device.port}\r\n\r\n".encode())
    return client


def settled(device: Device) -> int:
    """Bytes of heap in use that the memory guard finds after a collect, with the last page's module in memory, which it
    may just have dropped."""
    found = []
    for _ in range(3):
        device.advance(35_000)
        found.append(device.status()["memory"]["gc_settled"])
    return max(found)


def asked_again(device: Device, path: str, meanwhile: Callable[[], object] = lambda: None) -> Answer:
    """The page; one that is told that memory is short asks again, as its owner does."""
    for _ in range(10):
        answer = device.get(path)
        if answer.status != 503:
            break
        meanwhile()
        device.advance(2000)
    assert answer.status == 200, answer
    return answer


def body_of(received: bytes) -> str:
    """The body of a chunked answer."""
    _, _, left = received.partition(b"\r\n\r\n")
    body = b""
    while size := int(left[: left.index(b"\r\n")], 16):
        at = left.index(b"\r\n") + 2
        body += left[at : at + size]
        left = left[at + size + 2 :]
    return body.decode()


def test_a_download_of_12_000_samples_needs_4_kb_and_keeps_nobody_waiting(big: Device) -> None:
    for path in ("/", "/tips", "/export?after=12000", "/api/status"):  # names that are used first stay in memory
        assert big.get(path).status == 200
    before = settled(big)
    big.state[r.SKIP_SOCKETS] = 1
    client = slow_reader(big)
    got = b""

    def read_on(size_bytes: int = 20_000) -> None:
        nonlocal got
        until = len(got) + size_bytes
        while len(got) < until:
            got += client.recv(65536)

    for _ in range(4):
        read_on(60_000)
        big.advance(9_000)  # in all the time in which the guard collects once, and less than a deadline at once
    read_on()
    during = json.loads(asked_again(big, "/api/status", read_on).body)["memory"]["gc_settled"]
    for path in ("/", "/tips", "/api/status"):
        asked_again(big, path, read_on)
    with client:
        while not got.endswith(b"0\r\n\r\n"):
            more = client.recv(65536)
            assert more, f"the download broke off after {len(got)} bytes: {big.status()} {big.log()}"
            got += more
    big.status()
    after = min(settled(big) for _ in range(2))  # a POST of a moment ago may have its modules in one of them
    figures = f"bytes of heap in use: before {before}, meanwhile {during}, after {after}"
    print(figures)
    assert before < during <= before + 4096, figures
    assert after <= before + 512, figures
    assert [row["seq"] for row in rows(body_of(got))][: BIG * PER_SECTOR] == [
        str(n + 1) for n in range(BIG * PER_SECTOR)
    ]
    status = big.status()
    assert status["http"]["failed"] == status["sampling"]["missed_slots"] == 0
    assert status["restarts"] == {}


def test_a_whole_download_is_that_of_the_host(big: Device) -> None:
    assert assert_same_as_host(big) >= BIG * PER_SECTOR


def test_clients_that_stop_reading_hold_no_slot_for_ever(big: Device) -> None:
    big.state[r.SKIP_SOCKETS] = 1
    clients = [slow_reader(big) for _ in range(3)]
    for client in clients:
        assert client.recv(100)
    assert big.state[r.SOCKETS_OPEN] == 4  # the listener and these
    big.advance(20_000)
    asked_again(big, "/api/status")
    assert big.connections_left() <= 1
    status = big.status()
    assert status["http"]["expired"] >= 3
    assert status["sampling"]["missed_slots"] == 0
    for client in clients:
        client.close()


def test_a_download_and_a_page_go_out_side_by_side(big: Device) -> None:
    client = slow_reader(big)
    for _ in range(5):
        asked_again(big, "/", lambda: client.recv(4096))
        assert client.recv(4096)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    with client:
        client.recv(1)
    asked_again(big, "/api/status")
    assert big.connections_left() <= 1
