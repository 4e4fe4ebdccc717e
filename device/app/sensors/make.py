"""From the text of the setting to sensors: `internal; ds18b20 pin=4 name=tank; bme280 sda=5 scl=6 name=room`.

Owns the kinds there are, their names and the names of fields. Each sensor is a module of its own, imported when it is
configured. Its contract is in docs/sensors.md. Imported while sensors are made or the setting is checked, then dropped.
"""

import sys

from micropython import const

KINDS = ("internal", "adc", "dht11", "dht22", "ds18b20", "bme280", "bmp280", "sht3x", "pulse")
_MODULES = {"dht11": "dht", "dht22": "dht", "bmp280": "bme280"}
_MOST_FIELDS = const(12)
_MOST_NAME_BYTES = const(24)
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"


def parse(text: str) -> list:
    """[(kind, {option: value})] of the setting, hardware untouched. ValueError with a sentence for what can't be read;
    values of options are not looked at but `name`."""
    return [_entry(part) for part in text.split(";") if part.strip()]


def make(text: str, room: "Any" = None) -> tuple:
    """([(label, sensor)], (field,), [problem]): what of the setting can be used; problems are sentences. Fields are
    those of all sensors, in their order. `room()`, if given, says whether there is memory for what comes after."""
    sensors = []
    fields = []
    problems = []
    for part in text.split(";"):
        if not part.strip():
            continue
        try:
            label, sensor, names = _sensor(part, fields)
            if room and not room():
                raise MemoryError
        except (ValueError, ImportError) as error:
            problems.append("%s The sensor is left out." % error)
        except MemoryError:
            sensor = None
            kind = part.split()[0]
            _forget(_MODULES.get(kind, kind))
            problems.append("%s: no memory is left for it. The sensor is left out." % kind)
        else:
            sensors.append((label, sensor))
            fields += names
    if not sensors and not problems:
        problems.append("No sensor is configured.")
    return sensors, tuple(fields), problems


def _forget(name: str) -> None:
    """Let go of a driver that does not fit; sensors that have it already keep it."""
    module = "app.sensors." + name
    if module in sys.modules:
        sys.modules[module] = None  # type: ignore  (a deleted entry keeps its value in MicroPython's maps)
        del sys.modules[module]
        setattr(sys.modules["app.sensors"], name, None)


def _entry(text: str) -> tuple:
    kind, *words = text.split()
    if kind not in KINDS:
        raise ValueError("There is no kind of sensor %s, only %s." % (kind, ", ".join(KINDS)))
    options = {}
    for word in words:
        option, _, value = word.partition("=")
        if not option or not value or option in options or option == "kind":
            raise ValueError("%s: %s is not one option=value, each given once." % (kind, word))
        options[option] = value
    if options.get("name", "").strip(_LETTERS):
        raise ValueError("%s: name= may have small letters, digits and _ only." % kind)
    return kind, options


def _sensor(text: str, taken: list) -> tuple:
    """(label, sensor, its fields' names) of one part of the setting."""
    kind, options = _entry(text)
    name = options.pop("name", "")
    module = "app.sensors." + _MODULES.get(kind, kind)
    options["kind"] = kind
    try:
        sensor = __import__(module, None, None, (module,)).Sensor(options)
    except (ValueError, OSError) as error:
        raise ValueError("%s: %s." % (name or kind, error))
    del options["kind"]
    if options:
        raise ValueError("%s: there is no option %s." % (kind, ", ".join(options)))
    fields = [name + "_" + field if name else field for field in sensor.fields]
    _check(kind, fields, taken)
    return name or kind, sensor, fields


def _check(kind: str, fields: list, taken: list) -> None:
    for i, field in enumerate(fields):
        if field in taken or field in fields[:i]:
            raise ValueError("%s: another sensor has the field %s, give one of them a name=." % (kind, field))
        if len(field) > _MOST_NAME_BYTES:
            raise ValueError("%s: the field %s is longer than 24 letters, give it a shorter name=." % (kind, field))
    if len(taken) + len(fields) > _MOST_FIELDS:
        raise ValueError("%s: there would be more than 12 fields." % kind)
