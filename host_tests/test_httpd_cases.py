"""Keeps docs/httpd-cases.md, the list of what the HTTP server withstands, to the tests that show it."""

from __future__ import annotations

import re
from types import ModuleType

from host_tests import (
    test_httpd_bodies,
    test_httpd_connections,
    test_httpd_events,
    test_httpd_faults,
    test_httpd_files,
    test_httpd_hostile,
    test_httpd_protocol,
    test_httpd_ranges,
    test_httpd_service,
)
from scripts.console import ROOT

MODULES = (
    test_httpd_hostile,
    test_httpd_faults,
    test_httpd_protocol,
    test_httpd_connections,
    test_httpd_service,
    test_httpd_files,
    test_httpd_ranges,
    test_httpd_bodies,
    test_httpd_events,
)


def cases_of(module: ModuleType) -> set[str]:
    """`test`, and `test: id` for each named case, as docs/httpd-cases.md writes them."""
    names = {name for name in vars(module) if name.startswith("test_") and callable(getattr(module, name))}
    return names | {
        f"{name}: {case.id}"
        for name in names
        for mark in getattr(getattr(module, name), "pytestmark", [])
        if mark.name == "parametrize"
        for case in mark.args[1]
        if getattr(case, "id", None)
    }


def test_the_list_of_cases_is_that_of_the_tests() -> None:
    listed = re.findall(r"\| `(test_[^`]+)` \|$", (ROOT / "docs" / "httpd-cases.md").read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == set[str]().union(*(cases_of(module) for module in MODULES))
