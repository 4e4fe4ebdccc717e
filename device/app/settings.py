"""What a person can set: defaults from config.py, changes in /settings.json, checked by one table.

Owns names, ranges and the file. A broken file never blocks boot: what is wrong is reported and defaulted key by key.
Imported at boot and when a form comes, then dropped; in between the settings are one dict that all parts share.
"""

import json
import os

FILE = "/settings.json"
_NEW = "/settings.new"
_OLD = "/settings.old"
_VERSION = 1

# name: (type, least, most); for text these are lengths in bytes of UTF-8, as Wi-Fi counts them.
SCHEMA = {
    "name": (str, 1, 32),
    "wifi_ssid": (str, 0, 32),
    "wifi_password": (str, 0, 63),
    "web_host": (str, 1, 40),
    "web_port": (int, 1, 65535),
    "telemetry_url": (str, 0, 200),
    "telemetry_period_s": (int, 0, 86400),
    "telemetry_samples": (int, 0, 10000),
    "telemetry_batch": (int, 1, 120),
    "telemetry_format": (str, 1, 10),
    "telemetry_auth": (str, 0, 200),
    "telemetry_ca": (str, 0, 60),
    "sample_period_s": (int, 1, 86400),
    "sensors": (str, 0, 400),
    "ntp_servers": (str, 0, 200),
    "time_zone": (str, 0, 60),
}


class SettingError(ValueError):
    """A value can't be used; the text says why and may be shown."""


def check(name: str, value: "Any") -> "Any":
    """The value in its type; text becomes int where one is due. Raises SettingError."""
    kind, least, most = SCHEMA[name]
    if kind is int and isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise SettingError(name + " must be a whole number")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SettingError(name + " has the wrong type")
    if not least <= (value if kind is int else len(value.encode())) <= most:
        unit = "" if kind is int else " bytes long"
        raise SettingError("%s must be %d to %d%s" % (name, least, most, unit))
    return value


def _read(path: str) -> dict | None:
    try:
        with open(path) as file:
            values = json.load(file)
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _stored() -> tuple:
    """(the newest whole generation, what is wrong). A power cut between two renames leaves the new one complete
    under its temporary name, or the old one."""
    for path in (FILE, _NEW, _OLD):
        values = _read(path)
        if values is not None:
            whole = path == FILE or FILE[1:] not in os.listdir("/")
            return values, [] if whole else ["settings.json was damaged, the previous one is used"]
    if FILE[1:] in os.listdir("/"):
        return {}, ["settings.json is damaged, factory defaults are used"]
    return {}, []


def load() -> tuple:
    """(settings in force, problems as sentences). Never raises for what it finds in the file."""
    import config

    settings = {name: getattr(config, name.upper()) for name in SCHEMA}
    stored, problems = _stored()
    for name in SCHEMA:
        if name in stored:
            try:
                settings[name] = check(name, stored[name])
            except SettingError as error:
                problems.append("%s, the default is used" % error)
    return settings, problems


def change(settings: dict, changes: dict) -> list:
    """Check, store and apply `changes`, all or none. Returns the problems as sentences; none means it is done.
    OSError when the file system refuses: nothing is applied then."""
    checked = {}
    problems = []
    for name, value in changes.items():
        try:
            checked[name] = check(name, value)
            _read_through(name, value)
        except SettingError as error:
            problems.append(str(error))
        except ValueError as error:
            problems.append("%s: %s" % (name, error))
    if not problems:
        stored, _ = _stored()
        stored.update(checked)
        _save(stored)
        settings.update(checked)
    return problems


def _read_through(name: str, value: "Any") -> None:
    """Raise ValueError with a sentence for a text that has a grammar of its own and does not follow it. At boot nothing
    is refused for that: who reads it says what is wrong and does what can be done."""
    if name == "time_zone":
        from posix_tz import rules

        rules(value)
    elif name == "sensors":
        from app.sensors.make import parse

        parse(value)
    elif name == "telemetry_format" and value not in ("json", "ndjson", "line", "form"):
        raise ValueError("use json, ndjson, line or form")
    elif name == "telemetry_auth" and value:
        from app.auth import header

        header(value)


def _save(stored: dict) -> None:
    """Write beside, then rename: at every instant one whole generation is there. Keys of others are kept."""
    stored["version"] = _VERSION
    with open(_NEW, "w") as file:
        json.dump(stored, file)
    try:
        os.rename(FILE, _OLD)
    except OSError:  # the first save: there is no previous generation
        pass
    os.rename(_NEW, FILE)
