"""The resident modules as one, and all with short names: fewer distinct names (qstrs) on the board's heap.

Owns the bundle's source: one namespace, line k*1000+n for line n of module k, private names and parameters made short.
Modules that stay files get the same short names: a name stays in memory when its module is dropped, so all share a few.
What can't be done without changing what a module does is refused with a Problem. Must not know which modules are
resident, nor how they are compiled, nor what a name is (shrink_scope), becomes (shrink_names) or how it's put in place
(shrink_edit).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

from scripts.shrink_edit import rewritten
from scripts.shrink_names import Names, NamesApart
from scripts.shrink_scope import Module, refuse

BUNDLE = "tally"
STRIDE = 1000
SPARE_LINES = 10
_HEAD = "import sys\nfrom micropython import const\n_s = sys.modules\n_m = _s[__name__]\n"
_PACKAGE = "try:\n    import {0} as _p\nexcept ImportError:\n    _p = _s[{0!r}] = {1}_m\n"
_FILE_LINE = re.compile(rf'File "{BUNDLE}\.py", line (\d+)')


def _header(modules: Iterable[str]) -> str:
    """Makes every bundled module, and the packages around it, importable by its name."""
    text = _HEAD
    packages: dict[str, list[str]] = {}
    for name in modules:
        package, _, last = name.rpartition(".")
        if package:
            packages.setdefault(package, []).append(last)
    for package in sorted(set(packages) | {p.rpartition(".")[0] for p in packages} - {""}):
        above, _, last = package.rpartition(".")
        text += _PACKAGE.format(package, f"_s[{above!r}].{last} = " if above else "")
        text += "".join(f"_p.{name} = " for name in packages.get(package, ()))
        text += "_m\n" if package in packages else ""
    names = "".join(f"_s[{name!r}] = " for name in modules)
    return f"{text}{names}_m\ndel _s{', _p' if packages else ''}\n"


def bundle(modules: Sequence[tuple[str, str]], others: Sequence[str] = (), stride: int = STRIDE) -> str:
    """The source of one module that is all of `modules` (name, text), given in load order.

    `others`: texts of the sources that stay files of their own; what they use keeps its name.
    A smaller `stride` saves heap: each function's line table counts up from line 1. Problem when
    bundling would change what a module does."""
    for name, text in modules:
        if len(text.splitlines()) > stride - SPARE_LINES:
            raise refuse(f"{name} has more than {stride - SPARE_LINES} lines; split it")
    read: dict[str, Module] = {}
    every = {name for name, _ in modules}
    for name, text in modules:
        read[name] = Module(name, text, read, every)
    attributes = Names(read, [ast.parse(text) for text in others]).assign()
    texts = [rewritten(module, attributes[name]).rstrip("\n") for name, module in read.items()]
    whole = _header(read)
    for k, text in enumerate(texts, 1):
        whole += "\n" * (k * stride - whole.count("\n")) + text + "\n"
    return whole


def apart(modules: Sequence[tuple[str, str]], others: Sequence[str] = ()) -> dict[str, str]:
    """The sources of modules (name, text) that stay files of their own, by name, line for line with shorter names.

    `others`: texts of all other sources, the bundle's too; what they use keeps its name."""
    read = {name: Module(name, text, {}, set()) for name, text in modules}
    attributes = NamesApart(read, [ast.parse(text) for text in others]).assign()
    return {name: rewritten(module, attributes[name]) for name, module in read.items()}


def translate(text: str, names: Sequence[str], stride: int = STRIDE) -> str:
    """`text` with places in the bundle as places in its modules, `names` in the same order."""

    def place(match: re.Match[str]) -> str:
        k, line = divmod(int(match[1]), stride)
        if not 1 <= k <= len(names) or not line:
            return match[0]
        return f'File "{names[k - 1].replace(".", "/")}.py", line {line}'

    return _FILE_LINE.sub(place, text)
