"""Posts what the store holds to the server, in batches, on its own schedule.

Owns the body's form (docs/telemetry.md, version 1), the batch and the pauses. Never more than one request in flight;
a batch is acknowledged only by a 2xx. Must not know sockets (lib/http_client) or where samples lie (the store). The
body is never in memory as a whole: it is made twice, once to know how long it is and once to send it.
"""

import asyncio
import gc

from app import log
from app.site import evict
from app.store import number
from http_client import post
from micropython import const

_BODY_BYTES = const(8192)
_MOST_READINGS = const(120)
_LIMIT_S = const(15)
_NO_CLOCK_S = const(60)  # samples wait this long for a clock before they go out without a time


class Telemetry:
    """`state` in words for people, `posts` that were acknowledged. Settings are read each time, so that changes count
    at once."""

    def __init__(self, settings: dict, store: "Any", clock: "Any", device: str, app: str) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._device = device
        self._app = app
        self._buffer = bytearray(512)  # for a scan of the store while the body goes out, then for the answer
        self._first = self._last = self._count = 0  # of the batch
        self.failures = 0
        self.most = _MOST_READINGS
        self.keyed = True
        self.posts = 0
        self.state = "nothing sent yet"

    async def run(self, wifi: "Any", beat: "Any") -> None:
        """Post every period while there is something to post; sooner to drain a backlog, later on failure."""
        settings = self._settings
        waited_s = 0
        while True:
            wait_ms = 1000
            url = settings["telemetry_url"]
            period_s = settings["telemetry_period_s"]
            if not url:
                self.state = "off, no address is set"
            elif wifi.ip and self._store.pending():
                waited_s += 1
                if self._clock.quality or waited_s > _NO_CLOCK_S:
                    wait_ms = await self._post(wifi.wlan.ifconfig()[3], beat)
            # A backoff may last 15 minutes; a person who sets another address should not have to wait for it.
            while wait_ms > 0 and url == settings["telemetry_url"] and period_s == settings["telemetry_period_s"]:
                beat()
                await asyncio.sleep_ms(min(wait_ms, 1000))
                wait_ms -= 1000

    def _pieces(self, most: int) -> "Any":
        """Yield the body of the next batch, at most `most` samples of one boot and one set of fields, piece by piece;
        `_first`, `_last` and `_count` say what it was."""
        self._count = size_bytes = 0
        for seq, unix_s, quality, *kind, values in self._store.samples(self._store.cursor + 1, self._buffer):
            text = ","
            if not self._count:
                batch = kind
                self._first = seq
                text = '{"device":"%s","app":"%s","boot":%d,"fields":["%s"],"readings":[' % (
                    self._device, self._app, kind[0], kind[1].replace(",", '","'),
                )
            text += "[%d,%s,%d,%s]" % (
                seq, "null" if unix_s is None else unix_s, quality, ",".join([number(v) for v in values]),
            )
            size_bytes += len(text)
            if kind != batch or self._count == most or size_bytes > _BODY_BYTES:
                break
            self._last = seq
            self._count += 1
            yield text
        yield "]}"

    async def _post(self, dns: str, beat: "Any") -> int:
        """Post one batch; milliseconds until the next. `dns` is the name server's address. Pages give way for it."""
        evict()
        gc.collect()
        store = self._store
        settled = store.acknowledged + store.expired  # before a sector may expire in a pause below
        size_bytes = 0
        for piece in self._pieces(self.most):
            size_bytes += len(piece)
            if self._count % 16 == 0:
                await asyncio.sleep_ms(0)
        last = self._last
        count = self._count
        if not count:  # what is pending can't be read any more
            store.give_up(store.next_seq - 1, store.stored)
            return 1000
        extra = "Content-Type: application/json\r\n"
        if self.keyed:
            extra += "Idempotency-Key: %s-%d-%d\r\n" % (self._device, self._first, last)
        self._result = 0, b"", "no answer in %d s" % _LIMIT_S
        task = asyncio.create_task(self._try(extra, size_bytes, dns))
        for _ in range(_LIMIT_S * 20):
            if task.done():
                break
            beat()
            await asyncio.sleep_ms(50)
        else:
            task.cancel()
        return self._judge(*self._result, last, settled + count, count)

    async def _try(self, extra: str, size_bytes: int, dns: str) -> None:
        """One POST, as a task so that it can be given up; asyncio would print what such a task raises."""
        try:
            url = self._settings["telemetry_url"]
            status, head = await post(url, extra, size_bytes, self._pieces(self._count), self._buffer, (dns,))
            self._result = status, head, "the server answers %d" % status
            if self._clock.wants_http():
                from app.timesync import from_http

                from_http(self._clock, head)
        except OSError as error:
            self._result = 0, b"", "no connection (error %s)" % error.errno
        except ValueError as error:
            self._result = 0, b"", str(error)

    def _judge(self, status: int, head: bytes, why: str, last: int, settled: int, count: int) -> int:
        if 200 <= status < 300:
            self._store.acknowledge(last, settled)
            self.failures = 0
            self.most = _MOST_READINGS
            self.keyed = True
            self.posts += 1
            waiting = self._store.pending()
            self.state = "%d delivered, %d waiting" % (count, waiting)
            log.info("telemetry", "%s", self.state)
            return 100 if waiting >= count else self._settings["telemetry_period_s"] * 1000
        from app.web.refusal import judge

        return judge(self, status, head, why, count)
