"""Fake `esp32`: chip temperature, IDF heap, NVS keys, and flash partitions as the table at 0x8000 lists them.

NVS keeps 32-bit values in our own slots, in one of the first two sectors of the `nvs` partition: the bytes are
not the IDF's, the behaviour that the application can see is, also when power is cut.
"""

import _board
import _idf
import registers as _r
import uctypes as _uctypes
import ustruct as _struct
from _board import words as _words

HEAP_DATA = 4
HEAP_EXEC = 1
_TABLE = _r.FLASH + 0x8000
_ENTRY_BYTES = 32


def mcu_temperature():
    """Degrees Celsius, an int. The C3's driver can fail to read; the host decides when."""
    if _words[_r.SENSOR_FAIL]:
        raise OSError(-1, "ESP_FAIL")
    value = _words[_r.TEMPERATURE_C]
    return value - (1 << 32) if value >= 1 << 31 else value


def idf_heap_info(capabilities):
    """Four (total, free, largest, min_free) tuples whose free bytes sum up to the model's."""
    if capabilities != HEAP_DATA:
        raise ValueError("virtual board: only HEAP_DATA is modelled")
    free = _idf.free_bytes()
    largest = _idf.largest_bytes()
    small = min(10160, max(0, free - largest))
    rest = max(0, free - largest - small)
    return [
        (128912, rest, min(rest, largest), rest),
        (116496, largest, largest, largest),
        (10576, small, min(small, largest), small),
        (6072, 0, 0, 0),
    ]


class Partition:
    TYPE_APP = 0
    TYPE_DATA = 1
    BOOT = 0
    RUNNING = 1

    def __init__(self, id, block_size=4096):
        found = _entries(label=id)
        if not found:
            raise OSError(2)
        self._type, self._subtype, self._start, self._size, self._label = found[0]
        self._block_size = block_size

    @staticmethod
    def find(type=TYPE_APP, subtype=255, label=None, block_size=4096):
        return [Partition(e[4], block_size) for e in _entries(type, subtype, label)]

    def info(self):
        return (self._type, self._subtype, self._start, self._size, self._label, False)

    def _address(self, block_num, offset, size_bytes):
        start = block_num * self._block_size + offset
        if start < 0 or start + size_bytes > self._size:
            raise OSError(22)
        return _r.FLASH + self._start + start

    def readblocks(self, block_num, buf, offset=0):
        address = self._address(block_num, offset, len(buf))
        view = memoryview(buf)
        view[:] = _uctypes.bytearray_at(address, len(buf))

    def writeblocks(self, block_num, buf, offset=None):
        """With an offset: program only. Without: erase the sectors first, then program."""
        address = self._address(block_num, offset or 0, len(buf))
        if offset is None:
            if len(buf) % 4096:
                raise ValueError("virtual board: whole-block writes must be whole sectors")
            _board.flash_erase(address, len(buf))
        _board.flash_program(address, buf)

    def ioctl(self, op, arg=0):
        if op == 4:
            return self._size // self._block_size
        if op == 5:
            return self._block_size
        if op == 6:
            _board.flash_erase(self._address(arg, 0, self._block_size), self._block_size)
        return 0


def _entries(type=None, subtype=255, label=None):
    found = []
    address = _TABLE
    while True:
        raw = bytes(_uctypes.bytearray_at(address, _ENTRY_BYTES))
        magic, kind, sub, start, size, name = _struct.unpack("<HBBII16s", raw)
        if magic != 0x50AA:
            return found
        name = name.rstrip(b"\0").decode()
        if (type is None or kind == type) and subtype in (255, sub) and label in (None, name):
            found.append((kind, sub, start, size, name))
        address += _ENTRY_BYTES


_NVS_SLOT = "<B15s15sxi"  # state, namespace, key, value
_NVS_SLOT_BYTES = 36
_NVS_SLOTS = 100  # of a sector; the first has nothing but the mark
_NVS_SECTOR_BYTES = 4096
_NVS_WHOLE = 0x5A
_ESP_ERR_NVS_NOT_FOUND = -0x1102


