"""Bundling keeps what modules do and where their lines are; what it can't keep is refused.

Small modules run on CPython, bundled and separately; the real device tree runs on the VM.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from host_tests.shrink_lab import device_sources, make_tree, resident, run_on_vm, same_every_way
from scripts import size
from scripts.console import Problem
from scripts.shrink import bundle, translate

COMPACT_STRIDE = 400


def module_part(text: str, k: int) -> list[str]:
    return text.split("\n")[k * 1000 : k * 1000 + 1000]


BOARD = "from micropython import const\n_UNIT = const(10)\n_state = [1]\ndef ten(by):\n    return by * _UNIT\n"


# --- imports ------------------------------------------------------------------------------------


def test_imports_of_bundled_modules_become_names_of_the_bundle() -> None:
    text = "from app.board import ten\nfrom app import board, web\nimport base\nx = 1\n"
    got = bundle([("base", ""), ("app.board", BOARD), ("app.log", text)])
    assert module_part(got, 3)[:4] == [
        "pass",
        "board = _m; from app import web",
        "base = _m",
        "x = 1",
    ]


def test_a_name_imported_under_another_is_assigned() -> None:
    got = bundle([("app.board", BOARD), ("app.log", ("from app.board import ten as t\nimport json as j\n"))])
    assert module_part(got, 2)[:2] == ["t = ten", "import json as j"]


def test_parenthesised_imports_keep_their_lines_and_what_follows() -> None:
    text = "from app import (\n    board,  # é\n    web,\n); x = 'é'\nfrom app.board import (\n    ten,\n)\ny = 2\n"
    got = bundle([("app.board", BOARD), ("app.log", text)])
    lines = module_part(got, 2)
    assert lines[0] == "board = _m; from app import (" and lines[3] == "web); x = 'é'"
    assert lines[7] == "y = 2"
    ast.parse(got)


def test_const_is_imported_once_and_its_neighbours_stay() -> None:
    got = bundle([("a1", "from micropython import const, opt_level\n"), ("b1", BOARD)])
    assert got.count("import const") == 1
    assert module_part(got, 1)[0] == "from micropython import opt_level"


def test_late_imports_of_bundled_modules_work_at_run_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "def f():\n"
        "    from app.board import ten\n"
        "    from app import board\n"
        "    import base\n"
        "    return base.n, ten(board.ten(2))\n"
    )
    sources = [("base", "n = 3\n"), ("app.board", BOARD), ("app.log", text)]
    use = "from app.log import f\nresult = f()\n"
    assert same_every_way(tmp_path, monkeypatch, sources, use) == (3, 200)


def test_a_package_without_files_is_still_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [("app.gauges.seven", "def read():\n    return 7\n")]
    use = "from app.gauges import seven\nimport app.gauges.seven as again\nresult = seven.read(), again.read()\n"
    assert same_every_way(tmp_path, monkeypatch, sources, use) == (7, 7)


def test_an_import_of_what_is_not_there_yet_is_refused() -> None:
    with pytest.raises(Problem, match="app.board"):
        bundle([("app.log", "from app.board import ten\n"), ("app.board", BOARD)])


# --- clashes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two", "name"),
    [
        ("def level(): pass\n", "level = 1\n", "level"),
        ("class A: pass\n", "def f():\n    global A\n    A = 1\n", "A"),
        ("import json\n", "from ujson import loads as json\n", "json"),
        ("def open(): pass\n", "def f():\n    return open('x')\n", "open"),
        (
            ("from micropython import const\nLOW = const(1)\n"),
            ("def f(LOW):\n    return LOW\n"),
            "LOW",
        ),
        ("n = 0\ndef f():\n    global n\n    n += 1\n", "from one import n\n", "n"),
        ("import json\n", "import json\ndel json\n", "json"),
        ("def f():\n    global j\n    import json as j\n", "def g():\n    global j\n    import re as j\n", "j"),
    ],
)
def test_a_name_with_two_meanings_is_refused(one: str, two: str, name: str) -> None:
    with pytest.raises(Problem) as caught:
        bundle([("one", one), ("two", two)])
    assert all(word in str(caught.value) for word in (name, "two"))


def test_a_function_called_like_a_bundled_module_is_refused() -> None:
    sources = [
        ("app.board", "def memory(): pass\n"),
        ("app.memory", ""),
        ("app.x", "from app import memory\n"),
    ]
    with pytest.raises(Problem, match=r"memory.*app\.board.*app\.x"):
        bundle(sources)


def test_the_same_import_in_two_modules_is_no_clash() -> None:
    text = "import json\nfrom time import sleep\nfrom app.board import ten\n"
    bundle([("app.board", BOARD), ("one", text), ("two", text)])


@pytest.mark.parametrize("text", ["print(__name__)\n", "from os import *\n", ("class A:\n    _X = const(1)\n")])
def test_what_can_not_work_in_a_bundle_is_refused(text: str) -> None:
    with pytest.raises(Problem):
        bundle([("one", text)])


def test_a_module_that_does_not_fit_is_refused() -> None:
    bundle([("one", "x = 1\n" * 990)])
    with pytest.raises(Problem, match="one"):
        bundle([("one", "x = 1\n" * 991)])


# --- private names ------------------------------------------------------------------------------


def test_private_names_of_modules_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = (
        "from micropython import const\n_UNIT = const(3)\n_state = 'é'; _größe = 4\n"
        "def three(by, unit=_UNIT):\n    global _state\n    _state += 'ü'\n"
        "    return by * unit, _state, _größe\n"
    )
    use = "from app.board import ten\nfrom app.log import three\nresult = ten(2), three(2), three(5)\n"
    sources = [("app.board", BOARD), ("app.log", other)]
    assert same_every_way(tmp_path, monkeypatch, sources, use)
    got = bundle(sources)
    assert "_UNIT" not in got and "_state" not in got and "_größe" not in got


def test_constants_stay_private_so_that_they_vanish() -> None:
    target = module_part(bundle([("app.board", BOARD)]), 1)[1]
    assert target.startswith("_") and target.endswith("= const(10)")


def test_short_attributes_are_used_again_in_the_next_module() -> None:
    text = (
        "class %s:\n    def __init__(self):\n        self._long = 1\n    def _more(self):\n        return self._long\n"
    )
    got = bundle([("one", text % "A"), ("two", text % "B")])
    assert [n.attr for n in ast.walk(ast.parse(got)) if isinstance(n, ast.Attribute)].count("a") == 4


def test_heirs_share_names_with_their_base_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = (
        "class Base:\n    _kind = 'b'\n    def __init__(self):\n        self._x = 1\n"
        "    def _step(self):\n        return self._x\n"
        "    def go(self):\n        return self._kind, self._step()\n"
    )
    top = (
        "from base import Base\nclass Top(Base):\n    _kind = 't'\n    def __init__(self):\n"
        "        super().__init__()\n        self._y = 2\n        self._z = 3\n"
        "    def _step(self):\n        return self._x, self._y, self._z, super()._step()\n"
    )
    sources = [("base", base), ("top", top)]
    use = "from top import Top\nresult = Top().go()\n"
    assert same_every_way(tmp_path, monkeypatch, sources, use) == ("t", (1, 2, 3, 1))
    assert "_step" not in bundle(sources)


def test_a_default_in_a_class_is_not_taken_for_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "_D = 'd'\n"
        "_E = 'e'\n"
        "class A:\n"
        "    def _one(self): pass\n"
        "    def _two(self): pass\n"
        "    def f(self, x=_D, y=_E):\n"
        "        return x, y\n"
    )
    use = "from base import A\nresult = A().f()\n"
    assert same_every_way(tmp_path, monkeypatch, [("base", text)], use) == ("d", "e")


def test_attributes_of_others_keep_their_names() -> None:
    text = (
        "from asyncio import core\n"
        "class A:\n"
        "    _io_queue = _mine = 1\n"
        "    def f(self):\n"
        "        return core._io_queue, core._other, self._mine\n"
    )
    got = bundle([("one", text)])
    assert "core._io_queue" in got and "core._other" in got and "_mine" not in got


def test_private_names_used_outside_the_bundle_are_kept() -> None:
    text = "_table = {}\nclass A:\n    _seen = _gone = _by_text = 0\n"
    got = bundle([("one", text)], [("import one\none._table\nx._seen\n"), "getattr(x, '_by_text')\n"])
    assert "_table" in got and "_seen" in got and "_by_text" in got and "_gone" not in got


def test_a_class_with_a_foreign_base_keeps_its_private_names() -> None:
    got = bundle([("one", "import logging\nclass A(logging.Handler):\n    _mine = 1\n")])
    assert "_mine" in got


def test_annotations_need_no_names_that_exist_and_follow_renamed_classes() -> None:
    one = "import socket\nclass _Inner: pass\ndef f(x: _Inner) -> _Inner: pass\n"
    got = bundle([("one", one), ("two", "def g(sock: socket.socket): pass\n")])
    assert module_part(got, 1)[2] == "def f(a: a) -> a: pass"


# --- parameters ---------------------------------------------------------------------------------


def test_parameters_become_short_and_self_stays() -> None:
    got = bundle(
        [
            (
                "one",
                ("class A:\n    def f(self, first, second=None):\n        return first, second\n"),
            )
        ]
    )
    assert module_part(got, 1)[1:3] == ["    def f(self, a, b=None):", "        return a, b"]


def test_parameters_passed_by_keyword_keep_their_names() -> None:
    got = bundle([("one", ("def f(kind, other, extra=1): pass\nf(1, other=2)\n"))], ["f(1, 2, extra=3)\n"])
    assert "def f(a, other, extra=1)" in got


def test_a_call_with_unknown_keywords_keeps_all_parameters() -> None:
    assert "def f(kind)" in bundle([("one", "def f(kind): pass\n")], ["f(**x)\n"])


def test_parameters_do_not_meet_other_names() -> None:
    got = bundle([("one", ("a = 1\n_secret = 2\ndef f(first):\n    b = first\n    return a, b, _secret\n"))])
    names = {"f": None}
    exec(compile("\n".join(module_part(got, 1)), "x", "exec"), names)
    assert names["f"](5) == (1, 5, 2)  # type: ignore[misc]


TRICKY = """
import asyncio
_factor = 2
def nested(value, others):
    def inner(step, value2=value):
        nonlocal value
        value += step
        return [value * other + step for other in others if other != step]
    return inner(1), value, (lambda step, *rest, **named: (step, value, rest, named))(3, 4)
