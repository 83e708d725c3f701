"""The one path from products to vectors, for batch and stream alike.

Look at a product (its text, its pictures), then embed what was seen. One
product that cannot be embedded never takes its batchmates with it. Nothing
here asks or writes the index.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .content import image_digest, text_hash, text_seen
from .encoder import Content, Encoder, UnreadablePicture
from .errors import EncoderUnavailable, ModelMismatch, PictureMissing, Retryable, Unembeddable
from .pictures import Pictures
from .product import Product
from .unit_vectors import is_unit
from .vector_store import CollectionSpec

# The main picture is the one the encoder was trained on; alternative views of
# a product cost as much as a product each.
MAX_PICTURES = 1
# At most so many; bounds the memory of decoded pictures. Larger batches gain nothing on a CPU, and an
# encoder that waits for more of them loses.
EMBED_BATCH = 64

# So few go to a looking thread at a time; many small calls cost more than what is done in them.
_LOOK_TOGETHER = 8
# So many of these wait for the encoder: two batches, that it never waits for them.
_LOOK_AHEAD = 2 * EMBED_BATCH // _LOOK_TOGETHER

# An encoder that cannot embed this cannot embed anything.
_PROBE = Content(text="a plain white mug")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the encoder sees of a product, and the identity of that.

    Attributes:
        content: None where the product has neither text nor a readable picture.
        notes: one sentence per picture that could not be had.
    """

    product: Product
    content: Content | None
    text_hash: str
    image_digest: str
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, str, str]:
        """Product, text and picture: with the same model, the same vector."""
        return self.product.product_id, self.text_hash, self.image_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Vectors by product id, and the products that have none, with the reason."""

    vectors: dict[str, NDArray[np.float32]]
    failed: tuple[Unembeddable, ...]


def spec_of(encoder: Encoder) -> CollectionSpec:
    """What a collection of this encoder's vectors has in common."""
    return CollectionSpec(
        dimension=encoder.dimension, model_id=encoder.model_id, preprocess_version=encoder.preprocess_version
    )


def check_same_space(encoder: Encoder, spec: CollectionSpec, name: str) -> None:
    """Refuse to mix vector spaces.

    Raises:
        ModelMismatch: encoder and collection differ in model, preprocessing or dimension.
    """
    ours = spec_of(encoder)
    if ours == spec:
        return
    raise ModelMismatch(
        f"collection {name!r} holds vectors of model {spec.model_id!r} ({spec.preprocess_version}, "
        f"{spec.dimension} numbers), the encoder is {ours.model_id!r} ({ours.preprocess_version}, "
        f"{ours.dimension} numbers); set UNIECS_MODEL to the collection's model or rebuild the index"
    )


def look(product: Product, pictures: Pictures, encoder: Encoder) -> Seen:
    """Gather what the encoder will see; a picture that cannot be had is noted, never replaced.

    Raises:
        PictureUnavailable: the place that keeps pictures did not answer.
    """
    uris = product.image_uris[:MAX_PICTURES]
    found: list[bytes | None] = []
    notes: list[str] = []
    for uri in uris:
        try:
            picture = pictures.read(uri)
            encoder.check_picture(picture)
            found.append(picture)
        except UnreadablePicture as error:
            notes.append(f"picture {uri!r}: {error}")
            found.append(None)
        except PictureMissing as error:
            notes.append(str(error))
            found.append(None)
    text = text_seen(product)
    read = tuple(picture for picture in found if picture is not None)
    return Seen(
        product=product,
        content=Content(text=text or None, pictures=read) if text or read else None,
        text_hash=text_hash(text),
        image_digest=image_digest(found, uris),
        notes=tuple(notes),
    )


def look_and_embed(
    products: Sequence[Product],
    pictures: Pictures,
    encoder: Encoder,
    *,
    wanted: Callable[[Seen], bool] = lambda _seen: True,
) -> tuple[list[Seen], Embedded]:
    """Look at all, embed those that are wanted; some are looked at while others are embedded.

    What the encoder saw is let go with its batch: of many pictures few are in memory.

    Raises:
        PictureUnavailable: the place that keeps pictures did not answer.
        EncoderUnavailable: the encoder fails on everything.
    """
    seen: list[Seen] = []
    embedded = Embedded(vectors={}, failed=())
    for batch in _looked_ahead(products, pictures, encoder):
        done = embed_seen([one for one in batch if wanted(one)], encoder)
        embedded = Embedded(vectors=embedded.vectors | done.vectors, failed=embedded.failed + done.failed)
        seen += [replace(one, content=None) for one in batch]
    return seen, embedded


