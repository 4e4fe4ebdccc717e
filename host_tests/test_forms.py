"""Forms, queries and cookies, at their limits and against a second decoder. Forms' plain table: test_device_logic."""

from __future__ import annotations

import re
import urllib.parse
from types import SimpleNamespace

import pytest
from cookies import cookie
from forms import parse
from http_request import Reject
from hypothesis import example, given, settings
from hypothesis import strategies as st

MAX_FIELDS = 32
STALE = b"41 stale bytes behind the body&x=%zz"
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
REFUSED = "refused"


def fields(body: bytes) -> dict[str, str] | str:
    """What parse() makes of a body, in a buffer that is longer; the bytes behind the body must stay."""
    buffer = bytearray(body + STALE)
    try:
        return parse(buffer, len(body))
    except Reject as reject:
        assert reject.args in ((400,), (413,))
        return REFUSED
    finally:
        assert len(buffer) == len(body) + len(STALE)
        assert buffer.endswith(STALE)


def plainly(body: bytes) -> dict[str, str] | str:
    """The same by CPython's library, which takes any % and so is asked only about good ones."""
    if re.search(rb"%(?![0-9A-Fa-f]{2})", body):
        return REFUSED
    try:
        pairs = urllib.parse.parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return REFUSED
    return dict(pairs) if len(dict(pairs)) <= MAX_FIELDS else REFUSED


def request(**headers: str) -> SimpleNamespace:
    """As much of a connection as cookie() looks at."""
    return SimpleNamespace(headers={name.title().encode(): value for name, value in headers.items()})


@settings(deadline=None)
@given(st.dictionaries(TEXT, TEXT, max_size=10))
@example({"": ""})
@example({"": "x", "\0": "\U0010ffff"})
def test_a_form_of_any_text_comes_back_whichever_way_it_was_escaped(form: dict[str, str]) -> None:
    for quote in (urllib.parse.quote_plus, urllib.parse.quote):
        body = urllib.parse.urlencode(form, quote_via=quote).encode()
        assert fields(body) == form
        assert fields(re.sub(rb"%..", lambda m: m[0].lower(), body)) == form
    every_byte = "&".join(
        "=".join("".join(f"%{byte:02X}" for byte in text.encode()) for text in pair) for pair in form.items()
    )
    assert fields(every_byte.encode()) == form


@settings(deadline=None, max_examples=500)
@given(
    st.lists(
        st.sampled_from([b"%", b"&", b"=", b"+", b"0", b"4", b"1", b"a", b"F", b"g", b"%C3", b"%bc", b"%26", b";"])
    ).map(b"".join)
)
@example(b"%4=1")
@example(b"%&41")
@example(b"=")
@example(b"==&=")
@example(b"a%")
@example(b"%C3&%bc")
def test_a_body_means_what_another_decoder_makes_of_it(body: bytes) -> None:
    assert fields(body) == plainly(body)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_end_in_anything_but_fields_of_text_or_a_refusal(body: bytes) -> None:
    got = fields(body)
    if isinstance(got, dict):
        assert len(got) <= MAX_FIELDS
        for text in (*got, *got.values()):
            assert len(text.encode()) <= len(body)


def test_only_hex_digits_can_follow_a_percent_sign() -> None:
    wrong = [
        escape
        for byte in range(256)
        for escape in (b"%%%c1" % byte, b"%%4%c" % byte, b"%%c3%%%c1" % byte)
        if fields(escape) != plainly(escape)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        pytest.param("&".join(f"f{i}=1" for i in range(MAX_FIELDS)), True, id="as many as there may be"),
        pytest.param("&".join(f"f{i}=1" for i in range(MAX_FIELDS + 1)), False, id="one too many"),
        pytest.param("&".join(f"f{i}" for i in range(MAX_FIELDS + 1)), False, id="one too many, without values"),
        pytest.param("&".join(f"f{i}=1" for i in range(1000)), False, id="endless"),
        pytest.param("&".join(["a=1"] * 100), True, id="one, repeated"),
        pytest.param("&" * 100 + "a=1", True, id="one behind empty parts"),
    ],
)
def test_a_form_may_have_32_fields(body: str, accepted: bool) -> None:
    assert fields(body.encode()) == (plainly(body.encode()) if accepted else REFUSED)
    assert (fields(body.encode()) != REFUSED) is accepted


