"""Running a host command as a person does: its own process, from the checkout, output captured."""

from __future__ import annotations

import os
import subprocess
import sys

from scripts.console import ROOT


def run_command(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m scripts.MODULE ARGUMENTS` with further environment variables; at most 60 s."""
    return subprocess.run(
        [sys.executable, "-m", f"scripts.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
