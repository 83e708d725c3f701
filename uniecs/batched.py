"""Many rows in few runs: texts of like length together, padded where they differ.

For a machine whose arithmetic is cheap and whose runs are dear, an accelerator
above all. A row's vector then depends on its batchmates in its last bits (to
about 1e-6), so this is never what the index is built with on a CPU.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Tokens (B, L, D), mask (B, L), present (B,).
Side = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


def buckets(sizes: Sequence[int], *, most: int) -> list[list[int]]:
    """Return places in runs of at most `most`, of like size.

    >>> buckets([3, 9, 2, 8, 3], most=2)
    [[2, 0], [4, 3], [1]]
    """
    order = sorted(range(len(sizes)), key=lambda at: sizes[at])
    return [order[at : at + most] for at in range(0, len(order), most)]


def run_texts(
    ids: Sequence[NDArray[np.int64]], run: Callable[[NDArray[np.int64]], Side], *, most: int
) -> list[Side]:
    """Return each text's side, a batch of one, without the padding of its run."""
    sides: dict[int, Side] = {}
    for places in buckets([len(one) for one in ids], most=most):
        tokens, mask, present = run(_padded([ids[at] for at in places]))
        for row, at in enumerate(places):
            own = slice(0, len(ids[at]))
            sides[at] = tokens[row : row + 1, own], mask[row : row + 1, own], present[row : row + 1]
    return [sides[at] for at in range(len(ids))]


def run_fusions(
    rows: Sequence[tuple[Side, Side]],
    run: Callable[[Side, Side], NDArray[np.float32]],
    *,
    most: int,
) -> NDArray[np.float32]:
    """Return the vectors of rows of an image side and a text side, in order."""
    vectors: dict[int, NDArray[np.float32]] = {}
    for places in buckets([text[0].shape[1] for _, text in rows], most=most):
        image, text = (_stacked([rows[at][which] for at in places]) for which in (0, 1))
        for at, vector in zip(places, run(image, text), strict=True):
            vectors[at] = vector
    return np.stack([vectors[at] for at in range(len(rows))])


def _stacked(sides: Sequence[Side]) -> Side:
    """Pad sides of different lengths into one; padding is masked."""
    tokens, mask = (_padded([side[part][0] for side in sides]) for part in (0, 1))
    return tokens, mask, np.concatenate([side[2] for side in sides])


def _padded(parts: Sequence[Array]) -> Array:
    shape = np.max([part.shape for part in parts], axis=0)
    whole: Array = np.zeros((len(parts), *shape), dtype=parts[0].dtype)
    for row, part in enumerate(parts):
        place: tuple[Any, ...] = (row, *map(slice, part.shape))
        whole[place] = part
    return whole
