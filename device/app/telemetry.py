"""Posts what the store holds to the server, in batches, on its own schedule. Its memory is taken at start.

Owns the body's form (docs/telemetry.md, version 1), the batch and the pauses. Never more than one request in flight;
a batch is acknowledged only by a 2xx. Must not know sockets (lib/http_client) or where samples lie (the store).
"""

import asyncio
import gc

from app import log
from app.store import number
from http_client import post
from micropython import const

_BODY_BYTES = const(1536)
_MOST_READINGS = const(120)
_LIMIT_S = const(15)
_NO_CLOCK_S = const(60)  # samples wait this long for a clock before they go out without a time


class Telemetry:
    """`state` in words for people, `posts` that were acknowledged. Settings are read each time, so that changes count
    at once."""

    def __init__(self, settings: dict, store: "Any", clock: "Any", device: str, start: str) -> None:
        """`start` is the body up to and including the [ of the readings."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._device = device
        self._body = memoryview(bytearray(_BODY_BYTES))
        self._answer = bytearray(512)
        self._start = self._put(0, start)
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
                    wait_ms = await self._post(beat)
            # A backoff may last 15 minutes; a person who sets another address should not have to wait for it.
            while wait_ms > 0 and url == settings["telemetry_url"] and period_s == settings["telemetry_period_s"]:
                beat()
                await asyncio.sleep_ms(min(wait_ms, 1000))
                wait_ms -= 1000

    def _put(self, at: int, text: str) -> int:
        end = at + len(text)
        self._body[at:end] = memoryview(text)
        return end

    def _fill(self) -> tuple:
        """Write the next batch into the body: (its size, its last sequence number)."""
        store = self._store
        first = store.first_pending
        last = first - 1
        end = self._start
        for seq in range(first, min(store.next_seq, first + self.most)):
            unix_s, quality, *values = store.read(seq)
            text = "%s[%d,%s,%d,%s]" % (
                "," if end > self._start else "", seq, unix_s if quality else "null", quality,
                ",".join([number(v) for v in values]),
            )
            if end + len(text) > _BODY_BYTES - 2:
                break
            end = self._put(end, text)
            last = seq
        return self._put(end, "]}"), last

    async def _post(self, beat: "Any") -> int:
        """Post one batch; milliseconds until the next."""
        gc.collect()
        first = self._store.first_pending
        size_bytes, last = self._fill()
        extra = "Content-Type: application/json\r\n"
        if self.keyed:
            extra += "Idempotency-Key: %s-%d-%d\r\n" % (self._device, first, last)
        self._result = 0, b"", "no answer in %d s" % _LIMIT_S
        task = asyncio.create_task(self._try(extra, self._body[:size_bytes]))
        for _ in range(_LIMIT_S * 20):
            if task.done():
                break
            beat()
            await asyncio.sleep_ms(50)
        else:
            task.cancel()
        return self._judge(*self._result, last, last + 1 - first)

    async def _try(self, extra: str, body: memoryview) -> None:
        """One POST, as a task so that it can be given up; asyncio would print what such a task raises."""
        try:
            status, head = await post(self._settings["telemetry_url"], extra, body, self._answer)
            self._result = status, head, "the server answers %d" % status
        except OSError as error:
            self._result = 0, b"", "no connection (error %s)" % error.errno
        except ValueError as error:
            self._result = 0, b"", str(error)

    def _judge(self, status: int, head: bytes, why: str, last: int, count: int) -> int:
        if 200 <= status < 300:
            self._store.acknowledge(last)
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
