"""What the names of a module are and where they stand, for scripts/shrink.py.

Owns the reading of one source: its scopes, the place of every name and what each is bound to. Refuses what can't be
read without doubt. Must not know which names become which, nor change a source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from scripts.console import EXIT_FAULT, Problem

THE_BUNDLE: tuple[str, ...] = ("bundle",)
Meanings = set[tuple[str, ...]]
"""What a name is bound to: its own module, an import there or in a function (late), or the bundle itself."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def refuse(sentence: str) -> Problem:
    return Problem(f"can't bundle or shorten names: {sentence}", EXIT_FAULT)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_const(node: ast.AST) -> bool:
    call = node.value if isinstance(node, ast.Assign) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "const"


class Scope:
    """Where names are bound, and to what. `used`: new names of globals met here or further in."""

    def __init__(self, kind: str, parent: Scope | None) -> None:
        self.kind = kind
        self.parent = parent
        self.bound: dict[str, Meanings] = {}
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()
        self.parameters: list[str] = []
        self.new: dict[str, str] = {}
        self.used: set[str] = set()

    def up(self) -> Iterator[Scope]:
        """This scope and all around it, the module last."""
        scope: Scope | None = self
        while scope:
            yield scope
            scope = scope.parent

    def owner(self, name: str) -> Scope:
        """The scope a name used here belongs to; the module for builtins too."""
        *inner, module = self.up()
        for scope in inner:
            if name in scope.globals:
                return module
            if name in scope.bound and (scope is self or scope.kind != "class"):
                return scope
        return module


