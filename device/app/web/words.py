"""Words for numbers that people should not have to look up. Imported when they are needed."""

import io
import sys

_WIFI = {
    200: "the access point vanished",
    201: "network not found",
    202: "wrong password",
    203: "the access point refused us",
    204: "wrong password or weak signal",
    210: "network not found with a security we know",
    211: "network not found with a security we know",
    212: "signal too weak",
    1001: "no address from the network",
}
_RESET = {1: "power on", 2: "reset or crash", 3: "watchdog", 4: "deep sleep", 5: "soft reset"}


def wifi_failure(status: int) -> str:
    """A status of the WLAN driver in words."""
    return _WIFI.get(status, "status %d" % status)


def reset_cause(number: int) -> str:
    """machine.reset_cause() in words."""
    return _RESET.get(number, "cause %d" % number)


def traceback(error: BaseException) -> str:
    """The traceback as MicroPython prints it, its last 600 characters."""
    text: "Any" = io.StringIO()
    sys.print_exception(error, text)
    return text.getvalue().strip()[-600:]
