"""Runs on the board, through `mpremote resume run`, where the application was just stopped: what it was doing.

The application is still loaded and leaves about 16 KB, so this is short and imports only what the firmware has built
in. Owns the answer's form, one JSON object a line; what was told before memory ran out counts. Only names that modules
on demand use are asked for: others may be shortened by the build (scripts/shrink.py).
"""

import gc
import json
import sys
import time

import esp32
import machine

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
    settings = site.settings
    tell(boot=site.boot, uptime_s=health.uptime_ms // 1000, rescue="sampler" not in health.beats)
    tell(ssid=settings["wifi_ssid"], ip=site.wifi.ip, wifi=wifi_state(site.wifi), web_port=settings["web_port"])
    tell(quality=site.clock.quality, ntp_failures=site.clock.failures)


gc.collect()
heaps = esp32.idf_heap_info(esp32.HEAP_DATA)
tell(gc_used=gc.mem_alloc(), idf_free=sum([h[1] for h in heaps]), idf_largest=max([h[2] for h in heaps]))
tell(chip_s=time.time(), reset_cause=machine.reset_cause(), rtc_memory=repr(machine.RTC().memory()))
loaded = sys.modules.get("app.site")
if loaded and loaded.wifi:
    tell_app(loaded, sys.modules["app.health"])
