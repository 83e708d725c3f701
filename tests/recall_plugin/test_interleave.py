"""Two rankings on one page: nobody is favoured, everybody is credited, and the log can say how."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.credit import credit, credit_table
from experiments.exposure import Exposure, InMemoryEventLog, Outcome, event_id
from experiments.interleaving import compare_interleaved
from recall_plugin.errors import InvalidPlan
from recall_plugin.interleave import DESIGNS, Coin, Page, balanced, team_draft
from tests.recall_plugin.doubles import MUG, NOW, TREATED, ask, experiment, finds, plugin

rankings = st.lists(st.integers(0, 15).map(lambda number: f"p{number:02}"), max_size=12, unique=True)
BASE = [f"b{place:02}" for place in range(1, 31)]


def coin_of(seed: int) -> Coin:
    rng = Random(seed)
    tosses = [rng.random() < 0.5 for _ in range(40)]
    return lambda number: tosses[number]


@pytest.mark.parametrize("design", sorted(DESIGNS))
@given(base=rankings, recall=rankings, limit=st.integers(1, 15), seed=st.integers(0, 99))
def test_a_page_is_full_and_shows_no_product_twice(
    design: str, base: list[str], recall: list[str], limit: int, seed: int
) -> None:
    """And its columns are as long as it is."""
    page = DESIGNS[design](base, recall, limit=limit, coin=coin_of(seed))

    assert min(limit, len({*base, *recall})) == len(page.product_ids) == len(set(page.product_ids))
    assert len(page.product_ids) == len(page.teams) == len(page.weights)


@pytest.mark.parametrize("design", sorted(DESIGNS))
@given(ranking=rankings, limit=st.integers(1, 15), seed=st.integers(0, 99))
def test_two_rankings_that_agree_give_that_ranking(
    design: str, ranking: list[str], limit: int, seed: int
) -> None:
    """A shopper of a search that nothing changes sees nothing of the experiment."""
    assert ranking[:limit] == DESIGNS[design](ranking, ranking, limit=limit, coin=coin_of(seed)).product_ids


@given(base=rankings, recall=rankings, limit=st.integers(1, 15), seed=st.integers(0, 99))
def test_teams_are_of_equal_size_at_every_even_place(
    base: list[str], recall: list[str], limit: int, seed: int
) -> None:
    """As long as both captains have something to pick."""
    page = team_draft(base, recall, limit=limit, coin=coin_of(seed))
    for place in range(2, len(page.teams) + 1, 2):
        if min(
            len(set(base) - set(page.product_ids[:place])), len(set(recall) - set(page.product_ids[:place]))
        ):
            assert place == 2 * page.teams[:place].count("base")


def expected_credit(design: Any, base: list[str], recall: list[str], clicks: Any, *, limit: int) -> float:
    """Recall's credit less base's, over the coin, for a shopper who clicks a product with this chance."""
    total = 0.0
    for seed in range(200):
        page = design(base, recall, limit=limit, coin=coin_of(seed))
        for place, (product_id, team, weight) in enumerate(zip(*page, strict=True), start=1):
            worth = weight * clicks(product_id, place)
            total += worth * ((team in ("recall", "both")) - (team in ("base", "both")))
    return total / 200


def plain_balanced(base: list[str], recall: list[str], *, limit: int, coin: Coin) -> Page:
    """Credit as it was first published: for the ranking that has the product higher."""
    page = balanced(base, recall, limit=limit, coin=coin)
    depth = {product_id: place for place, product_id in enumerate(recall)}
    teams = tuple(
        "base" if base.index(product_id) < depth[product_id] else "recall" for product_id in page.product_ids
    )
    return Page(page.product_ids, teams, (1.0,) * len(teams))


def test_a_blind_shopper_prefers_neither_of_two_shifted_copies() -> None:
    """Plain balanced credit names a winner there, which is why it is not ours."""
    base, recall = ["a", "b", "c"], ["b", "c", "a"]
    blind = {"clicks": lambda _product, _place: 0.2, "limit": 3}

    assert 0.1 < abs(expected_credit(plain_balanced, base, recall, **blind))
    assert 0 == pytest.approx(expected_credit(balanced, base, recall, **blind), abs=1e-9)
    assert 0 == pytest.approx(expected_credit(team_draft, base, recall, **blind), abs=0.03)


@given(base=st.permutations("abcdefgh"), recall=st.permutations("cdefghij"), limit=st.integers(1, 8))
def test_debiased_credit_is_the_clicks_on_each_rankings_own_first_products(
    base: list[str], recall: list[str], limit: int
) -> None:
    """Over both tosses, exactly: as deep as both can be shown, for any tastes."""
    tastes = {product_id: (ord(product_id) - 96) / 20 for product_id in "abcdefghij"}
    earned: Counter[str] = Counter()
    depths = set()
    for toss in (False, True):
        page = balanced(base, recall, limit=limit, coin=lambda _, toss=toss: toss)  # type: ignore[misc]
        for product_id, team, weight in zip(*page, strict=True):
            for ranking in ("base", "recall"):
                if team in (ranking, "both"):
                    earned[ranking] += weight * tastes[product_id] / 2  # type: ignore[assignment]
    for name, ranking in (("base", base), ("recall", recall)):
        sums = [sum(tastes[product_id] for product_id in ranking[:depth]) for depth in range(limit + 1)]
        depths.add(tuple(depth for depth, of in enumerate(sums) if of == pytest.approx(earned[name])))

    assert set.intersection(*map(set, depths))


def simulated(
    design: str, *, searches: int, liking: float, seed: int
) -> tuple[list[Exposure], list[Outcome]]:
    """Searches over the plugin, by shoppers who like what was recalled more or less than the base's own."""
    rng, log, outcomes = Random(seed), InMemoryEventLog(), []
    plan = {"interleave": design, "protected_head": 0, "quota": 20, "every": 1}
    found = finds(*[f"new-{number}" for number in range(20)])
    with plugin(found, log=log, of=experiment(parameters=plan)) as recall:
        for number in range(searches):
            ask(recall, BASE, query_id=f"q{number}", unit_id=TREATED)
    for number, exposure in enumerate(log.exposures):
        for product in exposure.served:
            likes = liking if product.product_id.startswith("new") else 0.1
            if rng.random() < likes / product.position:
                outcomes.append(
                    Outcome(
                        event_id=event_id("click", str(number), product.product_id),
                        kind="click",
                        unit_id=exposure.unit_id,
                        occurred_at=NOW,
                        product_id=product.product_id,
                        query_id=exposure.query_id,
                    )
                )
    return log.exposures, outcomes


