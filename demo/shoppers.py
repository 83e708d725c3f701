"""Simulated shoppers over four weeks, and the exact effect that an experiment should find.

A shopper reads a page from the top, less carefully the further down, clicks
what comes near the wish, and buys some of what was clicked. Every deed is an
independent chance with a known probability, so that what a whole population is
expected to do on given pages can be summed, not sampled: that is the truth.

What happens depends on the seed and on the pages that were served; when
searches happen and who makes them depends on the seed alone.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from experiments.exposure import Outcome, OutcomeKind, event_id

from .population import Search, plan_searches
from .tastes import Wish, World

# Nobody turns the page: products further down are not seen.
PAGE_LENGTH = 20
# Chance to look at position k is 1 / (1 + this * (k - 1)): 0.36 at the tenth.
_IMPATIENCE = 0.2
# Chance to click what is looked at, from irrelevant to exactly what was wanted.
# Cubed: what is only roughly right is mostly left alone.
_CLICK_FLOOR, _CLICK_RANGE = 0.006, 0.4
# Chance to buy what was clicked, if exactly right and no dearer than the thing in mind.
_BUY = 0.3
# How fast interest falls with a higher price: a thing twice as dear sells half as well.
_PRICE_ELASTICITY = 1.0
# Baskets are larger than one product and uneven; the mean is 1 so that sums stay exact.
_BASKET_SIGMA = 0.4

Page = Sequence[str]


@dataclass(slots=True, kw_only=True)
class Summary:
    """What happened."""

    shoppers: int = 0
    searches: int = 0
    empty_pages: int = 0
    clicks: int = 0
    orders: int = 0
    revenue: float = 0.0
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the whole population is expected to do in each arm, by metric name of `experiments`.

    Attributes:
        lifts: treatment over control, less 1; a metric that is 0 in control is left out.
    """

    control: Mapping[str, float]
    treatment: Mapping[str, float]
    lifts: Mapping[str, float]


# Each gives the page, best first, for a search: as the shop serves it now, or in a named arm.
Serve = Callable[[Search], Page]
ServeArm = Callable[[Search, str], Page]
Progress = Callable[[int, int], None]


def simulate(
    world: World,
    serve: Serve,
    *,
    shoppers: int,
    seed: int,
    start: datetime,
    happened: Callable[[Outcome], None],
    progress: Progress | None = None,
) -> Summary:
    """Let everybody search, click and buy.

    Args:
        world: the catalogue and the wishes.
        serve: called once per search, in order of time.
        shoppers: how many; each searches about three times.
        seed: the same seed and pages give the same events with the same ids.
        start: the first moment of the four weeks, with a time zone.
        happened: takes each outcome.
        progress: called with (searches done, searches in all).
    """
    searches = plan_searches(world, shoppers=shoppers, seed=seed, start=start)
    summary = Summary(shoppers=shoppers, searches=len(searches), currency=world.currency)
    for done, search in enumerate(searches, start=1):
        page = serve(search)
        summary.empty_pages += not page
        for outcome in _react(world, search, page, Random(f"deeds:{seed}:{search.query_id}")):
            happened(outcome)
            if outcome.kind == "click":
                summary.clicks += 1
            else:
                summary.orders += 1
                summary.revenue += outcome.revenue or 0.0
        if progress is not None:
            progress(done, len(searches))
    return summary


