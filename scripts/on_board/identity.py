"""Runs on the board, through `mpremote run`: which board it is and how its flash is divided. Prints one JSON object."""

import binascii
import json
import os

import esp
import machine
from esp32 import Partition

rows = Partition.find(Partition.TYPE_APP) + Partition.find(Partition.TYPE_DATA)
print(
    json.dumps(
        {
            "mac": binascii.hexlify(machine.unique_id(), ":").decode(),
            "chip": os.uname()[4],
            "release": os.uname()[2],
            "flash_bytes": esp.flash_size(),
            "partitions": [row.info()[:5] for row in rows],
        }
    )
)