@settings(deadline=None)
@given(st.integers(MAX_FIELDS + 1, 80), TEXT)
def test_more_fields_are_refused_whatever_they_hold(count: int, value: str) -> None:
    assert fields(urllib.parse.urlencode({f"f{i}": value for i in range(count)}).encode()) == REFUSED


@pytest.mark.parametrize(
    ("address_query", "expected"),
    [
        pytest.param("", {}, id="none"),
        pytest.param("a=1&b=2", {"a": "1", "b": "2"}, id="two fields"),
        pytest.param("tab", {"tab": ""}, id="a key alone"),
        pytest.param("a=1?b=2", {"a": "1?b=2"}, id="a ? in a value"),
        pytest.param("at=2026-01-01T00:00+01:00", {"at": "2026-01-01T00:00 01:00"}, id="plus is space"),
        pytest.param("n=K%C3%BCche", {"n": "Küche"}, id="UTF-8 in escapes"),
        pytest.param("ö=Küche%20€", {"ö": "Küche €"}, id="UTF-8 as it is"),
        pytest.param("a=1&a=2", {"a": "2"}, id="the last of a repeated key counts"),
        pytest.param("a=" + "x" * 500, {"a": "x" * 500}, id="a long one"),
    ],
)
def test_a_query_gives_its_fields(address_query: str, expected: dict[str, str]) -> None:
    assert parse(bytearray(address_query.encode())) == expected


@pytest.mark.parametrize("address_query", ["%", "a=%4", "a=%zz", "%ff", "a=%C3", "&".join(f"f{i}" for i in range(33))])
def test_a_query_that_is_none_is_refused(address_query: str) -> None:
    with pytest.raises(Reject) as refused:
        parse(bytearray(address_query.encode()))
    assert refused.value.args[0] == (413 if "&" in address_query else 400)


@pytest.mark.parametrize(
    ("header", "name", "expected"),
    [
        pytest.param("", "a", "", id="an empty header"),
        pytest.param("a=1", "a", "1", id="one"),
        pytest.param("a=1; b=2; c=3", "b", "2", id="one of three"),
        pytest.param("a=1;b=2;c=3", "c", "3", id="without spaces"),
        pytest.param(" a = 1 ;\tb = 2\t", "b", "2", id="spaces and tabs around all"),
        pytest.param("a=1; b=2", "c", "", id="another"),
        pytest.param("a=1; a=2", "a", "1", id="the first of two, whose path is the longer one"),
        pytest.param("a=", "a", "", id="an empty value"),
        pytest.param("a", "a", "", id="no ="),
        pytest.param("a=b=c==", "a", "b=c==", id="= in a value"),
        pytest.param("a=%41+", "a", "%41+", id="a value is not decoded"),
        pytest.param('a="1"', "a", '"1"', id="quotes are of the value"),
        pytest.param("A=1; a=2", "a", "2", id="a name in its own case"),
        pytest.param("xa=1; ax=2", "a", "", id="names that only hold it"),
        pytest.param("b=a=1", "a", "", id="a value that looks like it"),
        pytest.param(";;; a=1;", "a", "1", id="empty parts"),
        pytest.param("a=Küche", "a", "Küche", id="UTF-8"),
    ],
)
def test_a_cookie_is_found_by_its_name(header: str, name: str, expected: str) -> None:
    assert cookie(request(cookie=header), name) == expected


def test_a_request_without_cookies_has_none() -> None:
    assert cookie(request(host="a"), "a") == ""


@given(st.dictionaries(st.text("abcXYZ-_.", min_size=1, max_size=9), st.text('abc123=%"/+', max_size=20), max_size=9))
def test_any_cookies_that_are_sent_are_found(cookies: dict[str, str]) -> None:
    http = request(cookie="; ".join(f"{name}={value}" for name, value in cookies.items()))
    for name, value in cookies.items():
        assert cookie(http, name) == value
    assert cookie(http, "not there") == ""
