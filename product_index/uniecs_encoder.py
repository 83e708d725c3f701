"""The door to the model: `uniecs.runtime` behind the `Encoder` protocol.

Translates content to rows and the model's errors to this room's. Of several
pictures the first, the main one, is seen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from uniecs.errors import EmptyRow, InvalidConfig, InvalidModel
from uniecs.errors import UnreadablePicture as UniecsUnreadablePicture
from uniecs.runtime import Row, Runtime

from .encoder import Content, UnreadablePicture, Vectors
from .errors import InvalidProduct, InvalidSettings


class UniecsEncoder:
    """An exported UniECS model as an encoder.

    Args:
        folder: `config.json` and the three graphs.
        threads: rows embedded side by side; None takes the CPU count, at most 4.
        provider: "cpu", or "cuda" where onnxruntime offers it.

    Raises:
        InvalidSettings: the folder is not a whole, matching model.
    """

    def __init__(
        self, folder: Path, *, threads: int | None = None, provider: Literal["cpu", "cuda"] = "cpu"
    ) -> None:
        try:
            self._runtime = Runtime(Path(folder), threads=threads, provider=provider)
        except (InvalidModel, InvalidConfig) as error:
            raise InvalidSettings(str(error)) from error

    @property
    def model_id(self) -> str:
        """The fingerprint of weights and preprocessing."""
        return self._runtime.model_id

    @property
    def preprocess_version(self) -> str:
        """How pictures and text are prepared."""
        return self._runtime.preprocess_version

    @property
    def dimension(self) -> int:
        """The length D of a vector."""
        return self._runtime.dimension

    @property
    def image_passes(self) -> int:
        """How many pictures the vision tower has looked at; a known picture is not looked at again."""
        return self._runtime.image_passes

    @property
    def text_passes(self) -> int:
        """How many texts the text tower has read."""
        return self._runtime.text_passes

    def embed(self, contents: Sequence[Content]) -> Vectors:
        """Return unit vectors, shape (len(contents), D), float32, in order.

        Raises:
            UnreadablePicture: a picture cannot be read; the message names the row.
        """
        rows = [Row(text=each.text, picture=each.pictures[0] if each.pictures else None) for each in contents]
        try:
            return self._runtime.embed(rows)
        except UniecsUnreadablePicture as error:
            raise UnreadablePicture(str(error)) from error
        except EmptyRow as error:
            raise InvalidProduct(str(error)) from error
        except InvalidModel as error:
            raise InvalidSettings(str(error)) from error

    def check_picture(self, picture: bytes) -> None:
        """Return if the picture can be read.

        Raises:
            UnreadablePicture: with the rule that it breaks.
        """
        try:
            self._runtime.check_picture(picture)
        except UniecsUnreadablePicture as error:
            raise UnreadablePicture(str(error)) from error
