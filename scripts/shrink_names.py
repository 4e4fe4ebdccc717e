"""Which names of the modules may change and what they become, for scripts/shrink.py: bundled, or apart.

Owns the view over all modules: who inherits from whom, what keeps its name, what would clash (refused), new names.
Must not know the text of any source, nor that of the bundle.
"""

from __future__ import annotations

import ast
import builtins
import itertools
import keyword
import string
from collections.abc import Iterator, Sequence

from scripts.shrink_scope import THE_BUNDLE, Meanings, Module, Scope, is_private, is_self, refuse

_HEADER_NAMES = ("_m", "_p", "_s")
"""What the header of the bundle calls its own."""


def _short_names(taken: set[str]) -> Iterator[str]:
    """a, b ... z, aa, ab ... without those that are taken or mean something to Python."""
    for size in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=size):
            name = "".join(letters)
            if name not in taken and not keyword.iskeyword(name) and not hasattr(builtins, name):
                yield name


def _attributes_of_others(tree: ast.Module) -> set[str]:
    """Attributes used in a source outside, on what may be an object of ours: not on the `self` of a class there, unless
    one has a base that may be ours."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    bases = [base for node in classes for base in node.bases]
    may_inherit = not all(isinstance(base, ast.Name) and hasattr(builtins, base.id) for base in bases)
    inside = set() if may_inherit else {node for outer in classes for node in ast.walk(outer)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {node.attr for node in found if node not in inside or not is_self(node.value)}


class Names:
    """All modules together: what keeps its name, what would clash, new names for the rest."""

    def __init__(self, modules: dict[str, Module], others: Sequence[ast.Module]) -> None:
        self.modules, self.others = modules, others
        self.all_nodes = [n for tree in self.trees() for n in ast.walk(tree)]
        self.groups = self.inheritance()
        self.reserved = self.identifiers() | set(_HEADER_NAMES)
        self.kept = self.names_to_keep()

    def trees(self) -> list[ast.Module]:
        return [*(m.tree for m in self.modules.values()), *self.others]

    def identifiers(self) -> set[str]:
        """Every name in any source that a new name must not meet."""
        fields = ("id", "attr", "arg", "name", "asname", "rest")
        found = {getattr(node, field, None) for node in self.all_nodes for field in fields}
        for node in self.all_nodes:
            if isinstance(node, ast.Global | ast.Nonlocal):
                found.update(node.names)
        return {name for name in found if isinstance(name, str)}

    # --- who inherits from whom ---------------------------------------------------------------

    def base_homes(self, module: Module, base: ast.expr) -> set[str]:
        """The bundled modules a base class may come from; "" is a foreign one."""
        if isinstance(base, ast.Attribute):
            homes = {n for n, m in self.modules.items() if ("own", n) in m.top.bound.get(base.attr, ())}
            return homes or {""}
        if not isinstance(base, ast.Name):
            return {""}
        if base.id not in module.top.bound:
            return set() if hasattr(builtins, base.id) else {""}
        return {key[1] if key[0] == "own" else "" for key in module.top.bound[base.id]}

    def inheritance(self) -> dict[str, set[str]]:
        """For each module all whose objects share private names with its own; "" is foreign."""
        groups = {name: {name} for name in self.modules}
        for module in self.modules.values():
            for _, node in module.classes:
                for home in set().union(*(self.base_homes(module, base) for base in node.bases)):
                    joined = groups[module.name] | groups.get(home, {home})
                    groups.update((name, joined) for name in joined if name)
        return groups

    def defined(self, module: str) -> set[str]:
        """Private attributes of the classes in the module's group."""
        return set().union(*(self.modules[n].defined for n in self.groups[module] if n))

    # --- what keeps its name ------------------------------------------------------------------

    def names_to_keep(self) -> set[str]:
        kept = {n.name for n in self.all_nodes if isinstance(n, ast.alias)}
        constants = [n.value for n in self.all_nodes if isinstance(n, ast.Constant)]
        kept |= {value for value in constants if isinstance(value, str)}
        kept |= set().union(*map(_attributes_of_others, self.others))
        for module in self.modules.values():
            if "" in self.groups[module.name]:
                kept |= module.defined
            found = module.attributes
            kept |= {n.attr for scope, n in found if self.is_doubtful(module, scope, n)}
        return kept

    def is_doubtful(self, module: Module, scope: Scope, node: ast.Attribute) -> bool:
        """Whether the object may be somebody else's."""
        if node.attr not in self.defined(module.name):
            return True
        base = node.value.id if isinstance(node.value, ast.Name) else ""
        if any(key[0] != "own" for key in scope.owner(base).bound.get(base, ())):
            return True
        homes = {frozenset(self.groups[n]) for n in self.modules if node.attr in self.defined(n)}
        return len(homes) > 1 and not is_self(node.value)

    # --- clashes ------------------------------------------------------------------------------

    def may_rename(self, name: str) -> bool:
        return is_private(name) and name not in self.kept

    def check(self) -> None:
        """Problem when a name means different things in two modules."""
        header: dict[str, Meanings] = {n: {("own", "the header")} for n in _HEADER_NAMES}
        header |= {"sys": {("import", "sys")}, "const": {("from", "micropython", "const")}}
        header |= {n.rpartition(".")[2]: {THE_BUNDLE} for n in self.modules if n.count(".") > 1}
        first = {name: ("the header", meaning) for name, meaning in header.items()}
        for module in self.modules.values():
            for name, meaning in module.top.bound.items():
                where, before = first.setdefault(name, (module.name, meaning))
                if name != "_" and before != meaning and not self.may_rename(name):
                    raise refuse(f"{name} differs between {where} and {module.name}; rename one")
        for module in self.modules.values():
            self.check_uses(module, first)

    def check_uses(self, module: Module, first: dict[str, tuple[str, Meanings]]) -> None:
        """Problem for a builtin that another module hides, a constant that would be put in place
        of a local name, and a copy of a name that its module goes on to change."""
        for scope, name, at in module.places:
            if at in module.notes:
                continue
            where, owner = first.get(name, ("", set()))[0], scope.owner(name)
            if not where or self.may_rename(name):
                continue
            if owner is module.top and name not in owner.bound:
                raise refuse(f"{name} is defined in {where} and not meant in {module.name}")
            other = self.modules.get(where, module)
            if owner is not module.top and name in other.consts:
                raise refuse(f"{name} is a constant of {where} and a local name in {module.name}")
        changed = {(module.name, name) for scope in module.scopes for name in scope.globals}
        for other in self.modules.values():
            for node in other.imports:
                for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                    if (getattr(node, "module", ""), alias.name) in changed:
                        raise refuse(f"{other.name} imports {alias.name}, which changes in {module.name}")

    # --- new names ----------------------------------------------------------------------------

    def assign(self) -> dict[str, dict[str, str]]:
        """Gives every scope its new names; returns those of the attributes by module. Problem when names clash."""
        self.check()
        self.rename()
        return self.attributes()

    def rename(self) -> None:
        short, unique = _short_names(self.reserved), itertools.count(1)
        for module in self.modules.values():
            for name in filter(self.may_rename, module.top.bound):
                constant = name in module.consts
                new = f"_{next(unique)}" if constant else next(short)
                while constant and new in self.reserved:
                    new = f"_{next(unique)}"
                module.top.new[name] = new
            self.note_uses(module)
        for module in self.modules.values():
            self.rename_parameters(module)

    def note_uses(self, module: Module) -> None:
        for scope, name, _ in module.places:
            if scope.owner(name) is module.top and name in module.top.new:
                for around in scope.up():
                    around.used.add(module.top.new[name])

    def attributes(self) -> dict[str, dict[str, str]]:
        """Module name -> private attribute -> new name, which differs within a group."""
        found: dict[str, dict[str, str]] = {}
        for name in self.modules:
            members = [self.modules[n] for n in self.groups[name] if n]
            scopes = [scope for m in members for scope, _ in m.classes]
            around = [outer.new for s in scopes for outer in s.up() if outer.kind == "function"]
            taken = set().union(*(s.used for s in scopes), *(new.values() for new in around))
            private = sorted(filter(self.may_rename, self.defined(name)))
            found[name] = dict(zip(private, _short_names(self.reserved | taken), strict=False))
            for scope, _ in self.modules[name].classes:
                scope.new = {n: found[name][n] for n in scope.bound if n in found[name]}
        return found

    def rename_parameters(self, module: Module) -> None:
        """In order of depth, so that an inner function avoids the new names of those around it."""
        by_keyword = {n.arg for n in self.all_nodes if isinstance(n, ast.keyword)}
        if None in by_keyword:  # f(**values) may name any parameter
            return
        for scope in module.scopes:
            around = [outer for outer in scope.up() if outer.parent]
            taken = scope.used.union(*(outer.new.values() for outer in around))
            short = _short_names(self.reserved | taken)
            for name in scope.parameters:
                if name not in by_keyword | {"self", "cls"} and not name.startswith("_"):
                    scope.new[name] = next(short)


class NamesApart(Names):
    """The same for modules that stay files of their own. Each takes its new names from the start of the same pool, that
    of the bundle too if `others` are all other sources."""

    def check(self) -> None:
        """No two modules share a namespace, so nothing can clash."""

    def rename(self) -> None:
        for module in self.modules.values():
            private = [n for n in module.top.bound if self.may_rename(n) and n not in module.consts]
            module.top.new = dict(zip(private, _short_names(self.reserved), strict=False))
            self.note_uses(module)
            self.rename_parameters(module)
