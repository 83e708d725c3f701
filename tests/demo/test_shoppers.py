"""Simulated shoppers do what their probabilities say, and the truth is the sum of those."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import sqrt
from statistics import mean, stdev

import pytest

from demo.population import WEEKS, Search, plan_searches
from demo.shop import make_product
from demo.shoppers import PAGE_LENGTH, Page, ServeArm, simulate, true_effect
from demo.tastes import BASKET_WITHOUT_PRICES, NothingWantedError, World, build_world
from experiments.definition import load_experiments
from experiments.exposure import Outcome
from product_index.errors import PictureMissing
from product_index.product import Product

START = datetime(2026, 1, 5, tzinfo=UTC)
MADE = [make_product(7, number) for number in range(150)]
PRODUCTS = [
    Product(**{name: value for name, value in made.listing.items() if name != "updated_at"}) for made in MADE
]
TRUTH = {
    made.product_id: {
        name: getattr(made.look, name) for name in ("type", "colour", "second_colour", "pattern", "material")
    }
    for made in MADE
}


def no_pictures(uri: str) -> bytes:
    raise PictureMissing(f"no picture {uri!r}")


def nearest(world: World, search: Search) -> Page:
    """The best page there is."""
    return sorted(world.products, key=lambda other: (-world.relevance(search.wish, other), other))[
        :PAGE_LENGTH
    ]


def any_page(world: World, search: Search) -> Page:
    """A page of whatever is on the shelf: the wish's neighbours in the list."""
    ids = list(world.products)
    at = search.wish.number * 7 % len(ids)
    return (ids[at:] + ids[:at])[:PAGE_LENGTH]


def both_arms(world: World) -> ServeArm:
    """Treatment serves the best page there is, control whatever is on the shelf; each page is made once."""
    pages: dict[tuple[int, str], Page] = {}

    def serve(search: Search, variant: str) -> Page:
        key = (search.wish.number, variant)
        if key not in pages:
            pages[key] = nearest(world, search) if variant == "treatment" else any_page(world, search)
        return pages[key]

    return serve


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(PRODUCTS, truth=TRUTH, read_picture=no_pictures, distinct_searches=60)


