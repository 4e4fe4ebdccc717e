"""Modules that stay files share short names and do what they did; what others may reach keeps its name.

How shortened modules behave on CPython is tested with the bundle's, in test_shrink.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from host_tests.shrink_lab import make_tree, run_on_vm, same_every_way
from scripts import build, device_graph, size
from scripts.build import compile_text
from scripts.console import Problem
from scripts.shrink import apart, bundle

STRIDE = 320


def short(text: str, *others: str) -> str:
    return apart([("one", text)], others)["one"]


# --- names --------------------------------------------------------------------------------------


def test_private_functions_classes_and_values_become_short() -> None:
    text = "_table = {}\ndef _look(): return _table\nclass _Row: pass\ndef look(): return _look(), _Row()\n"
    assert short(text) == "a = {}\ndef b(): return a\nclass c: pass\ndef look(): return b(), c()\n"


def test_private_attributes_and_methods_become_short() -> None:
    text = "class A:\n    _kind = 1\n    def _more(self): return self._kind\n    def f(self): self._x = self._more()\n"
    assert short(text) == "class A:\n    a = 1\n    def b(self): return self.a\n    def f(self): self.c = self.b()\n"


def test_public_names_and_attributes_stay() -> None:
    text = "LIMIT = 3\nclass Sensor:\n    fields = ()\n    def read(self):\n        self.total = LIMIT\n"
    assert short(text) == text


def test_local_variables_stay() -> None:
    assert short("def f():\n    total = 1\n    return total\n") == "def f():\n    total = 1\n    return total\n"


def test_two_modules_use_the_same_short_names() -> None:
    first = "_one = 1\ndef f(value): return _one, value\nclass A:\n    def g(self): self._x = 1\n"
    second = "_two = 2\ndef h(other): return _two, other\nclass B:\n    def i(self): self._y = 2\n"
    got = apart([("first", first), ("second", second)])
    names = [set(re.findall(r"\b[a-e]\b", text)) for text in got.values()]
    assert names == [{"a", "b"}, {"a", "b"}]


def test_the_short_names_are_those_of_the_bundle() -> None:
    inside = "_state = 1\ndef f(first, second): return first, second, _state\n"
    outside = "_table = 2\ndef g(third): return third, _table\n"
    assert "a = 1\ndef f(b, c): return b, c, a\n" in bundle([("inside", inside)], [outside])
    assert short(outside, inside) == "a = 2\ndef g(b): return b, a\n"


def test_a_short_name_is_none_that_any_source_uses() -> None:
    assert short("a = 1\n_x = 2\n", "def f(): b = 1\n") == "a = 1\nc = 2\n"


def test_constants_keep_their_names_and_vanish() -> None:
    text = "from micropython import const\n_UNIT = const(10)\n_rest = [_UNIT]\n"
    got = short(text)
    assert got == text.replace("_rest", "a")
    assert b"_UNIT" not in compile_text(got, "one.py")


def test_a_private_name_for_an_import_becomes_short() -> None:
    text = "import json as _json\nfrom time import (\n    sleep as _sleep,\n)\n_sleep(_json)\n"
    assert short(text) == "import json as a\nfrom time import (\n    sleep as b,\n)\nb(a)\n"


def test_a_module_apart_may_ask_for_its_own_name() -> None:
    assert short("print(__name__)\n") == "print(__name__)\n"


# --- what keeps its name ------------------------------------------------------------------------


def test_a_parameter_passed_by_keyword_anywhere_keeps_its_name() -> None:
    text = "def f(kind, other, extra, last=0): return kind\nf(1, other=2, extra=3)\n"
    assert "def f(a, other, extra, last=0)" in short(text, "def g(f): f(1, 2, 3, last=4)\n")
    got = apart([("one", "def f(kind, other): pass\n"), ("two", "from one import f\nf(1, other=2)\n")])
    assert "def f(a, other)" in got["one"]


def test_a_call_with_unknown_keywords_anywhere_keeps_all_parameters() -> None:
    assert "def f(kind)" in short("def f(kind): pass\n", "def g(f, x): f(**x)\n")


@pytest.mark.parametrize(
    "use", ["getattr(x, '_cells')", "hasattr(x, '_cells')", "setattr(x, '_cells', 1)", "NAMES = ('_cells', '_rows')"]
)
def test_an_attribute_named_in_a_string_keeps_its_name(use: str) -> None:
    text = "class A:\n    def f(self):\n        self._cells = self._gone = 1\n"
    for got in (short(text + use + "\n"), short(text, use + "\n")):
        assert "self._cells" in got and "_gone" not in got


def test_a_class_attribute_used_from_another_module_keeps_its_name() -> None:
    text = "class A:\n    _seen = _gone = 1\n"
    use = "def g(thing): return thing._seen\n"
    for got in (short(text, use), apart([("one", text), ("two", use)])["one"]):
        assert "_seen" in got and "_gone" not in got


def test_a_private_function_used_from_another_module_keeps_its_name() -> None:
    text = "def _seen(): pass\ndef _also(): pass\ndef _gone(): pass\n"
    use = "import one\nfrom one import _also\none._seen()\n"
    for got in (short(text, use), apart([("one", text), ("two", use)])["one"]):
        assert "_seen" in got and "_also" in got and "_gone" not in got


def test_an_attribute_of_a_module_imported_late_keeps_its_name() -> None:
    text = "class A:\n    _x = 1\n    def f(self):\n        import two\n        return two._x, self._x\n"
    got = apart([("one", text), ("two", "_x = 2\n")])
    assert "two._x" in got["one"] and got["two"] == "_x = 2\n"


def test_what_others_keep_in_their_own_objects_is_no_use_of_ours() -> None:
    text = "class A:\n    def f(self): self._bus = 1\n"
    own = "class B:\n    def g(self): self._bus = 2\nclass C(ValueError): pass\n"
    assert "_bus" not in short(text, own)
    assert "_bus" in short(text, own + "from one import A\nclass D(A): pass\n")
    assert "_bus" in short(text, own + "def g(self): self._bus = 3\n")


def test_an_heir_of_a_class_elsewhere_keeps_private_names() -> None:
    got = apart([("one", "class A:\n    _x = 1\n"), ("two", "from one import A\nclass B(A):\n    _x = _y = 2\n")])
    assert "_x" in got["one"] and "_x = _y" in got["two"]


def test_what_can_not_be_read_without_doubt_is_refused() -> None:
    for text in ("from os import *\n", "class A:\n    _X = const(1)\n"):
        with pytest.raises(Problem):
            short(text)


def test_an_attribute_does_not_meet_a_parameter_around_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def make(value):\n    class A:\n        _x = 1\n        y = value\n    return A().y\n"
    use = "from base import make\nresult = make(7)\n"
    assert same_every_way(tmp_path, monkeypatch, [("base", text)], use) == 7


# --- the device ---------------------------------------------------------------------------------


def statements(text: str) -> list[tuple[int, type]]:
    return [(node.lineno, type(node)) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]


def test_no_line_of_the_device_moves_and_every_module_still_compiles() -> None:
    modules = device_graph.modules()
    got = build.on_demand_sources(modules)
    assert set(got) == set(filter(device_graph.is_on_demand, modules))
    for name, text in got.items():
        assert statements(text) == statements(modules[name].path.read_text())
        assert compile_text(text, name)


def test_modules_on_demand_keep_no_long_private_names_but_those_in_strings() -> None:
    modules = device_graph.modules()
    nodes = [node for m in modules.values() for node in ast.walk(ast.parse(m.path.read_text()))]
    strings = {node.value for node in nodes if isinstance(node, ast.Constant)}
    for name, text in build.on_demand_sources(modules).items():
        nodes = list(ast.walk(ast.parse(text)))
        found = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
        found |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)}
        assert not {n for n in found - strings if n.startswith("_") and not n.startswith("__")}, name


def test_the_build_compiles_the_shortened_sources() -> None:
    tree, _ = build.build()
    text = build.on_demand_sources(device_graph.modules())["posix_tz"]
    assert (tree / "lib" / "posix_tz.mpy").read_bytes() == compile_text(text, "posix_tz")


FAULTS = """
import tally
from app.sensors import make, sht3x
from app.sensors.bme280 import Sensor
import posix_tz
for fault in (
    lambda: make.parse("unknown pin=4"),
    lambda: make.make(5),
    lambda: posix_tz.rules(None),
    lambda: sht3x.crc8(None, 1),
    lambda: Sensor({}),
):
    try:
        fault()
    except Exception as error:
        sys.print_exception(error)
"""


@pytest.mark.vm
def test_a_traceback_of_a_module_on_demand_names_the_right_lines(tmp_path: Path) -> None:
    places = []
    for is_short in (False, True):
        folder = tmp_path / str(is_short)
        folder.mkdir()
        printed = run_on_vm(folder, make_tree(folder / "tree", STRIDE, is_short), FAULTS)
        places.append(re.findall(r'File "((?:app|lib)/[^"]+)", line (\d+)', printed))
    assert len(places[0]) >= 6 and places[0] == places[1]


@pytest.mark.vm
def test_modules_on_demand_leave_fewer_names_behind(tmp_path: Path) -> None:
    modules = device_graph.modules()
    names = [n for n in device_graph.load_order(modules) if device_graph.is_on_demand(n)]
    left = []
    for is_short in (False, True):
        tree = make_tree(tmp_path / str(is_short), STRIDE, is_short)
        _, counts = size.weigh(tree, [*size.RESIDENT, *names])
        left.append(counts[-1] - counts[len(size.RESIDENT)])
    print("names of modules on demand, as they are and short:", left)
    assert left[1] <= left[0] * 3 // 4
