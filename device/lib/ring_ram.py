"""Flash made of memory for a ring log: what a board without a `log` partition writes to. Gone at a reset."""


class RamFlash:
    def __init__(self, size_bytes: int, sector_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.sector_bytes = sector_bytes
        self._cells = bytearray(b"\xff" * size_bytes)

    def read(self, offset: int, buf: "Any") -> None:
        buf[:] = memoryview(self._cells)[offset : offset + len(buf)]

    def program(self, offset: int, buf: "Any") -> None:
        self._cells[offset : offset + len(buf)] = buf

    def erase(self, offset: int) -> None:
        for at in range(offset, offset + self.sector_bytes):
            self._cells[at] = 255
