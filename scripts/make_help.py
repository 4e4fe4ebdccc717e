"""`make help`: the targets of a Makefile with their `## text`, under the `## headings` they stand below."""

from __future__ import annotations

import re
import sys
from pathlib import Path

TARGET = re.compile(r"^([a-z][a-z-]*):.*?## (.*)$")


def help_lines(makefile: str) -> list[str]:
    """One line per heading and documented target, in the file's order."""
    lines = []
    for line in makefile.splitlines():
        target = TARGET.match(line)
        if target:
            lines.append(f"  make {target[1]:<11}{target[2]}")
        elif line.startswith("## "):
            lines += ["", line[3:]] if lines else [line[3:]]
    return lines


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    print("\n".join(help_lines(Path(arguments[0] if arguments else "Makefile").read_text())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
