"""The pages over real TCP: compiled app, real VM, 64 KB heap. Requests are raw bytes, so that nothing is made nice."""

from __future__ import annotations

import http.client
import re
import urllib.parse
from collections.abc import Callable
from typing import cast

import pytest

from host_tests.device import Device, read_answer
from host_tests.virtual_board.vm import registers as r

pytestmark = pytest.mark.vm

FORM = "application/x-www-form-urlencoded"


def test_the_dashboard_answers_under_both_of_its_addresses(device: Device) -> None:
    for path in ("/", "/index", "/index?x=1"):
        answer = device.get(path)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<title>Dashboard" in answer.text
        assert answer.text.endswith("</html>\n")


def test_the_dashboard_shows_the_last_reading(device: Device) -> None:
    device.state[r.TEMPERATURE_C] = 31
    device.advance(11_000)
    assert "31 °C" in device.get("/").text


def test_the_dashboard_shows_the_time_of_the_board_s_zone(make_device: Callable[..., Device]) -> None:
    device = make_device(settings={"time_zone": "<+0545>-5:45"})
    device.start()
    unix_s = device.status()["unix_s"]
    shown = re.search(r"(\d\d):(\d\d):(\d\d) \+0545", device.get("/").text)
    assert shown
    hour, minute, second = map(int, shown.groups())
    assert 0 <= (hour * 3600 + minute * 60 + second - unix_s - 20_700) % 86_400 <= 5


def test_a_zone_that_is_none_shows_utc_and_breaks_no_page(make_device: Callable[..., Device]) -> None:
    device = make_device(settings={"time_zone": "Berlin"})
    device.start()
    assert re.search(r"\d\d:\d\d:\d\d UTC", device.get("/").text)


def test_a_browser_sets_the_clock_of_a_board_that_no_time_server_reaches(make_device: Callable[..., Device]) -> None:
    device = make_device()
    device.state[r.NTP_OK] = 0
    device.start(collector=False, until="no time from NTP")
    assert "Set the clock from this browser" in device.get("/").text
    assert device.get("/clock.js", extra="Accept-Encoding: gzip\r\n").status == 200
    unix_s = 1_800_000_000
    assert device.post("/clock", f"unix_ms={unix_s * 1000}".encode()).headers["location"] == "/tips"
    assert "Clock set" in device.get("/tips").text
    status = device.status()
    assert (status["clock_quality"], status["clock"]["source"]) == (1, "browser")
    assert unix_s - 1 <= status["unix_s"] <= unix_s + 5  # it is moved by whole seconds
    device.post("/clock", b"unix_ms=soon")
    assert "the browser sent no time" in device.get("/tips").text
    assert device.get("/clock").status == 405


def test_the_tips_page_goes_back_to_the_index_by_itself(device: Device) -> None:
    answer = device.get("/tips")
    assert answer.status == 200
    assert '<meta http-equiv="refresh" content="3;url=/index">' in answer.text
    assert 'href="/index"' in answer.text


