"""Several pictures of one product share the tokens of one.

Each picture keeps its own tokens in the cache; joined, neighbouring tokens are
averaged until all pictures together have no more than a single one has. So a
product of five photos costs fusion what a product of one does, and no photo
drowns the text.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def share_tokens(pictures: Sequence[Vectors]) -> Vectors:
    """Return one side's tokens (1, at most L, D) of pictures with L tokens (1, L, D) each.

    One picture keeps its tokens, bit for bit. Beyond L pictures, the first L are seen.
    """
    if len(pictures) == 1:
        return pictures[0]
    budget = pictures[0].shape[1]
    seen = pictures[:budget]
    return np.concatenate([_reduced(each, budget // len(seen)) for each in seen], axis=1)


def _reduced(tokens: Vectors, most: int) -> Vectors:
    """Average squares of a square grid, or runs of any other order, down to at most `most` tokens."""
    _, length, width = tokens.shape
    side = round(length**0.5)
    if side * side != length:  # a class token, or a grid that is no square
        runs = np.array_split(tokens, most, axis=1)
        return np.concatenate([run.mean(axis=1, keepdims=True) for run in runs], axis=1)
    step = next(step for step in range(1, side + 1) if side % step == 0 and (side // step) ** 2 <= most)
    cells = tokens.reshape(1, side // step, step, side // step, step, width)
    mean: Vectors = cells.mean(axis=(2, 4), dtype=np.float32).reshape(1, -1, width)
    return mean
