"""The dashboard: what the board reads, keeps and sends, how it is, and the settings form."""

from app import board, log, site
from app.store import number
from app.web.page import LABELS, bottom, escape, top

_CARD = '<section class="card%s"><h2>%s</h2><p class="big">%s</p><p>%s</p></section>\n'
_FIELD = '<label>%s<input name="%s" value="%s" %s></label>\n'
_QUALITY = ("no time server has answered yet", "estimated", "synced")


async def get(http: "Any") -> None:
    await top(http, "Dashboard")
    await http.write('<div class="cards">')
    for make in (_reading, _samples, _telemetry, _wifi, _clock, _memory):
        await http.write(_CARD % make())
    await http.write("</div>")
    await _form(http)
    await bottom(http)


def _reading() -> tuple:
    if not site.sampler.taken:
        return "", "Temperature", "–", "no sample yet"
    last = site.store.next_seq - 1
    value = site.store.read(last)[2]
    if value != value:
        return " bad", "Temperature", "no value", "the sensor says: " + site.sampler.reason
    return "", "Temperature", number(value) + " °C", "inside the chip, sample %d" % last


def _samples() -> tuple:
    store = site.store
    lost = store.expired + store.rejected + site.sampler.missed
    detail = "%d delivered, %d waiting, %d expired, %d slots missed" % (
        store.acknowledged, store.pending(), store.expired, site.sampler.missed,
    )
    return " bad" if lost else "", "Samples", str(site.sampler.taken), detail


def _telemetry() -> tuple:
    telemetry = site.telemetry
    return "", "Telemetry", "%d posts" % telemetry.posts, escape(telemetry.state)


def _wifi() -> tuple:
    wifi = site.wifi
    try:
        signal = ", %d dBm" % wifi.wlan.status("rssi")
    except OSError:  # the link went just now
        signal = ""
    return "" if wifi.ip else " bad", "Wi-Fi", wifi.ip or "no link", escape(wifi.state) + signal


def _clock() -> tuple:
    quality = site.clock.quality
    return "" if quality else " bad", "Clock (UTC)", log.stamp()[11:19] or "not set", _QUALITY[quality]


def _memory() -> tuple:
    used, free, idf_free, _ = board.memory()
    settled = used + free - site.guard.settled
    detail = "of %d KB after a collect; IDF %d KB free" % ((used + free) // 1024, idf_free // 1024)
    level = site.guard.level
    return " bad" if level else "", "Memory", "%d KB free" % (settled // 1024), detail


async def _form(http: "Any") -> None:
    settings = site.settings
    await http.write('<form method="post" action="/settings"><h2>Settings</h2>\n')
    for name, attributes in (
        ("name", 'required maxlength="32"'),
        ("sample_period_s", 'type="number" min="1" max="86400"'),
        ("telemetry_period_s", 'type="number" min="1" max="86400"'),
        ("telemetry_url", 'maxlength="200"'),
    ):
        value = escape(str(settings[name]))
        await http.write(_FIELD % (LABELS[name], name, value, attributes))
    await http.write("<button>Save</button></form>\n")
