"""The same estimate as a belief: how likely is it better, and what would a mistake cost?

A normal posterior on the log scale. The prior is centred on no effect and
wide beside what search experiments find (a standard deviation of 10%), so the
data speak unless there are few. It decides nothing; the p-values do.
"""

from math import exp, expm1, log, pi, sqrt

from scipy import special

from experiments.inference import Comparison

PRIOR_SD = 0.10


def posterior(found: Comparison) -> dict[str, float | None]:
    """The chance that the treatment is higher, the lift believed in, and what is lost if that is wrong."""
    names = ("chance_higher", "believed", "believed_low", "believed_high", "loss_if_higher_is_wrong")
    if found.method != "log-ratio" or found.lift is None or not found.lift_standard_error:
        return dict.fromkeys(names)
    sign = 1.0 if (found.control_value or 0.0) > 0 else -1.0
    ratio = 1 + sign * found.lift
    error = found.lift_standard_error / ratio
    weight = PRIOR_SD**2 / (PRIOR_SD**2 + error**2)
    mean, sd = weight * sign * log(ratio), sqrt(weight) * error
    z = mean / sd
    # The expected shortfall below zero of a normal: what shipping costs on average where it is worse.
    loss = sd * float(special.ndtr(-z)) * -z + sd * _density(z)
    return {
        "chance_higher": float(special.ndtr(z)),
        "believed": expm1(mean),
        "believed_low": expm1(mean - 1.959964 * sd),
        "believed_high": expm1(mean + 1.959964 * sd),
        "loss_if_higher_is_wrong": loss,
    }


def _density(z: float) -> float:
    return exp(-z * z / 2) / sqrt(2 * pi)
