"""One page from two rankings, so that shoppers compare them on the same page.

A second design for the same plan: where an A/B test shows a shopper one
ranking, this shows both, and looks at whose products are clicked. It needs far
fewer shoppers for a preference, and says nothing of revenue per shopper: use
it to choose, and an A/B test to confirm.

Pure: chance is a coin per search that anybody can toss again from its id.
What the credit is worth is `experiments.credit`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .query import BASE

RECALL, BOTH, NEITHER = "recall", "both", "neither"

Coin = Callable[[int], bool]


class Page(NamedTuple):
    """One page from two rankings.

    Attributes:
        product_ids: best first.
        teams: whose a click on each is: `base`, `recall`, `both` or `neither`.
        weights: how much a click on each counts.
    """

    product_ids: list[str]
    teams: tuple[str, ...]
    weights: tuple[float, ...]


NOT_MIXED = Page([], (), ())


def team_draft(base: Sequence[str], recall: Sequence[str], *, limit: int, coin: Coin) -> Page:
    """Two captains pick by turns, each its best that is not picked yet; a coin says who begins a round.

    Both picks of a round are of equal standing, so a click on either counts
    the same. Where both would pick one product, whoever is first has it.

    >>> page = team_draft(["a", "b"], ["b", "c"], limit=3, coin=lambda number: False)
    >>> list(zip(page.product_ids, page.teams))
    [('a', 'base'), ('b', 'recall'), ('c', 'recall')]
    """
    page: list[str] = []
    teams: list[str] = []
    placed: set[str] = set()
    rests = {BASE: iter(base), RECALL: iter(recall)}
    number = 0
    while len(page) < limit and rests:
        order = (RECALL, BASE) if coin(number) else (BASE, RECALL)
        number += 1
        for team in order:
            pick = next((one for one in rests.get(team, ()) if one not in placed), None)
            if pick is None:
                rests.pop(team, None)
            elif len(page) < limit:
                placed.add(pick)
                page.append(pick)
                teams.append(team)
    return Page(page, tuple(teams), (1.0,) * len(page))


def balanced(base: Sequence[str], recall: Sequence[str], *, limit: int, coin: Coin) -> Page:
    """One coin says who begins; then whoever has shown less of its ranking shows its next product.

    Credit is debiased: as deep as both rankings can be shown, a click counts
    for each ranking that has the product, by one over the chance that the coin
    shows it. So each ranking's expected credit is the clicks on its own first
    products, whichever way the other stands beside it. Plain credit, for the
    ranking that has the product higher, prefers one of two shifted copies even
    if shoppers click blindly.

    >>> balanced(["a", "b", "c"], ["b", "c", "a"], limit=3, coin=lambda number: False).product_ids
    ['a', 'b', 'c']
    """
    pages = [list(_in_turn(base, recall, limit=limit, recall_first=first)) for first in (False, True)]
    shown = [set(page) for page in pages]
    either = shown[0] | shown[1]
    depth, deepest = 0, min(limit, len(base), len(recall))
    while depth < deepest and base[depth] in either and recall[depth] in either:
        depth += 1
    page = pages[coin(0)]
    own, other = set(base[:depth]), set(recall[:depth])
    teams = tuple(_team(product_id in own, product_id in other) for product_id in page)
    weights = tuple(1.0 if product_id in shown[0] & shown[1] else 2.0 for product_id in page)
    return Page(page, teams, weights)


DESIGNS: Mapping[str, Callable[..., Page]] = {"team_draft": team_draft, "balanced": balanced}


def _in_turn(base: Sequence[str], recall: Sequence[str], *, limit: int, recall_first: bool) -> Iterator[str]:
    lists = (recall, base) if recall_first else (base, recall)
    done = [0, 0]
    placed: set[str] = set()
    while len(placed) < limit:
        turn = 0 if done[0] <= done[1] else 1
        if done[turn] >= len(lists[turn]):
            turn = 1 - turn
        if done[turn] >= len(lists[turn]):
            return
        product_id = lists[turn][done[turn]]
        done[turn] += 1
        if product_id not in placed:
            placed.add(product_id)
            yield product_id


def _team(is_bases: bool, is_recalls: bool) -> str:
    if is_bases and is_recalls:
        return BOTH
    return BASE if is_bases else RECALL if is_recalls else NEITHER
