"""Model of the station: what the air, the access point and DHCP answer, and when.

Evaluated when asked, from the board's clock and the words the host sets; so it needs no thread and skips with
time. Owns LINK, the word the fake sockets look at. States and numbers: esp32c3-facts.md section 2.
"""

import _board
import registers as r
from _board import words

IDLE = 1000
CONNECTING = 1001
GOT_IP = 1010
BEACON_TIMEOUT = 200
NO_AP = 201
WRONG_PASSWORD = 202

_ASSOCIATE_MS = 900
_DHCP_MS = 300
_RETRY_MS = 3000
_RETRY_SHOWS_ERROR_MS = 600


class Station:
    def __init__(self):
        self.started = bool(words[r.LINK])  # a soft reset leaves the driver alone
        self.ssid = _board.text(r.SSID_TEXT) if self.started else None
        self.password = _board.text(r.PASSWORD_TEXT) if self.started else None
        self.since = 0
        self.blocked = False

    def connect(self, ssid, password):
        self.ssid = ssid
        self.password = password
        self.since = _board.ticks_ms()
        self.started = True

    def disconnect(self):
        self.started = False
        self._set_link(0)

    def busy(self):
        """True when the driver would answer a second connect() with 'Wifi Internal Error'."""
        return self.started

    def _set_link(self, up):
        if up != words[r.LINK]:
            words[r.LINK] = up
            if up:
                words[r.IDF_WLAN] = 44244

    def status(self):
        """One of the STAT_* numbers; sets LINK as a side effect."""
        state = self._evaluate() if self.started else IDLE
        self._set_link(1 if state == GOT_IP else 0)
        return state

    def _evaluate(self):
        now = _board.ticks_ms()
        if not words[r.AP_PRESENT] or self.ssid != _board.text(r.SSID_TEXT):
            if words[r.LINK]:  # an access point that vanishes is noticed by its missing beacons
                self.since = now
                return BEACON_TIMEOUT
            return self._flicker(now, NO_AP)
        if self.password != _board.text(r.PASSWORD_TEXT):
            return self._flicker(now, WRONG_PASSWORD)
        if words[r.LINK]:
            return GOT_IP
        if self.blocked:  # back after an absence: associate anew from here
            self.blocked = False
            self.since = now
        elapsed = _board.ticks_diff(now, self.since)
        if elapsed < _ASSOCIATE_MS + _DHCP_MS or not words[r.DHCP_OK] or not self._loud():
            return CONNECTING
        return GOT_IP

    def _flicker(self, now, error):
        """The driver retries for ever by itself, so the error shows only between two tries."""
        self.blocked = True
        phase = _board.ticks_diff(now, self.since) % _RETRY_MS
        return error if phase >= _RETRY_MS - _RETRY_SHOWS_ERROR_MS else CONNECTING

    def _loud(self):
        """Boards with a ceramic antenna can't join at full power: a cap the host may set (dBm * 4)."""
        cap = words[r.TXPOWER_MAX]
        return not cap or self.txpower_quarter_dbm <= cap

    txpower_quarter_dbm = 80


station = Station()


def link_is_up():
    return station.status() == GOT_IP
