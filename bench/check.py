"""One checker for every contender: how many files a folder holds, and a hash over all of them in order of name.

Usage: check.py FOLDER [--upper]

With --upper each file is upper-cased before it is hashed: what a folder of inputs must turn into. Prints one JSON object.
Names that begin with a dot are work in progress and not counted. Files are read by blocks, however large they are.
"""

import hashlib
import json
import os
import sys

BLOCK = 1 << 20


def main() -> None:
    folder, upper = sys.argv[1], "--upper" in sys.argv[2:]
    names = sorted(name for name in os.listdir(os.fsencode(folder)) if not name.startswith(b"."))
    digest = hashlib.sha256()
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "rb") as file:
            # Lengths in front, so that no two folders can run together to the same bytes.
            digest.update(b"%d %d " % (len(name), os.fstat(file.fileno()).st_size) + name)
            while data := file.read(BLOCK):
                digest.update(data.upper() if upper else data)
    json.dump({"count": len(names), "sha256": digest.hexdigest()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
