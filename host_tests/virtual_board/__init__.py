"""A virtual ESP32-C3: the real MicroPython VM, strict fakes of the chip in `vm/`, and its owner in `board.py`."""
