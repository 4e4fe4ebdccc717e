"""Which sources make the HTTP server, and its core as one module, as the product's build has it.

Owns the lists, for the bench and for the board that runs the server alone. Must not know how they are compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

from scripts import shrink
from scripts.build import BUNDLE_STRIDE
from scripts.console import ROOT

LIB = ROOT / "device" / "lib"
CORE = ("http_request", "http_connection", "httpd")  # in load order: what a server can't do without
OTHERS = ("http_answer", "http_client", "http_date", "http_dial")  # no part of the server
SELDOM = ("cookies", "forms", *sorted({path.stem for path in LIB.glob("http_*.py")} - {*CORE, *OTHERS}))
"""What is imported when it is needed."""


def core_bundle(users: Sequence[str]) -> str:
    """The source of the core as one module; `users` are the texts of what uses it besides SELDOM."""
    core = [(name, (LIB / f"{name}.py").read_text()) for name in CORE]
    seldom = [(LIB / f"{name}.py").read_text() for name in SELDOM]
    return shrink.bundle(core, [*seldom, *users], BUNDLE_STRIDE)
