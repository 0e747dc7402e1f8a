# /// script
# requires-python = ">=3.11"
# dependencies = ["pillow==13.0.0"]
# ///
"""A picture in, a thumbnail of at most 256 by 256 pixels out."""

import io

from PIL import Image, ImageOps

LONGEST_SIDE = 256


def process(item: Item) -> Item:
    with Image.open(io.BytesIO(item.bytes())) as picture:
        upright = ImageOps.exif_transpose(picture)  # cameras note how they were held, and leave the pixels as they are
        small = upright.convert("RGB")              # a JPEG has neither transparency nor a palette
        small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return item.with_(out.getvalue(), name=f"{item.stem}.thumb.jpg", width=small.width, height=small.height)
