"""Telemetry as a form, the sample's parameters repeated for each (docs/telemetry.md, form version 1).

Owns that body's text; app.telemetry sees to batches. Names have letters, digits, `_`, `-` and `.`: nothing to escape.
"""

from app.store import number

TYPE = "application/x-www-form-urlencoded"
TAIL = ""


def text(device: str, app: str, sample: tuple, is_first: bool) -> str:
    """The parameters of a sample of Store.samples; one that has no value is empty."""
    seq, unix_s, quality, boot, names, values = sample
    head = "device=%s&app=%s&boot=%d" % (device, app, boot) if is_first else ""
    head += "&seq=%d&unix_s=%s&quality=%d" % (seq, "" if unix_s is None else unix_s, quality)
    for name, value in zip(names.split(","), values):
        # A plus sign, as in 1e+10, would be a space.
        head += "&%s=%s" % (name, "" if isinstance(value, str) else number(value).replace("+", ""))
    return head
