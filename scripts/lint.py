"""`make lint`: ruff on everything, pyright on the device code (against the firmware's stubs) and on the host code.

pyright's own download goes into .cache, as everything else that is fetched.
"""

from __future__ import annotations

import os
import subprocess
import sys

from scripts.console import CACHE_DIR, EXIT_FAULT, EXIT_OK, ROOT

COMMANDS = (
    ("-m", "ruff", "check", "."),
    ("-m", "ruff", "format", "--check", "host_tests", "scripts"),
    ("-m", "pyright", "-p", "device"),
    ("-m", "pyright"),
)


def main(argv: list[str] | None = None) -> int:
    environment = {
        **os.environ,
        "PYRIGHT_PYTHON_CACHE_DIR": str(CACHE_DIR / "pyright"),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    failed = 0
    for arguments in COMMANDS:
        print("$ python " + " ".join(arguments), flush=True)
        result = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=False)
        failed += result.returncode != 0
    return EXIT_FAULT if failed else EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
