"""Holds the fakes' names and parameters to the published stubs, micropython-esp32-stubs 1.24.1.

Owns the comparison (both sides are parsed, nothing is imported) and the table of differences
that are meant, each with its reason. How the fakes behave is test_fakes_strict.py's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from host_tests.virtual_board.fakes import FAKES_DIR
from scripts.console import ROOT

TYPINGS = ROOT / ".cache" / "typings"

FAKES = {name: name for name in "machine network esp esp32 ntptime time socket select errno os onewire".split()}
FAKES |= {"gc": "_gc", "tls": "_tls"}  # boot installs them under those names: a file can't shadow a built-in

FACTORIES = {"network.WLAN": "_WLAN"}
"""A fake's function that stands for a class of the device: the class it makes."""

EXCEPTIONS = {
    "machine.freq: (hz=), but () or (hz, /) or (self) or (self, value, /) in the stub": (
        "two overloads of the stub are PWM.freq's, put there by mistake"
    ),
    "machine.ADC.__init__: (pin, *, atten), but (pin, /) in the stub": (
        "esp32's takes what init() takes as well: machine_adc.c"
    ),
    "machine.ADC.init: (*, atten), but (*, atten, sample_ns) in the stub": "sample_ns is refused, as nothing uses it",
    "machine.Pin.__init__: (id, mode=, pull=, *, value), but (id, /, mode=, pull=, *, alt, drive, value) in the stub": (
        "esp32 has no alt; the strength of a pin is not modelled"
    ),
    "machine.Pin.init: (mode=, pull=, *, value), but (mode=, pull=, *, alt, drive, value) in the stub": (
        "as the constructor"
    ),
    "machine.Pin.irq: (handler=, trigger=), but (handler=, trigger=, *, hard, priority, wake) in the stub": (
        "esp32 has neither hard nor priority: machine_pin.c, machine_pin_irq; waking is not modelled"
    ),
    "machine.RTC.__init__: (), but (id=) or (id=, /, *, datetime) in the stub": (
        "esp32's constructor takes nothing: machine_rtc.c, machine_rtc_make_new"
    ),
    "network.WLAN.__init__: (interface_id=), but (interface_id, /) in the stub": (
        "it may be left out, STA_IF then: network_wlan.c, get_wlan"
    ),
    "esp32.mcu_temperature: not in the stub": (
        "C3, S2 and S3 only; the stubs were taken from a plain ESP32, which has raw_temperature"
    ),
    "esp32.Partition.find: (type=, subtype=, label=, block_size=), but (type=, subtype=, /, label=) in the stub": (
        "the stub lost block_size, which the documentation of 1.24 has"
    ),
    "os.VfsFat: not in the stub": "it is vfs.VfsFat, which os has too",
    "os.VfsLfs2: not in the stub": "as VfsFat",
    "socket.socket.write: (buf, *args), but (buf, /) in the stub": (
        "py/stream.c of 1.24.1: every stream's write() takes a length, or an offset and a length, as well"
    ),
    "tls.SSLContext.verify_mode: not in the stub": (
        "an attribute of instances, which the stubs did not see: modtls_mbedtls.c, ssl_context_attr"
    ),
}
"""What differs on purpose: the finding, word for word, and the reason."""


@dataclass(frozen=True)
class Signature:
    """Parameters without self. `any` is *args, **kwargs: whoever made the stub did not know."""

    positional: tuple[str, ...] = ()
    only_positional: int = 0
    required: int = 0
    keywords: frozenset[str] = frozenset()
    any: bool = False
    endless: bool = False

    def __str__(self) -> str:
        names = [n if i < self.required else n + "=" for i, n in enumerate(self.positional)]
        if self.only_positional:
            names.insert(self.only_positional, "/")
        names += ["*args"] if self.endless else []
        names += ["*", *sorted(self.keywords)] if self.keywords else []
        return f"({', '.join(names)})"


@dataclass
class Item:
    """A function, class or constant; a builtin is the VM's own: only its name is known."""

    kind: str
    signatures: list[Signature] = field(default_factory=list)
    value: object = None
    members: dict[str, Item] = field(default_factory=dict)


# --- reading ------------------------------------------------------------------------------------


def read_module(text: str, siblings: Path | None = None) -> dict[str, Item]:
    """All names in a module's text, private ones too; `siblings` resolves `x = _board.y`."""
    items: dict[str, Item] = {}
    _read_body(ast.parse(text).body, items, siblings, in_class=False)
    return items