def true_effect(
    world: World,
    serve_arm: ServeArm,
    *,
    shoppers: int,
    seed: int,
    start: datetime,
    control: str = "control",
    treatment: str = "treatment",
    progress: Progress | None = None,
) -> Truth:
    """Sum what the same population is expected to do on both arms' pages.

    Args:
        world: the catalogue and the wishes.
        serve_arm: called once per distinct wish and arm; must serve what `simulate` served.
        shoppers: as in `simulate`, as are `seed` and `start`.
        seed: see there.
        start: see there.
        control: the name of the arm that lifts are measured against.
        treatment: the name of the other arm.
        progress: called with (wishes done, wishes in all).
    """
    searches = plan_searches(world, shoppers=shoppers, seed=seed, start=start)
    first: dict[int, Search] = {}
    count: Counter[int] = Counter()
    eager: defaultdict[int, float] = defaultdict(float)
    spent: defaultdict[int, float] = defaultdict(float)
    for search in searches:
        number, who = search.wish.number, search.shopper
        first.setdefault(number, search)
        count[number] += 1
        eager[number] += who.eagerness
        spent[number] += who.eagerness * who.purse
    totals = {
        arm: dict.fromkeys(("clicks", "orders", "revenue", "empty"), 0.0) for arm in (control, treatment)
    }
    for done, (number, search) in enumerate(sorted(first.items()), start=1):
        for arm, total in totals.items():
            page = serve_arm(search, arm)
            expected = _expected(world, search.wish, page)
            total["clicks"] += eager[number] * expected.clicks
            total["orders"] += eager[number] * expected.orders
            total["revenue"] += spent[number] * expected.revenue
            total["empty"] += count[number] * (not page)
        if progress is not None:
            progress(done, len(first))
    arms = {arm: _metrics(total, shoppers=shoppers, searches=len(searches)) for arm, total in totals.items()}
    return Truth(
        control=arms[control],
        treatment=arms[treatment],
        lifts={name: arms[treatment][name] / value - 1 for name, value in arms[control].items() if value},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What one search leads to on average, for a shopper of eagerness and purse 1."""

    clicks: float
    orders: float
    revenue: float


def _expected(world: World, wish: Wish, page: Page) -> _Expected:
    clicks = orders = revenue = 0.0
    for position, product_id in enumerate(_seen(page), start=1):
        click, buy = _chances(world, wish, product_id, position)
        clicks += click
        orders += click * buy
        if buy:
            revenue += click * buy * world.price(product_id)
    return _Expected(clicks=clicks, orders=orders, revenue=revenue)


def _react(world: World, search: Search, page: Page, rng: Random) -> list[Outcome]:
    """What one shopper does on one page."""
    outcomes = []
    moment = search.occurred_at
    for position, product_id in enumerate(_seen(page), start=1):
        click, buy = _chances(world, search.wish, product_id, position)
        moment += timedelta(seconds=rng.uniform(1, 20))
        if rng.random() >= click * search.shopper.eagerness:
            continue
        outcomes.append(_outcome(search, "click", product_id, moment, position=position))
        if rng.random() >= buy:
            continue
        basket = rng.lognormvariate(-(_BASKET_SIGMA**2) / 2, _BASKET_SIGMA)
        revenue = round(world.price(product_id) * search.shopper.purse * basket, 2)
        paid_at = moment + timedelta(minutes=rng.uniform(2, 40))
        outcomes.append(
            _outcome(search, "order", product_id, paid_at, revenue=revenue, currency=world.currency)
        )
    return outcomes


def _chances(world: World, wish: Wish, product_id: str, position: int) -> tuple[float, float]:
    """The chance to click, for eagerness 1, and the chance to buy once clicked."""
    relevance = world.relevance(wish, product_id)
    looked_at = 1 / (1 + _IMPATIENCE * (position - 1))
    click = looked_at * (_CLICK_FLOOR + _CLICK_RANGE * relevance**3)
    product = world.products.get(product_id)
    if product is None or not product.in_stock:
        return click, 0.0
    dearer = world.price(product_id) / max(world.price(wish.target), 0.01)
    return click, _BUY * relevance**2 * min(1.0, max(dearer, 1.0) ** -_PRICE_ELASTICITY)


def _seen(page: Page) -> Page:
    return page[:PAGE_LENGTH]


def _outcome(
    search: Search,
    kind: OutcomeKind,
    product_id: str,
    moment: datetime,
    *,
    position: int | None = None,
    revenue: float | None = None,
    currency: str = "",
) -> Outcome:
    return Outcome(
        event_id=event_id(kind, search.unit_id, search.query_id, product_id),
        kind=kind,
        unit_id=search.unit_id,
        occurred_at=moment,
        product_id=product_id,
        query_id=search.query_id,
        position=position,
        revenue=revenue,
        currency=currency,
    )


def _metrics(total: Mapping[str, float], *, shoppers: int, searches: int) -> dict[str, float]:
    return {
        "ctr": total["clicks"] / searches,
        "revenue_per_shopper": total["revenue"] / shoppers,
        "orders_per_shopper": total["orders"] / shoppers,
        "clicks_per_shopper": total["clicks"] / shoppers,
        "zero_result_rate": total["empty"] / searches,
        "searches_per_shopper": searches / shoppers,
    }
