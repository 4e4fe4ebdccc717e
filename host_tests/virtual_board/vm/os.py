"""Fake `os`: only what the device's has; no getenv, no system."""

from collections import namedtuple as _namedtuple

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
    return _Uname("esp32", "esp32", "1.24.1", "v1.24.1 on 2024-11-29", "ESP32C3 module with ESP32C3")


def sync():
    pass
