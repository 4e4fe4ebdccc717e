"""The dashboard: what the board reads, keeps and sends, how it is, and the settings form."""

from app import board, site
from app.web.page import LABELS, bottom, escape, top
from app.web.units import reading

_CARD = '<section class="card%s"><h2>%s</h2><p class="big">%s</p><p>%s</p></section>\n'
_SET_CLOCK = """<form method="post" action="/clock" id="clock"><input type="hidden" name="unix_ms">
<button>Set the clock from this browser</button></form><script src="/clock.js"></script>
"""
_DO = (("send", "Send now"), ("retry", "Try the refused again"), ("forget", "Give the refused up"))
_FROM = {"": "no time server has answered yet", "kept": "kept through a reset", "last": "since the last sample"}


async def get(http: "Any") -> None:
    time = _time()
    await top(http, "Dashboard")
    await http.write('<div class="cards">')
    for card in _cards(time):
        await http.write(_CARD % card)
    await http.write("</div>")
    if site.clock.quality < 2:
        await http.write(_SET_CLOCK)
    await http.write('<form method="post" action="/telemetry">')
    for do in _DO if site.store.held else _DO[:1]:
        await http.write('<button name="do" value="%s">%s</button>\n' % do)
    await http.write('</form><form method="post" action="/settings"><h2>Settings</h2>\n')
    for name, attributes in (
        ("name", 'required maxlength="32"'),
        ("sample_period_s", 'type="number" min="1" max="86400"'),
        ("telemetry_period_s", 'type="number" min="0" max="86400"'),
        ("telemetry_url", 'maxlength="200"'),
    ):
        value = escape(str(site.settings[name]))
        await http.write('<label>%s<input name="%s" value="%s" %s></label>\n' % (LABELS[name], name, value, attributes))
    await http.write("<button>Save</button></form>\n")
    await bottom(http)


def _cards(time: str) -> "Any":
    """Yield (" bad" or "", title, figure, details) of each card, as HTML."""
    store, clock, wifi, flash = site.store, site.clock, site.wifi, site.store.log
    for name, value in zip(store.names.split(","), store.last[1]):
        title, text = reading(name, value)
        if isinstance(value, str):
            yield " bad", title, text, "the sensor says: " + value
        else:
            yield "", title, text, "sample %d" % store.last[0]
    lost = store.expired + store.rejected + site.sampler.missed
    yield " bad" if lost else "", "Samples", site.sampler.taken, (
        "%d delivered, %d waiting, %d expired, %d rejected, %d slots missed"
        % (store.acknowledged, store.waiting(), store.expired, store.rejected, site.sampler.missed)
    )
    room = (flash.sectors - 1) * ((flash.flash.sector_bytes - 64) // len(flash.record))
    text = "memory only" if store.is_memory else "%d KB flash" % (flash.flash.size_bytes // 1024)
    yield " bad" if store.is_memory or flash.errors else "", "Storage", text, (
        'room for %d samples; <a href="/export">CSV</a>, <a href="/export?fmt=ndjson">NDJSON</a>' % room
    )
    telemetry = site.telemetry
    text = escape(telemetry.state)
    if telemetry.error:
        text += "<br>" + escape(telemetry.error)
    if store.held:
        text += '<br><a href="/export?held=1">%d refused</a>' % store.held
    yield " bad" if telemetry.failures or store.held else "", "Telemetry", "%d posts" % telemetry.posts, text
    try:
        signal = ", %d dBm" % wifi.wlan.status("rssi")
    except OSError:  # the link went just now
        signal = ""
    yield "" if wifi.ip else " bad", "Wi-Fi", wifi.ip or "no link", escape(wifi.state) + signal
    used, free, idf_free, _ = board.memory()
    text = "%d KB free" % ((used + free - site.guard.settled) // 1024)
    yield " bad" if site.guard.level else "", "Memory", text, (
        "of %d KB after a collect; IDF %d KB free" % ((used + free) // 1024, idf_free // 1024)
    )
    text = ("not set", "estimated", "synced")[clock.quality] + ", " + _FROM.get(clock.source, "by " + clock.source)
    if clock.ppm is not None:
        text += ", drift %d ppm" % clock.ppm
    yield "" if clock.quality else " bad", "Clock", escape(time) or "not set", text


def _time() -> str:
    """The time of day where the board is, with the zone's name; first of all, since the zone's rules take memory."""
    unix_s, quality = site.clock.now()
    if not quality:
        return ""
    offset_s, zone = 0, "UTC"
    if site.settings["time_zone"] != "UTC0":
        from posix_tz import local, rules

        try:
            offset_s, zone, _ = local(rules(site.settings["time_zone"]), unix_s)
        except ValueError:  # config.py is not checked before it is used
            pass
        del local, rules
        site.evict()
    second = (unix_s + offset_s) % 86400
    return "%02d:%02d:%02d %s" % (second // 3600, second // 60 % 60, second % 60, zone)
