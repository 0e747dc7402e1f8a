"""One checker for every contender: how many files a folder holds, and a hash over all of them in order of name.

Usage: check.py FOLDER [--upper | --gunzip]

With --upper each file is upper-cased before it is hashed: what a folder of inputs must turn into. With --gunzip each is
unpacked first. Prints one JSON object. Names that begin with a dot are work in progress and not counted. Files are read by
blocks, however large they are.
"""

import gzip
import hashlib
import json
import os
import sys

BLOCK = 1 << 20


def main() -> None:
    folder, upper, gunzip = sys.argv[1], "--upper" in sys.argv[2:], "--gunzip" in sys.argv[2:]
    names = sorted(name for name in os.listdir(os.fsencode(folder)) if not name.startswith(b"."))
    digest = hashlib.sha256()
    for name in names:
        path = os.path.join(os.fsencode(folder), name)
        one = hashlib.sha256()
        with gzip.open(path) if gunzip else open(path, "rb") as file:
            while data := file.read(BLOCK):
                one.update(data.upper() if upper else data)
        # A name can't hold a null byte, and hashes are equally long: no two folders can run together to the same bytes.
        digest.update(name + b"\0" + one.digest())
    json.dump({"count": len(names), "sha256": digest.hexdigest()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
