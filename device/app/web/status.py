"""GET /api/status: the board's state as JSON for scripts and tests (docs/http-api.md, version 1)."""

import json

from app import board, health, site


async def get(http: "Any") -> None:
    http.head(200, "application/json")
    mark = "{"
    for make in (_device, _ledger, _memory, _http):
        for name, part in make().items():
            await http.write('%s"%s":%s' % (mark, name, json.dumps(part)))
            mark = ","
    await http.write("}\n")


def _device() -> dict:
    unix_s, quality = site.clock.now()
    return {
        "version": 1,
        "device": site.device,
        "name": site.settings["name"],
        "app": board.APP_VERSION,
        "boot": site.boot,
        "uptime_s": health.uptime_ms // 1000,
        "unix_s": unix_s if quality else None,
        "clock_quality": quality,
        "wifi": site.wifi.state,
        "telemetry": site.telemetry.state,
        "restarts": health.restarts,
    }


def _ledger() -> dict:
    store = site.store
    sampler = site.sampler
    return {
        "ledger": {
            "taken": sampler.taken,
            "rejected": store.rejected,
            "stored": store.acknowledged + store.pending() + store.expired,
            "acknowledged": store.acknowledged,
            "pending": store.pending(),
            "expired": store.expired,
        },
        "sampling": {"missed_slots": sampler.missed, "failed_readings": sampler.failed},
    }


def _memory() -> dict:
    used, free, idf_free, idf_largest = board.memory()
    guard = site.guard
    return {
        "memory": {
            "level": guard.level,
            "gc_used": used,
            "gc_free": free,
            "gc_settled": guard.settled,
            "gc_peak": guard.peak,
            "idf_free": idf_free,
            "idf_largest": idf_largest,
        }
    }


def _http() -> dict:
    server = site.server
    return {
        "http": {
            "requests": server.requests,
            "refused": server.refused,
            "failed": server.failed,
            "evicted": server.evicted,
            "expired": server.expired,
            "open": len(server.slots) - server.free,
            "bytes_held": server.bytes_held,
        }
    }
