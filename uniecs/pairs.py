"""Pairs to numbers, once, and from there to batches; numpy only.

Every picture is decoded once and kept as bytes; every text is tokenised once.
A batch is a pure function of (seed, step): a resumed run sees what it would
have seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .config import ModelConfig
from .errors import InvalidRows, UnreadablePicture
from .preprocess import Pixels, read_picture
from .readers import reader_of, saved_tokenizer
from .rows import Item, Pair
from .tokenizer import Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One side of B samples, or any B items."""

    pixels: Pixels  # (B, S, S, 3); zeros where absent
    has_image: NDArray[np.bool_]  # (B,)
    ids: Ids  # (B, L, G); zeros where absent
    has_text: NDArray[np.bool_]  # (B,)

    def part(self, rows: slice) -> "Batch":
        """Return some of the samples."""
        return Batch(
            pixels=self.pixels[rows],
            has_image=self.has_image[rows],
            ids=self.ids[rows],
            has_text=self.has_text[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a file says of B pairs.

    Attributes:
        groups: (B,) int64; pairs of one group are never each other's wrong answers.
        asks: (B,) int64; pairs with the same query have the same number.
        grades: (B,) float32.
    """

    groups: NDArray[np.int64]
    asks: NDArray[np.int64]
    grades: NDArray[np.float32]


class ItemTable:
    """Items as numbers: pictures and texts are kept once, however often they are used."""

    def __init__(self, config: ModelConfig, on_picture: Callable[[], None] = lambda: None) -> None:
        self._config = config
        self._reader = reader_of(config, saved_tokenizer(config))
        self._on_picture = on_picture
        self._pictures: dict[object, int] = {}
        self._texts: dict[str, int] = {}
        self._pixels: list[Pixels] = []
        self._ids: list[Ids] = []

    def add(self, item: Item, *, where: str) -> tuple[int, int]:
        """Return the places of the item's picture and text, -1 where it has none."""
        picture = text = -1
        if item.image is not None:
            if item.image not in self._pictures:
                self._pixels.append(self._read(item, where))
                self._pictures[item.image] = len(self._pixels) - 1
                self._on_picture()
            picture = self._pictures[item.image]
        if item.text is not None:
            if item.text not in self._texts:
                self._ids.append(self._reader.ids(item.text))
                self._texts[item.text] = len(self._ids) - 1
            text = self._texts[item.text]
        return picture, text

    def batch(self, places: Sequence[tuple[int, int]]) -> Batch:
        """Return the items at these places as padded arrays."""
        side = self._config.side_px
        pixels = np.zeros((len(places), side, side, 3), dtype=np.uint8)
        texts = [self._ids[text] if text >= 0 else np.zeros((1, 1), dtype=np.int64) for _, text in places]
        length, grams = max(ids.shape[0] for ids in texts), max(ids.shape[1] for ids in texts)
        ids = np.zeros((len(places), length, grams), dtype=np.int64)
        for row, (picture, _) in enumerate(places):
            ids[row, : texts[row].shape[0], : texts[row].shape[1]] = texts[row]
            if picture >= 0:
                pixels[row] = self._pixels[picture]
        where = np.array(places, dtype=np.int64)
        return Batch(pixels=pixels, has_image=where[:, 0] >= 0, ids=ids, has_text=where[:, 1] >= 0)

    def _read(self, item: Item, where: str) -> Pixels:
        assert item.image is not None  # noqa: S101 - said by the caller, for the type checker
        try:
            return read_picture(item.image.read_bytes(), side_px=self._config.side_px)
        except OSError as error:
            raise InvalidRows(
                f"{where}: picture {item.image} cannot be opened ({error}); paths are relative to the file"
            ) from error
        except UnreadablePicture as error:
            raise InvalidRows(f"{where}: {item.image}: {error}") from error


class PairTable:
    """Pairs as numbers, and the batches of a run."""

    def __init__(
        self, pairs: Sequence[Pair], config: ModelConfig, on_picture: Callable[[], None] = lambda: None
    ) -> None:
        items = ItemTable(config, on_picture)
        self._items = items
        self._queries = [items.add(pair.query, where=f"line {pair.line}: query") for pair in pairs]
        self._candidates = [items.add(pair.candidate, where=f"line {pair.line}: candidate") for pair in pairs]
        numbers = {group: number for number, group in enumerate(dict.fromkeys(p.group for p in pairs))}
        self._groups = np.array([numbers[pair.group] for pair in pairs], dtype=np.int64)
        askers = {query: number for number, query in enumerate(dict.fromkeys(p.query for p in pairs))}
        self._asks = np.array([askers[pair.query] for pair in pairs], dtype=np.int64)
        self._grades = np.array([pair.grade for pair in pairs], dtype=np.float32)

    def __len__(self) -> int:
        return len(self._groups)

    def batch(self, *, seed: int, step: int, size: int) -> tuple[Batch, Batch, Marks]:
        """Return queries, candidates and marks of one step (from 0); each epoch is one shuffle."""
        size = min(size, len(self))
        per_epoch = len(self) // size
        epoch, at = divmod(step, per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(self))[at * size : (at + 1) * size]
        return (
            self._items.batch([self._queries[row] for row in order]),
            self._items.batch([self._candidates[row] for row in order]),
            Marks(groups=self._groups[order], asks=self._asks[order], grades=self._grades[order]),
        )
