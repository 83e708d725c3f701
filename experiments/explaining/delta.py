"""The delta method for anything that is worked out from means: its value, and its covariance.

Gradients are by complex step, which is exact to the last digits: the function
must be made of arithmetic alone.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from experiments.metrics import Moments

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

# So small that its square is nothing beside any float: the imaginary part is the derivative.
_STEP = 1e-100

# Enough that the 95% quantile of a maximum is good to two digits; a fixed seed, so the same every time.
_DRAWS, _SEED = 20_000, 20_260_105


def propagate(work_out: Callable[..., Vector], *samples: Moments) -> tuple[Vector, Matrix]:
    """Values worked out from the means of independent samples, and their covariance.

    Args:
        work_out: from one vector of means per sample to a vector of values.
        samples: the moments, in that order.
    """
    means = [np.array(it.means, dtype=complex) for it in samples]
    values = np.real(work_out(*means))
    covariance = np.zeros((len(values), len(values)))
    for which, it in enumerate(samples):
        jacobian = np.zeros((len(values), len(it.means)))
        for column in range(len(it.means)):
            moved = [one.copy() for one in means]
            moved[which][column] += 1j * _STEP
            jacobian[:, column] = np.imag(work_out(*moved)) / _STEP
        covariance += jacobian @ np.array(it.comoments) @ jacobian.T / (it.count - 1) / it.count
    return values, covariance


def joint_reach(covariance: Matrix, *, alpha: float) -> float:
    """How many standard errors cover all values at once, 1 - alpha of the time.

    >>> 1.9 < joint_reach(np.eye(1), alpha=0.05) < 2.0  # one value: 1.96
    True
    """
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    # What is left over of a sum can come out a hair above zero; it is not known to vary.
    known = errors > 1e-9 * errors.max(initial=0.0)
    if not known.any():
        return 0.0
    correlation = covariance[np.ix_(known, known)] / np.outer(errors[known], errors[known])
    # Eigenvectors, because a sum of parts makes the matrix singular.
    sizes, directions = np.linalg.eigh(correlation)
    lots = np.random.default_rng(_SEED).standard_normal((_DRAWS, len(sizes)))
    drawn = lots @ (directions * np.sqrt(np.maximum(sizes, 0.0))).T
    return float(np.quantile(np.abs(drawn).max(axis=1), 1 - alpha))
