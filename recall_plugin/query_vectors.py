"""From a query to its vector, once.

The encoder is the slow part of a channel, and shoppers ask the same things. A
vector is kept under the model's id, the text as the encoder is given it, and
the image's digest: never shared between models. Requests that ask for the same
vector at the same time wait for one computation (single flight). Bounded:
the least recently used goes first. An image that cannot be read is remembered
too, so that it is decoded once.
"""

import unicodedata
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from product_index.encoder import Content, Encoder, UnreadablePicture

from .query import Query

Vector = NDArray[np.float32]

# 256 floats are 1 KiB: 20 MiB with the keys.
DEFAULT_CAPACITY = 20_000


class Key(NamedTuple):
    """One key, one vector."""

    model_id: str
    text: str
    image_digest: str


@dataclass(slots=True)
class _Flight:
    """A computation under way, or its outcome."""

    landed: Event = field(default_factory=Event)
    vector: Vector | None = None
    unreadable: str | None = None
    error: BaseException | None = None


class QueryVectors:
    """The vectors of what was asked lately; safe to share between threads."""

    def __init__(self, encoder: Encoder, *, capacity: int = DEFAULT_CAPACITY) -> None:
        self._encoder = encoder
        self._capacity = capacity
        self._lock = Lock()
        self._flights: OrderedDict[Key, _Flight] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flights)

    def vector(self, query: Query, *, wait_s: float) -> Vector | None:
        """The query's unit vector, shape (D,); None if another request's computation outlasts the wait.

        Raises:
            UnreadablePicture: the image cannot be read.
        """
        key = Key(self._encoder.model_id, normalised(query.text or ""), query.image_digest)
        with self._lock:
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
            self._flights.move_to_end(key)
            while len(self._flights) > self._capacity:
                self._flights.popitem(last=False)
        if mine:
            self._compute(key, query, flight)
        elif not flight.landed.wait(max(0.0, wait_s)):
            return None
        if flight.error is not None:
            raise flight.error
        if flight.unreadable is not None:
            raise UnreadablePicture(flight.unreadable)
        return flight.vector

    def _compute(self, key: Key, query: Query, flight: _Flight) -> None:
        pictures = () if query.image is None else (query.image,)
        try:
            vector = self._encoder.embed([Content(text=key.text or None, pictures=pictures)])[0].copy()
            vector.setflags(write=False)
            flight.vector = vector
        except UnreadablePicture as error:
            flight.unreadable = str(error)
        except BaseException as error:  # of this moment, perhaps: the next request tries again
            flight.error = error
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
        finally:
            flight.landed.set()


def normalised(text: str) -> str:
    """One form for what means the same: width, case and spaces.

    >>> normalised("  Ｒed   MUG ")
    'red mug'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
