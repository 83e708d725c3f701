"""Pictures as browsers show them, or a refusal that says why."""

import io

import numpy as np
import pytest
from PIL import Image

from uniecs import preprocess
from uniecs.errors import UnreadablePicture
from uniecs.preprocess import read_picture

from .conftest import Paint


def centre(data: bytes) -> list[int]:
    pixels = read_picture(data, side_px=32)

    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    return [int(value) for value in pixels[16, 16]]


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "shown"),
    [
        ("RGB", (200, 10, 10), "PNG", [200, 10, 10]),
        ("RGBA", (200, 10, 10, 0), "PNG", [255, 255, 255]),
        ("LA", (0, 0), "PNG", [255, 255, 255]),
        ("L", 90, "PNG", [90, 90, 90]),
        ("P", 0, "GIF", [0, 0, 0]),
        ("CMYK", (0, 0, 0, 0), "JPEG", [255, 255, 255]),
        ("1", 1, "PNG", [255, 255, 255]),
    ],
)
def test_every_colour_mode_is_shown_on_white(
    paint: Paint, mode: str, colour: tuple[int, ...], kind: str, shown: list[int]
) -> None:
    """Transparency, palettes and print colours end as the RGB a shopper sees."""
    assert shown == centre(paint(colour, mode=mode, kind=kind))


def test_a_wide_picture_is_padded_with_white_not_stretched(paint: Paint) -> None:
    """A mug keeps its shape."""
    pixels = read_picture(paint("red", size=(80, 20)), side_px=32)

    assert [255, 255, 255] == pixels[2, 16].tolist()
    assert [255, 0, 0] == pixels[16, 16].tolist()


def test_the_first_frame_of_an_animation_is_read() -> None:
    """An animated GIF is a picture too."""
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("lime", "red")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])

    assert [0, 255, 0] == centre(buffer.getvalue())


def test_the_cameras_rotation_is_applied() -> None:
    """A phone's portrait is stored lying down, with a note."""
    lying = Image.new("RGB", (64, 32), "white")
    lying.paste("red", (0, 0, 32, 32))  # left half; upright (turned by 90 degrees) it is the top half
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    lying.save(buffer, "PNG", exif=exif)
    pixels = read_picture(buffer.getvalue(), side_px=32)

    assert [255, 0, 0] == pixels[4, 16].tolist()
    assert [255, 255, 255] == pixels[28, 16].tolist()


def test_no_bytes_are_no_picture() -> None:
    """The message has the value, the rule and the next step."""
    with pytest.raises(UnreadablePicture, match="has 0 bytes; give a JPEG"):
        read_picture(b"", side_px=32)


def test_a_truncated_picture_is_refused(paint: Paint) -> None:
    """Half a picture is not completed with grey."""
    whole = paint((9, 99, 199), size=(200, 200), kind="JPEG")
    with pytest.raises(UnreadablePicture, match="cannot be decoded"):
        read_picture(whole[: len(whole) // 2], side_px=32)


def test_text_is_not_a_picture() -> None:
    """An error page saved as a .jpg is found out."""
    with pytest.raises(UnreadablePicture, match="cannot be decoded"):
        read_picture(b"<html>404</html>", side_px=32)


def test_a_picture_of_twenty_thousand_pixels_a_side_is_refused_before_it_is_decoded(paint: Paint) -> None:
    """A small file can hide gigabytes of pixels."""
    bomb = paint(1, mode="1", size=(20_000, 20_000))

    assert len(bomb) < 1_000_000
    with pytest.raises(UnreadablePicture, match="pixels"):
        read_picture(bomb, side_px=32)


def test_too_many_bytes_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is checked first."""
    monkeypatch.setattr(preprocess, "MAX_BYTES", 10)
    with pytest.raises(UnreadablePicture, match="has 11 bytes, at most 10 are read"):
        read_picture(b"x" * 11, side_px=32)
