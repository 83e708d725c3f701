"""Looking and embedding side by side changes nothing but the time it takes."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from product_index import embedding
from product_index.embedding import EMBED_BATCH, Seen, embed_seen, look, look_and_embed
from product_index.encoder import Content, HashEncoder, Vectors
from product_index.errors import EncoderUnavailable, PictureUnavailable
from product_index.pictures import NoPictures
from product_index.product import Product

PICTURES = NoPictures({f"{n}.jpg": f"photo {n}".encode() for n in range(100)} | {"7.jpg": b"broken"})
PRODUCTS = [
    Product(
        product_id=f"p{n}",
        title="" if n % 5 == 0 else f"mug {n}",
        image_uris=(f"{n % 120}.jpg",) if n % 3 else (),
    )
    for n in range(300)
]


@pytest.mark.parametrize("count", [0, 1, 7, 8, EMBED_BATCH, EMBED_BATCH + 1, 300])
def test_it_gives_what_one_after_the_other_gives(count: int) -> None:
    encoder, products = HashEncoder(), PRODUCTS[:count]
    plain = [look(product, PICTURES, encoder) for product in products]

    seen, embedded = look_and_embed(products, PICTURES, encoder)

    assert [(one.identity, one.notes) for one in plain] == [(one.identity, one.notes) for one in seen]
    alone = embed_seen(plain, encoder)
    assert [str(error) for error in alone.failed] == [str(error) for error in embedded.failed]
    assert list(alone.vectors) == list(embedded.vectors)
    assert all(np.array_equal(alone.vectors[key], embedded.vectors[key]) for key in alone.vectors)


def test_only_what_is_wanted_is_embedded_and_pictures_are_let_go() -> None:
    def odd(one: Seen) -> bool:
        return one.product.product_id[-1] in "13579"

    seen, embedded = look_and_embed(PRODUCTS, PICTURES, HashEncoder(), wanted=odd)

    assert 300 == len(seen)
    assert set("13579") == {key[-1] for key in embedded.vectors}
    assert all(one.content is None for one in seen)


def test_pictures_that_come_from_afar_are_waited_for_together() -> None:
    """Eight threads must meet in the host, or this never ends."""

    class Far(NoPictures):
        at_once = 8
        meeting = threading.Barrier(8, timeout=30)

        def read(self, uri: str) -> bytes:
            self.meeting.wait()
            return uri.encode()

    products = [Product(product_id=str(n), image_uris=(f"{n}.jpg",)) for n in range(128)]

    assert 128 == len(look_and_embed(products, Far(), HashEncoder())[1].vectors)


def test_few_are_looked_at_before_they_are_embedded() -> None:
    """However long the list is, some batches of pictures are in memory, not all."""
    looked, ahead = [], []

    class Counting(HashEncoder):
        def embed(self, contents: Sequence[Content]) -> Vectors:
            ahead.append(len(looked))
            return super().embed(contents)

    class Noting(NoPictures):
        def read(self, uri: str) -> bytes:
            looked.append(uri)
            return b"photo"

    products = [Product(product_id=str(n), image_uris=(f"{n}.jpg",)) for n in range(1_000)]
    look_and_embed(products, Noting(), Counting())

    most = EMBED_BATCH + (embedding._LOOK_AHEAD + 2) * embedding._LOOK_TOGETHER
    assert all(seen <= number * EMBED_BATCH + most for number, seen in enumerate(ahead))


@pytest.mark.parametrize("kind", ["pictures", "encoder"])
def test_what_fails_ends_the_looking_too(kind: str) -> None:
    class Away(NoPictures):
        def read(self, uri: str) -> bytes:
            if kind == "pictures" and uri == "90.jpg":
                raise PictureUnavailable("the host does not answer")
            return b"photo"

    class Broken(HashEncoder):
        def embed(self, contents: Sequence[Content]) -> Vectors:
            if kind == "encoder":
                raise EncoderUnavailable("no memory")
            return super().embed(contents)

    products = [Product(product_id=str(n), image_uris=(f"{n}.jpg",)) for n in range(1_000)]
    with pytest.raises((PictureUnavailable, EncoderUnavailable)):
        look_and_embed(products, Away(), Broken())

    assert [] == [thread.name for thread in threading.enumerate() if thread.name.startswith("look")]
