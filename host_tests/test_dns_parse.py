"""The pure halves of lib/dns on CPython: what a question is, and what is made of answers, honest and not."""

from __future__ import annotations

import struct
import sys
import time
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_tests.virtual_board.name_server import bad_reply, record, reply, wire

A, CNAME, AAAA = 1, 5, 28
NAME = "Collector.test"
IDENT = 0xBEEF
POINTER = b"\xc0\x0c"
IP = b"\x0a\x00\x00\x05"
FAILED = -202


def load() -> types.ModuleType:
    """lib/dns; what it needs of the board to ask over the network is not there."""
    ticks = {name: None for name in ("ticks_ms", "ticks_diff")}
    sys.modules["udp"] = types.ModuleType("udp")
    time.__dict__.update(ticks)
    try:
        import dns

        return dns
    finally:
        del sys.modules["udp"]
        for name in ticks:
            delattr(time, name)


dns = load()
QUESTION = dns.query(NAME, IDENT)


def parsed(answer: bytes) -> tuple | None:
    return dns.parse(answer, len(answer), NAME, IDENT)


def assert_failed(answer: bytes) -> None:
    with pytest.raises(OSError) as raised:
        parsed(answer)
    assert raised.value.errno == FAILED or raised.value.args == (FAILED,)


# --- questions ----------------------------------------------------------------------------------


def test_a_question_is_the_datagram_of_the_standard() -> None:
    expected = b"\xbe\xef\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09Collector\x04test\x00\x00\x01\x00\x01"
    assert QUESTION == expected
    assert dns.query(NAME + ".", IDENT) == expected, "a dot at the end changes nothing"


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", ".a", "a" * 64, "a." + "b" * 64, ".".join(["a" * 63] * 3 + ["b" * 62])],
    ids=["nothing", "a dot", "an empty label", "a dot first", "long", "long label", "254 characters"],
)
def test_a_name_that_is_none_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(ValueError, match="a host name has"):
        dns.query(name, IDENT)


def test_the_longest_name_is_taken() -> None:
    name = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert len(name) == 253
    assert dns.query(name, IDENT)[12:-4] == wire(name)


@given(st.text(max_size=300))
def test_any_text_is_a_question_or_a_value_error(name: str) -> None:
    try:
        assert len(dns.query(name, IDENT)) <= 12 + 255 + 4
    except ValueError:
        pass


# --- answers ------------------------------------------------------------------------------------


def test_an_address_is_read_with_its_time_to_live() -> None:
    assert parsed(reply(QUESTION, [record(POINTER, A, IP, 77)])) == (("10.0.0.5",), 77)


def test_up_to_four_addresses_are_taken_in_their_order_with_the_shortest_time() -> None:
    records = [record(POINTER, A, b"\x0a\0\0" + bytes([n]), ttl_s) for n, ttl_s in ((6, 77), (5, 9), (4, 60), (3, 60))]
    assert parsed(reply(QUESTION, records)) == (("10.0.0.6", "10.0.0.5", "10.0.0.4", "10.0.0.3"), 9)
    assert parsed(reply(QUESTION, [*records, record(POINTER, A, IP)])) == parsed(reply(QUESTION, records))


def test_case_does_not_count_in_a_name() -> None:
    answer = reply(QUESTION, [record(wire("COLLECTOR.TEST"), A, IP)])
    assert parsed(answer.replace(b"Collector", b"cOLLECTOr", 1)) == (("10.0.0.5",), 300)


def test_bytes_behind_the_datagram_do_not_count() -> None:
    answer = reply(QUESTION, [record(POINTER, A, IP)])
    assert dns.parse(bytearray(answer + b"stale"), len(answer), NAME, IDENT) == (("10.0.0.5",), 300)


@pytest.mark.parametrize("fault", ["cname chain", "cname backwards"])
def test_aliases_are_followed_in_any_order_and_the_shortest_time_counts(fault: str) -> None:
    assert parsed(bad_reply(QUESTION, fault, "10.0.0.5", 150)) == (("10.0.0.5",), 100)  # type: ignore[arg-type]


def test_an_address_of_another_name_is_not_ours() -> None:
    assert_failed(reply(QUESTION, [record(wire("other.test"), A, IP)]))


def test_an_alias_to_a_name_without_an_address_fails() -> None:
    assert_failed(reply(QUESTION, [record(POINTER, CNAME, wire("other.test"))]))


def test_a_truncated_answer_counts_for_what_is_there() -> None:
    assert parsed(bad_reply(QUESTION, "truncated", "10.0.0.5", 60)) == (("10.0.0.5",), 60)
    cut = reply(QUESTION, [record(POINTER, A, IP, 60), record(POINTER, A, IP)], flags=0x8380)[:-9]
    assert parsed(cut) == (("10.0.0.5",), 60)


def test_a_time_to_live_with_the_sign_bit_is_none() -> None:
    assert parsed(reply(QUESTION, [record(POINTER, A, IP, 0x80000001)])) == (("10.0.0.5",), 0)


