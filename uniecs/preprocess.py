"""A picture file to a square of RGB numbers, safely; no torch.

Anything a browser shows is taken: animations by their first frame, CMYK,
palettes and transparency on white, the camera's rotation applied. What cannot
be read is refused with a reason; nothing is ever replaced by a grey square.
"""

import io
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import UnreadablePicture

# Part of a model's fingerprint: change it whenever any picture's pixels change.
PREPROCESS_VERSION = "white-square-1"

MAX_BYTES = 20 * 1024 * 1024
# Decoded, 40 million pixels are 160 MB of RGBA: a large camera picture, not a bomb.
MAX_PIXELS = 40_000_000

Pixels = NDArray[np.uint8]
Made = TypeVar("Made")


def read_picture(data: bytes, *, side_px: int) -> Pixels:
    """Return the picture as RGB, shape (side_px, side_px, 3), padded with white.

    Raises:
        UnreadablePicture: with the value, the rule, and what to give instead.
    """
    return _read(data, lambda picture: _square(picture, side_px))


def whole_picture(data: bytes) -> Image.Image:
    """Return the picture upright, in RGB and on white, as large as it is.

    Raises:
        UnreadablePicture: with the value, the rule, and what to give instead.
    """
    return _read(data, _upright)


def _read(data: bytes, make: Callable[[Image.Image], Made]) -> Made:
    if not data:
        raise UnreadablePicture("picture has 0 bytes; give a JPEG, PNG, GIF or WebP file")
    if len(data) > MAX_BYTES:
        raise UnreadablePicture(
            f"picture has {len(data):,} bytes, at most {MAX_BYTES:,} are read; give a smaller file"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning: our rule below is stricter
            with Image.open(io.BytesIO(data)) as picture:
                return make(_small_enough(picture))
    except UnreadablePicture:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadablePicture(
            f"{error}; at most {MAX_PIXELS:,} pixels are read; give a smaller picture"
        ) from error
    except UnidentifiedImageError as error:  # its own words name an object in memory
        raise UnreadablePicture(
            f"picture of {len(data):,} bytes cannot be decoded: it is no picture; "
            "give a whole JPEG, PNG, GIF or WebP file"
        ) from error
    except Exception as error:  # decoders raise whatever they like on hostile bytes
        raise UnreadablePicture(
            f"picture of {len(data):,} bytes cannot be decoded ({error}); "
            "give a whole JPEG, PNG, GIF or WebP file"
        ) from error


def _small_enough(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise UnreadablePicture(
            f"picture is {width} x {height} pixels, at most {MAX_PIXELS:,} in all are read; "
            "give a smaller one"
        )
    return picture


def _square(picture: Image.Image, side_px: int) -> Pixels:
    # A JPEG can be decoded at 1/2, 1/4 or 1/8: never below twice what is needed.
    picture.draft("RGB", (side_px * 2, side_px * 2))
    square = ImageOps.pad(_upright(picture), (side_px, side_px), Image.Resampling.BICUBIC, color="white")
    return np.asarray(square, dtype=np.uint8)


def _upright(picture: Image.Image) -> Image.Image:
    return _on_white(ImageOps.exif_transpose(picture))


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(ground, layer).convert("RGB")
