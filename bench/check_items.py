"""Checks what came of the items of W2 and W2d: that each is there once, whole, and in its place.

Usage: check_items.py numbered|generated COUNT FOLDER     files, in order of name, hold all items as lines, in order
       check_items.py numbered COUNT FOLDER --any-order   the same for a peer that does not promise any order
       check_items.py generated COUNT -                   standard input is what `datasets list --all --format json` prints

Prints one JSON object: `files` or `datasets`, `items`, and `sha256` over all items in order. Anything else than what is
expected ends it with exit code 1 and tells the first difference.
"""

import hashlib
import json
import os
import sys

import items

BLOCK = 1 << 20


def blocks(folder: str, names: list[str]):
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            while data := file.read(BLOCK):
                yield name, data


def unordered(count: int, folder: str) -> dict:
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    lines: list[bytes] = []
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            lines += file  # no numbered item has a line feed within
    lines.sort()
    digest = hashlib.sha256()
    for number, wanted in enumerate(items.lines("numbered", count)):
        if number >= len(lines) or lines[number] != wanted:
            sys.exit(f"item {number} is missing, doubled or changed in {len(names)} files")
        digest.update(wanted)
    if len(lines) != count:
        sys.exit(f"{len(lines)} items instead of {count}")
    return {"files": len(names), "items": count, "sha256": digest.hexdigest()}


def folder_of(kind: str, count: int, folder: str) -> dict:
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    digest = hashlib.sha256()
    wanted = items.lines(kind, count)
    expected = b""
    at = 0
    for name, data in blocks(folder, names):
        digest.update(data)
        while len(expected) < len(data):
            line = next(wanted, None)
            if line is None:
                sys.exit(f"{name} holds more than the {count} items")
            expected += line
        if not expected.startswith(data):
            place = next(index for index in range(len(data)) if data[index] != expected[index])
            sys.exit(f"{name} differs from the items at byte {at + place} of all files together")
        expected = expected[len(data) :]
        at += len(data)
    if expected or next(wanted, None) is not None:
        sys.exit(f"items are missing: {len(names)} files end after {at} bytes")
    return {"files": len(names), "items": count, "sha256": digest.hexdigest()}


def datasets_of(kind: str, count: int) -> dict:
    from blake3 import blake3

    told = {}
    for row in json.load(sys.stdin):
        if told.setdefault(row["name"], row["hash"]) != row["hash"] or row["revision"] != 1:
            sys.exit(f"dataset {row['name']} is there more than once")
    digest = hashlib.sha256()
    for number in range(count):
        name = f"item-{number:07}.bin"
        item = items.MAKERS[kind](number)
        digest.update(item)
        if told.get(name) != blake3(item).hexdigest():
            sys.exit(f"dataset {name} has the hash {told.get(name)}")
    if len(told) != count:
        sys.exit(f"{len(told)} datasets instead of {count}")
    return {"datasets": len(told), "items": count, "sha256": digest.hexdigest()}


def main() -> None:
    kind, count, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if where == "-":
        result = datasets_of(kind, count)
    elif "--any-order" in sys.argv[4:]:
        result = unordered(count, where)
    else:
        result = folder_of(kind, count, where)
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
