"""GET /export?fmt=csv|ndjson&from=&to=&after=&held=1: samples of the log as a download, streamed (docs/http-api.md).

Owns the form of a row. One row is in memory at a time, and other tasks run every few rows.
"""

import asyncio

from app import log, site
from app.store import number
from micropython import const
from ring_log import PAGE_BYTES

_UNIX_2000_S = const(946684800)
_ROWS = const(16)  # then the others get their turn
_DEADLINE_MS = const(15000)  # moved on while rows go out
_KINDS = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}


async def get(http: "Any") -> None:
    from app.web.export_query import columns as find_columns
    from app.web.export_query import query

    asked = query(http.query, _KINDS)
    form = asked["fmt"]
    page = bytearray(PAGE_BYTES)
    columns = await find_columns(page) if form == "csv" else []
    extra = "Cache-Control: no-store\r\nContent-Disposition: attachment; filename=%s.%s\r\n" % (site.device, form)
    http.head(200, _KINDS[form], extra)
    if form == "csv":
        await http.write("seq,boot,unix_s,time_utc,quality,%s\n" % ",".join(columns + ["status"]))
    if http.method == "HEAD":
        return
    first = asked["after"] + 1
    if asked["from"]:
        from app.restamp import first_since

        first = max(first, first_since(site.store, asked["from"]))
        del first_since
    samples = _held(first, page) if asked["held"] else site.store.samples(first, page)
    del find_columns, query
    site.evict()
    rows = 0
    for sample in samples:
        rows += 1
        if rows % _ROWS == 0:
            http.expires(_DEADLINE_MS)
            await asyncio.sleep_ms(0)
        unix_s = sample[1]
        if asked["from"] or asked["to"]:
            if unix_s is None or unix_s < asked["from"] or asked["to"] and unix_s > asked["to"]:
                continue
        await http.write(_csv(sample, columns) if form == "csv" else _ndjson(sample))


def _held(first: int, page: bytearray) -> "Any":
    """Yield the held samples from number `first` on."""
    from app.held import numbers

    for seq in numbers(site.store):
        sample = next(site.store.samples(max(first, seq), page), None)
        if sample and sample[0] == seq:
            yield sample


def _csv(sample: tuple, columns: list) -> str:
    seq, unix_s, quality, boot, names, values = sample
    row = {}
    status = ""
    for name, value in zip(names.split(","), values):
        if isinstance(value, str):
            status += "%s%s:%s" % (" " if status else "", name, value)
        else:
            row[name] = number(value)
    stamp = "," if unix_s is None else "%d,%s" % (unix_s, log.utc(unix_s - _UNIX_2000_S))
    cells = ",".join([row.get(name, "") for name in columns])
    return "%d,%d,%s,%d,%s,%s\n" % (seq, boot, stamp, quality, cells, status or "ok")


def _ndjson(sample: tuple) -> str:
    seq, unix_s, quality, boot, names, values = sample
    pairs = zip(names.split(","), values)
    reasons = ['"%s":"%s"' % (name, value) for name, value in pairs if isinstance(value, str)]
    pairs = zip(names.split(","), values)
    return '{"seq":%d,"boot":%d,"unix_s":%s,"quality":%d,"values":{%s},"status":{%s}}\n' % (
        seq, boot, "null" if unix_s is None else unix_s, quality,
        ",".join(['"%s":%s' % (name, number(value)) for name, value in pairs]), ",".join(reasons),
    )
