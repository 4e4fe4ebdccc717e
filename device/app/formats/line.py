"""Telemetry in InfluxDB's line protocol, a line a sample (docs/telemetry.md, line protocol version 1).

Owns that body's text; app.telemetry sees to batches. Names have letters, digits, `_`, `-` and `.`: nothing to escape.
"""

from app.store import number

TYPE = "text/plain; charset=utf-8"
TAIL = ""


def text(device: str, app: str, sample: tuple, is_first: bool) -> str:
    """The line of a sample of Store.samples; a value that could not be had is left out."""
    seq, unix_s, quality, boot, names, values = sample
    return "tally,device=%s %sboot=%di,seq=%di,quality=%di %d000000000\n" % (
        device,
        "".join(["%s=%s," % pair for pair in zip(names.split(","), map(number, values)) if pair[1] != "null"]),
        boot, seq, quality,
        # Its number is the time of what never had one: the same at every retry, and no other sample's.
        seq if unix_s is None else unix_s,
    )
