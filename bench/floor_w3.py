"""Floors for W3: a loop that upper-cases whatever is renamed into a folder, as one would write it by hand.

Usage: floor_w3.py INBOX OUTBOX [JOURNAL]

Prints `ready` once it watches, and works until it is killed. Each file is read, upper-cased, written under a temporary
name, renamed into place, and removed from the inbox (`after: delete`). With JOURNAL, a path, it is the durable floor: the
output is fsynced before its rename, and one row a file is committed to SQLite (WAL, synchronous=FULL) before the removal.

inotify by ctypes instead of the watchdog package: nothing to install, and a faster, so stricter, floor.
"""

import ctypes
import os
import sqlite3
import struct
import sys

IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
BUFFER = 1 << 20


def watch(folder: str) -> int:
    """An inotify descriptor that tells of files written or moved into `folder`."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_CLOSE_WRITE | IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)
    return descriptor


def arrivals(descriptor: int):
    """Names of arrived files, for ever."""
    while True:
        events = os.read(descriptor, BUFFER)
        at = 0
        while at < len(events):
            _, _, _, length = HEADER.unpack_from(events, at)
            at += HEADER.size
            name = events[at : at + length].rstrip(b"\0")
            at += length
            if not name.startswith(b"."):
                yield name


def main() -> None:
    inbox, outbox = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
    journal = None
    if len(sys.argv) > 3:
        journal = sqlite3.connect(sys.argv[3], isolation_level=None)
        journal.execute("PRAGMA journal_mode=WAL")
        journal.execute("PRAGMA synchronous=FULL")
        journal.execute("CREATE TABLE IF NOT EXISTS done (name BLOB PRIMARY KEY, size INTEGER)")
    descriptor = watch(sys.argv[1])
    print("ready", flush=True)
    for name in arrivals(descriptor):
        source, target = os.path.join(inbox, name), os.path.join(outbox, name)
        with open(source, "rb") as file:
            data = file.read().upper()
        aside = os.path.join(outbox, b"." + name)
        with open(aside, "wb") as file:
            file.write(data)
            if journal:
                file.flush()
                os.fsync(file.fileno())
        os.rename(aside, target)
        if journal:
            journal.execute("INSERT OR REPLACE INTO done VALUES (?, ?)", (name, len(data)))
        os.unlink(source)


if __name__ == "__main__":
    main()
