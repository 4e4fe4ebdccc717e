"""The memory budget: what stays loaded, weighed on the real VM."""

from __future__ import annotations

import pytest

from host_tests.virtual_board.vm import _names
from scripts import build, device_graph, size
from scripts.vm import Vm

pytestmark = pytest.mark.vm


def test_what_stays_loaded_is_under_its_budget_with_asyncio(vm: Vm) -> None:
    assert vm.word_bits == 32, "a 64-bit VM can't judge the budget: install or name a 32-bit one"
    lines, resident = size.report()
    assert resident <= size.RESIDENT_BUDGET_BYTES, "\n".join(lines)
    report = "\n".join(lines)
    for name in device_graph.modules():
        assert name == "main" or f"  {name} " in report


def test_names_fit_the_pools_that_the_board_is_charged_for(vm: Vm) -> None:
    tree, _ = build.build()
    on_demand = [n for n in device_graph.load_order(device_graph.modules()) if device_graph.is_on_demand(n)]
    _, counts = size.weigh(tree, [*size.RESIDENT, *on_demand])
    assert counts[-1] - counts[0] <= _names.DEVICE_NAMES
