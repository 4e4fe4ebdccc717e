"""SLIP: whatever goes in comes out, in pieces of any size and with noise around it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from host_tests.virtual_board.slip import END, Decoder, encode

PAYLOADS = st.lists(st.binary(min_size=1, max_size=80), max_size=5)
NOISE = st.binary(max_size=20).map(lambda noise: noise.replace(END, b""))


def in_pieces(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The stream cut into pieces of these sizes, over and over; whole without sizes."""
    pieces, at, turn = [], 0, 0
    while at < len(stream):
        size_bytes = sizes[turn % len(sizes)] if sizes else len(stream)
        pieces.append(stream[at : at + size_bytes])
        at, turn = at + size_bytes, turn + 1
    return pieces


@given(PAYLOADS, st.lists(st.integers(1, 40), max_size=4))
@example([b"\xc0", b"\xdb", b"\xdb\xdc\xc0\xdd"], [1])
def test_payloads_come_out_as_they_went_in_whatever_the_pieces(payloads: list[bytes], sizes: list[int]) -> None:
    decoder = Decoder()
    pieces = in_pieces(b"".join(map(encode, payloads)), sizes)
    assert [payload for piece in pieces for payload in decoder.feed(piece)] == payloads


@given(st.lists(st.tuples(NOISE, st.binary(min_size=1, max_size=40)), max_size=5), NOISE, st.integers(1, 9))
def test_noise_between_frames_is_dropped(frames: list[tuple[bytes, bytes]], last: bytes, size_bytes: int) -> None:
    decoder = Decoder()
    stream = b"".join(noise + encode(payload) for noise, payload in frames) + last
    found = [payload for piece in in_pieces(stream, [size_bytes]) for payload in decoder.feed(piece)]
    assert found == [payload for _, payload in frames]


@given(st.binary(max_size=300), st.integers(1, 20))
def test_any_bytes_give_the_same_whole_and_in_pieces(stream: bytes, size_bytes: int) -> None:
    whole, pieces = Decoder(), Decoder()
    found = [payload for piece in in_pieces(stream, [size_bytes]) for payload in pieces.feed(piece)]
    assert whole.feed(stream) == found
    assert b"" not in found


def test_a_frame_holds_no_delimiter_but_at_its_ends() -> None:
    assert encode(b"a\xc0b\xdbc") == b"\xc0a\xdb\xdcb\xdb\xddc\xc0"


def test_a_frame_with_a_wrong_escape_is_dropped_and_the_next_one_found() -> None:
    assert Decoder().feed(b"\xc0a\xdbb\xc0\xc0a\xdb\xc0" + encode(b"next")) == [b"next"]


def test_doubled_delimiters_are_no_frame() -> None:
    assert Decoder().feed(b"\xc0\xc0\xc0a\xc0") == [b"a"]


def test_after_a_frame_that_was_cut_off_the_second_one_is_found() -> None:
    assert Decoder().feed(encode(b"cut off")[:4] + encode(b"lost") + encode(b"found")) == [b"cut", b"found"]