def test_a_form_in_three_segments_with_lower_case_headers_is_parsed_right(device: Device) -> None:
    body = b"name=K%C3%BCche+%2B+Ga%cc%8ang" + "+ü&sample_period_s=7".encode()
    head = (
        f"POST /settings HTTP/1.1\r\nhost: 127.0.0.1:{device.port}\r\ncontent-type: {FORM}; charset=UTF-8\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    with device.connect() as client:
        client.sendall(head.encode() + body[:7])
        device.advance(50)
        client.sendall(body[7:16])
        device.advance(50)
        client.sendall(body[16:])
        answer = read_answer(client)
    assert (answer.status, answer.headers["location"]) == (303, "/tips")
    tips = device.get("/tips").text
    assert "Name: Küche + Ga\u030ang ü" in tips
    assert "Sample every (seconds): 7" in tips
    device.board.stop()
    assert device.read_settings()["name"] == "Küche + Ga\u030ang ü"
    assert device.read_settings()["sample_period_s"] == 7


def test_a_form_with_a_mistake_changes_nothing_and_says_what_is_wrong(device: Device) -> None:
    answer = device.post("/settings", b"name=Attic&sample_period_s=0")
    assert answer.status == 303
    tips = device.get("/tips").text
    assert "Not saved" in tips
    assert "sample_period_s must be 1 to 86400" in tips
    assert device.status()["name"] == "Tally"


def test_what_a_person_enters_is_escaped_on_every_page(device: Device) -> None:
    evil = "<script>'\"&"
    device.post("/settings", b"name=" + urllib.parse.quote(evil).encode())
    for path in ("/tips", "/index"):
        text = device.get(path).text
        assert "<script>" not in text
        assert "&lt;script&gt;&#39;&quot;&amp;" in text


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join((line, *headers, "", "")).encode() + body


HOST = "Host: 127.0.0.1"
TYPE = f"Content-Type: {FORM}"
REFUSALS = [
    pytest.param(request("GET /nope HTTP/1.1", HOST), 404, id="an unknown path"),
    pytest.param(request("DELETE / HTTP/1.1", HOST), 405, id="a method that the page does not take"),
    pytest.param(request("GET /settings HTTP/1.1", HOST), 405, id="GET of a form's target"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01garbage\n\r\n\r\n", 400, id="a TLS hello"),
    pytest.param(b"hello\r\n\r\n", 400, id="one word"),
    pytest.param(b"GET / HTTP/1.1 x\r\n\r\n", 400, id="four words"),
    pytest.param(request("GET / HTTP/1.1"), 400, id="no Host"),
    pytest.param(request("GET / HTTP/1.1", HOST, HOST), 400, id="two Hosts"),
    pytest.param(request("GET / HTTP/1.1", HOST, " folded: x"), 400, id="a folded header"),
    pytest.param(request("GET / HTTP/1.1", HOST, "A : b"), 400, id="a space before the colon"),
    pytest.param(request("GET / HTTP/1.1", HOST, "a: b\rc"), 400, id="a bare CR"),
    pytest.param(request("GET / HTTP/1.1", HOST, "a: b\0c"), 400, id="a NUL"),
    pytest.param(request("GET nope HTTP/1.1", HOST), 400, id="a target without slash"),
    pytest.param(request("GET /\xff HTTP/1.1", HOST).replace(b"\xc3\xbf", b"\xff"), 400, id="a target not in UTF-8"),
    pytest.param(request("POST /settings HTTP/1.1", HOST, TYPE), 411, id="a body without length"),
    pytest.param(request("POST /settings HTTP/1.1", HOST, "Content-Length: x"), 400, id="a length that is no number"),
    pytest.param(
        request("POST /settings HTTP/1.1", HOST, "Content-Length: 3", "Content-Length: 4", body=b"a=bc"),
        400,
        id="two different lengths",
    ),
    pytest.param(
        request("POST /settings HTTP/1.1", HOST, TYPE, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        501,
        id="a chunked body",
    ),
    pytest.param(request("POST /settings HTTP/1.1", HOST, TYPE, "Content-Length: 99999"), 413, id="a long form"),
    pytest.param(request("GET /" + "x" * 2000 + " HTTP/1.1", HOST), 414, id="a long address"),
    pytest.param(
        request("POST /settings HTTP/1.1", HOST, "Content-Type: text/plain", "Content-Length: 1", body=b"x"),
        415,
        id="a form of another type",
    ),
    pytest.param(
        request("POST /settings HTTP/1.1", HOST, TYPE, "Expect: miracle", "Content-Length: 1", body=b"x"),
        417,
        id="another expectation",
    ),
    pytest.param(request("GET / HTTP/1.1", "Host: evil.example"), 421, id="a foreign name"),
    pytest.param(request("GET / HTTP/1.1", HOST, *["X: y"] * 100), 431, id="a hundred headers"),
    pytest.param(request("GET / HTTP/1.1", HOST, "X: " + "y" * 40_000), 431, id="an endless header"),
    pytest.param(request("BREW / HTTP/1.1", HOST), 501, id="an unknown method"),
    pytest.param(request("GET / HTTP/2.0", HOST), 505, id="another version"),
    pytest.param(
        request("POST /settings HTTP/1.1", HOST, TYPE, "Origin: http://evil.example", "Content-Length: 1", body=b"x"),
        403,
        id="a form of another origin",
    ),
    pytest.param(
        request("POST /settings HTTP/1.1", HOST, TYPE, "Sec-Fetch-Site: cross-site", "Content-Length: 1", body=b"x"),
        403,
        id="a form of another site",
    ),
    pytest.param(
        request("POST /settings HTTP/1.1", HOST, TYPE, "Content-Length: 7", body=b"name=%z"),
        400,
        id="a form with a bad percent",
    ),
    pytest.param(
        request("POST /settings HTTP/1.1", HOST, TYPE, "Content-Length: 8", body=b"name=%ff"),
        400,
        id="a form not in UTF-8",
    ),
]


def test_every_refusal_has_its_status_and_leaves_the_server_well(device: Device) -> None:
    for case in REFUSALS:
        raw, status = cast(tuple[bytes, int], case.values)
        answer = device.exchange(raw)
        assert answer.status == status, f"{case.id}: {answer}"
        assert answer.headers["connection"] == "close", case.id
        if status == 405:
            assert set(answer.headers["allow"].split(", ")) in ({"GET", "HEAD"}, {"POST"}), case.id
    assert device.get("/").status == 200
    assert device.connections_left() == 1
    assert device.status()["http"]["failed"] == 0


def test_head_gives_the_head_of_get_and_no_body(device: Device) -> None:
    for path in ("/tips", "/", "/style.css"):
        answer = device.get(path, "HEAD", "Accept-Encoding: gzip\r\n")
        assert answer.status == 200
        assert answer.body == b""


def test_http_1_0_gets_a_page_without_chunks(device: Device) -> None:
    answer = device.exchange(b"GET / HTTP/1.0\r\n\r\n")
    assert answer.status == 200
    assert "transfer-encoding" not in answer.headers
    assert answer.text.endswith("</html>\n")


def test_an_absolute_target_counts_more_than_the_host_header(device: Device) -> None:
    assert device.exchange(b"GET http://127.0.0.1/tips HTTP/1.1\r\nHost: evil.example\r\n\r\n").status == 200
    assert device.exchange(b"GET http://evil.example/tips HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").status == 421


def test_expect_100_continue_is_answered_before_the_body_is_sent(device: Device) -> None:
    head = request("POST /settings HTTP/1.1", HOST, TYPE, "Expect: 100-continue", "Content-Length: 6")
    with device.connect() as client:
        client.sendall(head)
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"name=A")
        assert read_answer(client).status == 303


def test_an_independent_client_follows_the_form(device: Device) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", device.port, timeout=20)
    connection.request("POST", "/settings", urllib.parse.urlencode({"name": "Söller & Dach"}), {"Content-Type": FORM})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Location"), answer.read()) == (303, "/tips", b"")
    connection.request("GET", "/tips")
    assert "Söller &amp; Dach" in connection.getresponse().read().decode()
    connection.close()


def test_static_files_come_gzipped_and_only_to_clients_that_take_it(device: Device) -> None:
    import gzip

    answer = device.get("/style.css?0.1.0", extra="Accept-Encoding: gzip, br\r\n")
    assert answer.status == 200
    assert answer.headers["content-encoding"] == "gzip"
    assert b"--accent" in gzip.decompress(answer.body)
    assert device.get("/style.css").status == 406


def test_every_page_forbids_framing_sniffing_and_foreign_sources(device: Device) -> None:
    for path in ("/", "/tips", "/nope"):
        headers = device.get(path).headers
        assert headers["content-security-policy"] == "default-src 'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"


def test_a_page_survives_a_socket_that_takes_ninety_bytes_at_a_time(device: Device) -> None:
    device.state[r.WRITE_MAX] = 90
    assert device.get("/").text.endswith("</html>\n")


def test_eight_silent_clients_do_not_lock_an_honest_one_out(device: Device) -> None:
    silent = [device.connect() for _ in range(8)]
    device.state[r.SKIP_SOCKETS] = 1
    device.advance(500)
    assert device.get("/tips").status == 200
    assert device.status()["http"]["evicted"] > 0
    for client in silent:
        client.close()


def test_a_client_that_stops_mid_header_is_told_408_at_its_deadline(device: Device) -> None:
    device.state[r.SKIP_SOCKETS] = 1
    with device.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.")
        device.advance(9_000)
        assert read_answer(client).status == 408
    assert device.connections_left() == 1


def test_a_client_that_does_not_read_is_dropped_at_its_deadline(device: Device) -> None:
    device.state[r.SKIP_SOCKETS] = 1
    device.state[r.WRITE_MAX] = 1  # a page takes longer than any deadline, as to a client with a closed window
    with device.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        device.advance(20_000)
        device.state[r.WRITE_MAX] = 0
        while client.recv(65536):
            pass
    assert device.connections_left() == 1


def test_clients_that_connect_and_vanish_leave_no_socket_behind(device: Device) -> None:
    before = device.state[r.SOCKETS_OPEN]
    for _ in range(50):
        device.connect().close()
    assert device.get("/").status == 200
    device.advance(1_500)
    assert device.state[r.SOCKETS_OPEN] == before


def test_pages_come_back_when_sockets_were_short(device: Device) -> None:
    device.state[r.SOCKETS_TAKEN] = 9
    with device.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        try:
            assert client.recv(100) == b""
        except ConnectionResetError:
            pass
    device.state[r.SOCKETS_TAKEN] = 0
    assert device.get("/").status == 200
