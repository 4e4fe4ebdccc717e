"""The header line by which the board shows that it may post. Imported for a moment.

Owns how `telemetry_auth` is written. Must not log it, nor put it into an error.
"""

from binascii import b2a_base64


def header(text: str) -> str:
    """A header line, ended by CR LF, of "bearer X" (RFC 6750), "token X" (InfluxDB), "basic user:password" (RFC 7617)
    or a whole line "Name: value". Raises ValueError with a sentence for anything else."""
    text = text.strip()
    kind, _, rest = text.partition(" ")
    rest = rest.strip()
    low = kind.lower()
    if rest and min(text) >= " ":
        if len(kind) > 1 and kind[-1] == ":":
            return "%s %s\r\n" % (kind, rest)
        if low in ("bearer", "token"):
            return "Authorization: %s %s\r\n" % ("Bearer" if low == "bearer" else "Token", rest)
        if low == "basic" and ":" in rest:
            return "Authorization: Basic %s\r\n" % b2a_base64(rest.encode()).decode().strip()
    raise ValueError('telemetry_auth must be "bearer X", "token X", "basic user:password" or "Name: value"')
