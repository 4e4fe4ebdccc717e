"""Time zones: POSIX TZ strings as zone files end with them, against zoneinfo; what is none is refused in words."""

from __future__ import annotations

import datetime
import itertools
import subprocess
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from posix_tz import days, local, rules

from scripts.build import compile_mpy
from scripts.console import ROOT
from scripts.vm import Vm

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Tehran",
    "Asia/Kolkata",
    "Pacific/Chatham",
    "Europe/Dublin",
    "America/Nuuk",
    "Africa/Cairo",
    "Asia/Jerusalem",
    "Etc/UTC",
]
CHANGING = set(ZONES) - {"Asia/Tehran", "Asia/Kolkata", "Etc/UTC"}
FIRST_S = 1_735_689_600  # 2025-01-01
END_S = 2_114_380_800  # 2037-01-01
DAY_S = 86_400


def zone_file(zone: str) -> Path:
    return Path(str(resources.files("tzdata") / "zoneinfo" / zone))


def tz_text(zone: str) -> str:
    """The rule for the time to come, the last line of a zone file (RFC 8536 section 3.3)."""
    return zone_file(zone).read_bytes().split(b"\n")[-2].decode()


def true_local(zone: ZoneInfo, unix_s: int) -> tuple[int, str, bool]:
    moment = datetime.datetime.fromtimestamp(unix_s, zone)
    offset = moment.utcoffset()
    assert offset is not None
    return int(offset.total_seconds()), str(moment.tzname()), bool(moment.dst())


