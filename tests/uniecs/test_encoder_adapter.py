"""The door to the model keeps the Encoder's promises."""

from pathlib import Path

import numpy as np
import pytest

from product_index.encoder import Content, Encoder, UnreadablePicture
from product_index.errors import InvalidSettings
from product_index.uniecs_encoder import UniecsEncoder
from uniecs.errors import UniecsError

from .conftest import Paint


@pytest.fixture(scope="module")
def encoder(demo_model: Path) -> Encoder:
    return UniecsEncoder(demo_model)


def test_text_pictures_and_both_become_unit_vectors(encoder: Encoder, paint: Paint) -> None:
    """Of several pictures the main one is seen."""
    contents = [
        Content(text="red mug"),
        Content(pictures=(paint("red"),)),
        Content(text="red mug", pictures=(paint("red"), paint("blue"))),
    ]
    vectors = encoder.embed(contents)

    assert (3, encoder.dimension) == vectors.shape
    assert np.float32 == vectors.dtype
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.embed(contents[2:]).tobytes() == vectors[2:].tobytes()


def test_an_unreadable_picture_names_its_row_and_keeps_its_cause(encoder: Encoder, paint: Paint) -> None:
    """The index sets that one product aside."""
    with pytest.raises(UnreadablePicture, match="row 1: picture of 4 bytes") as refused:
        encoder.embed([Content(pictures=(paint("red"),)), Content(pictures=(b"junk",))])

    assert isinstance(refused.value.__cause__, UniecsError)
    with pytest.raises(UnreadablePicture, match="has 0 bytes"):
        encoder.check_picture(b"")
    encoder.check_picture(paint("red"))


def test_a_missing_model_is_a_setting_to_mend(tmp_path: Path) -> None:
    """One sentence: value, rule, next step."""
    with pytest.raises(InvalidSettings, match=r"is not an exported model: .*; run `make train`"):
        UniecsEncoder(tmp_path)
