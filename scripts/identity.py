"""Which board is at the link: its MAC, chip, firmware and partition table, as the board itself tells them.

Owns the reading of what on_board/identity.py prints. Must not know what a board should be.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from scripts.console import Problem
from scripts.link import Link
from scripts.partitions import Partition
from scripts.session import on_board, resume


@dataclass(frozen=True)
class Identity:
    """`mac` as aa:bb:cc:dd:ee:ff, `chip` and `release` as os.uname() has them, `partitions` in the order of offsets."""

    mac: str
    chip: str
    release: str
    flash_bytes: int
    partitions: list[Partition]

    @property
    def device(self) -> str:
        """The name that the application goes by."""
        return "tally-" + self.mac.replace(":", "")[6:]


def ask(board: Link) -> Identity:
    """Ask a board that is at its prompt; no reset. Problem when the answer can't be read."""
    return read(resume(board, "run", on_board("identity")))


def read(text: str) -> Identity:
    """Parse what identity.py printed. Problem when that is something else."""
    try:
        facts = json.loads(text)
        rows = [Partition(name, type_, subtype, *place) for type_, subtype, *place, name in facts["partitions"]]
        rows.sort(key=lambda row: row.offset)
        return Identity(facts["mac"], facts["chip"], facts["release"], facts["flash_bytes"], rows)
    except (ValueError, KeyError, TypeError) as error:
        fix = "Run the command again; if it stays so, flash the board anew: make flash."
        raise Problem(f"what the board tells of itself can't be read ({error}). {fix}") from error
