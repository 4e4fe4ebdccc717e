"""The date of an HTTP header in its three forms (RFC 9110 section 5.6.7). Plain code; must not know what it is good
for. Imported on demand.
"""

from time import mktime

from micropython import const

_UNIX_2000_S = const(946684800)
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"


def parse(text: str) -> int:
    """Unix seconds of `Sun, 06 Nov 2033 08:49:37 GMT`, `Sunday, 06-Nov-33 08:49:37 GMT` or `Sun Nov  6 08:49:37 2033`,
    for the years 2000 to 2067. ValueError for anything else."""
    words = text.lower().replace("-", " ").split()[1:]
    if len(words) == 4:
        month, day, time, year = words
    else:
        day, month, year, time, _ = words
    at = _MONTHS.find(month)
    year = int(year) + (2000 if len(year) == 2 else 0)
    day = int(day)
    hour, minute, second = [int(part) for part in time.split(":")]
    if len(month) != 3 or at % 3 or not 2000 <= year < 2068 or not 0 < day < 32:
        raise ValueError
    if not 0 <= hour < 24 or not 0 <= minute < 60 or not 0 <= second <= 60:
        raise ValueError
    return mktime((year, at // 3 + 1, day, hour, minute, second, 0, 0)) + _UNIX_2000_S
