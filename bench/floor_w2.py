"""Floors for W2 and W2d: items of 1 KiB through three functions, with nothing around them.

Usage: floor_w2.py loop COUNT BATCH FOLDER     batches of lines, a file each
       floor_w2.py synced COUNT BATCH FOLDER   the same, each file synced before it is renamed into place
       floor_w2.py rows COUNT FOLDER           the rows that a dataset an item leaves in SQLite, and no bytes of content

Prints one JSON object with the seconds it took. `rows` commits 1,000 items at once (WAL, synchronous=FULL): for each an
arrival and a revision, for each commit two records of history, of the sizes that OpenDMP writes.
"""

import json
import os
import sqlite3
import sys
import time

import items


def process(data: bytes) -> bytes:
    return data


def loop(count: int, batch: int, folder: str, synced: bool) -> None:
    one = two = three = process
    held: list[bytes] = []
    number = 0
    for at in range(count):
        held.append(three(two(one(items.numbered(at)))))
        if len(held) == batch:
            write(os.path.join(folder, f"batch-{number:05}.txt"), held, synced)
            held.clear()
            number += 1
    if held:
        write(os.path.join(folder, f"batch-{number:05}.txt"), held, synced)


def write(path: str, held: list[bytes], synced: bool) -> None:
    aside = os.path.join(os.path.dirname(path), "." + os.path.basename(path))
    with open(aside, "wb") as file:
        file.write(b"\n".join(held) + b"\n")
        if synced:
            file.flush()
            os.fsync(file.fileno())
    os.rename(aside, path)


def rows(count: int, folder: str) -> None:
    journal = sqlite3.connect(os.path.join(folder, "floor.db"), isolation_level=None)
    journal.execute("PRAGMA journal_mode=WAL")
    journal.execute("PRAGMA synchronous=FULL")
    journal.execute("CREATE TABLE arrival (id INTEGER PRIMARY KEY, source INTEGER, path BLOB, content BLOB, at INTEGER)")
    journal.execute("CREATE UNIQUE INDEX arrival_path ON arrival (source, path, id)")
    journal.execute(
        "CREATE TABLE revision (shelf INTEGER, origin INTEGER, slot BLOB, seq INTEGER, run INTEGER, item BLOB,"
        " PRIMARY KEY (shelf, origin, slot, seq)) WITHOUT ROWID"
    )
    journal.execute("CREATE TABLE history (id INTEGER PRIMARY KEY, least INTEGER, most INTEGER, steps BLOB)")
    content, item, steps = bytes(40), bytes(100), (bytes(60_000), bytes(20_000))
    for begin in range(0, count, 1_000):
        numbers = range(begin, min(begin + 1_000, count))
        journal.execute("BEGIN IMMEDIATE")
        journal.executemany(
            "INSERT INTO arrival VALUES (?, 1, ?, ?, 1700000000100)",
            ((number, b"item-%07d.bin" % number, content) for number in numbers),
        )
        journal.executemany(
            "INSERT INTO revision VALUES (1, ?, ?, ?, 1, ?)",
            ((number, number.to_bytes(12, "big"), number, item) for number in numbers),
        )
        for blob in steps:
            journal.execute("INSERT INTO history (least, most, steps) VALUES (?, ?, ?)", (numbers[0], numbers[-1], blob))
        journal.execute("COMMIT")
    kept = journal.execute("SELECT count(*) FROM revision").fetchone()[0]
    if kept != count:
        sys.exit(f"{kept} rows were committed instead of {count}")
    journal.close()


def main() -> None:
    what, count = sys.argv[1], int(sys.argv[2])
    begin = time.perf_counter()
    if what == "rows":
        rows(count, sys.argv[3])
    else:
        loop(count, int(sys.argv[3]), sys.argv[4], what == "synced")
    json.dump({"seconds": time.perf_counter() - begin}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
