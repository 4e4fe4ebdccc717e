"""What an export is asked for, and its columns: all that is done before the first row. Dropped before rows go out."""

import asyncio

from app import site
from app.store import names_of
from http_request import Reject

_SECTORS = 16  # then the others get their turn


def query(text: str, forms: "Any") -> dict:
    """What is asked for, 0 for what is not; Reject names what can't be."""
    asked = {"fmt": "csv", "from": 0, "to": 0, "after": 0, "held": 0}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if name == "fmt" and value in forms:
            asked[name] = value
        elif name in asked and name != "fmt" and value.isdigit() and len(value) < 11:
            asked[name] = int(value)
        else:
            raise Reject(400, "use fmt=csv or ndjson, from= and to= in Unix seconds, after= a sequence number, held=1")
    return asked


async def columns(page: bytearray) -> list:
    """Names of all values that any sector has, the oldest first: a row has a place for each."""
    found = []
    log = site.store.log
    last = ""
    for n in range(log.oldest(log.number), log.number + 1):
        size = log.header(n, page)
        names = names_of(page, size) if size else last
        if names != last:
            last = names
            found += [name for name in names.split(",") if name and name not in found]
        if n % _SECTORS == 0:
            await asyncio.sleep_ms(0)
    return found
