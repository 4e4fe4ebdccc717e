"""One POST takes no more of the heap than is promised, and what measures it can tell. See docs/bench.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from host_tests.bench import post
from host_tests.bench.report import Row, missed, table
from scripts.vm import Vm

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def bench(vm: Vm) -> Iterator[post.Bench]:
    with post.Bench(vm) as running:
        yield running


@pytest.fixture(scope="module")
def peak(bench: post.Bench) -> dict[str, Any]:
    return bench.tally("peak")


def test_one_post_of_120_records_takes_3_kb_at_most(vm: Vm, peak: dict[str, Any]) -> None:
    assert post.is_whole(peak)
    # Far less could not hold a socket, a task and what is sent: then it is not the POST that was measured.
    assert 1000 < peak["peak"] <= post.MOST_BYTES * vm.word_bits // 32


def test_the_log_line_after_it_is_measured_as_well(peak: dict[str, Any]) -> None:
    assert peak["peak"] < peak["with_log"] < peak["free"]


def test_what_arrives_are_the_120_records(bench: post.Bench) -> None:
    bench.server.bodies.clear()
    assert post.is_whole(bench.tally("garbage"))
    first, last = (json.loads(body)["readings"] for body in bench.server.bodies)
    assert len(first) == len(last) == post.RECORDS
    assert last[0][0] == first[-1][0] + 1
    assert all(len(reading) == 3 + 5 for reading in last)


def test_requests_sends_the_same_readings(bench: post.Bench, peak: dict[str, Any]) -> None:
    bench.server.bodies.clear()
    bench.tally("garbage")
    own = json.loads(bench.server.bodies[-1])
    built, given = (bench.requests("peak", builds) for builds in (True, False))
    if not built:
        pytest.skip("this VM has no `requests`")
    assert [json.loads(body) for body in bench.server.bodies[-3:]] == [own] * 3
    assert post.is_whole(built) and post.is_whole(given)
    assert built["peak"] - given["peak"] > len(bench.server.bodies[-1]) * 0.9
    assert built["held"] > given["held"]


def test_a_heap_too_small_for_a_post_is_told_from_one_that_will_do(bench: post.Bench) -> None:
    little = bench.tally("need", 512)
    assert not post.is_whole(little)
    assert little["done"] == 0
    assert "MemoryError" in little["error"]
    assert post.is_whole(bench.tally("need", 16 * 1024))


def test_what_must_be_free_is_found_by_bisection() -> None:
    def run(free_bytes: int) -> dict[str, Any]:
        return {"done": 120 if free_bytes >= 3000 else 0, "error": None, "free": free_bytes}

    found = post.least_free(run)
    assert found is not None
    assert 3000 <= found < 3000 + post.NEED_STEP
    assert post.least_free(lambda _: {"done": 0, "error": "MemoryError()"}) is None


def test_luck_does_not_count_as_enough() -> None:
    tries: dict[int, int] = {}

    def run(free_bytes: int) -> dict[str, Any]:
        tries[free_bytes] = tries.get(free_bytes, 0) + 1
        is_enough = free_bytes >= 4000 or (free_bytes >= 3000 and tries[free_bytes] == 1)
        return {"done": 120 if is_enough else 0, "error": None, "free": free_bytes}

    found = post.least_free(run)
    assert found is not None
    assert found >= 4000


def test_a_post_that_takes_more_fails_the_bench(monkeypatch: pytest.MonkeyPatch, vm: Vm) -> None:
    def rows(*_: object) -> list[Row]:
        return [Row("peak", {"tally": 3073, "requests": 1, "body given": None}, most=post.MOST_BYTES)]

    assert missed(rows()) == ["peak"]
    assert table(rows(), post.COLUMNS).splitlines()[0].split() == ["tally", "requests", "body", "given", "to", "reach"]
    monkeypatch.setattr(post, "rows", rows)
    assert post.main([]) == 1
