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

_NO_WORD = np.zeros((1, 1), dtype=np.int64)


def run_rows(
    images: Sequence[Side],
    ids: Sequence[NDArray[np.int64] | None],
    *,
    run_text: Callable[[NDArray[np.int64]], Side],
    fuse: Callable[[Side, Side], NDArray[np.float32]],
    nothing: Side,
    most: int,
) -> NDArray[np.float32]:
    """Return the vectors of rows of an image side and a text's ids, in order.

    Args:
        images: each a batch of one; `nothing` where the row has no picture.
        ids: None where the row has no text.
        run_text: reads texts of equal length, padded with 0.
        fuse: joins sides to vectors.
        nothing: a side that is absent.
        most: rows in one run.
    """
    vectors: dict[int, NDArray[np.float32]] = {}
    # Texts without pictures stay among themselves: their runs pay for no meeting.
    forms = [
        (bool(image[2][0]), 0 if own is None else len(own)) for image, own in zip(images, ids, strict=True)
    ]
    for places in buckets(forms, most=most):
        own = [ids[at] for at in places]
        has_text = np.array([each is not None for each in own])
        if has_text.any():
            tokens, mask, _ = run_text(_padded([_NO_WORD if each is None else each for each in own]))
            text = tokens, mask, has_text
        else:
            text = _stacked([nothing] * len(places))
        for at, vector in zip(places, fuse(_stacked([images[at] for at in places]), text), strict=True):
            vectors[at] = vector
    return np.stack([vectors[at] for at in range(len(images))])


def buckets(sizes: Sequence[Any], *, most: int) -> list[list[int]]:
    """Return places in runs of at most `most`, of like size.

    >>> buckets([3, 9, 2, 8, 3], most=2)
    [[2, 0], [4, 3], [1]]
    """
    order = sorted(range(len(sizes)), key=lambda at: sizes[at])
    return [order[at : at + most] for at in range(0, len(order), most)]


def _stacked(sides: Sequence[Side]) -> Side:
    """Pad sides of different lengths into one; padding is masked."""
    tokens, mask = (_padded([side[part][0] for side in sides]) for part in (0, 1))
    return tokens, mask, np.concatenate([side[2] for side in sides])


def _padded(parts: Sequence[Array]) -> Array:
    shapes = {part.shape for part in parts}
    if len(shapes) == 1:
        return np.stack(parts)
    whole: Array = np.zeros((len(parts), *np.max(list(shapes), axis=0)), dtype=parts[0].dtype)
    for row, part in enumerate(parts):
        place: tuple[Any, ...] = (row, *map(slice, part.shape))
        whole[place] = part
    return whole
