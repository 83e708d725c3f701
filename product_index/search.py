"""Ask the index that is served: by words, by a picture, or by both."""

from .embedding import check_same_space
from .encoder import Content, Encoder
from .errors import InvalidQuery
from .vector_store import Filter, Hit, VectorDatabase

MAX_LIMIT = 1_000


def search_products(
    database: VectorDatabase,
    encoder: Encoder,
    *,
    alias: str,
    text: str | None = None,
    image: bytes | None = None,
    limit: int = 10,
    where: Filter | None = None,
) -> list[Hit]:
    """Return the nearest products, best first.

    Args:
        database: opened by `alias`, resolved now.
        encoder: must be the one that made the collection.
        alias: what is served.
        text: what the shopper typed.
        image: an encoded picture file.
        limit: 1 to 1000.
        where: which products may be found.

    Raises:
        InvalidQuery: nothing to search for, or the limit is out of range.
        UnknownCollection: nothing is served yet.
        ModelMismatch: encoder and collection belong to different spaces.
        UnreadablePicture: the image is none.
    """
    check_question(text=text, image=image, limit=limit)
    if image is not None:
        encoder.check_picture(image)
    store = database.open(alias)
    check_same_space(encoder, store.spec, store.name)
    content = Content(text=text, pictures=() if image is None else (image,))
    return store.search(encoder.embed([content]), limit=limit, where=where)[0]


def check_question(*, text: str | None, image: bytes | None, limit: int) -> None:
    """Refuse what cannot be asked, before anything is opened for it.

    Raises:
        InvalidQuery: nothing to search for, or the limit is out of range.
    """
    if not (text and text.strip()) and image is None:
        raise InvalidQuery("the query is empty; give some text, an image, or both")
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidQuery(f"limit is {limit}, must be from 1 to {MAX_LIMIT}")
