"""The rules of design.md section 3 over the import graph and the sources, and the gate: mpy-cross on all."""

from __future__ import annotations

import ast
import contextlib
import statistics
from pathlib import Path

import pytest

from host_tests.test_fakes_strict import Lab
from scripts import build, device_graph
from scripts.console import ROOT
from scripts.vm import Vm

CHIP_MODULES = {"machine", "network", "esp32", "ntptime", "dht", "onewire", "ds18x20", "esp", "bluetooth", "espnow"}
# main resets the chip when app/board can't even be imported; ntptime is the stock NTP client, used by one module.
CHIP_USERS = {"main", "app.board", "app.wifi"}
MODULES = device_graph.modules()


def all_imports(name: str) -> frozenset[str]:
    return MODULES[name].top_imports | MODULES[name].late_imports


def is_lib(name: str) -> bool:
    return MODULES[name].path.parent.name == "lib"


def test_the_graph_sees_the_whole_tree() -> None:
    assert len(MODULES) == len(list((ROOT / "device").rglob("*.py")))
    assert {"main", "config", "httpd", "app.board", "app.web.index", "app.sensors.internal"} <= set(MODULES)


@pytest.mark.parametrize("name", [n for n in MODULES if is_lib(n)])
def test_a_library_imports_nothing_of_the_application(name: str) -> None:
    assert not [i for i in all_imports(name) if i.split(".")[0] in ("app", "config", "main")]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_the_named_modules_touch_the_chip(name: str) -> None:
    touched = {i for i in all_imports(name) if i.split(".")[0] in CHIP_MODULES}
    assert not touched or name in CHIP_USERS or name.startswith("app.sensors.")


@pytest.mark.parametrize("name", [n for n in MODULES if not device_graph.is_on_demand(n) and n != "main"])
def test_nothing_resident_imports_an_on_demand_module_at_top_level(name: str) -> None:
    assert not [i for i in MODULES[name].top_imports if i in MODULES and device_graph.is_on_demand(i)]


@pytest.mark.vm
def test_what_is_evicted_is_what_the_graph_calls_on_demand(vm: Vm, tmp_path: Path) -> None:
    tree, _ = build.build()
    names = [name for name in device_graph.load_order(MODULES) if device_graph.is_on_demand(name)]
    with contextlib.closing(Lab(tmp_path, vm)) as lab:
        said = lab.run(f"""
            import os, sys
            os.chdir({str(tree)!r})
            sys.path += ["", ".frozen", "lib"]
            import tally
            stays = set(sys.modules)
            for name in {[*names, "logging"]!r}:
                __import__(name)
            say("came", set(sys.modules) - stays)
            from app import site
            site.evict()
            say("left", set(sys.modules) - stays)
            say("gone", stays - set(sys.modules))
            package = sys.modules["app"]
            say("package", [name for name in dir(package) if name[0] != "_" and getattr(package, name)])
            """)
    assert said["came"] >= {*names, "logging", "app.web", "app.sensors"}
    assert said["left"] <= CHIP_MODULES and said["gone"] <= {"app.formats"}
    assert {f"app.{name}" for name in said["package"]} <= {*device_graph.resident(MODULES)}


def test_plain_logic_knows_neither_sockets_nor_clocks_nor_files() -> None:
    for name in ("http_request", "timing", "app.store", "app.restamp", "ring_log", "ring_open", "posix_tz"):
        assert not all_imports(name) & {"socket", "time", "asyncio", "os", "machine", "app.board"}, name


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_device_module_compiles_for_the_firmware(name: str) -> None:
    path = MODULES[name].path
    assert build.compile_mpy(path, path.name)[:2] == b"M\x06"


def python_files() -> list[Path]:
    folders = ("device", "scripts", "host_tests/virtual_board")
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", python_files(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_module_is_short_says_what_it_owns_and_has_no_long_function(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    assert [f.name for f in functions(path) if length(f) > 60] == []


def test_device_functions_are_annotated_and_modules_small_in_the_middle() -> None:
    lengths = []
    for name, module in MODULES.items():
        lengths.append(len(module.path.read_text().splitlines()))
        if name == "main":  # compiled on the board: it stays short
            continue
        for function in functions(module.path):
            arguments = [a for a in function.args.args if a.arg != "self"]
            assert all(a.annotation for a in arguments), f"{name}.{function.name}"
    assert statistics.median(lengths) <= 130


def test_main_is_small_enough_to_be_compiled_on_the_board() -> None:
    assert (ROOT / "device" / "main.py").stat().st_size <= 3000


def test_the_version_is_the_same_everywhere() -> None:
    version = build.app_version()
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_bare_except_and_a_broad_one_only_at_a_task_boundary() -> None:
    # main: two where a crash is noted, one where a deploy that can't be finished must not keep the board from booting
    # sampler: a sensor's driver may be a person's own, and must not stop the others
    allowed = {"main": 3, "app.health": 1, "http_client": 1, "app.sampler": 1, "httpd": 1}
    for name, module in MODULES.items():
        handlers = [n for n in ast.walk(ast.parse(module.path.read_text())) if isinstance(n, ast.ExceptHandler)]
        assert all(h.type for h in handlers), name
        broad = [h for h in handlers if ast.unparse(h.type) in ("Exception", "BaseException")]  # type: ignore[arg-type]
        assert len(broad) <= allowed.get(name, 0), name
