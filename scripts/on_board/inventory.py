"""Runs on the board, through `mpremote run`: tells what the board has, and defines what a deploy asks it to do next.

Owns the answers' form: one JSON object, then a line `sha256 size path` for each file that a deploy may own. Settings
and data are not read. What it defines stays for the commands that follow, while no reset comes between.
"""

import binascii
import hashlib
import json
import os

NEXT = "/next"
_OWNED = ("app", "lib", "www", "next")
_DIRECTORY = 0x4000


def sha256(path):
    """Hex digest of a file, read through one small buffer."""
    digest = hashlib.sha256()
    buffer = bytearray(1024)
    view = memoryview(buffer)
    with open(path, "rb") as file:
        while True:
            n = file.readinto(buffer)
            if not n:
                return binascii.hexlify(digest.digest()).decode()
            digest.update(view[:n])


def show(folder, entries):
    for name, kind, _, size_bytes in entries:
        path = folder + "/" + name
        if kind == _DIRECTORY:
            show(path, sorted(os.ilistdir(path)))
        else:
            print(sha256(path), size_bytes, path)


def inventory():
    block_bytes, _, _, _, free_blocks = os.statvfs("/")[:5]
    print(json.dumps({"release": os.uname()[2], "free_bytes": free_blocks * block_bytes, "block_bytes": block_bytes}))
    for entry in sorted(os.ilistdir("/")):
        name, kind = entry[:2]
        if kind == _DIRECTORY:
            if name in _OWNED:
                show("", [entry])
        elif name == "manifest.json" or name.endswith((".py", ".mpy")):
            show("", [entry])


def begin(*left_over):
    """Make the folder that files are staged in, without what an earlier deploy left there and nobody wants."""
    try:
        os.mkdir(NEXT)
    except OSError:  # it is there
        pass
    for name in left_over:
        os.remove(NEXT + "/" + name)


def stage(name, digest):
    """Give the file just received its staged name if it arrived whole."""
    if sha256(NEXT + "/part") != digest:
        print("damaged")
    else:
        os.rename(NEXT + "/part", NEXT + "/" + name)
        print("staged")


def commit(*stale):
    """From here on the deploy is finished by whoever comes first: the deploy itself or the next boot."""
    with open(NEXT + "/part", "w") as file:
        file.write("\n".join(("tally deploy 1",) + stale))
    os.rename(NEXT + "/part", NEXT + "/commit")


inventory()