def run(
    world: World, page: Sequence[str] | None = None, *, seed: int = 1, shoppers: int = 200
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    serve = both_arms(world)
    simulate(
        world,
        (lambda search: serve(search, "treatment")) if page is None else (lambda _: page),
        shoppers=shoppers,
        seed=seed,
        start=START,
        happened=outcomes.append,
    )
    return outcomes


def test_the_same_seed_and_pages_give_the_same_events(world: World) -> None:
    """A repeated run sends the same events under the same ids, which count once."""
    assert run(world) == run(world)


def test_every_event_has_its_own_id(world: World) -> None:
    """Ids are derived from who, what and where, and two deeds differ in one of them."""
    ids = [outcome.event_id for outcome in run(world)]

    assert len(ids) == len(set(ids))


def test_everything_happens_within_four_whole_weeks(world: World) -> None:
    """The weekly report sees complete weeks: no search too early, no order too late."""
    searches = plan_searches(world, shoppers=600, seed=1, start=START)
    outcomes = run(world, shoppers=600)
    end = START + timedelta(weeks=WEEKS)

    assert START <= min(search.occurred_at for search in searches)
    assert max(outcome.occurred_at for outcome in outcomes) < end
    assert {0, 1, 2, 3} == {(search.occurred_at - START).days // 7 for search in searches}
    assert searches == sorted(searches, key=lambda search: search.occurred_at)


def test_outcomes_follow_their_search(world: World) -> None:
    """A click comes after the search it belongs to, an order after its click."""
    at = {s.query_id: s.occurred_at for s in plan_searches(world, shoppers=200, seed=1, start=START)}
    outcomes = run(world)
    clicked = {(o.query_id, o.product_id): o.occurred_at for o in outcomes if o.kind == "click"}

    for outcome in outcomes:
        assert outcome.query_id is not None
        assert outcome.occurred_at > at[outcome.query_id]
        if outcome.kind == "order":
            assert outcome.occurred_at > clicked[outcome.query_id, outcome.product_id]
            assert outcome.revenue is not None
            assert outcome.revenue > 0


def test_who_searches_for_what_does_not_depend_on_what_is_served(world: World) -> None:
    """Both arms face the same shoppers, so their difference is the arm's."""
    asked: list[list[tuple[str, int]]] = []
    for page in ([], list(world.products)):
        seen: list[tuple[str, int]] = []

        def serve(search: Search, page: Page = page, seen: list[tuple[str, int]] = seen) -> Page:
            seen.append((search.query_id, search.wish.number))
            return page

        simulate(world, serve, shoppers=50, seed=3, start=START, happened=lambda _: None)
        asked.append(seen)

    assert asked[0] == asked[1]


def test_some_shoppers_are_busier_and_some_wishes_more_common(world: World) -> None:
    """As in life: a few do much, and a few things are wanted by many."""
    searches = plan_searches(world, shoppers=1000, seed=1, start=START)
    per_shopper = Counter(search.unit_id for search in searches)
    per_wish = Counter(search.wish.number for search in searches)

    assert 1000 == len(per_shopper)
    assert 2.3 < len(searches) / 1000 < 3.5
    assert max(per_shopper.values()) >= 10
    assert per_wish[0] > 5 * per_wish[len(world.wishes) - 1]


def test_nothing_served_is_nothing_done(world: World) -> None:
    """An empty page has no clicks, and is counted."""
    summary = simulate(world, lambda _: [], shoppers=20, seed=1, start=START, happened=lambda _: None)

    assert (summary.searches, 0, 0) == (summary.empty_pages, summary.clicks, summary.orders)


def test_products_past_the_page_are_never_clicked(world: World) -> None:
    """Nobody turns the page."""
    positions = {outcome.position for outcome in run(world, list(world.products)) if outcome.kind == "click"}

    assert max(position for position in positions if position) <= PAGE_LENGTH


def test_clicks_fall_with_position_and_rise_with_relevance(world: World) -> None:
    """The same product is clicked less at the foot of the page; the right one more than another."""
    wish = world.wishes[0]
    others = [product_id for product_id in world.products if world.relevance(wish, product_id) == 0]

    def ctr_of(page: Page) -> float:
        only = World(
            products=world.products,
            wishes=(wish,),
            popularity=(1.0,),
            currency="EUR",
            notices=(),
            _taste=world._taste,
        )
        return true_effect(only, lambda *_: page, shoppers=10, seed=1, start=START).control["ctr"]

    assert ctr_of([wish.target]) > 10 * ctr_of(others[:1])
    assert ctr_of([wish.target, *others[:9]]) > 1.5 * ctr_of([*others[:9], wish.target])


def test_what_happens_agrees_with_what_is_expected(world: World) -> None:
    """Over many seeds, counted clicks, orders and revenue differ from their sums only by chance."""
    serve = both_arms(world)
    gaps: dict[str, list[float]] = {"ctr": [], "orders_per_shopper": [], "revenue_per_shopper": []}
    for seed in range(120):
        summary = simulate(
            world,
            lambda search: serve(search, "treatment"),
            shoppers=40,
            seed=seed,
            start=START,
            happened=lambda _: None,
        )
        truth = true_effect(world, serve, shoppers=40, seed=seed, start=START)
        gaps["ctr"].append(summary.clicks / summary.searches - truth.treatment["ctr"])
        gaps["orders_per_shopper"].append(summary.orders / 40 - truth.treatment["orders_per_shopper"])
        gaps["revenue_per_shopper"].append(summary.revenue / 40 - truth.treatment["revenue_per_shopper"])

    for name, gap in gaps.items():
        assert abs(mean(gap)) < 4 * stdev(gap) / sqrt(len(gap)), name


def test_the_expectation_is_tight_enough_to_tell_arms_apart(world: World) -> None:
    """The test above would not pass with the other arm's expectation."""
    truth = true_effect(world, both_arms(world), shoppers=300, seed=1, start=START)

    assert truth.lifts["ctr"] > 1
    assert truth.lifts["revenue_per_shopper"] > 1
    assert 0 == truth.lifts["searches_per_shopper"]


def test_the_same_pages_in_both_arms_have_no_effect(world: World) -> None:
    """An A/A has a true lift of exactly zero, in every metric."""
    truth = true_effect(world, lambda search, _: nearest(world, search), shoppers=40, seed=1, start=START)

    assert {0.0} == set(truth.lifts.values())


def test_the_truth_speaks_of_the_experiments_metrics(world: World) -> None:
    """Each name is a metric of the definition, so that the report can put truth beside estimate."""
    truth = true_effect(world, lambda *_: [], shoppers=10, seed=1, start=START)
    definition = load_experiments(None)["uniecs-recall"]

    assert truth.control.keys() <= {metric.name for metric in definition.metrics}
    assert {"ctr", "revenue_per_shopper", "clicks_per_shopper", "orders_per_shopper"} <= truth.control.keys()


def test_one_page_per_wish_and_arm_is_enough(world: World) -> None:
    """The truth is computed from each distinct search once, however many shoppers there are."""
    asked: Counter[tuple[int, str]] = Counter()

    def serve(search: Search, variant: str) -> Page:
        asked[search.wish.number, variant] += 1
        return []

    true_effect(world, serve, shoppers=500, seed=1, start=START)
    assert {1} == set(asked.values())
    assert 2 * len(world.wishes) >= len(asked)


def test_what_is_out_of_stock_is_clicked_but_not_bought(world: World) -> None:
    """A shopper cannot buy what is not there."""
    sold_out = build_world(
        [
            Product(
                product_id=p.product_id, title=p.title, price=p.price, in_stock=False, image_uris=p.image_uris
            )
            for p in PRODUCTS
        ],
        truth=TRUTH,
        distinct_searches=30,
    )
    kinds = Counter(outcome.kind for outcome in run(sold_out))

    assert kinds["click"] > 20
    assert 0 == kinds["order"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shoppers": 0}, "shoppers is 0, must be at least 1"),
        ({"start": datetime(2026, 1, 5)}, "must have a time zone"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(world: World, change: dict[str, int], message: str) -> None:
    """The message has the value and the rule."""
    with pytest.raises(ValueError, match=message):
        plan_searches(world, **({"shoppers": 5, "seed": 1, "start": START} | change))  # type: ignore[arg-type]


def test_a_shop_without_prices_says_what_is_assumed() -> None:
    """Revenue needs a price; where there is none, the one that is assumed is told."""
    world = build_world([Product(product_id=str(n), title=f"Chair number {n} oak") for n in range(8)])

    assert BASKET_WITHOUT_PRICES == world.price("3")
    assert "8 of 8 products have no price" in " ".join(world.notices)
    assert "25 EUR, which is assumed" in " ".join(world.notices)


def test_nothing_to_ask_for_is_said() -> None:
    """A catalogue without a word or a picture has no shoppers."""
    with pytest.raises(NothingWantedError, match="none of 1 products has words or a readable picture"):
        build_world([Product(product_id="1")])
