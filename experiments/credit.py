"""Credit of an interleaved search: whose products were clicked.

Pure. The page says for whom a click on each place counts, and how much; here
clicks become one row a search, which `interleaving` turns into one vote a unit.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .exposure import Exposure, Outcome, OutcomeKind

Examined = Callable[[int], float]


def credit(
    exposure: Exposure,
    outcomes: Iterable[Outcome],
    *,
    kinds: tuple[OutcomeKind, ...] = ("click",),
    examined: Examined = lambda _position: 1.0,
) -> tuple[float, float]:
    """What base and recall earned in one search.

    Args:
        exposure: of an interleaved page.
        outcomes: of any search; those of this one count, a product once.
        kinds: which deeds are worth something.
        examined: the chance that a shopper looks at a place at all, where it is
            known: then a click deep on the page counts for more.
    """
    places = {product.product_id: place for place, product in enumerate(exposure.served)}
    clicked = {
        outcome.product_id
        for outcome in outcomes
        if outcome.query_id == exposure.query_id
        and outcome.unit_id == exposure.unit_id
        and outcome.kind in kinds
    }
    base = recall = 0.0
    for product_id in clicked & places.keys():
        place = places[product_id]
        if place >= len(exposure.teams):
            continue
        worth = exposure.team_weights[place] / examined(place + 1)
        base += worth * (exposure.teams[place] in ("base", "both"))
        recall += worth * (exposure.teams[place] in ("recall", "both"))
    return base, recall


def credit_table(
    exposures: Iterable[Exposure], outcomes: Iterable[Outcome], **options: Any
) -> Mapping[str, list[Any]]:
    """Columns `unit`, `base` and `recall`, a row for each interleaved search: for `compare_interleaved`.

    An exposure that was told twice counts once.
    """
    of_search: dict[tuple[str, str | None], list[Outcome]] = {}
    for outcome in outcomes:
        of_search.setdefault((outcome.unit_id, outcome.query_id), []).append(outcome)
    columns: dict[str, list[Any]] = {"unit": [], "base": [], "recall": []}
    for exposure in {one.event_id: one for one in exposures if one.teams}.values():
        earned = credit(exposure, of_search.get((exposure.unit_id, exposure.query_id), ()), **options)
        for name, value in zip(columns, (exposure.unit_id, *earned), strict=True):
            columns[name].append(value)
    return columns
