"""Runs on the VM before each script of test_sensors_on_board.py: makes sensors, and reads them as the sampler does."""

from prelude import *

from app.sensors.make import make


def made(text):
    """The only sensor of a setting."""
    sensors, fields, problems = make(text)
    assert not problems, problems
    return sensors[0][1]


def started(sensor):
    """Milliseconds to wait, waited for."""
    wait_ms = sensor.start()
    assert 0 <= wait_ms <= 2000, wait_ms
    time.sleep_ms(wait_ms)
    return wait_ms


def reading(sensor, between=None):
    """The values of one measurement; `between` is called when it is under way."""
    try:
        started(sensor)
        if between:
            between()
        return sensor.read()
    except OSError as error:
        return ("timeout" if error.args[0] == 116 else "absent",) * len(sensor.fields)


def put(word, value):
    words[word] = value


skip()
