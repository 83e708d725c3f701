"""The role of the model: text and pictures in, unit vectors out.

`HashEncoder` is the in-memory twin: deterministic, no weights, the same
promises. It knows nothing of meaning beyond shared words and equal pictures.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidProduct

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the encoder sees: text, pictures, or both; never neither.

    Attributes:
        text: as a person wrote it; None or blank means absent.
        pictures: encoded image files (JPEG, PNG, ...), the main one first.
    """

    text: str | None = None
    pictures: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not self.pictures and not (self.text and self.text.strip()):
            raise InvalidProduct("content has neither text nor picture; give at least one")


class UnreadablePicture(InvalidProduct):
    """A picture's bytes are not an image this encoder can read."""


class Encoder(Protocol):
    """Text and pictures to vectors.

    A vector depends on its own content alone, never on its batchmates: the
    same content gives the same bits whatever else is in the call.
    """

    @property
    def model_id(self) -> str:
        """The fingerprint of weights and preprocessing: one id, one vector space."""
        ...

    @property
    def preprocess_version(self) -> str:
        """The version of how text and pictures are prepared."""
        ...

    @property
    def dimension(self) -> int:
        """The length D of a vector."""
        ...

    def embed(self, contents: Sequence[Content]) -> Vectors:
        """Return unit vectors, shape (len(contents), D), float32, in order.

        Raises:
            UnreadablePicture: a picture's bytes cannot be decoded; the message names the row.
        """
        ...

    def check_picture(self, picture: bytes) -> None:
        """Return if the picture can be read.

        Raises:
            UnreadablePicture: with the rule that it breaks.
        """
        ...


class HashEncoder:
    """The twin: words and whole pictures hashed to signed directions, then summed."""

    def __init__(self, dimension: int = 64, *, model_id: str = "hash-1") -> None:
        self._dimension = dimension
        self._model_id = model_id

    @property
    def model_id(self) -> str:
        """A name, since there are no weights."""
        return self._model_id

    @property
    def preprocess_version(self) -> str:
        """Lower-cased words split on white space."""
        return "words-1"

    @property
    def dimension(self) -> int:
        """The length D of a vector."""
        return self._dimension

    def embed(self, contents: Sequence[Content]) -> Vectors:
        """Return unit vectors, shape (len(contents), D), float32."""
        vectors = np.empty((len(contents), self._dimension), dtype=np.float32)
        for row, content in enumerate(contents):
            for picture in content.pictures:
                self.check_picture(picture)
            parts = [word.encode() for word in (content.text or "").lower().split()]
            parts += [b"picture:" + picture for picture in content.pictures]
            total = np.sum([self._direction(part) for part in parts], axis=0)
            vectors[row] = total / np.linalg.norm(total)
        return vectors

    def check_picture(self, picture: bytes) -> None:
        """Any bytes are a picture to the twin, but for none and for `b"broken"`."""
        if not picture or picture.startswith(b"broken"):
            raise UnreadablePicture(
                f"picture of {len(picture)} bytes cannot be read; give a JPEG or PNG file"
            )

    def _direction(self, part: bytes) -> NDArray[np.float64]:
        return _drawn(int.from_bytes(hashlib.sha256(part).digest()[:8], "big"), self._dimension)


@functools.lru_cache(maxsize=4_096)  # words repeat
def _drawn(seed: int, dimension: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(dimension)
