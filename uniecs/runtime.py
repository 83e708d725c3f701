"""The exported graphs served by onnxruntime: rows of text and pictures to unit vectors.

A row's vector has the same bits alone, in any batch, at any place in it and with
any number of threads, because a row is always its own run: the shapes that
onnxruntime sees are decided by the row alone, on one thread. (In a shared run
they are not: matrix kernels differ by batch size, see docs/adr.) Speed comes
from several rows side by side, each on its own thread.

Image tokens are kept by the digest of the picture's bytes, so that a product
with a new title costs no vision pass.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from .batched import Side, run_rows
from .drawn import with_title_band
from .errors import EmptyRow, InvalidConfig, InvalidModel, InvalidRows, UnreadablePicture
from .kept import Kept
from .model_folder import GRAPHS, read_model_folder
from .preprocess import PREPROCESS_VERSION, Pixels, read_picture
from .rows import Item
from .several_pictures import share_tokens
from .tokenizer import Ids

Vectors = NDArray[np.float32]
Provider = Literal["cpu", "cuda"]
One = TypeVar("One")
Other = TypeVar("Other")

# 16 x 128 float32 are 8 KB a picture: 4,096 of them 34 MB.
KEPT_PICTURES = 4_096
# Pictures that were checked and not embedded yet: a page of them at 256 pixels a side.
READY_BYTES = 100 * 2**20
# Bounds the memory of one call: decoded tokens of this many rows at a time.
ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is embedded: a text, an encoded picture file, or both.

    Attributes:
        more: further pictures of the same thing; they share the tokens of one.
    """

    text: str | None = None
    picture: bytes | None = None
    more: tuple[bytes, ...] = ()

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """All pictures, the main one first."""
        return self.more if self.picture is None else (self.picture, *self.more)


