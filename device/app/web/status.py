"""GET /api/status: the board's state as JSON for scripts and tests (docs/http-api.md, version 1)."""

import json

from app import board, health, site


async def get(http: "Any") -> None:
    http.head(200, "application/json")
    mark = "{"
    for make in (_device, _ledger, _post, _storage, _machine):
        for name, part in make().items():
            await http.write('%s"%s":%s' % (mark, name, json.dumps(part)))
            mark = ","
    await http.write("}\n")


def _named(names: str, *values: "Any") -> dict:
    """One text for all names: each short literal would stay in memory for ever."""
    return dict(zip(names.split(), values))


def _device() -> dict:
    clock = site.clock
    unix_s, quality = clock.now()
    return _named(
        "version device name app boot uptime_s unix_s clock_quality clock wifi telemetry restarts",
        1, site.device, site.settings["name"], board.APP_VERSION, site.boot, health.uptime_ms // 1000,
        unix_s if quality else None, quality,
        _named(
            "source steps last_step_s drift_ppm failures",
            clock.source, clock.steps, clock.step_s, clock.ppm, clock.failures,
        ),
        site.wifi.state, site.telemetry.state, health.restarts,
    )


def _ledger() -> dict:
    store = site.store
    sampler = site.sampler
    return _named(
        "ledger sampling",
        _named(
            "taken rejected stored acknowledged pending expired",
            sampler.taken, store.rejected, store.stored, store.acknowledged, store.pending(), store.expired,
        ),
        _named("missed_slots failed_readings sensors", sampler.missed, sampler.failed, sampler.states),
    )


def _post() -> dict:
    store = site.store
    telemetry = site.telemetry
    held = []
    if store.held:
        from app.held import numbers

        held = numbers(store)
    return _named(
        "post",
        _named(
            "state error failures posts waiting oldest_age_s held held_seqs",
            telemetry.state, telemetry.error, telemetry.failures, telemetry.posts, store.waiting(), _oldest_age_s(),
            len(held), held,
        ),
    )


def _oldest_age_s() -> int | None:
    """Seconds since the oldest sample was taken that waits; None if there is none, or its time or ours is not known."""
    store = site.store
    unix_s, quality = site.clock.now()
    if not store.waiting() or not quality:
        return None
    from app.web.oldest import oldest_s

    taken_s = oldest_s(store)
    return None if taken_s is None else max(0, unix_s - taken_s)


def _storage() -> dict:
    store = site.store
    log = store.log
    return _named(
        "storage last",
        _named(
            "kind bytes record_bytes sector next_seq cursor erases late_erases errors",
            "memory" if store.is_memory else "flash", log.flash.size_bytes, len(log.record), log.number,
            store.next_seq, store.cursor, log.erases, log.late, log.errors,
        ),
        _named("seq values", store.last[0], dict(zip(store.names.split(","), store.last[1]))),
    )


def _machine() -> dict:
    used, free, idf_free, idf_largest = board.memory()
    guard = site.guard
    server = site.server
    return _named(
        "memory http",
        _named(
            "level gc_used gc_free gc_settled gc_peak idf_free idf_largest",
            guard.level, used, free, guard.settled, guard.peak, idf_free, idf_largest,
        ),
        _named(
            "requests refused failed evicted expired open bytes_held",
            server.requests, server.refused, server.failed, server.evicted, server.expired,
            len(server.slots) - server.free, server.bytes_held,
        ),
    )
