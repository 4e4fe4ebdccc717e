"""The pure halves of lib/ntp on CPython: the question, and time, delay and refusal from an answer."""

from __future__ import annotations

import datetime
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests.virtual_board.time_server import reply, timestamp

NONCE = b"\x01\x02\x03\x04\x05\x06\x07\x08"
SENT_MS, RECEIVED_MS = 5_000, 5_040


def load() -> types.ModuleType:
    """lib/ntp; what it needs of the board to ask over the network is not there."""
    sys.modules["udp"] = types.ModuleType("udp")
    try:
        import ntp

        return ntp
    finally:
        del sys.modules["udp"]


ntp = load()


def unix_ms(year: int, month: int = 1, day: int = 1) -> int:
    return int(datetime.datetime(year, month, day, tzinfo=datetime.UTC).timestamp()) * 1000


NOW_MS = unix_ms(2026, 11, 21)


def parsed(packet: bytes, received_ms: int = RECEIVED_MS) -> tuple | None:
    return ntp.parse(packet, NONCE, SENT_MS, received_ms)


def test_the_question_is_a_version_4_client_with_the_nonce_for_a_time() -> None:
    assert ntp.request(NONCE) == b"\x23" + bytes(39) + NONCE


def test_offset_and_delay_come_from_the_four_timestamps() -> None:
    packet = bytearray(reply(NONCE, NOW_MS + 15))
    packet[40:48] = timestamp(NOW_MS + 25)  # the server took 10 ms; 15 ms there, 15 ms back
    assert parsed(bytes(packet)) == (NOW_MS - SENT_MS, 30)


@pytest.mark.parametrize("year", [2024, 2026, 2035, 2036, 2037, 2038, 2069, 2100])
def test_times_are_right_on_both_sides_of_2036(year: int) -> None:
    for at_ms in (unix_ms(year), unix_ms(year, 2, 7) + 6 * 3_600_000 + 28 * 60_000 + 15_999, unix_ms(year, 12, 31)):
        assert ntp.parse(reply(NONCE, at_ms), NONCE, 0, 0) == (at_ms, 0)


def test_the_first_second_of_the_next_era_is_not_1900() -> None:
    era_1_ms = unix_ms(2036, 2, 7) + 6 * 3_600_000 + 28 * 60_000 + 16_000
    assert timestamp(era_1_ms)[:4] == bytes(4)
    assert ntp.parse(reply(NONCE, era_1_ms + 500), NONCE, 0, 0) == (era_1_ms + 500, 0)


@given(st.integers(unix_ms(2024), unix_ms(2101)), st.integers(-(2**40), 2**40), st.integers(0, 2_000))
def test_every_millisecond_comes_back(at_ms: int, sent_ms: int, delay_ms: int) -> None:
    """The clock is right in the middle of the delay, to the half millisecond that integers can't say."""
    offset_ms, delay = ntp.parse(reply(NONCE, at_ms), NONCE, sent_ms, sent_ms + delay_ms)
    assert delay == delay_ms
    assert abs(sent_ms + delay_ms / 2 + offset_ms - at_ms) <= 0.5


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(reply(NONCE, NOW_MS)[:47], id="short"),
        pytest.param(reply(bytes(8), NOW_MS), id="to another question"),
        pytest.param(reply(NONCE, NOW_MS, flags=0x23), id="from a client"),
        pytest.param(reply(NONCE, NOW_MS, flags=0x25), id="a broadcast"),
        pytest.param(reply(NONCE, NOW_MS, flags=0x14), id="version 2"),
        pytest.param(reply(NONCE, NOW_MS, flags=0x2C), id="version 5"),
    ],
)
def test_what_is_no_answer_to_the_question_is_dropped(packet: bytes) -> None:
    assert parsed(packet) is None


def test_an_answer_of_version_3_counts() -> None:
    assert parsed(reply(NONCE, NOW_MS, flags=0x1C)) is not None


@pytest.mark.parametrize("flags", [0x64, 0xA4])
def test_a_leap_second_that_is_announced_changes_nothing(flags: int) -> None:
    assert parsed(reply(NONCE, NOW_MS, flags=flags)) == parsed(reply(NONCE, NOW_MS))


def test_a_kiss_of_death_has_an_errno_of_its_own() -> None:
    with pytest.raises(OSError) as raised:
        parsed(reply(NONCE, 0, flags=0xE4, stratum=0, identity=b"RATE"))
    assert raised.value.args == (ntp.REFUSED,)


GOOD = reply(NONCE, NOW_MS)


@pytest.mark.parametrize(
    ("packet", "received_ms", "words"),
    [
        pytest.param(reply(NONCE, NOW_MS, flags=0xE4), RECEIVED_MS, "not synchronised", id="alarm"),
        pytest.param(reply(NONCE, NOW_MS, stratum=16), RECEIVED_MS, "not synchronised", id="stratum 16"),
        pytest.param(GOOD[:40] + bytes(8), RECEIVED_MS, "makes no sense", id="no time"),
        pytest.param(GOOD[:32] + bytes(16), RECEIVED_MS, "makes no sense", id="no times at all"),
        pytest.param(GOOD, SENT_MS + 2_001, "more than 2 s", id="late"),
        pytest.param(GOOD[:40] + timestamp(NOW_MS + 100), RECEIVED_MS, "makes no sense", id="longer there than away"),
        pytest.param(GOOD[:40] + timestamp(NOW_MS - 5_000), RECEIVED_MS, "makes no sense", id="sent before it came"),
    ],
)
def test_an_answer_that_is_no_good_is_refused_with_a_sentence(packet: bytes, received_ms: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parsed(packet, received_ms)


@given(st.lists(st.tuples(st.integers(0, 47), st.integers(0, 255)), max_size=12), st.integers(0, 60))
def test_no_mutation_of_an_answer_does_harm(changes: list[tuple[int, int]], size: int) -> None:
    packet = bytearray(GOOD + bytes(12))
    for at, value in changes:
        packet[at] = value
    try:
        found = parsed(bytes(packet[:size]))
        assert found is None or 0 <= found[1] <= 2_000
    except (OSError, ValueError):
        pass
