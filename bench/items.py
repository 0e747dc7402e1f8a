"""The items of W2 and W2d, made independently of whoever processes them: what floors work on, and what results are held against.

`numbered` items are what floors and peers make: the number in seven digits and a filling, without a line feed. `generated`
items are those of the source `generate` with seed 0: BLAKE3 in extendable output mode, keyed by seed and number.
"""

import struct
from collections.abc import Iterator

SIZE = 1024
FILLING = (b" the quick brown fox jumps over the lazy dog" * 24)[: SIZE - 7]


def numbered(number: int) -> bytes:
    return b"%07d" % number + FILLING


def generated(number: int) -> bytes:
    from blake3 import blake3  # installed by `cargo xtask bench`; floors do without

    text = struct.pack("<QI", 0, number)
    return blake3(text, derive_key_context="opendmp 2026 generate v1").digest(length=SIZE)


MAKERS = {"numbered": numbered, "generated": generated}


def lines(kind: str, count: int) -> Iterator[bytes]:
    """The items as lines: each ends with a line feed, which is added where an item has none."""
    make = MAKERS[kind]
    for number in range(count):
        item = make(number)
        yield item if item.endswith(b"\n") else item + b"\n"