class NVS:
    """Integer keys; set_i32 is in RAM until commit() programs it, as the IDF promises no more than that."""

    def __init__(self, namespace):
        self._namespace = _nvs_name(namespace)
        self._start = _r.FLASH + _entries(Partition.TYPE_DATA, 2)[0][2]
        self._pending = {}

    def _sector(self):
        """The sector in use: the first that is marked as whole; a blank partition starts with its first."""
        second = self._start + _NVS_SECTOR_BYTES
        marks = _byte(self._start), _byte(second)
        return second if marks[0] != _NVS_WHOLE and marks[1] == _NVS_WHOLE else self._start

    def _slots(self):
        sector = self._sector()
        for i in range(1, _NVS_SLOTS):
            address = sector + i * _NVS_SLOT_BYTES
            state, space, key, value = _struct.unpack(_NVS_SLOT, bytes(_uctypes.bytearray_at(address, _NVS_SLOT_BYTES)))
            if state == 255:
                return
            if state == 1 and space.rstrip(b"\0") == self._namespace:
                yield address, key.rstrip(b"\0"), value

    def _of(self, key):
        return [address for address, name, _ in self._slots() if name == key]

    def get_i32(self, key):
        key = _nvs_name(key)
        if key in self._pending:
            return self._pending[key]
        for _, name, value in self._slots():
            if name == key:
                return value
        raise OSError(_ESP_ERR_NVS_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")

    def set_i32(self, key, value):
        if not isinstance(value, int):
            raise TypeError("can't convert float to int")
        if not -(1 << 31) <= value < 1 << 31:
            raise OverflowError("overflow converting long int to machine word")
        self._pending[_nvs_name(key)] = value

    def erase_key(self, key):
        key = _nvs_name(key)
        self._pending.pop(key, None)
        found = self._of(key)
        if not found:
            raise OSError(_ESP_ERR_NVS_NOT_FOUND, "ESP_ERR_NVS_NOT_FOUND")
        for address in found:
            _board.flash_program(address, b"\0")

    def commit(self):
        for key, value in self._pending.items():
            at = self._free_slot()  # first, since it may move the slots
            old = self._of(key)
            _board.flash_program(at, _struct.pack(_NVS_SLOT, 1, self._namespace, key, value))
            for address in old:
                _board.flash_program(address, b"\0")
        self._pending = {}

    def _free_slot(self):
        sector = self._sector()
        if _byte(sector) != _NVS_WHOLE:
            _board.flash_program(sector, bytes((_NVS_WHOLE,)))
        for i in range(1, _NVS_SLOTS):
            if _byte(sector + i * _NVS_SLOT_BYTES) == 255:
                return sector + i * _NVS_SLOT_BYTES
        self._move(sector, 2 * self._start + _NVS_SECTOR_BYTES - sector)
        return self._free_slot()

    def _move(self, old, new):
        """Copy the living slots to the other sector. The old one goes when the new one is whole."""
        _board.flash_erase(new, _NVS_SECTOR_BYTES)
        to = new
        for i in range(1, _NVS_SLOTS):
            at = old + i * _NVS_SLOT_BYTES
            if _byte(at) == 1:
                to += _NVS_SLOT_BYTES
                _board.flash_program(to, bytes(_uctypes.bytearray_at(at, _NVS_SLOT_BYTES)))
        _board.flash_program(new, bytes((_NVS_WHOLE,)))
        _board.flash_erase(old, _NVS_SECTOR_BYTES)


def _byte(address):
    return _uctypes.bytearray_at(address, 1)[0]


def _nvs_name(name):
    if not 0 < len(name) <= 15:
        raise OSError(-0x1109, "ESP_ERR_NVS_KEY_TOO_LONG")
    return name.encode()
