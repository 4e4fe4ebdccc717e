"""Staying in the network: a task that never gives up and never reboots. Joining itself is in app.web.join.

Owns the WLAN interface. Must not know what the network is used for.
"""

import asyncio

import network
from micropython import const

_POLL_MS = const(500)


class WiFi:
    """`state` in words for people; `ip` is "" without a link."""

    def __init__(self, settings: dict, hostname: str) -> None:
        self.settings = settings
        self.ip = ""
        self.state = "starting"
        self.failures = 0
        network.hostname(hostname)  # read by DHCP and mDNS at connect, never later
        self.wlan = network.WLAN(network.STA_IF)

    async def run(self, beat: "Any") -> None:
        """Join, watch the link, join again, for ever."""
        while True:
            beat()
            if not self.wlan.isconnected() or not self.ip:
                self.ip = ""
                from app.web.join import join

                await join(self, beat)
                del join
            await asyncio.sleep_ms(_POLL_MS)