@pytest.mark.parametrize(
    "fault",
    ["nxdomain", "servfail", "no address", "truncated empty", "cname loop", "compression loop", "cut off"],
)
def test_an_answer_without_an_address_fails(fault: str) -> None:
    assert_failed(bad_reply(QUESTION, fault, "10.0.0.5", 60))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(QUESTION, [record(POINTER, AAAA, bytes(16))]), id="IPv6 only"),
        pytest.param(reply(QUESTION, [record(POINTER, A, IP + b"\0")]), id="five bytes"),
        pytest.param(reply(QUESTION, [record(POINTER, A, IP).replace(b"\0\1\0\1", b"\0\1\0\3")]), id="other class"),
        pytest.param(reply(QUESTION, [record(b"\xff\xff", A, IP)]), id="pointer behind the end"),
        pytest.param(reply(QUESTION, [record(b"\x40\x0c", A, IP)]), id="reserved label 01"),
        pytest.param(reply(QUESTION, [record(b"\x80\x0c", A, IP)]), id="reserved label 10"),
        pytest.param(reply(QUESTION, [record(POINTER, A, IP)], rcode=3), id="an address, but no such name"),
        pytest.param(reply(QUESTION, [*[record(b"\0", AAAA, b"")] * 16, record(POINTER, A, IP)]), id="17th record"),
        pytest.param(reply(QUESTION, [record(wire(".".join(["a" * 63] * 5)), A, IP)]), id="name too long"),
        pytest.param(reply(QUESTION, []) + record(POINTER, A, IP), id="a record that is not counted"),
    ],
)
def test_nonsense_in_an_answer_fails(answer: bytes) -> None:
    assert_failed(answer)


GOOD = reply(QUESTION, [record(POINTER, A, IP)])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GOOD[:11], id="less than a header"),
        pytest.param(GOOD[: len(QUESTION) - 1], id="less than the question"),
        pytest.param(b"\xbe\xee" + GOOD[2:], id="another id"),
        pytest.param(QUESTION, id="the question itself"),
        pytest.param(GOOD[:2] + b"\x91" + GOOD[3:], id="another kind of request"),
        pytest.param(GOOD[:4] + b"\0\2" + GOOD[6:], id="two questions"),
        pytest.param(GOOD.replace(b"Collector", b"Collectox"), id="another name"),
        pytest.param(GOOD[:12] + wire(NAME) + b"\0\x1c\0\1" + GOOD[len(QUESTION) :], id="another type"),
    ],
)
def test_what_is_no_answer_to_the_question_is_dropped(answer: bytes) -> None:
    assert parsed(answer) is None


# --- hostile answers ----------------------------------------------------------------------------


class Counted(bytes):
    """Bytes that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, key: object) -> object:  # type: ignore[override]
        Counted.looks += 1
        return super().__getitem__(key)  # type: ignore[index]


def assert_bounded(answer: bytes) -> None:
    """An address, None or OSError, in a number of steps that no datagram of 512 bytes can push up."""
    Counted.looks = 0
    dns.__dict__["bytes"] = Counted  # parse() makes its own copy
    try:
        found = parsed(answer)
        assert found is None or (all(ip.count(".") == 3 for ip in found[0]) and found[0] and found[1] >= 0)
    except OSError:
        pass
    finally:
        del dns.__dict__["bytes"]
    assert Counted.looks < 10_000


records = st.lists(
    st.tuples(
        st.sampled_from([POINTER, wire("a.b"), b"\xc0\x20", b"\xc0\x30", b"\x01a\xc0\x0c", b"\xc0\xff", b"\0"]),
        st.sampled_from([A, CNAME, CNAME, AAAA, 0, 65535]),
        st.one_of(st.sampled_from([IP, POINTER, wire("a.b"), b"\x01a\xc0\x0c", b""]), st.binary(max_size=20)),
        st.integers(0, 2**32 - 1),
    ),
    max_size=30,
)


@given(records, st.lists(st.tuples(st.integers(0, 511), st.integers(0, 255)), max_size=8), st.integers(0, 512))
def test_no_mutation_of_an_answer_does_harm(parts: list[tuple], changes: list[tuple[int, int]], size: int) -> None:
    answer = bytearray(reply(QUESTION, [record(*part) for part in parts])[:512])
    for at, value in changes:
        if at < len(answer):
            answer[at] = value
    assert_bounded(bytes(answer[: size or None]))


@given(st.binary(max_size=512))
def test_no_bytes_behind_the_question_do_harm(tail: bytes) -> None:
    assert_bounded((reply(QUESTION, [])[:6] + b"\xff\xff\0\0\0\0" + QUESTION[12:] + tail)[:512])


def test_the_worst_name_that_fits_is_bounded() -> None:
    """One long name of one-byte labels, and as many records as fit that point at it."""
    long = b"\x01a" * 127
    head = record(long + b"\0", AAAA, b"")
    start = struct.pack(">H", 0xC000 | len(QUESTION))
    count = (512 - len(QUESTION) - len(head)) // 12
    assert_bounded(reply(QUESTION, [head, *[record(start, CNAME, b"")] * count]))


def test_a_ladder_of_pointers_is_bounded() -> None:
    at = len(QUESTION)
    ladder = b"\0" + b"".join(struct.pack(">H", 0xC000 | max(at, at + 2 * i - 1)) for i in range(100))
    top = struct.pack(">H", 0xC000 | (at + len(ladder) - 2))
    assert_bounded(reply(QUESTION, [ladder, *[record(top, A, IP)] * 20]))
