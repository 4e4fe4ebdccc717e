"""The chip, for the rest of the application: clock, memory figures, numbers kept in NVS.

Owns every use of `machine` and `esp32` outside main, Wi-Fi and sensors. Must not know what the figures are for.
"""

import gc
from time import gmtime, time, time_ns

import esp32
import machine
from micropython import const

APP_VERSION = "0.1.0"

_UNIX_2000_S = const(946684800)  # the chip's epoch is 2000-01-01
_SET_S = const(757382400)  # 2024: an earlier time can't be true, the clock was never set


def clock_ms() -> int:
    """Milliseconds of the chip's clock since 2000; before it is set, since power-on."""
    return time_ns() // 1000000


def unix_s() -> int:
    """Unix seconds of the chip's clock, 0 while it was never set."""
    now_s = time()
    return now_s + _UNIX_2000_S if now_s > _SET_S else 0


def memory() -> tuple:
    """(gc_used, gc_free, idf_free, idf_largest) in bytes. gc.mem_free() alone would add the largest IDF block."""
    idf = esp32.idf_heap_info(esp32.HEAP_DATA)
    largest = max([h[2] for h in idf])
    return gc.mem_alloc(), gc.mem_free() - largest, sum([h[1] for h in idf]), largest


def count_up(key: str, by: int) -> int:
    """Add `by` to a number kept in NVS and return what it was before (0 at first). Durable before it returns, so
    no number counted off here is ever given twice. OSError when NVS can't be written."""
    nvs = esp32.NVS("tally")
    try:
        before = nvs.get_i32(key)
    except OSError:  # never written
        before = 0
    nvs.set_i32(key, before + by)
    nvs.commit()
    return before


class LogFlash:
    """The `log` partition as lib/ring_log wants it: program without erase, erase by the sector."""

    sector_bytes = 4096

    def __init__(self, partition: "Any") -> None:
        self._partition = partition
        self.size_bytes = partition.info()[3]

    def read(self, offset: int, buf: "Any") -> None:
        self._partition.readblocks(offset // 4096, buf, offset % 4096)

    def program(self, offset: int, buf: "Any") -> None:
        self._partition.writeblocks(offset // 4096, buf, offset % 4096)

    def erase(self, offset: int) -> None:
        self._partition.ioctl(6, offset // 4096)


def log_flash() -> "Any":
    """The `log` partition, None where the partition table has none."""
    found = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="log")
    return LogFlash(found[0]) if found else None


def set_clock(unix_ms: int) -> None:
    """Set the chip's clock, to the millisecond as well as it takes it."""
    year, month, day, hour, minute, second, weekday, _ = gmtime(unix_ms // 1000 - _UNIX_2000_S)
    machine.RTC().datetime((year, month, day, weekday, hour, minute, second, unix_ms % 1000 * 1000))
