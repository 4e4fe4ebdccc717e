"""What others than NTP offer: the Date of an HTTP answer in all its forms, and the browser's time by its form."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests.clock_world import HOUR, YEAR, World, finish, http_date, stand_ins


@pytest.fixture(scope="module", autouse=True)
def _modules() -> Iterator[None]:
    with stand_ins():
        yield


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nServer: x",
        b"HTTP/1.1 200 OK\r\nDate: now",
        b"HTTP/1.1 200 OK\r\nDate: \xff\xfe",
        b"HTTP/1.1 200 OK\r\nDate:",
        b"HTTP/1.1 200 OK\r\nX-Date: Fri, 15 Jan 2027 08:00:00 GMT",
    ],
)
def test_an_answer_without_a_date_changes_nothing(head: bytes) -> None:
    world = World()
    world.timesync.from_http(world.clock, head)
    assert world.clock.quality == 0


DATES = {
    "Sun, 06 Nov 2033 08:49:37 GMT": 2_014_879_777,
    " sun, 06 nov 2033 08:49:37 gmt ": 2_014_879_777,
    "Sunday, 06-Nov-33 08:49:37 GMT": 2_014_879_777,
    "Sun Nov  6 08:49:37 2033": 2_014_879_777,
    "Thu, 29 Feb 2024 00:00:00 GMT": 1_709_164_800,
    "Wed, 31 Dec 2025 23:59:60 GMT": 1_767_225_600,
    "Sat, 01 Jan 2000 00:00:00 GMT": 946_684_800,
}
NO_DATES = [
    "",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Now 2033 08:49:37 GMT",
    "Sun, 06 anf 2033 08:49:37 GMT",
    "Sun, 06 janfeb 2033 08:49:37 GMT",
    "Sun, 00 Nov 2033 08:49:37 GMT",
    "Sun, 32 Nov 2033 08:49:37 GMT",
    "Sun, 06 Nov 2033 24:49:37 GMT",
    "Sun, 06 Nov 2033 08:60:37 GMT",
    "Sun, 06 Nov 2033 08:49:61 GMT",
    "Sun, 06 Nov 2033 08:49 GMT",
    "Sun, 06 Nov 2033 08:49:37",
    "Sun, 06 Nov 99999999999999 08:49:37 GMT",
    "2033-11-06T08:49:37Z",
]


@pytest.mark.parametrize(("text", "unix_s"), DATES.items(), ids=DATES)
def test_a_date_is_read_in_each_of_its_three_forms(text: str, unix_s: int) -> None:
    parse: Any = sys.modules["http_date"].parse  # type: ignore[attr-defined]
    assert parse(text) == unix_s


@given(st.integers(946_684_800, 3_092_601_599))
def test_every_date_that_a_server_may_send_is_read_to_the_second(unix_s: int) -> None:
    parse: Any = sys.modules["http_date"].parse  # type: ignore[attr-defined]
    assert parse(http_date(unix_s)) == unix_s


@pytest.mark.parametrize("text", NO_DATES)
def test_what_is_no_date_is_refused(text: str) -> None:
    parse: Any = sys.modules["http_date"].parse  # type: ignore[attr-defined]
    with pytest.raises(ValueError):
        parse(text)


# --- the page ---------------------------------------------------------------------------------------


class Http(dict[str, Any]):
    """A connection as app.web.clock needs it: the form that came, and the answer's head."""

    def head(self, *parts: Any) -> None:
        self["head"] = parts


def posted(world: World, **form: str) -> tuple[str, list[str]]:
    site = sys.modules["app.site"]
    site.clock = world.clock  # type: ignore[attr-defined]
    http = Http(form=form)
    finish(sys.modules["app.web.clock"].post(http))  # type: ignore[attr-defined]
    assert http["head"][0] == 303
    assert "Location: /tips\r\n" in http["head"][2]
    return site.message  # type: ignore[attr-defined]


def test_the_browser_s_time_is_taken_and_told() -> None:
    world = World()
    assert posted(world, unix_ms=str(world.true_ms)) == ("Clock set", ["set by a browser"])
    assert abs(world.off_ms()) <= 500


def test_a_browser_that_is_not_believed_is_told_why() -> None:
    world = World()
    world.ntp(a=0)
    world.wait(6 * HOUR)
    title, [said] = posted(world, unix_ms=str(world.true_ms + YEAR))
    assert title == "Clock not set"
    assert said == "left alone, NTP set it 360 minutes ago"


@pytest.mark.parametrize("text", ["", "now", "-1", "1.5", "9" * 400])
def test_a_form_without_a_time_is_told_what_was_missing(text: str) -> None:
    world = World()
    title, [said] = posted(world, unix_ms=text)
    assert title == "Clock not set"
    assert "JavaScript" in said
    assert world.clock.quality == 0


def test_a_browser_without_its_script_changes_nothing() -> None:
    world = World()
    assert posted(world)[0] == "Clock not set"
    assert posted(world, unix_ms="86400000")[1] == ["not set, that is before 2024 or after 2067"]
    assert world.clock.quality == 0