def shadow(value):
    def inner(value):
        return value + 1
    return inner(value) + value, [value for value in range(value)], {value: v for v in (value,)}
def text(größe, name):
    return "é%s %d" % (name, größe), "ü", name
async def wait(value, pause):
    async def more(n):
        await asyncio.sleep(pause)
        return n * _factor + value
    return await more(value), [await more(n) for n in (1, 2)]
def walrus(values):
    last = 0
    found = any((last := value) > _factor for value in values)
    return found, last
def caught(error):
    try:
        raise ValueError(error)
    except ValueError as error:
        return str(error)
def deleted(value):
    kept = value
    del value
    return kept
class Odd:
    factor = _factor
    table = [n * m for n in (1, 2) for m in (3, 4)]
    def method(self, factor, *, only=1):
        return factor + self.factor + only
"""
USE = """
import asyncio
from base import *
import base
result = (nested(1, [1, 2, 3]), shadow(4), text(3, "ä"), asyncio.run(wait(3, 0)),
    walrus([1, 5, 7]), caught("x"), deleted(8), Odd().method(1, only=3), Odd.table)
"""


def test_tricky_functions_do_what_they_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert same_every_way(tmp_path, monkeypatch, [("base", TRICKY)], USE)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("f'é{name!r:>{name}}'", "f'é{a!r:>{a}}'"),
        ("f'name {name} {{name}} { name }'", "f'name {a} {{name}} { a }'"),
        ("('name' f'{name}'\n    rf'\\name{name}')", "('name' f'{a}'\n    rf'\\name{a}')"),
        ("f'''{\nname}é\n{name + name}{f'{name}'}'''", "f'''{\na}é\n{a + a}{f'{a}'}'''"),
    ],
)
def test_names_inside_f_strings_are_rewritten(
    text: str, want: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"def f(name):\n    return {text}\n"
    assert f"return {want}\n" in bundle([("base", source)])
    assert same_every_way(tmp_path, monkeypatch, [("base", source)], "from base import f\nresult = f(2)\n")


# --- lines --------------------------------------------------------------------------------------


def test_no_line_moves() -> None:
    sources = [
        ("app.board", BOARD),
        ("base", TRICKY),
        ("app.log", ("from app import (\n    board,\n)\nx = 1\n")),
    ]
    got = [(n.lineno, type(n)) for n in ast.parse(bundle(sources)).body]
    for k, (_, text) in enumerate(sources, 1):
        want = [n.lineno for n in ast.parse(text).body]
        assert [line % 1000 for line, _ in got if line // 1000 == k] == want


def test_places_in_a_traceback_are_those_of_the_modules() -> None:
    text = 'x File "tally.py", line 2123, in f\nFile "tally.py", line 12\nFile "main.py", line 2001'
    want = 'x File "app/log.py", line 123, in f\nFile "tally.py", line 12\nFile "main.py", line 2001'
    assert translate(text, ["httpd", "app.log"]) == want
    assert translate('File "tally.py", line 9999', ["httpd"]) == 'File "tally.py", line 9999'


# --- the device ---------------------------------------------------------------------------------


PROGRAM = """
import tally
from app import log, site, health, board
from app.sensors import internal
import httpd, http_request
from http_request import Reject
from app.web import join, index, static, status, tips
from app import compose
assert Reject is http_request.Reject is httpd.Reject is tally.Reject
assert httpd.Connection.__name__ == "Connection"
assert issubclass(httpd.Connection, http_request.Request)
sensor = internal.Sensor({"kind": "internal"})
log.info("test", "%s", sensor.fields)
print(sensor.start(), sensor.read(), board.memory()[0] > 0)
request = httpd.Connection()
request.reset()
head = b"GET /status?a=1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
request.view[:len(head)] = head
request.feed(len(head))
print(request.complete, request.path, request.query, request.headers)
try:
    request.reset()
    request.view[:9] = b"A / B/1\\r\\n"
    request.feed(9)
