"""Runs on the board after facts.py and like it: what the application was doing.

Only names that modules on demand use are asked for: others may be shortened by the build (scripts/shrink.py).
"""

import json
import sys
import time

_POLLS = 40
_POLL_MS = 100
_IDLE = 1000  # network.STAT_IDLE; the numbers below it are errors


def tell(**facts: object) -> None:
    print(json.dumps(facts))


def wifi_state(wifi) -> str:
    """The application's words; in a try after a failed one, why that failed: the driver repeats its errors by itself,
    though each only flickers."""
    if wifi.wlan.isconnected() or not wifi.failures or not wifi.state.startswith("joining"):
        return wifi.state
    from app.web.words import wifi_failure

    for _ in range(_POLLS):
        status = wifi.wlan.status()
        if status < _IDLE:
            break
        time.sleep_ms(_POLL_MS)
    return "not connected: " + wifi_failure(status)


def tell_app(site, health) -> None:
    settings, store = site.settings, site.store
    tell(boot=site.boot, uptime_s=health.uptime_ms // 1000, rescue="telemetry" not in health.beats)
    tell(log_in_memory=store.is_memory, stored=store.stored, last_seq=store.last[0], pending=store.pending())
    tell(rejected=store.rejected, log_errors=store.log.errors)
    tell(quality=site.clock.quality, ntp_failures=site.clock.failures)
    tell(ssid=settings["wifi_ssid"], ip=site.wifi.ip, wifi=wifi_state(site.wifi), web_port=settings["web_port"])


loaded = sys.modules.get("app.site")
if loaded and loaded.wifi:
    tell_app(loaded, sys.modules["app.health"])
