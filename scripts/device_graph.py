"""Who imports whom in device/: read from the sources, for `make size` and the layering tests.

Owns the notion of resident (imported at module level, reachable from boot) against on demand (imported inside a
function and dropped by app.site.evict). Must not import device code.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from scripts.console import ROOT

DEVICE_DIR = ROOT / "device"
# What app.site.evict drops: whole packages and single modules.
ON_DEMAND = (
    "app.web",
    "app.settings",
    "app.auth",
    "app.compose",
    "app.formats.form",
    "app.formats.line",
    "app.formats.ndjson",
    "app.held",
    "app.ntpsync",
    "app.refusal",
    "app.restamp",
    "app.secure",
    "app.sensors",
    "app.store_open",
    "app.timerules",
    "app.timesync",
    "cookies",
    "dns",
    "forms",
    "http_answer",
    "http_date",
    "http_dial",
    "http_errors",
    "http_events",
    "http_files",
    "http_listen",
    "install",
    "ntp",
    "posix_tz",
    "ring_open",
    "ring_ram",
    "timing",
    "udp",
    "config",
)


@dataclass(frozen=True)
class Module:
    """A device module by the name it is imported under; imports as written, at top level and inside functions."""

    name: str
    path: Path
    top_imports: frozenset[str]
    late_imports: frozenset[str]


def module_name(path: Path) -> str:
    """device/lib/httpd.py is `httpd`: /lib is on the board's import path."""
    parts = path.relative_to(DEVICE_DIR).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "lib" else parts)


def _imported(node: ast.AST) -> set[str]:
    """Names an import statement may load; `from app import log` may name the module app.log."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


def read_module(path: Path) -> Module:
    tree = ast.parse(path.read_text(), str(path))
    late_nodes = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    top: set[str] = set()
    late: set[str] = set()
    for node in ast.walk(tree):
        (late if node in late_nodes else top).update(_imported(node))
    return Module(module_name(path), path, frozenset(top), frozenset(late))


def modules() -> dict[str, Module]:
    """All device modules by name."""
    found = (read_module(p) for p in sorted(DEVICE_DIR.rglob("*.py")))
    return {m.name: m for m in found}


def is_on_demand(name: str) -> bool:
    return any(name == part or name.startswith(part + ".") for part in ON_DEMAND)


def load_order(all_modules: dict[str, Module]) -> list[str]:
    """Every module but main after the ones it imports; residents first."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order or name not in all_modules or name == "main":
            return
        for imported in sorted(all_modules[name].top_imports):
            visit(imported)
        order.append(name)

    for name in sorted(all_modules, key=lambda n: (is_on_demand(n), n)):
        visit(name)
    return order


def resident(all_modules: dict[str, Module]) -> list[str]:
    """What stays loaded, in load order: the modules of the bundle."""
    return [name for name in load_order(all_modules) if not is_on_demand(name)]
