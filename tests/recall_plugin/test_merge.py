"""What holds under every merge rule, and what each rule is for."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from product_index.vector_store import Filter, Hit
from recall_plugin.cleaning import clean, ids_of
from recall_plugin.errors import InvalidPlan
from recall_plugin.merge import blend
from recall_plugin.query import BASE, ChannelAnswer, ChannelRequest, Query, RecalledItem
from recall_plugin.rules import RULES, AppendQuota, ReciprocalRank, Rule, Snake, WeightedByRank
from tests.recall_plugin.doubles import hit, hits

ids = st.integers(0, 30).map(lambda number: f"p{number:02}")
bases = st.lists(ids, max_size=25)
found = st.dictionaries(
    st.sampled_from(["uniecs", "style"]),
    st.lists(ids, max_size=25, unique=True).map(lambda some: hits(*some)),
)
limits = st.integers(1, 30)
heads = st.integers(0, 8)
rules = st.one_of(
    st.builds(AppendQuota, protected_head=heads, quota=st.integers(0, 10), every=st.integers(1, 4)),
    st.builds(Snake, protected_head=heads),
    st.builds(ReciprocalRank, k=st.integers(1, 100), protected_head=heads),
    st.builds(
        WeightedByRank,
        weights=st.dictionaries(st.sampled_from([BASE, "uniecs", "style"]), st.floats(0, 5)),
        protected_head=heads,
    ),
)


def names(items: Sequence[RecalledItem]) -> list[str]:
    return [item.product_id for item in items]


@given(base=bases, found=found, rule=rules, limit=limits)
def test_under_every_rule_each_product_comes_once_and_the_list_has_its_length(
    base: list[str], found: dict[str, tuple[Hit, ...]], rule: Rule, limit: int
) -> None:
    """As long as the page or the base, whichever is longer, if there is as much."""
    blended = names(blend(base, found, rule=rule, limit=limit))
    known = set(base) | {one.product_id for some in found.values() for one in some}

    assert len(set(blended)) == len(blended)
    assert min(len(known), max(limit, len(set(base)))) == len(blended)
    assert known >= set(blended)


@given(base=bases, found=found, rule=rules, limit=limits)
def test_under_every_rule_the_protected_head_stays(
    base: list[str], found: dict[str, tuple[Hit, ...]], rule: Rule, limit: int
) -> None:
    """An exact match is never pushed down."""
    head = list(dict.fromkeys(base))[: rule.protected_head]

    assert head == names(blend(base, found, rule=rule, limit=limit))[: len(head)]


@given(base=bases, found=found, rule=rules, limit=limits)
def test_under_every_rule_each_product_says_who_found_it_and_where(
    base: list[str], found: dict[str, tuple[Hit, ...]], rule: Rule, limit: int
) -> None:
    """Provenance travels to the ranker and the log; the base's copy wins."""
    own = list(dict.fromkeys(base))
    for item in blend(base, found, rule=rule, limit=limit):
        expected = {BASE: own.index(item.product_id) + 1} if item.product_id in own else {}
        for name, some in found.items():
            places = {one.product_id: rank for rank, one in enumerate(some, 1)}
            if item.product_id in places:
                expected[name] = places[item.product_id]

        assert expected == item.ranks
        assert (item.hit is None) is (BASE in item.ranks)


@given(base=bases, found=found, rule=rules, limit=limits)
def test_under_every_rule_the_same_lists_give_the_same_list(
    base: list[str], found: dict[str, tuple[Hit, ...]], rule: Rule, limit: int
) -> None:
    """And no score is looked at."""
    other_scores = {
        name: [replace(one, score=place / 100) for place, one in enumerate(some)]
        for name, some in found.items()
    }

    assert names(blend(base, found, rule=rule, limit=limit)) == names(
        blend(base, other_scores, rule=rule, limit=limit)
    )


@given(base=bases, found=found, limit=limits, rule=st.sampled_from([ReciprocalRank(), WeightedByRank()]))
def test_ties_do_not_depend_on_which_channel_came_first(
    base: list[str], found: dict[str, tuple[Hit, ...]], limit: int, rule: Rule
) -> None:
    """By rank, then the base, then the channel's name; never by the order of a dictionary."""
    backwards = dict(reversed(list(found.items())))

    assert names(blend(base, found, rule=rule, limit=limit)) == names(
        blend(base, backwards, rule=rule, limit=limit)
    )


