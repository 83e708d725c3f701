"""What the demo asks for after a day's changes, whatever the catalogue's pictures are like."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from demo.changes import StreamedChange
from demo.road.change_to_index import _asked
from product_index.encoder import Content, Encoder
from product_index.pictures import LocalPictures
from product_index.uniecs_encoder import UniecsEncoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return UniecsEncoder("demo/model")


@pytest.mark.parametrize("picture", ["broken.jpg", "nowhere.jpg"])
def test_a_sellers_broken_picture_is_asked_for_by_its_words(
    tmp_path: Path, picture: str, encoder: Encoder
) -> None:
    """One bad picture among good ones once ended the demo; the index takes it by its words, too."""
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    pictures = LocalPictures([tmp_path])
    told = StreamedChange(label="repriced", key=b"1", change=None, ask_text="red mug", ask_image=picture)
    silent = StreamedChange(label="repriced", key=b"1", change=None, ask_image=picture)

    asked = _asked(told, encoder, pictures)

    assert asked is not None
    assert encoder.embed([Content(text="red mug")]).tolist() == asked.tolist()
    assert _asked(silent, encoder, pictures) is None


def test_a_good_picture_is_asked_for_with_its_words(tmp_path: Path, encoder: Encoder) -> None:
    """Both sides, as a shopper would."""
    drawn = BytesIO()
    Image.new("RGB", (64, 64), "red").save(drawn, "JPEG")
    (tmp_path / "good.jpg").write_bytes(drawn.getvalue())
    change = StreamedChange(label="new", key=b"1", change=None, ask_text="mug", ask_image="good.jpg")

    asked = _asked(change, encoder, LocalPictures([tmp_path]))

    assert asked is not None
    both = encoder.embed([Content(text="mug", pictures=(drawn.getvalue(),))])
    assert both.tolist() == asked.tolist()
