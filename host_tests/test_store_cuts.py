"""The compiled store on the VM, in a heap like the board's: power cuts at random, and what it may cost at most.

`python -m host_tests.bench.store` makes the same runs at full length: 2,000 cuts over 100,000 records.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from host_tests.bench import store as bench
from host_tests.bench.report import TALLY
from scripts.vm import Vm

pytestmark = pytest.mark.vm

RECORDS, CUTS = 40_000, 800
LARGE_SECTORS = 64  # which so few records lap
SEED = int(os.environ.get("STORE_CUTS_SEED", "1"))


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    bench.build()


@pytest.fixture(scope="module")
def runs(vm: Vm) -> list[dict[str, Any]]:
    return bench.cut_runs(vm, RECORDS, CUTS, SEED, LARGE_SECTORS)


@pytest.fixture(scope="module")
def figures(vm: Vm) -> dict[str, tuple[float, str]]:
    """Each figure of the bench by its name, with what it says to it."""
    return {row.what.strip(): (row.figures[TALLY] or 0, row.verdict) for row in bench.figure_rows(vm)}


def test_the_power_was_cut_as_often_as_meant_in_programs_and_erases(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        assert run["cuts"] >= CUTS * min(bench.LARGE_SHARE, 1 - bench.LARGE_SHARE)
        assert run["torn"] + run["half_erased"] == run["cuts"]
        assert run["half_erased"] > run["cuts"] / 20
        assert run["cuts_in_a_row"] > 1
    assert sum(run["records"] for run in runs) >= RECORDS


@pytest.mark.parametrize("fault", bench.FAULTS)
def test_power_cuts_leave_no_fault_behind(runs: list[dict[str, Any]], fault: str) -> None:
    assert [run[fault] for run in runs] == [0, 0], runs


def test_a_power_cut_costs_one_record_at_most(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        assert 0 < run["missing"] <= run["cuts"]


def test_a_log_that_lost_records_would_be_found_out(vm: Vm) -> None:
    wiped = bench.on_vm(vm, f"store_cuts.main(3000, 60, {bench.SMALL_SECTORS}, {SEED}, 5)")
    assert wiped["lost"] > 0


def test_no_figure_of_the_store_misses_its_limit(vm: Vm, figures: dict[str, tuple[float, str]]) -> None:
    assert [name for name, (_, verdict) in figures.items() if verdict == "MISSED"] == []


def test_erases_per_record_have_not_risen_by_5_percent(figures: dict[str, tuple[float, str]]) -> None:
    """When they fell for good, bench/store_baseline.json is to say so."""
    share, _ = figures["as a share of the committed figure"]
    assert 0.5 < share <= bench.MOST_RISE
