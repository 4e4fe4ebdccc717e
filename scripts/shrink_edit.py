"""A module's source with its new names and imports, for scripts/shrink.py.

Owns every edit: in place, at positions the AST gives, so that no line moves. Must not know why a name gets the new
name it has, nor what other modules hold.
"""

from __future__ import annotations

import ast

from scripts.shrink_scope import Module, refuse


def rewritten(module: Module, attributes: dict[str, str]) -> str:
    """The source with the new names of its scopes and `attributes`, and without what a bundle needn't import."""
    return _Editor(module).rewritten(attributes)


class _Editor:
    """The edits of one module: (start, end, new bytes)."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.edits: list[tuple[int, int, bytes]] = []

    # --- imports ------------------------------------------------------------------------------

    def rewrite_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """What is in the bundle already becomes assignments; only then is anything edited."""
        assignments, left = [], []
        origin = node.module if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            name = alias.asname or alias.name
            if self.module.is_bundled(node, alias):
                assignments.append(f"{self.module.top.new.get(name, name)} = {{}}_m")
            elif origin in self.module.names or (origin, alias.name) == ("micropython", "const"):
                if name != alias.name:
                    assignments.append(f"{self.module.top.new.get(name, name)} = {{}}{alias.name}")
            else:
                asname = alias.asname and self.module.top.new.get(alias.asname, alias.asname)
                left.append(alias.name + (f" as {asname}" if asname else ""))
        if len(left) == len(node.names):
            return
        start, end = self.module.span(node)
        self.edits = [edit for edit in self.edits if not start <= edit[0] < end]
        self.edits.append((start, end, self.import_text(assignments, left, origin or "", node)))

    def import_text(self, done: list[str], left: list[str], origin: str, node: ast.stmt) -> bytes:
        """The statements that replace an import, the last one over as many lines as it had."""
        assert node.end_lineno is not None
        lines = "\n" * (node.end_lineno - node.lineno)
        text = ", ".join(left)
        if left and origin:
            done = [*done, f"from {origin} import {{}}{text}"]
        elif left:  # plain imports can't be parenthesised, so they come first
            done = [f"import {text}", *done]
        done = done or ["{}()" if lines else "pass"]
        *first, last = done
        last = last.replace("{}", "(" + lines, 1) + ")" if lines else last
        return "; ".join([*first, last]).replace("{}", "").encode()

    # --- edits --------------------------------------------------------------------------------

    def replace(self, at: int, old: str, new: str) -> None:
        end = at + len(old.encode())
        if at < 0 or self.module.source[at:end] != old.encode():
            raise refuse(f"{self.module.name}: can't see where {old} stands; write it more plainly")
        self.edits.append((at, end, new.encode()))

    def rewritten(self, attributes: dict[str, str]) -> str:
        for scope, name, at in self.module.places:
            if new := scope.owner(name).new.get(name):
                self.replace(at, name, new)
        for _, node in self.module.attributes:
            if new := attributes.get(node.attr):
                self.replace(self.module.span(node)[1] - len(node.attr.encode()), node.attr, new)
        for node in self.module.imports if self.module.names else ():
            self.rewrite_import(node)
        source = self.module.source
        for start, end, new_bytes in sorted(set(self.edits), reverse=True):
            source = source[:start] + new_bytes + source[end:]
        return source.decode()
