"""Finishes a committed deploy: moves the files staged in /next to their places. Runs before the application, at boot or
sent over the REPL as it is, so it needs nothing but os. Must not know what the files are, except who comes last.

/next/app!web!index.mpy is the new /app/web/index.mpy. /next/commit says that all are there: its first line names the
format, each further one a file to remove. Any step may be the last before the power goes: the next call does the rest.
"""

import os

_FILE = 0x8000
_FOLDER = 0x4000


def apply() -> bool:
    """True when a deploy was committed and is now in place. False when there is none, or one of an unknown format,
    which is left alone. OSError when the flash refuses; for lack of room it does before any file has moved, as long as
    the deploy left the room that renaming takes."""
    if _kind("/next/commit") != _FILE:
        return False
    with open("/next/commit") as file:
        record, *stale = file.read().split("\n")
    if record != "tally deploy 1":
        print("the deploy in /next is of a format this board does not know and was left alone: deploy again")
        return False
    staged = [e[0] for e in os.ilistdir("/next") if e[1] == _FILE and e[0] not in ("commit", "part")]
    # A board may come without the main.py that calls this at boot: nothing new may start before all of it is there.
    staged.sort(key=lambda name: (name == "main.py") + 2 * (name == "manifest.json"))
    for name in staged:
        _make_folders(_place(name))
    for name in staged:
        path = _place(name)
        if _kind(path) == _FOLDER:
            _remove_all(path)
        os.rename("/next/" + name, path)
    for path in stale:
        _remove_stale(path)
    for name in os.listdir("/next"):
        if name != "commit":
            _remove_all("/next/" + name)
    os.remove("/next/commit")
    os.rmdir("/next")
    return True


def _place(name: str) -> str:
    return "/" + name.replace("!", "/")


def _kind(path: str) -> int:
    """_FILE, _FOLDER, or 0 for nothing."""
    try:
        return os.stat(path)[0]
    except OSError as error:
        if error.errno in (2, 20):  # ENOENT; ENOTDIR, where a file took the place of the folder
            return 0
        raise


def _make_folders(path: str) -> None:
    """Make the folders above a path; a file in the way goes, a path of the new application leads through it."""
    at = path.find("/", 1)
    while at > 0:
        kind = _kind(path[:at])
        if kind == _FILE:
            os.remove(path[:at])
        if kind != _FOLDER:
            os.mkdir(path[:at])
        at = path.find("/", at + 1)


def _remove_all(path: str) -> None:
    """Remove a file, or a folder with all that is in it."""
    if _kind(path) == _FILE:
        os.remove(path)
        return
    for name in os.listdir(path):
        _remove_all(path + "/" + name)
    os.rmdir(path)


def _remove_stale(path: str) -> None:
    """Remove a file and the folders above it that are empty, also when the file is gone already. What has become a
    folder, or a file in a folder's place, is new and stays: LittleFS's rmdir would take a file too."""
    if _kind(path) == _FILE:
        os.remove(path)
    while path.rfind("/") > 0:
        path = path[: path.rfind("/")]
        if _kind(path) == _FOLDER:
            if os.listdir(path):
                return
            os.rmdir(path)
