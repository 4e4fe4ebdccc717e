"""Running a host command as a person does, and finding a program of this machine that a test needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings

import pytest

from scripts.console import ROOT


def run_command(
    module: str, *arguments: str, timeout_s: float = 60, answer: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m scripts.MODULE ARGUMENTS` with further environment variables and `answer` on its stdin."""
    return subprocess.run(
        [sys.executable, "-m", f"scripts.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        input=answer,
        timeout=timeout_s,
        check=False,
    )


def program_path(package: str, *other_names: str) -> str:
    """A program that `make test` can't install; a failure in CI and a loud skip elsewhere when it's missing."""
    for name in (package, *other_names):
        if path := shutil.which(name):
            return path
    sentence = f"no {package} on this machine, so a test did not run: apt install {package}"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(sentence, stacklevel=1)
    pytest.skip(sentence)