@pytest.mark.parametrize("design", sorted(DESIGNS))
@pytest.mark.parametrize(("liking", "preferred"), [(0.4, "recall"), (0.02, "base")])
def test_the_ranking_that_shoppers_like_is_preferred(design: str, liking: float, preferred: str) -> None:
    """From the plugin's own exposures, by the report's own command."""
    exposures, outcomes = simulated(design, searches=300, liking=liking, seed=1)
    columns = credit_table([*exposures, *exposures[:10]], outcomes)
    searches = {**columns, "unit": [f"u{number}" for number in range(len(columns["unit"]))]}
    import pyarrow as pa

    found = compare_interleaved(pa.table(searches), unit="unit", ours="recall", theirs="base")

    assert (preferred, 300) == (found["preferred"], found["searches"])


def test_an_interleaved_page_says_whose_each_product_is(how: str) -> None:
    """In the result and in the log; behind the page the joined list goes on."""
    log = InMemoryEventLog()
    of = experiment(parameters={"interleave": "team_draft"})
    with plugin(finds("new", "b02"), log=log, of=of) as recall:
        results = [ask(recall, BASE, how=how, query_id=f"q{number}") for number in range(20)]
        again = ask(recall, BASE, how=how, query_id="q0")
    (logged, *_) = log.exposures

    assert list(again.product_ids) == list(results[0].product_ids)
    assert len({tuple(result.teams) for result in results}) > 1
    assert (results[0].teams, 20) == (logged.teams, len(logged.team_weights))
    assert [one.product_id for one in logged.served] == list(results[0].product_ids[:20])
    assert {*BASE[:29], "new"} == set(results[0].product_ids)
    assert tuple(BASE[:20]) == logged.counterfactual


def test_credit_counts_a_product_of_this_search_once() -> None:
    """Not another search's, not another unit's, not twice, and no other deed than was asked for."""
    log = InMemoryEventLog()
    of = experiment(parameters={"interleave": "balanced", "protected_head": 0, "every": 1})
    with plugin(finds("new"), log=log, of=of) as recall:
        ask(recall, ["own"], query_id="q1", query=MUG)
    (exposure,) = log.exposures

    def did(kind: Any = "click", **fields: Any) -> Outcome:
        known: dict[str, Any] = {
            "unit_id": TREATED,
            "product_id": "new",
            "query_id": "q1",
            "occurred_at": NOW,
        }
        return Outcome(event_id="o", kind=kind, **known | fields)

    others = [did(query_id="q2"), did(unit_id="x"), did("order"), did(product_id="elsewhere")]
    assert (0, 1) == credit(exposure, [did(), did(), *others])
    assert (1, 1) == credit(exposure, [did(), did(product_id="own")])
    assert (0, 2) == credit(exposure, [did("order")], kinds=("order",), examined=lambda _: 0.5)


def test_a_design_that_is_not_known_is_refused_at_the_start() -> None:
    """With those that are."""
    with (
        pytest.raises(InvalidPlan, match="interleave is 'zip', must be one of team_draft, balanced"),
        plugin(of=experiment(parameters={"interleave": "zip"})),
    ):
        pass
