"""The table of the bench: what was measured, what is to be reached, and whether it is.

Owns the thresholds and the wording of the rows. Must not know how a figure comes about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

TALLY, MICRODOT, FLOOR = NAMES = ("tally", "microdot", "floor")
KB = 1024

HEAP_AFTER_START = 16 * KB


@dataclass(frozen=True)
class Row:
    """One figure of each app. `most` or `least` is what Tally's is to reach; None when the row is context."""

    what: str
    figures: Mapping[str, float | None]
    most: float | None = None
    least: float | None = None
    is_ratio: bool = False
    word_bits: int = 32
    """A figure in bytes of heap means nothing on a VM with 64-bit words: it is shown and not judged."""

    @property
    def verdict(self) -> str:
        own = self.figures.get(TALLY)
        if self.most is None and self.least is None:
            return ""
        if self.word_bits != 32:
            return "64-bit: not judged"
        good = own is not None and (self.most is None or own <= self.most) and (self.least is None or own >= self.least)
        return "ok" if good else "MISSED"

    @property
    def to_reach(self) -> str:
        if self.most is not None:
            return f"<= {self._show(self.most)}"
        return f">= {self._show(self.least)}" if self.least is not None else ""

    def cells(self, names: Sequence[str] = NAMES) -> list[str]:
        return [self.what, *(self._show(self.figures.get(name)) for name in names), self.to_reach, self.verdict]

    def _show(self, figure: float | None) -> str:
        if figure is None:
            return "-"
        if self.is_ratio:
            return f"{figure:.1f}x" if figure >= 1 else f"{figure:.2f}x"
        return f"{figure:,.0f}"


def table(rows: list[Row], names: Sequence[str] = NAMES) -> str:
    """Plain text, aligned: the first column and the last to the left, figures to the right, one column for each of
    `names`."""
    cells = [["", *names, "to reach", ""], *(row.cells(names) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]

    def line(texts: list[str]) -> str:
        aligned: list[str] = []
        for column, (text, width) in enumerate(zip(texts, widths, strict=True)):
            align: Callable[[int], str] = text.ljust if column in (0, len(texts) - 1) else text.rjust
            aligned.append(align(width))
        return "  ".join(aligned).rstrip()

    return "\n".join(line(texts) for texts in cells)


def missed(rows: list[Row]) -> list[str]:
    return [row.what for row in rows if row.verdict == "MISSED"]


def as_json(rows: list[Row], facts: Mapping[str, object]) -> dict[str, object]:
    """The same for a program to read."""
    listed = [{**asdict(row), "verdict": row.verdict} for row in rows]
    return {**facts, "rows": listed, "missed": missed(rows)}