class Module(ast.NodeVisitor):
    """One source, read: where each name stands and to which scope it belongs.

    `names` are those of all bundled modules, none if this one stays a file of its own; `earlier` the ones already
    read."""

    def __init__(self, name: str, text: str, earlier: dict[str, Module], names: set[str]) -> None:
        self.name, self.earlier, self.names = name, earlier, names
        self.source = text.replace("\r\n", "\n").encode()
        self.starts = [0, *(m.end() for m in re.finditer(b"\n", self.source))]
        self.places: list[tuple[Scope, str, int]] = []
        self.notes: set[int] = set()
        self.attributes: list[tuple[Scope, ast.Attribute]] = []
        self.classes: list[tuple[Scope, ast.ClassDef]] = []
        self.imports: list[ast.Import | ast.ImportFrom] = []
        self.consts: set[str] = set()
        self.defined: set[str] = set()
        self.scope = self.top = Scope("module", None)
        self.scopes = [self.top]
        self.tree = ast.parse(self.source)
        self.visit(self.tree)

    # --- places -------------------------------------------------------------------------------

    def offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def span(self, node: ast.stmt | ast.expr | ast.alias) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def find(self, name: str, before: str, start: int) -> int:
        """Where a name without a position of its own stands, behind `before`."""
        found = re.compile((before + rf"({re.escape(name)})\b").encode()).search(self.source, start)
        return found.start(1) if found else -1

    def place(self, name: str, at: int) -> None:
        self.places.append((self.scope, name, at))

    def bind(self, name: str, to: Meanings | None = None) -> None:
        if name in self.scope.nonlocals:
            return
        owner = self.top if name in self.scope.globals else self.scope
        owner.bound.setdefault(name, set()).update(to or {("own", self.name)})

    # --- scopes -------------------------------------------------------------------------------

    def inside(self, kind: str, nodes: Sequence[ast.AST]) -> Scope:
        self.scope = scope = Scope(kind, self.scope)
        self.scopes.append(scope)
        for node in nodes:
            self.visit(node)
        assert scope.parent
        self.scope = scope.parent
        return scope

    def visit_FunctionDef(self, node: _Function) -> None:
        if not isinstance(node, ast.Lambda):
            self.bind(node.name)
            start = self.offset(node.lineno, node.col_offset)
            self.place(node.name, self.find(node.name, r"def\s+", start))
        args = node.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        stars = [arg for arg in (args.vararg, args.kwarg) if arg]
        notes = [arg.annotation for arg in every + stars] + [getattr(node, "returns", None)]
        self.visit_all([*args.defaults, *args.kw_defaults, *getattr(node, "decorator_list", ())])
        self.visit_notes(notes)
        body = node.body if isinstance(node.body, list) else [node.body]
        scope = self.inside("function", [*every, *stars, *body])
        scope.parameters = [arg.arg for arg in every]

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bind(node.name)
        self.place(node.name, self.find(node.name, r"class\s+", self.offset(node.lineno, node.col_offset)))
        self.visit_all([*node.bases, *node.keywords, *node.decorator_list])
        scope = self.inside("class", node.body)
        self.classes.append((scope, node))
        self.defined.update(filter(is_private, scope.bound))

    def visit_all(self, nodes: Sequence[ast.AST | None]) -> None:
        for node in filter(None, nodes):
            self.visit(node)

    def visit_notes(self, nodes: Sequence[ast.AST | None]) -> None:
        """Annotations, which MicroPython never looks at."""
        before = len(self.places)
        self.visit_all(nodes)
        self.notes.update(at for _, _, at in self.places[before:])

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit_all([node.target, node.value])
        self.visit_notes([node.annotation])

    def visit_ListComp(self, node: _Comprehension) -> None:
        first, *rest = node.generators
        self.visit(first.iter)
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self.inside("comprehension", [first.target, *first.ifs, *rest, *results])

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp

    # --- names --------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        if self.names and node.id in ("__name__", "__file__"):
            raise refuse(f"{self.name} uses {node.id}, which would be the bundle's")
        if not isinstance(node.ctx, ast.Load):
            self.bind(node.id)
        self.place(node.id, self.span(node)[0])

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        inner = self.scope
        self.scope = next(s for s in inner.up() if s.kind != "comprehension")
        self.visit(node.target)
        self.scope = inner
        self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        self.bind(node.arg)
        self.place(node.arg, self.offset(node.lineno, node.col_offset))

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name and node.type:
            self.bind(node.name)
            self.place(node.name, self.find(node.name, r"as\s+", self.span(node.type)[1]))
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        if isinstance(node, ast.Global):
            self.scope.globals.update(node.names)
            for name in node.names:
                self.bind(name)
        else:
            self.scope.nonlocals.update(node.names)
        start = self.offset(node.lineno, node.col_offset)
        for name in dict.fromkeys(node.names):
            self.place(name, self.find(name, r"\b", start))

    visit_Nonlocal = visit_Global

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attributes.append((self.scope, node))
        if isinstance(node.ctx, ast.Store) and is_self(node.value) and is_private(node.attr):
            self.defined.add(node.attr)
        self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if _is_const(node):
            if self.scope is not self.top:
                raise refuse(f"{self.name}, line {node.lineno}: const() belongs at the top level")
            self.consts.update(n.id for n in node.targets if isinstance(n, ast.Name))
        self.generic_visit(node)

    # --- imports ------------------------------------------------------------------------------

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        late = self.scope is not self.top
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            self.bind(name, {("late", self.name)} if late else self.meaning(node, alias))
            if alias.asname:
                self.place(name, self.span(alias)[1] - len(name.encode()))
        if not late:
            self.imports.append(node)

    visit_ImportFrom = visit_Import

    def is_bundled(self, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> bool:
        """Whether the alias names a bundled module itself; `import app.log` names the package."""
        if isinstance(node, ast.ImportFrom):
            return f"{node.module}.{alias.name}" in self.names
        return alias.name in self.names and bool(alias.asname or "." not in alias.name)

    def meaning(self, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Meanings:
        if self.is_bundled(node, alias):
            return {THE_BUNDLE}
        if isinstance(node, ast.Import):
            return {("import", alias.name if alias.asname else alias.name.split(".")[0])}
        if node.level or alias.name == "*" or not node.module:
            raise refuse(f"{self.name}, line {node.lineno}: write the import out in full")
        if node.module not in self.names:
            return {("from", node.module, alias.name)}
        defining = self.earlier.get(node.module)
        if defining is None or alias.name not in defining.top.bound:
            raise refuse(f"{self.name} imports {alias.name} before {node.module} defines it")
        return defining.top.bound[alias.name]
