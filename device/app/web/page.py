"""What all HTML pages share: the frame around their content, and escaping. Imported on demand with them."""

from app import site
from app.board import APP_VERSION

# What a person calls the settings that the pages show.
LABELS = {
    "name": "Name",
    "sample_period_s": "Sample every (seconds)",
    "telemetry_period_s": "Send every (seconds)",
    "telemetry_url": "Send to (address, empty: off)",
}

_TOP = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
%s<title>%s</title><link rel="stylesheet" href="/style.css?%s"><link rel="icon" href="/icon.svg?%s"></head>
<body><header><a href="/index">%s</a><span>%s</span></header><main>
"""

_NO_LOG = """<p class="warning">This board has no log partition: samples are in memory only and gone at a reset.
Flash it again with <code>make flash</code>.</p>
"""


async def top(http: "Any", title: str, head: str = "") -> None:
    """Write everything before the content. `head`: further elements for <head>, as HTML."""
    name = escape(site.settings["name"])
    text = _TOP % (head, escape(title) + " · " + name, APP_VERSION, APP_VERSION, name, site.device)
    await http.write(text)
    if site.store.is_memory:
        await http.write(_NO_LOG)


async def bottom(http: "Any") -> None:
    await http.write("</main><footer>Tally %s</footer></body></html>\n" % APP_VERSION)


def escape(text: str) -> str:
    """Text as HTML content or attribute value."""
    for char, entity in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "#39")):
        text = text.replace(char, "&%s;" % entity)
    return text
