"""What files a stopped board has: asks on_board/inventory.py and reads the manifest of the last deploy.

What inventory.py defines is on the board from then on, until a reset. Must not know what the answer is wanted for.
"""

from __future__ import annotations

from scripts import session, tools
from scripts.deploy_plan import MANIFEST_PATH, Inventory, read_inventory
from scripts.link import Link


def inventory(board: Link, *further: str) -> Inventory:
    """The files that a deploy may own, after a soft reset. `further`: Python that makes inventory.py tell more."""
    words = ["run", session.on_board("inventory")]
    for code in further:
        words += ["+", "exec", code]
    return read_inventory(tools.mpremote(board, *words, timeout_s=session.timeout_s()))


def manifest_text(board: Link, found: Inventory) -> str:
    """The manifest on the board, "" when it has none."""
    return session.resume(board, "fs", "cat", ":" + MANIFEST_PATH) if MANIFEST_PATH in found.files else ""