class Runtime:
    """An exported model folder, loaded and checked.

    Args:
        folder: as written by `python -m uniecs train` or `export`.
        threads: rows embedded side by side; None takes the CPU count, at most 4.
        provider: "cpu", or "cuda" where onnxruntime offers it.
        rows_a_run: over 1, rows of like length share runs; a row's last bits then depend on them.

    Raises:
        InvalidModel: a file is missing, damaged, or of another preprocessing.
        InvalidConfig: the provider is not there, or threads is under 1.
    """

    def __init__(
        self, folder: Path, *, threads: int | None = None, provider: Provider = "cpu", rows_a_run: int = 1
    ) -> None:
        if rows_a_run < 1:
            raise InvalidConfig(f"rows_a_run is {rows_a_run}, must be at least 1")
        if threads is not None and threads < 1:
            raise InvalidConfig(f"threads is {threads}, must be at least 1")
        whole = read_model_folder(folder)
        self.config = whole.config
        self.model_id = f"uniecs-{whole.fingerprint[:12]}"
        self.reader = whole.reader
        self.preprocess_version = f"{PREPROCESS_VERSION}+{self.reader.version}"
        self.dimension = self.config.width
        self.image_passes = 0
        self.text_passes = 0
        self._rows_a_run = rows_a_run
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._image, self._text, self._fusion = (_open(folder / name, provider) for name in GRAPHS)
        self._kept: Kept[Vectors] = Kept(KEPT_PICTURES)
        self._ready: Kept[Pixels] = Kept(max(1, READY_BYTES // (3 * self.config.side_px**2)))
        self._no_side = _side(np.zeros((1, 1, self.dimension), dtype=np.float32), present=False)

    def embed(self, rows: Sequence[Row]) -> Vectors:
        """Return unit vectors, shape (len(rows), D), float32, in order.

        Raises:
            EmptyRow: a row has neither text nor picture; the message names it.
            UnreadablePicture: a row's picture cannot be read; the message names it.
        """
        vectors = np.empty((len(rows), self.dimension), dtype=np.float32)
        for at in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[at : at + ROWS_AT_ONCE]
            vectors[at : at + len(part)] = self._embed_some(part, first=at)
        return vectors

    def embed_items(
        self, items: Iterable[tuple[str, Item]], *, title_band: bool = False
    ) -> Iterable[Vectors]:
        """Yield the vectors of named items, `ROWS_AT_ONCE` at a time, opening their pictures.

        Args:
            items: each with the name that a message gives it.
            title_band: write the first line of an item's text on its pictures.

        Raises:
            InvalidRows: a picture cannot be opened or read; the message has the item's name.
        """
        named: list[tuple[str, Row]] = []
        for where, item in items:
            files = [each for each in (item.image, *item.more) if each is not None]
            pictures = [_bytes_of(file, where) for file in files]
            if title_band and item.text:
                pictures = [_banded(each, item.text, where) for each in pictures]
            main = pictures[0] if pictures else None
            named.append((where, Row(text=item.text, picture=main, more=tuple(pictures[1:]))))
            if len(named) == ROWS_AT_ONCE:
                yield self._embed_named(named)
                named = []
        if named:
            yield self._embed_named(named)

    def embed_numbers(self, pixels: Pixels | None, ids: Ids | None) -> NDArray[np.float32]:
        """Return the vector of one prepared row."""
        vector: Vectors = self.embed_prepared([pixels], [ids])[0]
        return vector

    def embed_prepared(self, pixels: Sequence[Pixels | None], ids: Sequence[Ids | None]) -> Vectors:
        """Return the vectors of prepared rows; the graphs and nothing else, no cache either."""
        shown = {at: each for at, each in enumerate(pixels) if each is not None}
        tokens = dict(zip(shown, self._run_images(list(shown.values())), strict=True))
        sides = [_side(tokens[at]) if at in tokens else self._no_side for at in range(len(pixels))]
        return self._finish(sides, ids)

    def check_picture(self, picture: bytes) -> None:
        """Return if the picture can be read; what was decoded for that waits for `embed`.

        Raises:
            UnreadablePicture: with the rule that it breaks.
        """
        digest = hashlib.sha256(picture).digest()
        if self._kept.get(digest) is None and self._ready.get(digest) is None:
            self._ready.put(digest, read_picture(picture, side_px=self.config.side_px))

    def _embed_named(self, named: list[tuple[str, Row]]) -> Vectors:
        try:
            return self._embed_some([row for _, row in named], first=0)
        except UnreadablePicture as error:
            where = named[error.row or 0][0]
            raise InvalidRows(f"{where}: {error.reason}") from error

    def _embed_some(self, rows: Sequence[Row], *, first: int) -> Vectors:
        digests = [[hashlib.sha256(each).digest() for each in row.pictures] for row in rows]
        tokens: dict[bytes, Vectors] = {}
        unseen: dict[bytes, tuple[int, bytes]] = {}  # digest -> the first row that shows it, and the picture
        for at, row in enumerate(rows):
            if not row.pictures and not (row.text and row.text.strip()):
                raise EmptyRow(f"row {first + at}: has neither text nor picture; give at least one")
            for digest, picture in zip(digests[at], row.pictures, strict=True):
                if digest not in tokens and digest not in unseen:
                    kept = self._kept.get(digest)
                    if kept is None:
                        unseen[digest] = at, picture
                    else:
                        tokens[digest] = kept
        for digest, seen in zip(unseen, self._look(unseen, first), strict=True):
            tokens[digest] = seen
            self._kept.put(digest, seen)
        self.image_passes += len(unseen)
        self.text_passes += sum(1 for row in rows if row.text and row.text.strip())
        images = [
            _side(share_tokens([tokens[digest] for digest in own])) if own else self._no_side
            for own in digests
        ]
        return self._finish(
            images, [self.reader.ids(row.text) if row.text and row.text.strip() else None for row in rows]
        )

    def _look(self, unseen: Mapping[bytes, tuple[int, bytes]], first: int) -> list[Vectors]:
        """Return the tokens of pictures that were not seen before, in order."""

        def read(digest: bytes) -> Pixels:
            pixels = self._ready.take(digest)
            if pixels is not None:
                return pixels
            at, picture = unseen[digest]
            try:
                return read_picture(picture, side_px=self.config.side_px)
            except UnreadablePicture as error:
                raise UnreadablePicture(error.reason, row=first + at) from error

        if self._rows_a_run == 1:  # decoded and looked at on the same thread
            return self._side_by_side(lambda digest: self._run_image(read(digest)[None]), list(unseen))
        return self._run_images(self._side_by_side(read, list(unseen)))

    def _run_images(self, pixels: list[Pixels]) -> list[Vectors]:
        if self._rows_a_run == 1:
            return self._side_by_side(lambda each: self._run_image(each[None]), pixels)
        parts = [pixels[at : at + self._rows_a_run] for at in range(0, len(pixels), self._rows_a_run)]
        return [row[None] for part in parts for row in self._run_image(np.stack(part))]

    def _finish(self, images: Sequence[Side], ids: Sequence[Ids | None]) -> Vectors:
        """Read the texts, and fuse."""
        if self._rows_a_run > 1:
            return run_rows(
                images,
                ids,
                run_text=self._run_text,
                fuse=self._fuse,
                nothing=self._no_side,
                most=self._rows_a_run,
            )

        def finish(at: int) -> Vectors:
            own = ids[at]
            vector: Vectors = self._fuse(
                images[at], self._no_side if own is None else self._run_text(own[None])
            )[0]
            return vector

        return np.stack(self._side_by_side(finish, list(range(len(images)))))

    def _side_by_side(self, work: Callable[[One], Other], on: list[One]) -> list[Other]:
        if len(on) < 2 or self._threads == 1:
            return [work(each) for each in on]
        # A pool for each call: nothing to close, and nothing that a fork would break.
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(work, on))

    def _run_image(self, pixels: Pixels) -> Vectors:
        return np.asarray(self._image.run(["tokens"], {"pixels": pixels})[0])

    def _run_text(self, ids: Ids) -> Side:
        tokens, mask = self._text.run(["tokens", "mask"], {"ids": ids})
        return tokens, mask, np.ones(len(tokens), dtype=np.bool_)

    def _fuse(self, image: Side, text: Side) -> Vectors:
        names = ("image_tokens", "image_mask", "image_present", "text_tokens", "text_mask", "text_present")
        vectors = np.asarray(self._fusion.run(["vector"], dict(zip(names, image + text, strict=True)))[0])
        if not np.isfinite(vectors).all():
            raise InvalidModel(
                f"model {self.model_id} gives a vector that is not finite; train or fetch it again"
            )
        return vectors


def _side(tokens: Vectors, *, present: bool = True) -> Side:
    return tokens, np.full(tokens.shape[:2], present), np.array([present])


def _open(path: Path, provider: Provider) -> Any:
    import onnxruntime

    wanted = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(provider, provider)
    there = onnxruntime.get_available_providers()
    if wanted not in there:
        raise InvalidConfig(f"provider {provider!r} cannot start: onnxruntime offers {', '.join(there)} here")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one row, one thread: see the top of this file
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[wanted])
    except Exception as error:  # onnxruntime raises its own, many kinds
        raise InvalidModel(f"{path} cannot be loaded ({error}); export the model again") from error
    if session.get_providers()[0] != wanted:  # offered by the package, but it found no such device
        raise InvalidConfig(f"provider {provider!r} cannot start on this machine; take provider 'cpu'")
    return session


def _banded(picture: bytes, text: str, where: str) -> bytes:
    try:
        return with_title_band(picture, text.split("\n", maxsplit=1)[0])
    except UnreadablePicture as error:
        raise InvalidRows(f"{where}: {error.reason}") from error


def _bytes_of(file: Path, where: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidRows(
            f"{where}: picture {file} cannot be opened ({error}); paths are relative to the file"
        ) from error