@given(base=bases, found=found, limit=limits, head=heads, quota=st.integers(0, 10), every=st.integers(1, 4))
def test_append_takes_no_more_places_of_the_page_than_its_quota(
    base: list[str], found: dict[str, tuple[Hit, ...]], limit: int, head: int, quota: int, every: int
) -> None:
    """But for places that the base leaves empty; and the base keeps its order."""
    rule = AppendQuota(protected_head=head, quota=quota, every=every)
    own = list(dict.fromkeys(base))
    page = names(blend(base, found, rule=rule, limit=limit))[:limit]
    recalled = [product_id for product_id in page if product_id not in own[:limit]]
    kept = [product_id for product_id in page if product_id in own[:limit]]

    assert len(recalled) <= max(quota, limit - len(own))
    assert own[: len(kept)] == kept


def test_a_shops_page_shows_what_was_recalled_from_place_five_on() -> None:
    """The default: four of the base's own, then turns, at most eight of twenty."""
    base = [f"b{place:02}" for place in range(1, 31)]
    blended = names(
        blend(base, {"uniecs": hits(*[f"r{n}" for n in range(20)])}, rule=AppendQuota(), limit=20)
    )

    assert ["b01", "b02", "b03", "b04", "r0", "b05", "r1", "b06", "r2"] == blended[:9]
    assert [f"r{n}" for n in range(8)] == [name for name in blended[:20] if name.startswith("r")]
    assert base == [name for name in blended if name.startswith("b")] + [
        "b23",
        "b24",
        "b25",
        "b26",
        "b27",
        "b28",
        "b29",
        "b30",
    ]


def test_a_product_the_base_has_behind_the_page_may_be_recalled_onto_it() -> None:
    """It stands once, at its new place, with both ranks."""
    base = [f"b{place:02}" for place in range(1, 31)]
    blended = blend(base, {"uniecs": hits("b30")}, rule=AppendQuota(), limit=20)

    assert 4 == names(blended).index("b30")
    assert {BASE: 30, "uniecs": 1} == blended[4].ranks


def test_a_search_that_found_nothing_is_filled_by_what_was_recalled() -> None:
    """Empty places displace nobody."""
    recalled = [f"r{n:02}" for n in range(20)]

    assert recalled == names(blend([], {"uniecs": hits(*recalled)}, rule=AppendQuota(), limit=20))


def test_snake_reverses_the_order_of_turns() -> None:
    """Nobody always comes first."""
    blended = blend(["a1", "a2", "a3"], {"uniecs": hits("b1", "b2", "b3")}, rule=Snake(), limit=6)

    assert ["a1", "b1", "b2", "a2", "a3", "b3"] == names(blended)


def test_reciprocal_rank_prefers_what_two_channels_found() -> None:
    """Two middling ranks beat one first place: why it is not the default."""
    base = ["exact", *[f"b{n}" for n in range(1, 10)]]
    blended = blend(
        base, {"uniecs": hits(*[f"b{n}" for n in range(9, 0, -1)])}, rule=ReciprocalRank(), limit=10
    )

    assert 9 == names(blended).index("exact")


@given(
    base=bases,
    found=st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.lists(ids, max_size=25, unique=True).map(lambda some: hits(*some)),
    ),
    k=st.integers(1, 100),
)
def test_reciprocal_rank_is_the_order_of_the_exact_sums(
    base: list[str], found: dict[str, tuple[Hit, ...]], k: int
) -> None:
    """Held against fractions: largest sum first; of one rank the base's own before a channel's."""
    lists = {BASE: list(dict.fromkeys(base))}
    lists |= {name: [one.product_id for one in found[name]] for name in sorted(found)}
    worth: dict[str, Fraction] = {}
    for some in lists.values():
        for rank, key in enumerate(some, 1):
            worth[key] = worth.get(key, Fraction(0)) + Fraction(1, k + rank)
    everything = names(blend(base, found, rule=ReciprocalRank(k=k), limit=1000))
    single = [
        (rank, place)
        for place, some in enumerate(lists.values())
        for rank, key in enumerate(some, 1)
        if sum(key in other for other in lists.values()) == 1
    ]

    assert sorted(worth) == sorted(everything)
    # What ties exactly may differ by a rounding of two floats.
    assert all(worth[a] - worth[b] > Fraction(-1, 10**15) for a, b in pairwise(everything))
    place_of = {key: at for at, key in enumerate(everything)}
    in_order = [list(lists.values())[place][rank - 1] for rank, place in sorted(single)]
    assert in_order == sorted(in_order, key=place_of.__getitem__)


