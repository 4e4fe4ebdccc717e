"""The settings form: checked, stored, told on the tips page. The page may change what has a label."""

import forms
from app import site
from app.settings import change
from app.web.page import LABELS


async def post(http: "Any") -> None:
    """303 to /tips, also for a form with mistakes: there stands what is wrong. Fields of others are passed over."""
    form = await forms.read(http)
    changes = {name: form[name] for name in LABELS if name in form}
    problems = change(site.settings, changes)
    if problems:
        site.message = ("Not saved", problems)
    elif changes:
        site.message = ("Saved", ["%s: %s" % (LABELS[name], site.settings[name]) for name in sorted(changes)])
    else:
        site.message = ("Nothing to save", ["the form had none of " + ", ".join(sorted(LABELS))])
    http.head(303, "text/plain", "Location: /tips\r\nCache-Control: no-store\r\n")
