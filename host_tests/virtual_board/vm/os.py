"""Fake `os`: only what the device's has; no getenv, no system."""

from collections import namedtuple as _namedtuple

import _board
import registers as _r
from uos import (  # noqa: F401
    VfsFat,
    VfsLfs2,
    chdir,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    stat,
    statvfs,
    umount,
    unlink,
    urandom,
)

_Uname = _namedtuple("uname", ("sysname", "nodename", "release", "version", "machine"))


def uname():
    release, version, chip = _board.text(_r.FIRMWARE_TEXT).split(";")
    return _Uname("esp32", "esp32", release, version, chip)


def sync():
    pass