def test_of_a_group_one_product_is_recalled_and_the_bases_own_stands_for_it() -> None:
    """A shoe in five sizes is one find; the base keeps all that it had."""
    base = ["shoe-41", "hat-1", "shoe-42", "bag-9"]
    found = {"uniecs": hits("shoe-43", "coat-2", "coat-1", "bag-8"), "style": hits("coat-1", "sock-1")}
    blended = blend(
        base,
        found,
        rule=AppendQuota(protected_head=0, quota=4, every=1),
        limit=3,
        group_of=lambda product_id: product_id.split("-")[0],
    )

    assert ["coat-1", "sock-1", "bag-9", "shoe-41"] == names(blended)
    assert [{"style": 1, "uniecs": 2}, {"style": 2}] == [item.ranks for item in blended[:2]]
    assert [{BASE: 4, "uniecs": 3}, {BASE: 1, "uniecs": 1}] == [item.ranks for item in blended[2:]]


@given(base=bases, found=found, rule=rules, limit=limits)
def test_under_every_rule_a_group_adds_at_most_one_product_and_none_that_the_base_has(
    base: list[str], found: dict[str, tuple[Hit, ...]], rule: Rule, limit: int
) -> None:
    """Groups of three ids."""

    def group_of(product_id: str) -> str:
        return str(int(product_id[1:]) // 3)

    blended = names(blend(base, found, rule=rule, limit=limit, group_of=group_of))
    added = [group_of(product_id) for product_id in blended if product_id not in base]

    assert len(added) == len(set(added))
    assert not set(added) & {group_of(product_id) for product_id in base}


def test_weights_shift_the_order_towards_a_channel() -> None:
    """By rank within each channel, never by score."""
    lists = {"uniecs": hits("u1", "u2")}
    towards_base = blend(["b1", "b2"], lists, rule=WeightedByRank(weights={"uniecs": 0.1}), limit=4)
    towards_uniecs = blend(["b1", "b2"], lists, rule=WeightedByRank(weights={BASE: 0.1}), limit=4)

    assert ["b1", "b2", "u1", "u2"] == names(towards_base)
    assert ["u1", "u2", "b1", "b2"] == names(towards_uniecs)


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("head", [-1, 1.5, True, "4"])
def test_parameters_are_checked_at_birth(rule: str, head: object) -> None:
    """Not at use."""
    with pytest.raises(InvalidPlan, match="protected_head"):
        RULES[rule](protected_head=head)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "2", True])
def test_a_weight_is_a_finite_number_of_at_least_zero(weight: object) -> None:
    """Or the plan is refused."""
    with pytest.raises(InvalidPlan, match="weight of 'uniecs'"):
        WeightedByRank(weights={"uniecs": weight})  # type: ignore[dict-item]


garbage = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=3),
    st.builds(
        hit,
        st.one_of(ids, st.just(""), st.just("x" * 300), st.just("a\x00b"), st.integers(), st.none()),
        score=st.one_of(st.floats(), st.none(), st.text(max_size=2)),
        price=st.one_of(st.none(), st.floats(), st.text(max_size=2)),
        category=st.sampled_from(["cups", "plates"]),
        in_stock=st.booleans(),
    ),
)


@given(some=st.lists(garbage, max_size=60), rule=rules, limit=st.integers(1, 10))
def test_whatever_a_channel_says_every_recalled_product_passes_the_filter(
    some: list[object], rule: Rule, limit: int
) -> None:
    """A channel that ignores the filter, or answers nonsense, adds nothing wrong."""
    filters = Filter(category="cups", price_max=9.0, in_stock=True)
    request = ChannelRequest(
        query=Query(text="mug", filters=filters, limit=limit),
        limit=limit,
        deadline_s=0,
        request_id="q",
        unit_id="u",
    )
    said = ChannelAnswer(status="ok", hits=tuple(some))  # type: ignore[arg-type]
    answer, dropped = clean(said, request)
    one_by_one, dropped_so = clean(replace(said, hits=iter(some)), request)  # type: ignore[arg-type]
    assert answer.hits == one_by_one.hits
    assert ids_of(answer.hits) == ids_of(one_by_one.hits) == [hit.product_id for hit in answer.hits]
    assert (sum(dropped.values()) == 0) is (sum(dropped_so.values()) == 0)
    blended = blend(["own"], {"uniecs": answer.hits}, rule=rule, limit=limit)

    assert len(answer.hits) <= limit
    assert len(some) == len(answer.hits) + sum(dropped.values())
    assert all(filters.allows(item.hit) for item in blended if item.hit is not None)
