"""Which board a command means and how it talks to it: PORT=, BAUD=, ESPTOOL_ARGS= and MPREMOTE_ARGS=.

Must not know what is said over the link.
"""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass

from scripts import ports
from scripts.console import EXIT_USAGE, Problem


@dataclass(frozen=True)
class Link:
    """A port that was there and free when it was looked at; an empty baud is the tool's own default. The arguments
    go to the tools as they are."""

    port: str
    baud: str = ""
    esptool_args: tuple[str, ...] = ()
    mpremote_args: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every command with a board has; empty is not given, as from a make variable."""
    group = parser.add_argument_group("the board")
    group.add_argument("--port", default="", help="PORT: /dev/ttyACM0, rfc2217://host:port (default: the only board)")
    group.add_argument("--baud", default="", help="BAUD: speed for esptool, such as 460800")
    group.add_argument("--esptool-args", default="", help="ESPTOOL_ARGS: further options, such as --no-stub")
    group.add_argument("--mpremote-args", default="", help="MPREMOTE_ARGS: further commands, such as resume")


def from_args(args: argparse.Namespace) -> Link:
    """The link that the options mean, its port found when none is named. Problem when an option can't be used or there
    is no such port."""
    if args.baud and not args.baud.isdecimal():
        raise Problem(f"BAUD={args.baud} is not a number. Name one such as 115200 or 460800.", EXIT_USAGE)
    esptool_args = _words("ESPTOOL_ARGS", args.esptool_args)
    mpremote_args = _words("MPREMOTE_ARGS", args.mpremote_args)
    return Link(ports.find(args.port), args.baud, esptool_args, mpremote_args)


def _words(variable: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise Problem(f"{variable}={text} can't be read ({error}). Close the quote.", EXIT_USAGE) from error
