"""Exact comparison of rare counts, where no normal curve is near.

Given how many units of both variants had one, the treatment's number is
binomial; the exact interval for its chance (Clopper and Pearson) is the
interval for the ratio of rates, and the p-value is twice its smaller tail, so
the two agree. Counts are taken as Poisson: a little too careful when they are
not rare, never too bold.
"""

from dataclasses import replace

from scipy import stats

from experiments.inference import Comparison

# With fewer than this in a variant the log-ratio's normal curve is a poor fit.
RARE = 10


def compare_rare(plain: Comparison, control: int, treatment: int, *, alpha: float) -> Comparison:
    """Fill in a comparison of two shares from how many units of each had one."""
    from statsmodels.stats.proportion import confint_proportions_2indep  # slow to import, used for few

    n, m, both = plain.n_control, plain.n_treatment, control + treatment
    share = m / (n + m)
    tails = stats.binom.cdf(treatment, both, share), stats.binom.sf(treatment - 1, both, share)
    p_value = min(1.0, 2 * float(min(tails)))
    difference = treatment / m - control / n
    low, high = confint_proportions_2indep(treatment, m, control, n, method="newcomb", alpha=alpha)
    found = replace(
        plain,
        difference=difference,
        difference_low=float(low),
        difference_high=float(high),
        p_value=p_value,
        statistic=float(stats.norm.isf(p_value / 2)) * (-1 if difference < 0 else 1),
        method="exact",
    )
    if not control:
        return replace(found, reason=f"{plain.control} has none: no lift; see the difference")
    below = float(stats.beta.ppf(alpha / 2, treatment, control + 1)) if treatment else 0.0
    above = float(stats.beta.isf(alpha / 2, treatment + 1, control))
    return replace(
        found,
        lift=treatment / m / (control / n) - 1,
        lift_low=below / (1 - below) * n / m - 1,
        lift_high=above / (1 - above) * n / m - 1,
    )
