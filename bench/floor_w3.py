"""Floors for W3: a loop that upper-cases whatever is renamed into a folder, as one would write it by hand.

Usage: floor_w3.py INBOX OUTBOX watchdog|inotify [JOURNAL]

Prints `ready` once it watches, and works until it is killed. Each file is read, upper-cased, written under a temporary
name, renamed into place, and removed from the inbox (`after: delete`). With JOURNAL, a path, it is the durable floor: the
output is fsynced before its rename, and one row a file is committed to SQLite (WAL, synchronous=FULL) before the removal.

`watchdog` is what people use. `inotify` is the kernel's interface by ctypes, without anything between: less than which
no Python can do, so the strictest floor.
"""

import ctypes
import os
import sqlite3
import struct
import sys
import threading

IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
HEADER = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
BUFFER = 1 << 20


class Loop:
    """What is done with each file."""

    def __init__(self, inbox: str, outbox: str, journal: str | None) -> None:
        self.inbox, self.outbox, self.journal = inbox, outbox, None
        if journal:
            # watchdog calls from a thread of its own, and only from that one.
            self.journal = sqlite3.connect(journal, isolation_level=None, check_same_thread=False)
            self.journal.execute("PRAGMA journal_mode=WAL")
            self.journal.execute("PRAGMA synchronous=FULL")
            self.journal.execute("CREATE TABLE IF NOT EXISTS done (name TEXT PRIMARY KEY, size INTEGER)")

    def shout(self, name: str) -> None:
        source = os.path.join(self.inbox, name)
        with open(source, "rb") as file:
            data = file.read().upper()
        aside = os.path.join(self.outbox, "." + name)
        with open(aside, "wb") as file:
            file.write(data)
            if self.journal:
                file.flush()
                os.fsync(file.fileno())
        os.rename(aside, os.path.join(self.outbox, name))
        if self.journal:
            self.journal.execute("INSERT OR REPLACE INTO done VALUES (?, ?)", (name, len(data)))
        os.unlink(source)


def by_watchdog(loop: Loop) -> None:
    from watchdog.events import FileSystemEventHandler
    from watchdog.observers import Observer

    class Handler(FileSystemEventHandler):
        def on_created(self, event):  # a file renamed in from a folder that is not watched counts as created
            loop.shout(os.path.basename(event.src_path))

    observer = Observer()
    observer.schedule(Handler(), loop.inbox)
    observer.start()
    print("ready", flush=True)
    threading.Event().wait()


def by_inotify(loop: Loop) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(loop.inbox), IN_CLOSE_WRITE | IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), loop.inbox)
    print("ready", flush=True)
    while True:
        events = os.read(descriptor, BUFFER)
        at = 0
        while at < len(events):
            _, _, _, length = HEADER.unpack_from(events, at)
            at += HEADER.size
            loop.shout(os.fsdecode(events[at : at + length].rstrip(b"\0")))
            at += length


def main() -> None:
    inbox, outbox, watcher = sys.argv[1:4]
    loop = Loop(inbox, outbox, sys.argv[4] if len(sys.argv) > 4 else None)
    {"watchdog": by_watchdog, "inotify": by_inotify}[watcher](loop)


if __name__ == "__main__":
    main()
