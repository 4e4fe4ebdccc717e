"""Joining a Wi-Fi network: one try, what came of it in words, and the pause after a failure.

Imported for that and dropped again. Never puts the password into a log line.
"""

import asyncio
from os import urandom

from app import log, site
from app.web.words import wifi_failure
from timing import backoff_ms

_POLLS = 40
_POLL_MS = 500
_RETRY_BASE_MS = 2000
_RETRY_CAP_MS = 60000
_SETTLE_MS = 100  # the driver answers 'Wifi Internal Error' to a connect() right after disconnect()
_CONNECTING = 1001
_PM_NONE = 0  # modem sleep, the default, adds 100 ms and more to each answer


async def join(wifi: "Any", beat: "Any") -> None:
    """Try for 20 s. Sets wifi.ip on success; else says why and sleeps for the backoff."""
    ssid = wifi.settings["wifi_ssid"]
    why = await _try(wifi, ssid, beat) if ssid else "no network is set: make provision SSID=..."
    if not why:
        wifi.failures = 0
        wifi.ip = wifi.wlan.ifconfig()[0]
        wifi.state = "connected"
        log.info("wifi", "connected ip=%s rssi=%d", wifi.ip, wifi.wlan.status("rssi"))
        if site.server.free:  # it listens; `make deploy` waits for this line
            port = wifi.settings["web_port"]
            log.info("web", "up at http://%s%s/", wifi.ip, "" if port == 80 else ":%d" % port)
        return
    wifi.failures += 1
    if wifi.state != why or ssid:
        log.warning("wifi", "%s", why)
    wifi.state = why
    random_32 = int.from_bytes(urandom(4), "little")
    for _ in range(backoff_ms(wifi.failures, _RETRY_BASE_MS, _RETRY_CAP_MS, random_32) // _POLL_MS):
        beat()
        await asyncio.sleep_ms(_POLL_MS)


async def _try(wifi: "Any", ssid: str, beat: "Any") -> str:
    """Connect and wait for an address; "" with one, else why not. The driver retries by itself, so that its errors
    only flicker: the last one seen is the reason."""
    wlan = wifi.wlan
    wifi.state = "joining " + ssid
    log.info("wifi", "joining %s", ssid)
    wlan.active(True)
    wlan.config(pm=_PM_NONE)
    try:
        if not wlan.isconnected():  # a soft reset leaves the link up, and connect() would raise
            wlan.disconnect()
            await asyncio.sleep_ms(_SETTLE_MS)
            wlan.connect(ssid, wifi.settings["wifi_password"])
    except OSError as error:
        return "the driver refused: %s" % error
    why = _CONNECTING
    for _ in range(_POLLS):
        beat()
        if wlan.isconnected():
            return ""
        status = wlan.status()
        why = why if status == _CONNECTING else status
        await asyncio.sleep_ms(_POLL_MS)
    return "not connected: " + wifi_failure(why)
