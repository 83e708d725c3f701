"""Vectors that a search can trust: finite, of length 1, and as long as the collection's. Pure."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidVector

# A unit vector in float32 is off by about 1e-7 per sum; this leaves room for
# encoders in half precision and still refuses anything that was not normalised.
UNIT_TOLERANCE = 1e-3


class Named(Protocol):
    """A vector and the product that it stands for."""

    @property
    def product_id(self) -> str:
        """Whose vector it is."""
        ...

    @property
    def vector(self) -> NDArray[np.float32]:
        """Shape (D,)."""
        ...


def is_unit(length: Any) -> Any:
    """Whether lengths are 1, of one vector or of many; NaN is not."""
    return np.abs(length - 1) <= UNIT_TOLERANCE


def check_vectors(rows: Sequence[Named], dimension: int) -> None:
    """Refuse rows that no search could trust.

    Raises:
        InvalidVector: naming the product and the rule.
    """
    for row in rows:
        if row.vector.shape != (dimension,):
            raise InvalidVector(
                f"product {row.product_id!r}: vector has shape {row.vector.shape}, "
                f"the collection holds ({dimension},); embed it with the collection's model"
            )
    if not rows:
        return
    lengths = np.linalg.norm(np.stack([row.vector for row in rows]).astype(np.float64), axis=1)
    for row, length in zip(rows, lengths, strict=True):
        if not is_unit(length):
            raise InvalidVector(
                f"product {row.product_id!r}: vector has length {length:.6g}, must be finite and 1; "
                "the encoder or its weights are broken"
            )