except Reject as reject:
    print("reject", reject.args[0])
from app.clock import Clock
from app.store_open import open_store
from ring_log import PAGE_BYTES
store = open_store(None, "temp_c", 1, Clock(), lambda key, by: 0)
for n in range(5):
    store.append(n, 1, (n / 2,))
store.acknowledge(2, 2)
print(store.pending(), store.cursor, [(s[0], s[5]) for s in store.samples(4, bytearray(PAGE_BYTES))])
del sys.modules["app.web.join"], sys.modules["app.web.tips"]
assert sys.modules["app.log"] is sys.modules["httpd"] is tally
from app import log as again
assert again is log and site.load(site.ROUTES["/tips"]).get
try:
    log.info(1)
except Exception as error:
    sys.print_exception(error)
"""


@pytest.mark.vm
@pytest.mark.parametrize("stride", [1000, COMPACT_STRIDE])
def test_the_device_works_as_a_bundle_on_the_vm(tmp_path: Path, stride: int) -> None:
    tree = make_tree(tmp_path / "tree", stride)
    printed = run_on_vm(tmp_path, tree, PROGRAM)
    assert "True /status a=1 {b'Host': 'x'}" in printed and "reject 400" in printed
    assert "3 2 [(4, (1.5,)), (5, (2.0,))]" in printed


PAGES = """
import asyncio
if tree_is_bundled:
    import tally
