"""The registers of an ESP32-C3 that esptool reads and writes: eFuses and the SPI controller's way to ask the flash.

Owns addresses and values. Must not know the loader's commands. Everything else is plain memory that starts as 0.
"""

from __future__ import annotations

_CHIP_MAGIC = 0x40001000  # esptool 4 knows the chip by it
_CHIP_MAGIC_C3 = 0x1B31506F
_MAC_LOW = 0x60008844
_MAC_HIGH = 0x60008848
_EFUSE_BLOCK1_WORD3 = 0x60008850
_MINOR_REVISION = 4 << 18  # v0.4; the stock image wants v0.3 or later

_SPI_BASE = 0x60002000
_SPI_CMD = _SPI_BASE
_SPI_USR2 = _SPI_BASE + 0x20
_SPI_W0 = _SPI_BASE + 0x58
_SPI_CMD_USR = 1 << 18

_READ_STATUS = 0x05
_READ_SFDP = 0x5A
_READ_JEDEC_ID = 0x9F
_SFDP_SIGNATURE = int.from_bytes(b"SFDP", "little")
_JEDEC_VENDOR_TYPE = 0x4020


class Registers:
    """32-bit words by address. `size_code`: third byte of the flash's JEDEC id, 0x16 is 4 MB, 0x15 is 2 MB."""

    def __init__(self, mac: bytes, size_code: int) -> None:
        self._words = {
            _CHIP_MAGIC: _CHIP_MAGIC_C3,
            _MAC_LOW: int.from_bytes(mac[2:]),
            _MAC_HIGH: int.from_bytes(mac[:2]),
            _EFUSE_BLOCK1_WORD3: _MINOR_REVISION,
        }
        self._flash_answers = {
            _READ_STATUS: 0,
            _READ_SFDP: _SFDP_SIGNATURE,
            _READ_JEDEC_ID: size_code << 16 | _JEDEC_VENDOR_TYPE,
        }

    def read(self, address: int) -> int:
        return self._words.get(address, 0)

    def write(self, address: int, value: int, mask: int) -> None:
        """Change the bits of `mask`. Starting an SPI transfer has the flash's answer in W0 at once."""
        self._words[address] = self.read(address) & ~mask | value & mask
        if address == _SPI_CMD and self._words[address] & _SPI_CMD_USR:
            self._words[_SPI_CMD] = 0
            self._words[_SPI_W0] = self._flash_answers.get(self.read(_SPI_USR2) & 0xFF, 0)
