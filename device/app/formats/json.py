"""Telemetry as one JSON object a batch: names once, then a list a sample (docs/telemetry.md, JSON version 1).

Owns that body's text; app.telemetry sees to batches. Names have letters, digits, `_`, `-` and `.`: nothing to escape.
"""

from app.store import number

TYPE = "application/json"
TAIL = "]}"


def text(device: str, app: str, sample: tuple, is_first: bool) -> str:
    """What a sample of Store.samples adds to the body."""
    seq, unix_s, quality, boot, names, values = sample
    head = ","
    if is_first:
        head = '{"device":"%s","app":"%s","boot":%d,"fields":["%s"],"readings":[' % (
            device, app, boot, names.replace(",", '","'),
        )
    return "%s[%d,%s,%d,%s]" % (
        head, seq, "null" if unix_s is None else unix_s, quality, ",".join([number(v) for v in values]),
    )
