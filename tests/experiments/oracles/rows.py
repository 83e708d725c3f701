"""Tables that any Python makes alike: only `random.random`, whose stream never changes."""

from math import cos, log, pi, sqrt
from random import Random


def table(seed: int, units: int = 240) -> dict[str, list[float]]:
    """Uneven shoppers with a past, in two variants, 0 and 1."""
    lots = Random(seed)
    columns: dict[str, list[float]] = {
        name: []
        for name in (
            "variant",
            "searches",
            "clicks",
            "searches_before",
            "clicks_before",
            "revenue",
            "revenue_before",
        )
    }
    for _ in range(units):
        variant = int(lots.random() < 0.5)
        taste = lots.random() ** 2
        searches, earlier = 1 + int(8 * lots.random() ** 2), 1 + int(6 * lots.random())
        normal = sqrt(-2 * log(1 - lots.random())) * cos(2 * pi * lots.random())
        row = {
            "variant": variant,
            "searches": searches,
            "clicks": sum(lots.random() < taste * (1 + 0.2 * variant) * 0.8 for _ in range(searches)),
            "searches_before": earlier,
            "clicks_before": sum(lots.random() < taste * 0.8 for _ in range(earlier)),
            "revenue": round(10 + 20 * taste + 4 * normal + variant, 6),
            "revenue_before": round(8 + 18 * taste, 6),
        }
        for name, value in row.items():
            columns[name].append(float(value))
    return columns
