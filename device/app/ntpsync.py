"""Asking NTP: several servers, whom of them to believe, and when to ask again. Imported to do it, dropped again.

Must not know how a name is resolved (lib/dns), what an NTP answer looks like (lib/ntp), nor how the clock is set
(app.timesync): each is in memory only while it is needed.
"""

from os import urandom

from app import log
from app.site import evict
from app.timerules import agree, chip_base_ms, sane, slack_ms
from micropython import const

_DAY_MS = const(86400000)
_HOUR_MS = const(3600000)
_NTP_ERROR_MS = const(10)  # a tick of the event loop, on top of half the way there and back
_SERVERS_A_ROUND = const(4)
_TIMEOUT_MS = const(1000)  # for each of DNS and NTP; four silent servers are 8 s
_RETRY_BASE_MS = const(5000)
_RETRY_CAP_MS = const(600000)
_RESYNC_MS = const(21600000)
_JITTER_MS = const(2160000)  # 36 minutes, so that boards started together part ways
_OFF_MS = const(60000)  # how soon a setting that turns NTP on again is seen
_SYNCED = const(2)


async def sync(clock: "Any", wifi: "Any", beat: "Any") -> int:
    """Ask the servers of the setting `ntp_servers` and set the clock: the uptime in ms at which to do it again."""
    names = wifi.settings["ntp_servers"].split()
    if not names:  # no NTP is wanted
        return clock.uptime_ms() + _OFF_MS
    random_32 = int.from_bytes(urandom(4), "little")
    evict()
    found, why = await _ask(clock, names, (wifi.wlan.ifconfig()[3],), beat)
    if found:
        from app.timesync import set_time

        delay_ms, base_ms = found
        taken, why = set_time(clock, base_ms + clock.uptime_ms(), "ntp", delay_ms // 2 + _NTP_ERROR_MS)
        if taken:
            if clock.failures:
                log.info("clock", "NTP answers again after %d failures", clock.failures)
            clock.failures = 0
            return clock.uptime_ms() + _RESYNC_MS - random_32 % _JITTER_MS
    from timing import backoff_ms

    clock.failures += 1
    wait_ms = backoff_ms(clock.failures, _RETRY_BASE_MS, _RETRY_CAP_MS, random_32)
    uptime_ms = clock.uptime_ms()
    if clock.failures == 1 or uptime_ms - clock.told_ms >= _HOUR_MS:
        clock.told_ms = uptime_ms
        log.warning("clock", "no time from NTP: %s, next try in %d s", why, wait_ms // 1000)
    return uptime_ms + wait_ms


async def _ask(clock: "Any", names: list, dns: tuple, beat: "Any") -> tuple:
    """((delay, Unix ms at uptime 0) to believe or None, why not): the first that needs no step, the better one of two
    that agree, or the only one. Each failure starts with another server, and gives all more time."""
    answers = []
    why = "no server may be asked today"
    for i in range(min(len(names), _SERVERS_A_ROUND)):
        name = names[(i + clock.failures) % len(names)]
        if clock.uptime_ms() - clock.refused.get(name, -_DAY_MS) < _DAY_MS:
            continue
        beat()
        answer, fault = await _answer(clock, name, dns)
        if not answer:
            why = "%s: %s" % (name, fault)
            continue
        delay_ms, base_ms = answer
        age_ms = clock.uptime_ms() - clock.synced_ms
        if clock.quality == _SYNCED and abs(base_ms - chip_base_ms(clock)) <= slack_ms(age_ms):
            return answer, ""
        for other in answers:
            if agree(other[1], base_ms, (delay_ms + other[0]) // 2):
                clock.doubt_ms = min(answer, other)[1]  # a step of any size has its second answer
                return min(answer, other), ""
        answers.append(answer)
    if len(answers) == 1:
        return answers[0], ""
    return None, "%d servers disagree" % len(answers) if answers else why


async def _answer(clock: "Any", name: str, dns: tuple) -> tuple:
    """((delay, Unix ms at uptime 0) or None, why not) of one server. One that sends us away is left alone for a day."""
    from dns import resolve

    timeout_ms = _TIMEOUT_MS << min(clock.failures, 2)
    refused = 0
    try:
        ips, _ = await resolve(name, dns, timeout_ms)
        del resolve
        evict()
        from ntp import REFUSED as refused
        from ntp import ask

        base_ms, delay_ms = await ask(ips[0], clock.uptime_ms, timeout_ms)
    except OSError as error:
        if error.errno == refused:
            clock.refused[name] = clock.uptime_ms()
        return None, "error %d" % error.errno
    except ValueError as error:
        return None, str(error)
    if not sane(base_ms + clock.uptime_ms()):
        return None, "it says a year before 2024 or after 2067"
    return (delay_ms, base_ms), ""