def _read_body(body: Iterable[ast.stmt], items: dict[str, Item], siblings: Path | None, in_class: bool) -> None:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            old = items.get(node.name)
            item = old if old and old.kind == "function" else Item("function")
            if not _is_property(node):
                item.signatures.append(_signature(node, in_class))
            else:
                item = Item("constant")
            items[node.name] = item
        elif isinstance(node, ast.ClassDef):
            item = items[node.name] = Item("class")
            _read_body(node.body, item.members, siblings, in_class=True)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            items[node.target.id] = Item("constant", value=_literal(node.value))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            items[node.targets[0].id] = _assigned(node.value, items, siblings)
        elif isinstance(node, ast.ImportFrom) and siblings and node.module in ("uos", "_board"):
            for alias in node.names:
                items[alias.asname or alias.name] = Item("builtin")
        elif isinstance(node, ast.ImportFrom) and siblings and (siblings / f"{node.module}.py").exists():
            theirs = read_module((siblings / f"{node.module}.py").read_text(), siblings)
            items.update((alias.asname or alias.name, theirs[alias.name]) for alias in node.names)
        elif isinstance(node, ast.If):  # `if sys.platform ...` of the standard library's stubs
            _read_body([*node.body, *node.orelse], items, siblings, in_class)


def _is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)


def _literal(node: ast.expr | None) -> object:
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def _assigned(value: ast.expr, items: dict[str, Item], siblings: Path | None) -> Item:
    if isinstance(value, ast.Name):
        return items.get(value.id, Item("constant"))
    if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and siblings:
        if value.value.id != "_board":
            return Item("builtin")
        return read_module((siblings / "_board.py").read_text(), siblings)[value.attr]
    return Item("constant", value=_literal(value))


def _signature(node: ast.FunctionDef, in_class: bool) -> Signature:
    a = node.args
    names = [p.arg for p in (*a.posonlyargs, *a.args)]
    only_positional = len(a.posonlyargs)
    if in_class and names[:1] in (["self"], ["cls"]):
        names = names[1:]
        only_positional = max(0, only_positional - 1)
    return Signature(
        tuple(names),
        only_positional,
        max(0, len(names) - len(a.defaults)),
        frozenset(p.arg for p in a.kwonlyargs if not p.arg.startswith("_")),
        any=a.vararg is not None and a.kwarg is not None,
        endless=a.vararg is not None,
    )


def stub_path(module: str) -> Path:
    """The module's stub: the port's own, else the one of the standard library."""
    for path in (f"{module}.pyi", f"stdlib/{module}/__init__.pyi", f"stdlib/{module}.pyi"):
        if (TYPINGS / path).exists():
            return TYPINGS / path
    pytest.fail(f"the published stubs of {module} are not in {TYPINGS}; get them with `make setup`")


# --- comparing ----------------------------------------------------------------------------------


def compare(module: str, fake: dict[str, Item], stub: dict[str, Item]) -> Iterator[str]:
    """One sentence for each public name of the fake that the stub does not have like that."""
    for name, item in fake.items():
        if name.startswith("_"):
            continue
        path = f"{module}.{name}"
        if path in FACTORIES:
            made = fake[FACTORIES[path]]
            item = Item("class", members={**made.members, "__init__": item})
        if name not in stub:
            yield f"{path}: not in the stub"
        else:
            yield from _compare_item(path, item, stub[name])


def _compare_item(path: str, fake: Item, stub: Item) -> Iterator[str]:
    if fake.kind == "builtin":
        return
    if fake.kind != stub.kind:
        yield f"{path}: a {fake.kind}, but a {stub.kind} in the stub"
    elif fake.kind == "constant":
        if stub.value is not None and fake.value is not None and fake.value != stub.value:
            yield f"{path}: {fake.value!r}, but {stub.value!r} in the stub"
    elif fake.kind == "function":
        yield from _compare_function(path, fake.signatures[-1], stub.signatures)
    else:
        yield from _compare_constructor(path, fake, stub)
        for name, member in fake.members.items():
            if name.startswith("_"):
                continue
            if name not in stub.members:
                yield f"{path}.{name}: not in the stub"
            else:
                yield from _compare_item(f"{path}.{name}", member, stub.members[name])


def _compare_constructor(path: str, fake: Item, stub: Item) -> Iterator[str]:
    own, published = fake.members.get("__init__"), stub.members.get("__init__")
    if own:
        stubs = published.signatures if published else [Signature()]
        yield from _compare_function(f"{path}.__init__", own.signatures[-1], stubs)
    elif published and any(s.positional for s in published.signatures):
        published_as = _overloads(published.signatures)
        yield f"{path}.__init__: no such method, but {published_as} in the stub"


def _compare_function(path: str, fake: Signature, stubs: list[Signature]) -> Iterator[str]:
    if any(s.any for s in stubs):
        return
    required = min(s.required for s in stubs)
    most = max(99 if s.endless else len(s.positional) for s in stubs)
    fits = any(_takes_all(s, fake) for s in stubs)
    keywords = frozenset().union(*(s.keywords for s in stubs))
    same = (fake.required, 99 if fake.endless else len(fake.positional)) == (required, most)
    if not fits or not same or fake.keywords != keywords:
        yield f"{path}: {fake}, but {_overloads(stubs)} in the stub"


def _overloads(stubs: list[Signature]) -> str:
    return " or ".join(dict.fromkeys(str(s) for s in stubs))


