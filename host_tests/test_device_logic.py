"""Plain logic of the device on CPython: forms, backoff, addresses, credentials, the memory guard."""

from __future__ import annotations

import sys
import types
import urllib.parse
from collections.abc import Callable

import pytest
from app.auth import header
from forms import parse
from http_request import Reject
from hypothesis import given
from hypothesis import strategies as st
from timing import backoff_ms


@pytest.fixture(scope="module")
def http_dial() -> types.ModuleType:
    """lib/http_dial with a stand-in for the wait that it takes from there, which needs MicroPython's asyncio."""
    connection = types.ModuleType("http_connection")
    connection.wait = None  # type: ignore[attr-defined]
    sys.modules["http_connection"] = connection
    try:
        import http_dial

        return http_dial
    finally:
        del sys.modules["http_connection"]


def fields(body: bytes) -> dict[str, str]:
    buffer = bytearray(body + b"stale bytes behind the body&x=%zz")
    return parse(buffer, len(body))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", {}, id="nothing"),
        pytest.param(b"a=1&b=2", {"a": "1", "b": "2"}, id="two fields"),
        pytest.param(b"a=&b", {"a": "", "b": ""}, id="empty value and key without ="),
        pytest.param(b"&&a=1&", {"a": "1"}, id="empty parts"),
        pytest.param(b"a=b=c", {"a": "b=c"}, id="= in a value"),
        pytest.param(b"a+b=c+d", {"a b": "c d"}, id="plus is space"),
        pytest.param(b"a=%2B%26%3D%25", {"a": "+&=%"}, id="escaped separators"),
        pytest.param(b"n=K%C3%BCche", {"n": "Küche"}, id="UTF-8 in escapes"),
        pytest.param("n=Küche".encode(), {"n": "Küche"}, id="raw UTF-8"),
        pytest.param(b"n=%e2%82%AC", {"n": "€"}, id="hex digits in both cases"),
        pytest.param(b"a=1&a=2", {"a": "2"}, id="the last of a repeated key counts"),
    ],
)
def test_a_form_is_decoded_as_the_standard_says(body: bytes, expected: dict[str, str]) -> None:
    assert fields(body) == expected


@pytest.mark.parametrize("body", [b"a=%", b"a=%4", b"a=%4g", b"a=%-1", b"a=%\xff0", b"%zz=1", b"a=%ff", b"a=\xc3"])
def test_a_form_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(Reject):
        fields(body)


def test_a_form_with_too_many_fields_is_refused() -> None:
    with pytest.raises(Reject):
        fields("&".join(f"f{i}=1" for i in range(40)).encode())


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=20))
def test_a_form_of_any_text_comes_back_as_it_was_sent(form: dict[str, str]) -> None:
    form = {k: v for k, v in form.items() if not any(0xD800 <= ord(c) <= 0xDFFF for c in k + v)}
    assert fields(urllib.parse.urlencode(form).encode()) == form


@given(st.binary(max_size=300))
def test_no_body_makes_the_decoder_raise_anything_but_form_error(body: bytes) -> None:
    try:
        fields(body)
    except Reject:
        pass


@given(st.integers(1, 10_000), st.integers(0, 2**32 - 1))
def test_backoff_stays_between_base_and_cap(failures: int, random_32: int) -> None:
    assert 2_000 <= backoff_ms(failures, 2_000, 900_000, random_32) <= 900_000


