"""Runs on the board, through `mpremote run`: defines what `make backup` asks for and what `make restore` puts back.

Settings are told without the values whose names hold one of the given words: secrets do not leave the board.
"""

import json
import os

import esp32

_COUNTERS = ("boot", "seq")  # of device/app/board.py, count_up


def settings(*secret_words: str) -> None:
    """Print what a person set, as JSON: {} when nothing is stored, null when the file is damaged."""
    values = {}
    try:
        with open("/settings.json") as file:
            values = json.load(file)
    except OSError:  # never saved
        pass
    except ValueError:
        values = None
    if isinstance(values, dict):
        values = {k: v for k, v in values.items() if not any([word in k.lower() for word in secret_words])}
    print(json.dumps(values))


def counter(nvs, key) -> int:
    try:
        return nvs.get_i32(key)
    except OSError:  # never written
        return 0


def counters() -> None:
    """Print what the application has counted up to, as JSON."""
    nvs = esp32.NVS("tally")
    print(json.dumps({key: counter(nvs, key) for key in _COUNTERS}))


def raise_counters(**least: int) -> None:
    """Bring the counters to at least these numbers."""
    nvs = esp32.NVS("tally")
    for key, number in least.items():
        if counter(nvs, key) < number:
            nvs.set_i32(key, number)
    nvs.commit()


def make_folders(*paths: str) -> None:
    """Make folders, the outer ones first, that may be there."""
    for path in paths:
        try:
            os.mkdir(path)
        except OSError:  # it is there; if it can't be made, the copy that follows says so
            pass
