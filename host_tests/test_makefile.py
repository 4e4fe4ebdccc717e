"""The Makefile: every recipe names a command that exists, and values reach it as they were given."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from scripts.console import ROOT

TEXT = (ROOT / "Makefile").read_text()
MODULES = sorted(set(re.findall(r"-m ((?:scripts|host_tests)\.[\w.]+)", TEXT)) - {"scripts.make_help", "scripts.lint"})


def make(*arguments: str, **environment: str) -> str:
    argv = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        argv, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=True
    ).stdout


@pytest.mark.parametrize("module", MODULES)
def test_every_command_of_a_recipe_says_what_it_does(module: str) -> None:
    if module in ("scripts.build", "scripts.size"):  # they take no arguments
        return
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout[:6]) == (0, "usage:"), done.stderr


def test_every_target_is_phony_and_has_its_line_of_help() -> None:
    targets = set(re.findall(r"^([a-z-]+): ## ", TEXT, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+?)\n[^\t ]", TEXT, re.MULTILINE | re.DOTALL)
    assert phony and set(phony[1].replace("\\", " ").split()) == targets
    said = make("help")
    assert [target for target in targets if f"make {target} " not in said] == []


@pytest.mark.parametrize("value", ["a$b", "a'b\"c", "`id`", "$(shell echo no)", "back\\slash", "#hash"])
def test_a_password_or_network_name_reaches_the_command_as_it_was_given(value: str) -> None:
    for name in ("PASSWORD", "SSID", "SET"):
        show = f"--eval=show: ; @printenv {name}"
        assert make(show, "show", f"{name}={value}") == value + "\n"
        assert make(show, "show", **{name: value}) == value + "\n"