def test_backoff_doubles_its_range_with_each_failure() -> None:
    tops = [max(backoff_ms(n, 2_000, 60_000, r) for r in range(0, 70_000, 7)) for n in range(1, 7)]
    assert [round(top, -3) for top in tops] == [4_000, 8_000, 16_000, 32_000, 60_000, 60_000]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://192.168.1.2:8086/write?db=x", (False, "192.168.1.2", 8086, "http://192.168.1.2:8086/")),
        ("http://server", (False, "server", 80, "http://server/")),
        ("http://server/", (False, "server", 80, "http://server/")),
        ("https://server/a/b", (True, "server", 443, "https://server/")),
        ("https://server:8443", (True, "server", 8443, "https://server:8443/")),
    ],
)
def test_an_address_is_taken_apart(http_dial: types.ModuleType, url: str, parts: tuple) -> None:
    assert http_dial.split_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "server/x",
        "ftp://server/",
        "http://",
        "https:///x",
        "http://:80/",
        "http://a:/",
        "http://a:b/",
        "http://a:0/",
        "http://a:65536/",
        "http://a:-1/",
        "http://a:1:2/",
        "http://u@a/",
        "https://u:p@a/",
    ],
)
def test_an_address_that_is_none_is_refused_with_the_form_of_one(http_dial: types.ModuleType, url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port/path or https://host:port/path"):
        http_dial.split_url(url)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("bearer abc", "Authorization: Bearer abc"),
        ("  Bearer   abc ", "Authorization: Bearer abc"),
        ("TOKEN a:b==", "Authorization: Token a:b=="),
        ("basic Aladdin:open sesame", "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("basic ä:", "Authorization: Basic w6Q6"),
        ("X-Key: abc def", "X-Key: abc def"),
    ],
)
def test_what_shows_that_the_board_may_post_becomes_a_header_line(text: str, line: str) -> None:
    assert header(text) == line + "\r\n"


@pytest.mark.parametrize(
    "text",
    ["", " ", "s3cret", "bearer", "bearer ", "basic s3cret", ": s3cret", "X-Key:s3cret", "digest s3cret"]
    + ["bearer s3cret\r\nHost: x", "X\r\nHost: s3cret", "X-Key: s3\ncret", "bearer s3cret\0"],
)
def test_what_is_no_header_line_is_refused_without_being_said(text: str) -> None:
    with pytest.raises(ValueError, match="telemetry_auth must be") as caught:
        header(text)
    assert "s3cret" not in str(caught.value)


@pytest.fixture(scope="module")
def level() -> Callable[[int, int, int, int], int]:
    """app.memory.level, with stand-ins for the parts of the board that its module also imports."""
    names = ("app.log", "app.board", "app.site")
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["app.board"].memory = sys.modules["app.site"].evict = None  # type: ignore[attr-defined]
    import app

    app.log = sys.modules["app.log"]  # type: ignore[attr-defined]
    from app.memory import level

    for name in names:
        del sys.modules[name]
    return level


OK, LOW, HIGH = 0, 1, 2


@pytest.mark.parametrize(
    ("before", "figures", "expected"),
    [
        pytest.param(OK, (45_000, 110_000, 98_304), OK, id="a usual day"),
        pytest.param(OK, (54_001, 110_000, 98_304), LOW, id="GC heap filling"),
        pytest.param(LOW, (52_001, 110_000, 98_304), LOW, id="not yet clear of the limit"),
        pytest.param(LOW, (52_000, 110_000, 98_304), OK, id="clear of the limit"),
        pytest.param(OK, (58_001, 110_000, 98_304), HIGH, id="GC heap nearly full"),
        pytest.param(HIGH, (56_001, 110_000, 98_304), HIGH, id="still nearly full"),
        pytest.param(HIGH, (55_000, 110_000, 98_304), LOW, id="down by one level"),
        pytest.param(OK, (45_000, 59_999, 59_000), LOW, id="IDF heap short"),
        pytest.param(OK, (45_000, 29_999, 29_000), HIGH, id="IDF heap nearly gone"),
        pytest.param(OK, (45_000, 110_000, 8_000), HIGH, id="IDF heap in pieces"),
    ],
)
def test_the_memory_level_follows_its_limits_and_comes_down_late(
    level: Callable[[int, int, int, int], int], before: int, figures: tuple[int, int, int], expected: int
) -> None:
    assert level(before, *figures) == expected
