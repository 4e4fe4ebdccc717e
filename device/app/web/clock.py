"""Setting the clock from the browser, for a board that no time server reaches. The tips page tells what came of it."""

import forms
from app import site
from app.timesync import set_time

_ERROR_MS = 3000  # of a clock that people look at, and the form's way


async def post(http: "Any") -> None:
    """303 to /tips. Field `unix_ms`: the browser's time, put there by a script."""
    form = await forms.read(http)
    text = form.get("unix_ms", "")
    if text.isdigit() and len(text) < 16:
        taken, said = set_time(site.clock, int(text), "browser", _ERROR_MS)
        site.message = ("Clock set" if taken else "Clock not set", [said])
    else:
        site.message = ("Clock not set", ["the browser sent no time, which it does by JavaScript"])
    http.head(303, "text/plain", "Location: /tips\r\nCache-Control: no-store\r\n")
