"""Posts what the store holds to the server, in batches, on its own schedule.

Owns the schedule and the batch. Never more than one request in flight, in the order of the numbers; a batch is
acknowledged only by a 2xx. Must not know sockets (lib/http_client), forms of bodies (app.formats) or what a failure
means for the next batch (app.refusal). The body is never in memory as a whole: it is made twice, once to know how long
it is and once to send it.
"""

import asyncio
import gc

from app import log
from app.formats import json
from app.site import evict
from http_client import Client
from micropython import const

_BODY_BYTES = const(8192)
_NO_CLOCK_S = const(60)  # samples wait this long for a clock before they go out without a time
_NEXT_MS = const(100)  # between batches while there is more to send
_NEVER_MS = const(1000000000)


class Telemetry:
    """`state` in words for people, `error` the last failure with its time, `posts` that were acknowledged, `failures`
    in a row. Settings are read each time, so that changes count at once."""

    # What app.refusal keeps here of what it has found out, see its reset().
    failures: int
    limit: int
    most: int
    suspects: list
    keyed: bool

    def __init__(self, settings: dict, store: "Any", clock: "Any", device: str, app: str) -> None:
        self.settings = settings
        self.store = store
        self._clock = clock
        self.device = device
        self._app = app
        # For a scan of the store while the body goes out, then for the answer.
        self.client = Client(bytearray(512), self._dial)
        self.posts = 0
        self.state = "nothing sent yet"
        self.error = ""
        self.retry = []  # numbers of held samples that are sent once more
        self._is_asked = False
        self._reset()

    def _reset(self) -> None:
        from app.refusal import reset

        reset(self)

    def send_now(self) -> None:
        """Do not wait for the period, or for the end of a pause."""
        self._is_asked = True

    async def run(self, wifi: "Any", beat: "Any") -> None:
        """Post every period, or as soon as enough samples wait, sooner to drain a backlog, later on failure."""
        settings = self.settings
        store = self.store
        waited_s = 0
        while True:
            self._is_asked = False
            wait_ms = 1000
            url = settings["telemetry_url"]
            period_s = settings["telemetry_period_s"]
            if not url:
                self.state = "off, no address is set"
            elif not wifi.ip:
                self.state = "waiting for Wi-Fi"
            elif self.retry or store.waiting():
                waited_s += 1
                if self._clock.quality or waited_s > _NO_CLOCK_S and settings["telemetry_format"] != "line":
                    wait_ms = await self._post(url, wifi.wlan.ifconfig()[3], beat)
                    if wait_ms > _NEXT_MS:
                        self.client.close()
            # A pause may last 15 minutes; a person who sets another address should not have to wait for it.
            while wait_ms > 0 and not self._is_asked and period_s == settings["telemetry_period_s"]:
                beat()
                await asyncio.sleep_ms(min(wait_ms, 1000))
                wait_ms -= 1000
                if url != settings["telemetry_url"]:
                    self._reset()
                    break
                if not self.failures and 0 < settings["telemetry_samples"] <= store.waiting():
                    break

    def _pieces(self, first: int, most: int) -> "Any":
        """Yield the body of a batch from number `first` on, at most `most` samples of one boot and one set of names,
        piece by piece; `_last` and `_count` say what it was."""
        name = self.settings["telemetry_format"]
        form = json if name == "json" else __import__("app.formats." + name, None, None, ("text",))
        self._type = form.TYPE
        self._count = size_bytes = 0
        for sample in self.store.samples(first, self.client.buffer):
            if not self._count:
                kind = sample[3:5]
            text = form.text(self.device, self._app, sample, not self._count)
            size_bytes += len(text)
            if sample[3:5] != kind or self._count == most or size_bytes > _BODY_BYTES:
                break
            self._last = sample[0]
            self._count += 1
            yield text
        yield form.TAIL
        evict()  # the form's module, so that there is room for the answer's

    async def _post(self, url: str, dns: str, beat: "Any") -> int:
        """Post one batch; milliseconds until the next. `dns` is the name server's address. Pages give way for it."""
        evict()
        gc.collect()
        store = self.store
        if self.suspects and self.suspects[0] <= store.cursor:  # it has expired
            self._reset()
        settled = store.settled()  # before a sector may expire in a pause below
        retry = self.retry  # a person may set another meanwhile
        if retry:
            first, most = retry[0], 1
        else:
            first = (self.suspects[-1] if self.suspects else store.cursor) + 1
            most = min(self.most or self.settings["telemetry_batch"], self.limit)
        size_bytes = await self._measure(first, most)
        count, last = self._count, self._last
        if not count or retry and last != first:
            from app.refusal import nothing

            return nothing(self)
        self._first = first
        self._dns = dns
        error = None
        status = 0
        try:
            keep = store.waiting() >= 2 * count
            status = await self.client.post(url, self._head, size_bytes, self._body, keep, beat)
            if self._clock.wants_http():
                from app.timesync import from_http

                from_http(self._clock, self.client.head)
        except (OSError, ValueError, MemoryError) as raised:
            error = raised
        if not 200 <= status < 300:
            from app.refusal import refused

            return refused(self, status, error, first, count)
        self.posts += 1
        if self.retry or self.suspects or self.most:
            from app.refusal import accepted

            wait_ms = accepted(self, last, settled, count)
            if wait_ms:
                return wait_ms
        else:
            store.acknowledge(last, settled + count)
        self.failures = 0
        self.keyed = True
        waiting = store.waiting()
        self.state = "%d delivered, %d waiting" % (count, waiting)
        log.info("telemetry", "%s", self.state)
        if waiting >= count or self.retry:
            return _NEXT_MS
        return self.settings["telemetry_period_s"] * 1000 or _NEVER_MS

    async def _measure(self, first: int, most: int) -> int:
        """Make the body once, for its size in bytes."""
        size_bytes = 0
        for piece in self._pieces(first, most):
            size_bytes += len(piece)
            if self._count % 16 == 0:
                await asyncio.sleep_ms(0)
        return size_bytes

    def _body(self) -> "Any":
        pieces = self._pieces(self._first, self._count)
        if self.client.sock is not self.client.raw:
            from app.secure import blocks

            pieces = blocks(pieces)
        return pieces

    def _head(self) -> str:
        """Header lines of the batch that was measured."""
        lines = "Content-Type: %s\r\n" % self._type
        if self.keyed:
            lines += "Idempotency-Key: %s-%d-%d\r\n" % (self.device, self._first, self._last)
        text = self.settings["telemetry_auth"]
        if text:
            from app.auth import header

            lines += header(text)
        evict()
        return lines

    async def _dial(self, client: "Any", url: str) -> None:
        from http_dial import dial

        secure = None
        if url.startswith("https"):
            from app.secure import securing

            secure = securing(self.settings["telemetry_ca"], self._clock)
        await dial(client, url, (self._dns,), secure)
        evict()