from app import site
if not tree_is_bundled:
    site.evict = lambda: None  # it leaves nothing but the bundle
import httpd
from app import health
from app.compose import compose

class Sock:
    def __init__(self):
        self.sent = b""
    def write(self, data, first, size):
        self.sent += bytes(data[first : first + size])
        return size

async def go():
    compose(False, bytes(range(6)), 1)
    await asyncio.sleep(0)
    for path in ("/", "/tips", "/api/status"):
        conn = site.server.slots[0]
        conn.sock = Sock()
        conn.begin(1000)
        await site.load(site.ROUTES[path]).get(conn)
        await conn.write("", 2)
        text = conn.sock.sent.decode()
        print(path, [text] if path == "/tips" else [len(text) > 500, text[:300]])
    print(site.clock.now()[1], health.restarts, site.telemetry.state)
asyncio.run(go())
"""


@pytest.mark.vm
def test_pages_are_the_same_from_a_bundle(tmp_path: Path) -> None:
    said = []
    for bundled in (False, True):
        (tmp_path / str(bundled)).mkdir()
        tree = make_tree(tmp_path / str(bundled) / "tree", 1000 if bundled else 0, is_short=bundled)
        program = f"tree_is_bundled = {bundled}\n{PAGES}"
        # Figures of memory differ, which is what the bundle is for.
        said.append(re.sub(r"\d+", "0", run_on_vm(tmp_path / str(bundled), tree, program)))
    assert said[0].count("HTTP/0.0 0") == 3
    assert said[0] == said[1]


def test_the_bundle_leaves_no_long_private_names_of_the_device() -> None:
    nodes = list(ast.walk(ast.parse(bundle(*device_sources()))))
    names = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    assert {n for n in names if n.startswith("_") and not n.startswith("__")} <= {"_io_queue", "_enqueue"}


@pytest.mark.vm
def test_the_bundle_weighs_less_than_its_modules(tmp_path: Path) -> None:
    sums = {}
    for stride in (0, 1000, COMPACT_STRIDE):
        tree = make_tree(tmp_path / str(stride), stride)
        names = ["tally"] if stride else resident()
        sums[stride] = sum(size.weigh(tree, ["asyncio", "logging", *names])[0].values())
    print("separate, bundled, bundled compactly:", sums)
    assert sums[COMPACT_STRIDE] < sums[1000] < sums[0]
