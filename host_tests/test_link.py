"""PORT=, BAUD=, ESPTOOL_ARGS= and MPREMOTE_ARGS=, as the Makefile hands them on."""

from __future__ import annotations

import argparse

import pytest

from scripts import link, ports
from scripts.console import EXIT_USAGE, Problem
from scripts.link import Link


@pytest.fixture(autouse=True)
def one_board(monkeypatch):
    """Whatever this machine has: the only board is at /dev/ttyACM7, and a port that is named is taken as it is."""
    monkeypatch.setattr(ports, "find", lambda port: port or "/dev/ttyACM7")


def parsed(*arguments: str) -> Link:
    parser = argparse.ArgumentParser()
    link.add_arguments(parser)
    return link.from_args(parser.parse_args(arguments))


def test_nothing_given_is_the_only_board_and_the_tools_own_settings():
    assert parsed() == Link("/dev/ttyACM7", "", (), ())


def test_empty_make_variables_are_as_good_as_none():
    assert parsed("--port=", "--baud=", "--esptool-args=", "--mpremote-args=") == parsed()


def test_what_is_given_is_kept_and_arguments_are_split_as_a_shell_does():
    given = parsed(
        "--port=/dev/ttyUSB0",
        "--baud=115200",
        "--esptool-args=--no-stub --before no-reset",
        '--mpremote-args=resume exec "a = 1"',
    )
    assert given == Link("/dev/ttyUSB0", "115200", ("--no-stub", "--before", "no-reset"), ("resume", "exec", "a = 1"))


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--baud=fast", "BAUD=fast is not a number"),
        ("--esptool-args=--before 'no", "ESPTOOL_ARGS="),
        ('--mpremote-args="x', "MPREMOTE_ARGS="),
    ],
)
def test_an_option_that_can_not_be_read_is_refused_by_its_variables_name(argument: str, said: str):
    with pytest.raises(Problem, match=said) as caught:
        parsed(argument)
    assert caught.value.exit_code == EXIT_USAGE