def transitions(zone: ZoneInfo) -> list[int]:
    """First seconds of another local time, found by bisection between noons that differ."""
    found = []
    for noon_s in range(FIRST_S - DAY_S // 2, END_S, DAY_S):
        low, high = noon_s, noon_s + DAY_S
        before = true_local(zone, low)
        if true_local(zone, high) != before:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if true_local(zone, middle) == before else (low, middle)
            found.append(high)
    return found


def moments(zone: ZoneInfo) -> list[int]:
    """A second before, at and after each transition from 2025 to 2036, and every noon."""
    noons = range(FIRST_S + DAY_S // 2, END_S, DAY_S)
    return sorted({*noons, *(at + i for at in transitions(zone) for i in (-1, 0, 1))})


@pytest.mark.parametrize("name", ZONES)
def test_every_transition_and_noon_from_2025_to_2036_is_as_zoneinfo_has_it(name: str) -> None:
    with zone_file(name).open("rb") as file:
        zone = ZoneInfo.from_file(file)
    assert len(transitions(zone)) == (24 if name in CHANGING else 0)
    mine = rules(tz_text(name))
    wrong = [at for at in moments(zone) if local(mine, at) != true_local(zone, at)]
    assert wrong == []


CASES = {
    "UTC0": [(0, (0, "UTC", False))],
    "<+0330>-3:30": [(0, (12_600, "+0330", False))],
    "<-03>3": [(0, (-10_800, "-03", False))],
    "XXX-1:02:03": [(0, (3723, "XXX", False))],
    "XXX+1": [(0, (-3600, "XXX", False))],
}


def unix_s(*date: int) -> int:
    return int(datetime.datetime(*date, tzinfo=datetime.UTC).timestamp())  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("text", CASES)
def test_an_offset_is_read_with_its_sign_turned_round(text: str) -> None:
    for at, expected in CASES[text]:
        assert local(rules(text), at) == expected


def is_summer(text: str, *date: int) -> bool:
    return local(rules(text), unix_s(*date))[2]


@pytest.mark.parametrize("year", [2027, 2028])
def test_a_julian_day_leaves_out_the_leap_day(year: int) -> None:
    text = "AAA0BBB0,J60/0,J300/0"
    assert [is_summer(text, year, 2, 28), is_summer(text, year, 3, 1)] == [False, True]
    assert [is_summer(text, year, 10, 26), is_summer(text, year, 10, 27)] == [True, False]


def test_a_day_counted_from_0_counts_the_leap_day() -> None:
    text = "AAA0BBB0,59/0,300/0"
    assert [is_summer(text, 2027, 2, 28, 23), is_summer(text, 2027, 3, 1)] == [False, True]
    assert [is_summer(text, 2028, 2, 28, 23), is_summer(text, 2028, 2, 29)] == [False, True]


def test_the_fifth_weekday_is_the_last_one_also_of_a_short_month() -> None:
    text = "AAA0BBB0,M2.5.0/0,M6.1.0/0"
    assert [is_summer(text, 2027, 2, 27, 23), is_summer(text, 2027, 2, 28)] == [False, True]  # the fourth Sunday
    assert [is_summer(text, 2032, 2, 28, 23), is_summer(text, 2032, 2, 29)] == [False, True]  # the fifth


def test_without_a_time_a_change_is_at_two_o_clock_of_the_time_before_it() -> None:
    text = "AAA-1BBB,M3.5.0,M10.5.0"
    assert [is_summer(text, 2027, 3, 28, 0, 59, 59), is_summer(text, 2027, 3, 28, 1)] == [False, True]
    assert [is_summer(text, 2027, 10, 30, 23, 59, 59), is_summer(text, 2027, 10, 31, 0)] == [True, False]


def test_summer_time_may_be_any_difference_and_the_smaller_one() -> None:
    assert local(rules("AAA0BBB-0:30,J1/0,J365/0"), unix_s(2027, 6, 1)) == (1800, "BBB", True)
    assert local(rules("AAA-1BBB0,J1/0,J365/0"), unix_s(2027, 6, 1)) == (0, "BBB", True)


def test_hours_may_put_a_change_up_to_a_week_away_and_into_another_year() -> None:
    text = "AAA0BBB0,J3/-167,J360/167"
    assert [is_summer(text, *date) for date in ((2026, 12, 27, 0, 59, 59), (2026, 12, 27, 1))] == [False, True]
    text = "AAA0BBB0,J100/0,J360/167"
    assert [is_summer(text, *date) for date in ((2028, 1, 1, 22, 59, 59), (2028, 1, 1, 23))] == [True, False]


def test_summer_time_all_year_never_ends() -> None:
    text = "XXX3EDT4,0/0,J365/23"  # the example of RFC 8536
    for day in itertools.chain(range(0, 24, 6), range(8758 - 24, 8790)):
        assert local(rules(text), unix_s(2027, 1, 1, 4) + day * 3600) == (-14_400, "EDT", True)


@given(st.integers(1, 4000), st.integers(1, 12), st.integers(1, 28))
def test_days_are_counted_as_the_calendar_does(year: int, month: int, day: int) -> None:
    assert days(year, month, day) == datetime.date(year, month, day).toordinal() - datetime.date(1970, 1, 1).toordinal()


BAD = [
    "",
    "CET",
    "CE-1",
    "-1",
    "Europe/Berlin",
    ":Europe/Berlin",
    "CET-25",
    "CET-1:60",
    "CET-1:00:60",
    "CET-1:",
    "CET--1",
    "CET-1:0:0:0",
    "<+3>-3",
    "<+03-3",
    "<a b>-3",
    "<>-3",
    "CET-1CEST",
    "CET-1CEST,M3.5.0",
    "CET-1CEST,M3.5.0,M10.5.0,M11.1.0",
    "CET-1,M3.5.0,M10.5.0",
    "CET-1CEST-2x,M3.5.0,M10.5.0",
    "CET-1CEST,M13.5.0,M10.5.0",
    "CET-1CEST,M0.5.0,M10.5.0",
    "CET-1CEST,M3.6.0,M10.5.0",
    "CET-1CEST,M3.0.0,M10.5.0",
    "CET-1CEST,M3.5.7,M10.5.0",
    "CET-1CEST,M3.5,M10.5.0",
    "CET-1CEST,J0,M10.5.0",
    "CET-1CEST,J366,M10.5.0",
    "CET-1CEST,366,M10.5.0",
    "CET-1CEST,-1,M10.5.0",
    "CET-1CEST,X,M10.5.0",
    "CET-1CEST,,",
    "CET-1CEST,M3.5.0/168,M10.5.0",
    "CET-1CEST,M3.5.0/,M10.5.0",
    "CET-1CEST,M3.5.0/2/3,M10.5.0",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_time_zone_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+ \w+"):
        rules(text)


@given(st.text("CETS<>+-0123456789,.:/MJ", max_size=40))
def test_no_text_makes_anything_but_a_time_zone_or_a_refusal(text: str) -> None:
    try:
        zone = rules(text)
    except ValueError:
        return
    for at in (0, FIRST_S, END_S, 4_000_000_000):
        offset_s, name, _ = local(zone, at)
        assert abs(offset_s) < 26 * 3600
        assert len(name) >= 3


@pytest.mark.vm
def test_the_compiled_module_says_the_same_on_the_vm(vm: Vm, tmp_path: Path) -> None:
    names = ("Europe/Berlin", "Australia/Lord_Howe", "Pacific/Chatham", "America/Nuuk", "Asia/Kolkata", "Europe/Dublin")
    expected, source = "", "from posix_tz import local, rules\n"
    (tmp_path / "posix_tz.mpy").write_bytes(compile_mpy(ROOT / "device" / "lib" / "posix_tz.py", "posix_tz.py"))
    for name in names:
        mine = rules(tz_text(name))
        with zone_file(name).open("rb") as file:
            changes = transitions(ZoneInfo.from_file(file))
        asked = [at + i for at in changes for i in (-1, 0)] + list(range(FIRST_S, END_S, 100 * DAY_S))
        expected += "".join(f"{local(mine, at)}\n" for at in asked)
        source += f"zone = rules({tz_text(name)!r})\nfor at in {asked}:\n    print(local(zone, at))\n"
    for text in BAD:
        source += f"try:\n    rules({text!r})\n    print('taken')\nexcept ValueError as error:\n    print(error)\n"
        with pytest.raises(ValueError) as refused:
            rules(text)
        expected += f"{refused.value}\n"
    result = subprocess.run(
        [*vm.argv, "-X", "heapsize=512k", "-c", source],
        env={"MICROPYPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.stdout == expected, result.stderr
