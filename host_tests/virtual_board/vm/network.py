"""Fake `network`: WLAN with the C3's states, refusals and memory cost. The air is in `_radio`."""

import _board
import _radio
import registers as _r
import uctypes as _uctypes
from _board import words as _words

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204
STAT_NO_AP_FOUND_W_COMPATIBLE_SECURITY = 210
STAT_NO_AP_FOUND_IN_AUTHMODE_THRESHOLD = 211
STAT_NO_AP_FOUND_IN_RSSI_THRESHOLD = 212

_SCAN_MS = 2500
_ACTIVE_BYTES = 38324  # of the IDF heap, once active
_MAX_HOSTNAME = 32
_NAME_SERVER = "127.0.0.53"  # what DHCP gives out
_names = {"hostname": "mpy-esp32c3", "country": "XX"}
_STA_PARAMS = ("ssid", "essid", "channel", "reconnects", "txpower", "pm", "mac", "protocol")
_AP_PARAMS = ("ssid", "essid", "key", "password", "security", "authmode", "channel", "hidden")
_AP_PARAMS += ("max_clients", "txpower", "mac", "protocol")


def hostname(name=None):
    if name is None:
        return _names["hostname"]
    if not 0 < len(name) <= _MAX_HOSTNAME:
        raise ValueError("hostname too long")
    _names["hostname"] = name


def country(code=None):
    if code is None:
        return _names["country"]
    if len(code) != 2:
        raise ValueError("invalid country code")
    _names["country"] = code


def ipconfig(param=None, **kwargs):
    if kwargs:
        raise ValueError("virtual board: setting the name server is not modelled")
    if param != "dns":
        raise ValueError("unknown config param")
    return _NAME_SERVER if _radio.link_is_up() else "0.0.0.0"


def _rssi():
    value = _words[_r.RSSI]
    return value - (1 << 32) if value >= 1 << 31 else value


def _was_active():
    """True when the driver was started before a soft reset, which does not stop it."""
    return _words[_r.IDF_WLAN] >= _ACTIVE_BYTES


class _WLAN:
    def __init__(self, interface_id):
        self._ap = interface_id == AP_IF
        self._active = not self._ap and _was_active()
        self._config = {"reconnects": -1, "txpower": 20.0, "pm": 1, "channel": 0}
        if self._ap:
            self._config = {"ssid": "ESP_0C3F01", "security": 0, "channel": 1, "key": ""}
        if not _words[_r.IDF_WLAN]:
            _words[_r.IDF_WLAN] = 36400

    def active(self, is_active=None):
        if is_active is None:
            return self._active
        self._active = bool(is_active)
        if self._active:
            _words[_r.IDF_WLAN] = max(_words[_r.IDF_WLAN], _ACTIVE_BYTES)
        elif not self._ap:
            _radio.station.disconnect()
        return self._active

    def _need_started(self):
        if not self._active:
            raise OSError("Wifi Not Started")

    def connect(self, ssid=None, password=None, *, bssid=None):
        self._need_started()
        if self._ap:
            raise OSError("STA required")
        if _radio.station.busy():
            raise OSError("Wifi Internal Error")
        if ssid is None:
            ssid, password = _radio.station.ssid, _radio.station.password
        if not isinstance(ssid, (str, bytes)) or not isinstance(password or "", (str, bytes)):
            raise TypeError("object with buffer protocol required")
        _radio.station.txpower_quarter_dbm = int(self._config["txpower"] * 4)
        _radio.station.connect(ssid, password or "")

    def disconnect(self):
        self._need_started()
        _radio.station.disconnect()

    def isconnected(self):
        if self._ap:
            return False
        return _radio.link_is_up()

    def status(self, param=None):
        if param is None:
            return None if self._ap else _radio.station.status()
        if param == "stations" and self._ap:
            return []
        if param != "rssi" or self._ap:
            raise ValueError("unknown status param")
        if not self.isconnected():
            raise OSError("Wifi Not Connected")
        return _rssi()

    def scan(self):
        self._need_started()
        _board.idle(_SCAN_MS, deaf=True)
        if not _words[_r.AP_PRESENT]:
            return []
        name = _board.text(_r.SSID_TEXT).encode()
        return [(name, b"\x02\x00\x00\x00\x00\x01", 6, _rssi(), 3, False)]

    def ifconfig(self, ip_mask_gateway_dns=None):
        if ip_mask_gateway_dns is not None:
            raise ValueError("virtual board: static addresses are not modelled")
        if self._ap:
            return ("192.168.4.1", "255.255.255.0", "192.168.4.1", "0.0.0.0")
        if not self.isconnected():
            return ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", _NAME_SERVER)

    def ipconfig(self, param):
        ip, mask, gateway, _ = self.ifconfig()
        if param == "addr4":
            return (ip, mask)
        if param == "gw4":
            return gateway
        if param == "dhcp4":
            return not self._ap
        raise ValueError("unknown config param")

    def config(self, param=None, **kwargs):
        if param is not None:
            if kwargs:
                raise TypeError("can't set and get config")
            return self._get(param)
        for name, value in kwargs.items():
            self._set(name, value)

    def _check(self, name):
        if name not in (_AP_PARAMS if self._ap else _STA_PARAMS):
            raise ValueError("unknown config param")

    def _get(self, name):
        self._check(name)
        if name in ("key", "password"):
            raise ValueError("unknown config param")
        if name == "mac":
            mac = bytearray(_uctypes.bytearray_at(_r.UNIQUE_ID, 6))
            mac[5] = (mac[5] + self._ap) & 255
            return bytes(mac)
        if name in ("ssid", "essid") and not self._ap:
            return _radio.station.ssid or ""
        return self._config[name]

    def _set(self, name, value):
        self._check(name)
        if name == "txpower":
            self._need_started()
        if name in ("key", "password") and 0 < len(value) < 8:
            raise OSError("Wifi Invalid Password")
        if name == "mac":
            raise ValueError("virtual board: changing the MAC is not modelled")
        self._config[name] = value


_interfaces = {}


def WLAN(interface_id=STA_IF):
    """The one object of an interface, as on the device; the first one starts the driver and costs 36 KB."""
    if interface_id not in (STA_IF, AP_IF):
        raise ValueError("invalid WLAN interface identifier")
    if interface_id not in _interfaces:
        _interfaces[interface_id] = _WLAN(interface_id)
    return _interfaces[interface_id]
