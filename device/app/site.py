"""The site: which page module answers a path, and what every request must pass before.

Owns the route table, the message for the tips page, and the parts of the application that pages read (set once by
app.compose). Page modules, and all else in app.web, are imported when asked for and dropped by `evict`.
"""

import gc
import sys

from app.board import memory
from http_request import Reject
from micropython import const

_HIGH = const(2)  # of app.memory
_LEAST_BYTES = const(9000)  # free when a page, which takes up to 6 KB, is loaded
ROUTES = {
    "/": "index",
    "/index": "index",
    "/tips": "tips",
    "/settings": "form",
    "/clock": "clock",
    "/telemetry": "telemetry",
    "/export": "export",
    "/api/status": "status",
    "/style.css": "static",
    "/icon.svg": "static",
    "/clock.js": "static",
}
device = ""
boot = 0
settings = {}
message = ("", ())  # title and lines of what happened last, for /tips
store: "Any" = None
clock: "Any" = None
wifi: "Any" = None
sampler: "Any" = None
telemetry: "Any" = None
guard: "Any" = None
server: "Any" = None


def load(name: str) -> "Any":
    """The page module of a route, imported now if need be, in place of the last one. Raises Reject while samples and
    their POST need the memory."""
    name = "app.web." + name
    if name not in sys.modules:
        evict()
        gc.collect()
        if memory()[1] < _LEAST_BYTES:
            raise Reject(503, "memory is short, try again", "Retry-After: 2\r\n")
    return __import__(name, None, None, (name,))


def evict() -> None:
    """Forget what was imported on demand; a page that is answering right now lives until it is done. What stays is one
    module under many names, the bundle of the build.

    The package keeps no way to it either, so none of these may be imported as `from app import settings`."""
    modules = sys.modules
    stays = modules["app.site"]
    for name in list(modules):
        module = modules[name]
        is_app = name.startswith("app.")
        is_lib = getattr(module, "__file__", "").rpartition("/")[0][-3:] == "lib"
        if module is not stays and (is_app or is_lib or name == "config"):
            modules[name] = None  # a deleted entry keeps its value in MicroPython's maps, and that its memory
            del modules[name]
            if is_app and "." not in name[4:]:
                setattr(modules["app"], name[4:], None)


def check(http: "Any") -> None:
    """Raise Reject for what must not be served: memory short, or a name that is not ours.

    Any address literal is ours: a page of somebody else whose own name was made to lead here (DNS rebinding) sends
    that name.
    """
    if guard.level == _HIGH:
        raise Reject(503, "memory is short, try again", "Retry-After: 10\r\n")
    name = http.headers.get(b"Host", "").split(":")[0].lower()
    if name.strip("0123456789.") and name not in ("localhost", device, device + ".local"):
        raise Reject(421, "this board does not answer to that name, use its address")
