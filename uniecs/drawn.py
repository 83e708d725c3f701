"""Text as a picture: a band of title on a product's photo, or a text that is only looked at; no torch.

After "Reversing Typographic Attacks" (arXiv 2511.05325), where a title on the photo
lets a vision encoder see both, and VC2L (arXiv 2510.18703), where one encoder of
pixels reads everything. The font that comes with Pillow draws Latin script; signs of
others become boxes, so both are for shops whose titles are in Latin script.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .preprocess import whole_picture

# Part of a model's fingerprint: change it whenever the drawing of any text changes.
DRAWN_VERSION = "drawn-1"

BAND_SHARE = 0.2  # of the picture's height
LETTERS_PX = 9
_SEEN_CHARACTERS = 400  # more has no room


def drawn_ids(text: str, *, side_px: int) -> NDArray[np.int64]:
    """Return the text as a grey picture (side_px, side_px), each pixel plus 1; 0 stays padding."""
    return np.asarray(_drawn(text, (side_px, side_px), LETTERS_PX), dtype=np.int64) + 1


def with_title_band(picture: bytes, title: str) -> bytes:
    """Return the picture (PNG) with its title written below, inside the same square.

    Raises:
        UnreadablePicture: as `preprocess.read_picture`.
    """
    whole = whole_picture(picture)
    side = max(whole.size)
    height = round(side * BAND_SHARE)
    square = Image.new("RGB", (side, side), "white")
    square.paste(ImageOps.pad(whole, (side, side - height), color="white"))
    square.paste(_drawn(title, (side, height), max(LETTERS_PX, height // 3)), (0, side - height))
    buffer = io.BytesIO()
    square.save(buffer, "PNG")
    return buffer.getvalue()


def _drawn(text: str, size: tuple[int, int], letters_px: int) -> Image.Image:
    """Dark on white, word after word, until the room is full."""
    picture = Image.new("L", size, 255)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(letters_px)
    plain = text[:_SEEN_CHARACTERS].encode("utf-8", "replace").decode()  # a lone surrogate is a '?'
    right, down = 1.0, 0
    for word in plain.split():
        wide = font.getlength(word + " ")
        if right > 1 and right + wide > size[0]:
            right, down = 1.0, down + letters_px
        if down >= size[1]:
            break
        pen.text((right, down), word, fill=0, font=font)
        right += wide
    return picture