def _looked_ahead(products: Sequence[Product], pictures: Pictures, encoder: Encoder) -> Iterator[list[Seen]]:
    def look_at(some: Sequence[Product]) -> list[Seen]:
        return [look(product, pictures, encoder) for product in some]

    if not any(product.image_uris for product in products):  # nothing to wait for
        for start in range(0, len(products), EMBED_BATCH):
            yield look_at(products[start : start + EMBED_BATCH])
        return
    chunks = (products[at : at + _LOOK_TOGETHER] for at in range(0, len(products), _LOOK_TOGETHER))
    at_once = getattr(pictures, "at_once", 1)
    # A pool for each call: nothing to close, and nothing that a fork would break.
    with ThreadPoolExecutor(at_once, thread_name_prefix="look") as pool:
        looking = deque(pool.submit(look_at, chunk) for chunk in islice(chunks, _LOOK_AHEAD + at_once))
        batch: list[Seen] = []
        try:
            while looking:
                batch += looking.popleft().result()
                looking.extend(pool.submit(look_at, chunk) for chunk in islice(chunks, 1))
                if len(batch) >= EMBED_BATCH or not looking or not looking[0].done():
                    yield batch
                    batch = []
        finally:
            pool.shutdown(cancel_futures=True)


def embed_seen(seen: Sequence[Seen], encoder: Encoder) -> Embedded:
    """Embed what was seen, in batches; set aside, one by one, what cannot be.

    Raises:
        EncoderUnavailable: the encoder fails on everything.
    """
    vectors: dict[str, NDArray[np.float32]] = {}
    failed: list[Unembeddable] = []
    for start in range(0, len(seen), EMBED_BATCH):
        batch = seen[start : start + EMBED_BATCH]
        ready = [one for one in batch if one.content is not None]
        failed += [_nothing_seen(one) for one in batch if one.content is None]
        _embed_or_split(ready, encoder, vectors, failed)
    return Embedded(vectors=vectors, failed=tuple(failed))


def _embed_or_split(
    batch: Sequence[Seen],
    encoder: Encoder,
    vectors: dict[str, NDArray[np.float32]],
    failed: list[Unembeddable],
) -> None:
    """Embed a batch; if that fails, each half by itself, down to the one that is to blame."""
    if not batch:
        return
    contents = [one.content for one in batch if one.content is not None]
    try:
        rows = encoder.embed(contents)
    except Retryable:
        raise
    except Exception as error:  # whatever a foreign runtime raises for one bad input
        if len(batch) > 1:
            middle = len(batch) // 2
            _embed_or_split(batch[:middle], encoder, vectors, failed)
            _embed_or_split(batch[middle:], encoder, vectors, failed)
            return
        if not isinstance(error, UnreadablePicture):
            _check_alive(encoder, error)
        failed.append(Unembeddable(batch[0].product.product_id, str(error)))
        return
    for one, row in zip(batch, rows, strict=True):
        norm = float(np.linalg.norm(row.astype(np.float64)))
        if not is_unit(norm):
            reason = f"its vector has length {norm:.6g}, must be finite and 1"
            failed.append(Unembeddable(one.product.product_id, reason))
        else:
            vectors[one.product.product_id] = np.array(row, dtype=np.float32)


def _check_alive(encoder: Encoder, error: Exception) -> None:
    try:
        encoder.embed([_PROBE])
    except Exception as broken:
        raise EncoderUnavailable(
            f"the encoder {encoder.model_id!r} fails on everything ({error}); "
            "restart it or check UNIECS_MODEL"
        ) from broken


def _nothing_seen(one: Seen) -> Unembeddable:
    why = "; ".join(one.notes) or "it has no title, no description and no picture"
    return Unembeddable(one.product.product_id, f"nothing to embed: {why}")
