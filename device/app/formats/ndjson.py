"""Telemetry as a JSON object a line, one for each sample (docs/telemetry.md, NDJSON version 1).

Owns that body's text; app.telemetry sees to batches. Names have letters, digits, `_`, `-` and `.`: nothing to escape.
"""

from app.store import number

TYPE = "application/x-ndjson"
TAIL = ""


def text(device: str, app: str, sample: tuple, is_first: bool) -> str:
    """The line of a sample of Store.samples."""
    seq, unix_s, quality, boot, names, values = sample
    return '{"device":"%s","boot":%d,"seq":%d,"unix_s":%s,"quality":%d%s}\n' % (
        device, boot, seq, "null" if unix_s is None else unix_s, quality,
        "".join([',"%s":%s' % (name, number(value)) for name, value in zip(names.split(","), values)]),
    )
