"""What the server will not take, on the whole device: one sample, some, everything, too much at once.

The search for poisoned samples at every position of a batch is test_poison_search.py's; pauses are test_pauses.py's.
`pytest -s` shows the counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from host_tests import faults
from host_tests.device import Device
from host_tests.telemetry_world import MINUTE_MS, World, posting

pytestmark = pytest.mark.vm

BATCH = 120
MOST_REQUESTS = 8
POSITIONS = (1, 2, 60, 61, 119, 120, *random.Random(6).sample(range(3, 119), 4))
GROUPS = ((1, 2), (60, 61), (119, 120), (1, 120), (5, 60, 118), (58, 59, 60), (118, 119, 120))


@pytest.fixture
def world(make_device: Callable[..., Device]) -> Iterator[World]:
    """A board that samples each 10 s and posts each 30 s, as it comes."""
    with posting(make_device) as world:
        yield world


@pytest.fixture
def batches(make_device: Callable[..., Device]) -> Iterator[World]:
    """A board that posts when 120 samples wait."""
    with posting(make_device, sample_period_s=1, telemetry_period_s=0, telemetry_samples=BATCH) as world:
        yield world


def poisoned_batch(world: World, offsets: tuple[int, ...]) -> tuple[int, dict[int, int]]:
    """Poison samples of the next batch by their places in it, and wait until the batch is settled. The number before
    its first, and for each of the poisoned how many requests it took until the server had refused it alone or had
    taken all others of a batch that it had refused."""
    server = world.server
    world.advance(5000)  # what the batch before left
    base = world.status()["storage"]["cursor"]
    already = len(server.requests)
    seqs = {base + offset for offset in offsets}
    server.poison(server.poisoned | seqs)  # those of before are asked about once more
    world.until(lambda: world.newest() > base + BATCH and set(world.post()["held_seqs"]) >= seqs, 10 * MINUTE_MS)
    found: dict[int, int] = {}
    suspects: set[int] = set()
    for n, request in enumerate(server.requests[already:], 1):
        sent = set(world.seqs_of(request))
        suspects = sent if sent & seqs else suspects - sent
        if len(suspects) == 1:
            found.setdefault(suspects.pop(), n)
    return base, found


def test_a_poisoned_sample_is_found_in_8_requests_wherever_it_is_and_the_others_arrive(batches: World) -> None:
    held: list[int] = []
    counts = {}
    for position in POSITIONS:
        base, found = poisoned_batch(batches, (position,))
        held.append(base + position)
        assert list(found) == [base + position]
        counts[position] = found[base + position]
        assert batches.post()["held_seqs"] == held
        batches.assert_delivered(tuple(held))
    print(f"requests until one poisoned sample of {BATCH} was found, by its place: {counts}")
    assert max(counts.values()) <= MOST_REQUESTS
    batches.assert_sound()


def test_several_poisoned_samples_are_found_side_by_side_and_apart(batches: World) -> None:
    held: list[int] = []
    counts = {}
    for offsets in GROUPS:
        already = len(batches.server.requests)
        base, _ = poisoned_batch(batches, offsets)
        held += [base + offset for offset in offsets]
        counts[offsets] = len(batches.server.requests) - already
        assert batches.post()["held_seqs"] == held
        batches.assert_delivered(tuple(held))
        assert counts[offsets] <= (MOST_REQUESTS + 4) * len(offsets)
    print(f"requests for a whole batch of {BATCH}, by the places of the poisoned samples: {counts}")
    batches.assert_sound()


def test_a_poisoned_sample_is_held_shown_exported_and_sent_again_on_request(world: World) -> None:
    server = world.server
    server.poison({8})
    world.until(lambda: world.post()["held"], 5 * MINUTE_MS)
    assert world.post()["held_seqs"] == [8]
    assert "sample 8: the server answers 400" in world.post()["error"]
    assert "1 refused" in world.page()
    rows = world.page("/export?held=1").splitlines()
    assert len(rows) == 2 and rows[1].startswith("8,")
    world.device.post("/telemetry", b"do=retry")  # while it is still refused
    world.until(lambda: [world.seqs_of(request) for request in server.requests].count([8]) >= 2, MINUTE_MS)
    world.advance(MINUTE_MS)
    assert world.post()["held_seqs"] == [8]
    server.poison(())
    world.device.post("/telemetry", b"do=retry")
    world.until(lambda: not world.post()["held"], MINUTE_MS)
    assert sorted(world.arrived()) == list(range(1, world.newest() + 1))
    assert server.ledger.doubled_by_key() == []
    world.assert_sound()


def test_poisoned_samples_that_are_the_only_ones_wait_for_one_that_is_taken(make_device: Callable[..., Device]) -> None:
    with posting(make_device, telemetry_period_s=0, telemetry_samples=1) as world:
        world.until(lambda: world.newest() >= 2, MINUTE_MS)
        next_seq = world.status()["storage"]["next_seq"]
        poisoned = tuple(range(next_seq, next_seq + 3))
        world.server.poison(poisoned)
        world.until(lambda: world.status()["ledger"]["pending"] == 3, MINUTE_MS)
        world.advance(1500)
        post = world.post()
        assert (post["held"], post["waiting"]) == (0, 3)
        assert post["state"] == "3 refused; held as soon as the server takes another"
        world.until(lambda: world.post()["held"], MINUTE_MS)
        assert world.post()["held_seqs"] == list(poisoned)
        world.advance(MINUTE_MS)
        world.assert_delivered(poisoned)
        world.assert_sound()


# --- everything is refused ------------------------------------------------------------------------


def test_at_a_wrong_address_nothing_is_held_and_all_arrives_when_it_is_mended(world: World) -> None:
    world.advance(MINUTE_MS)
    world.server.fault = faults.status(404)
    for _ in range(30):
        world.advance(10_000)
        assert world.post()["held"] == 0
    post = world.post()
    assert post["state"].startswith("every sample is refused, the server answers 404"), post
    assert "every sample is refused" in world.page()
    assert set(world.pauses_s()) == {60}
    asked = len(world.server.requests)
    world.advance(3 * MINUTE_MS)
    print(f"404 for 8 minutes: {len(world.server.requests)} requests, {world.pauses_s().count(60)} pauses")
    assert len(world.server.requests) - asked <= 3 * (BATCH.bit_length() + 64)
    waiting = world.post()["waiting"]
    world.server.fault = faults.NONE
    world.set(telemetry_url=world.server.url + "?right")
    assert waiting >= 45
    assert world.until(lambda: world.newest() > waiting, MINUTE_MS) < 10_000
    assert world.post()["held"] == 0
    world.assert_delivered()
    world.assert_sound()


def test_a_wrong_address_that_is_put_right_at_the_server_is_asked_again_after_a_minute(world: World) -> None:
    world.server.fault = faults.status(404)
    world.until(lambda: world.pauses_s(), 5 * MINUTE_MS)
    world.server.fault = faults.NONE
    assert world.until(lambda: world.newest() > 5, 2 * MINUTE_MS) <= 62_000
    assert world.post()["held"] == 0
    world.assert_delivered()


def test_samples_that_were_refused_while_the_server_was_wrong_are_not_left_held(world: World) -> None:
    """It takes samples again in the middle of the search: those it had refused alone are asked about once more."""
    world.advance(MINUTE_MS)
    world.server.fault = faults.status(404)
    world.until(lambda: [len(world.seqs_of(q)) for q in world.server.requests].count(1) >= 3, 5 * MINUTE_MS, 50)
    world.server.fault = faults.NONE
    world.advance(2 * MINUTE_MS)
    assert world.post()["held"] == 0
    assert sorted(world.arrived()) == list(range(1, world.newest() + 1))


@pytest.mark.parametrize(("status", "hint"), [(401, "it wants another telemetry_auth"), (403, "it wants another")])
def test_a_server_that_refuses_access_pauses_telemetry_shows_it_and_is_believed_when_it_relents(
    world: World, status: int, hint: str
) -> None:
    server = world.server
    world.advance(MINUTE_MS)
    for end in ("by itself", "send now", "another address"):
        server.fault = faults.status(status)
        asked = len(server.requests)
        world.advance(10 * MINUTE_MS)
        assert 9 <= len(server.requests) - asked <= 11
        post = world.post()
        assert f"the server answers {status}, {hint}" in post["state"]
        assert post["held"] == 0 and post["failures"] >= 9
        assert f"the server answers {status}" in world.page()
        server.fault = faults.NONE
        before = world.newest()
        if end == "send now":
            world.device.post("/telemetry", b"do=send")
        if end == "another address":
            world.set(telemetry_url=server.url + "?other")
        took_ms = world.until(lambda before=before: world.newest() > before, 2 * MINUTE_MS)
        assert took_ms <= (61_000 if end == "by itself" else 2_500), end
        world.advance(MINUTE_MS)
        world.assert_delivered()
    world.assert_sound()


def test_a_redirect_is_an_error_of_the_settings_and_says_so(world: World) -> None:
    world.server.fault = faults.status(301, "Location: http://127.0.0.1:1/other")
    world.advance(5 * MINUTE_MS)
    assert "the server answers 301, it is somewhere else: set the address it names" in world.post()["state"]
    assert set(world.pauses_s()) == {60}
    world.server.fault = faults.NONE
    world.advance(2 * MINUTE_MS)
    world.assert_delivered()


# --- too much at once, and keys ---------------------------------------------------------------------


def test_a_server_that_wants_less_at_once_gets_half_as_much_until_it_is_content(batches: World) -> None:
    batches.server.most_readings = 50
    batches.until(lambda: batches.newest() >= 240, 10 * MINUTE_MS)
    sizes = [len(batches.seqs_of(request)) for request in batches.server.requests]
    assert sizes[1:4] == [BATCH, 60, 30] and max(sizes[3:]) == 30  # the first went out at the start
    assert batches.post()["held"] == 0
    batches.assert_delivered()
    batches.assert_sound()


def test_a_server_to_which_one_sample_is_too_much_holds_nothing_up_for_good(batches: World) -> None:
    batches.server.most_bytes = 20
    batches.until(lambda: batches.pauses_s(), 10 * MINUTE_MS)
    sizes = [len(batches.seqs_of(request)) for request in batches.server.requests]
    assert [size for size in sizes if size > 2] == [BATCH, 60, 30, 15, 7, 3]
    assert "every sample is refused, the server answers 413" in batches.post()["state"]
    batches.server.most_bytes = 0
    took_ms = batches.until(lambda: batches.post()["waiting"] < BATCH, 20 * MINUTE_MS)
    print(f"after 413 for every size: all delivered {took_ms / 1000:.0f} s after the server relented")
    assert took_ms <= 3 * MINUTE_MS
    assert batches.post()["held"] == 0
    batches.assert_delivered()
    batches.assert_sound()


def test_a_key_that_the_server_objects_to_is_left_out_once(world: World) -> None:
    server = world.server
    world.advance(MINUTE_MS)
    asked = len(server.requests)
    server.fault = faults.status(422)
    world.until(lambda: len(server.requests) > asked, MINUTE_MS, 100)
    server.fault = faults.NONE
    world.advance(2 * MINUTE_MS)
    keys = [request.headers.get("idempotency-key") for request in server.requests[asked:]]
    first = world.seqs_of(server.requests[asked])
    assert keys[:2] == [f"tally-0c3f01-{first[0]}-{first[-1]}", None]
    assert len(keys) > 3 and None not in keys[2:]
    world.assert_delivered()
    world.assert_sound()
