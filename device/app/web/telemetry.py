"""What a person does about telemetry: send now, try what the server refused once more, or give it up. The tips page
tells what comes of it."""

import forms
from app import site
from app.held import forget, numbers

_NO_ADDRESS = "no address is set: see the settings"


async def post(http: "Any") -> None:
    """303 to /tips. Field `do`: send, retry or forget."""
    form = await forms.read(http)
    act = _ACTS.get(form.get("do", ""))
    site.message = act() if act else ("Nothing done", ["the form says neither send, retry nor forget"])
    http.head(303, "text/plain", "Location: /tips\r\nCache-Control: no-store\r\n")


def _send() -> tuple:
    waiting = site.store.waiting()
    if not waiting:
        return "Nothing to send", ["no sample is waiting"]
    return _asked("Sending", "%d waiting, the next POST goes out now" % waiting, site.telemetry.send_now)


def _retry() -> tuple:
    count = len(numbers(site.store))
    if not count:
        return "Nothing to send", ["no sample is held"]
    return _asked("Trying again", "%d held, each is sent once more by itself" % count, _send_held)


def _send_held() -> None:
    site.telemetry.retry = numbers(site.store)
    site.telemetry.send_now()


def _asked(title: str, line: str, act: "Any") -> tuple:
    if not site.settings["telemetry_url"]:
        return "Not sent", [_NO_ADDRESS]
    act()
    return title, [line]


def _forget() -> tuple:
    count = len(numbers(site.store))
    if not forget(site.store):
        return "Not given up", ["the flash does not take it, they are still held"]
    site.telemetry.retry = []
    return "Given up", ["%d held samples, which now count as expired" % count]


_ACTS = {"send": _send, "retry": _retry, "forget": _forget}