def _takes_all(stub: Signature, fake: Signature) -> bool:
    """True when no parameter of the fake is unknown to the stub or has another name there."""
    for i, name in enumerate(fake.positional):
        if i >= len(stub.positional):
            return stub.endless
        if i >= stub.only_positional and stub.positional[i] != name:
            return False
    return fake.keywords <= stub.keywords


def findings(module: str) -> list[str]:
    """What the fake of a device module has otherwise than its stub."""
    path = FAKES_DIR / (FAKES[module] + ".py")
    fake = read_module(path.read_text(), FAKES_DIR)
    return list(compare(module, fake, read_module(stub_path(module).read_text())))


# --- tests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", FAKES)
def test_a_fake_has_only_what_the_published_stub_has(module: str) -> None:
    assert [finding for finding in findings(module) if finding not in EXCEPTIONS] == []


def test_every_exception_is_still_needed() -> None:
    found = {finding for module in FAKES for finding in findings(module)}
    assert EXCEPTIONS.keys() - found == set()


def test_every_device_module_that_a_fake_shadows_is_compared() -> None:
    """What boot installs is the list."""
    tree = ast.parse((FAKES_DIR / "boot.py").read_text())
    install = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "_install")
    imported = [a.name for n in install.body if isinstance(n, ast.Import) for a in n.names]
    assert set(imported) == set(FAKES.values())


STUB = """
import sys
LIMIT: int = 5
FREE: int
PLAIN: Incomplete
def f(a, b: int = 0, /) -> None: ...
def named(a, *, key: int = 0) -> None: ...
def unknown(*args, **kwargs) -> Incomplete: ...
@overload
def get(self) -> int: ...
@overload
def get(param: str, /) -> int: ...
class C:
    TOP: int = 1
    def __init__(self, id: int, /) -> None: ...
    @overload
    def m(self) -> bool: ...
    @overload
    def m(self, on: bool, /) -> None: ...
    @staticmethod
    def make(type: int = 0) -> list: ...
"""

FAITHFUL = """
import _hidden
LIMIT = 5
FREE = 7
PLAIN = _u.PLAIN
_private = 1
def f(a, other=0): pass
def named(a, *, key=0): pass
def unknown(x, y, z): pass
class C:
    TOP = 1
    def __init__(self, id, *, _own=None): pass
    def m(self, on=None): pass
    @staticmethod
    def make(type=0): pass
    def _helper(self): pass
"""


def test_a_faithful_fake_has_no_findings() -> None:
    assert list(compare("m", read_module(FAITHFUL, FAKES_DIR), read_module(STUB))) == []


@pytest.mark.parametrize(
    ("made_up", "finding"),
    [
        ("def g(): pass", "m.g: not in the stub"),
        ("EXTRA = 1", "m.EXTRA: not in the stub"),
        ("LIMIT = 6", "m.LIMIT: 6, but 5 in the stub"),
        ("def LIMIT(): pass", "m.LIMIT: a function, but a constant in the stub"),
        ("f = 1", "m.f: a constant, but a function in the stub"),
        ("def C(id): pass", "m.C: a function, but a class in the stub"),
        ("def f(a): pass", "m.f: (a), but (a, b=, /) in the stub"),
        ("def f(a, b): pass", "m.f: (a, b), but (a, b=, /) in the stub"),
        ("def f(a=0, b=0): pass", "m.f: (a=, b=), but (a, b=, /) in the stub"),
        ("def f(a, b=0, c=0): pass", "m.f: (a, b=, c=), but (a, b=, /) in the stub"),
        ("def f(a, *rest): pass", "m.f: (a, *args), but (a, b=, /) in the stub"),
        ("def f(a, b=0, *, key=0): pass", "m.f: (a, b=, *, key), but (a, b=, /) in the stub"),
        ("def named(x, *, key=0): pass", "m.named: (x, *, key), but (a, *, key) in the stub"),
        ("def named(a): pass", "m.named: (a), but (a, *, key) in the stub"),
        ("def named(a, key=0): pass", "m.named: (a, key=), but (a, *, key) in the stub"),
        ("class C:\n TOP = 2", "m.C.TOP: 2, but 1 in the stub"),
        ("class C:\n def __init__(self): pass", "m.C.__init__: (), but (id, /) in the stub"),
        ("class C:\n pass", "m.C.__init__: no such method, but (id, /) in the stub"),
        ("class C:\n def n(self): pass", "m.C.n: not in the stub"),
        ("class C:\n def m(self, on): pass", "m.C.m: (on), but () or (on, /) in the stub"),
        ("class C:\n def make(kind=0): pass", "m.C.make: (kind=), but (type=) in the stub"),
    ],
)
def test_a_made_up_fake_is_reported(made_up: str, finding: str) -> None:
    fake = read_module(made_up, FAKES_DIR)
    assert finding in compare("m", fake, read_module(STUB))


def test_missing_stubs_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_tests.test_fakes_stubs.TYPINGS", tmp_path / "typings")
    with pytest.raises(pytest.fail.Exception, match="make setup"):
        findings("errno")
