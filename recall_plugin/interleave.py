"""One page from two rankings, so that shoppers compare them on the same page.

A second design for the same plan: where an A/B test shows a shopper one
ranking, this shows both, and looks at whose products are clicked. It needs far
fewer shoppers for a preference, and says nothing of revenue per shopper: use
it to choose, and an A/B test to confirm.

Pure: chance is a coin per search that anybody can toss again from its id.
What the credit is worth is `experiments.credit`.
"""

from collections.abc import Callable, Mapping, Sequence

from .query import BASE

RECALL = "recall"

Coin = Callable[[int], bool]
Page = tuple[list[str], tuple[str, ...]]


def team_draft(base: Sequence[str], recall: Sequence[str], *, limit: int, coin: Coin) -> Page:
    """Two captains pick by turns, each its best that is not picked yet; a coin says who begins a round.

    Both picks of a round are of equal standing, so a click on either counts
    the same. Where both would pick one product, whoever is first has it.

    >>> page, teams = team_draft(["a", "b"], ["b", "c"], limit=3, coin=lambda number: False)
    >>> list(zip(page, teams))
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
    return page, tuple(teams)


def balanced(base: Sequence[str], recall: Sequence[str], *, limit: int, coin: Coin) -> Page:
    """One coin says who begins; then whoever has shown less of its ranking shows its next product.

    Every prefix of the page holds the firsts of both rankings, as deep into
    the one as into the other. A product belongs to no team: `both` that have it
    on their page, else the one that has. Its plain credit is biased where the
    rankings are shifted copies; `experiments.credit` weighs it.

    >>> balanced(["a", "b", "c"], ["b", "c", "a"], limit=3, coin=lambda number: False)[0]
    ['a', 'b', 'c']
    """
    recall_first = coin(0)
    page: list[str] = []
    placed: set[str] = set()
    done = {BASE: 0, RECALL: 0}
    lists = {BASE: base, RECALL: recall}
    while len(page) < limit:
        recall_next = done[RECALL] < done[BASE] or (done[RECALL] == done[BASE] and recall_first)
        team = RECALL if recall_next else BASE
        if done[team] >= len(lists[team]):
            team = BASE if recall_next else RECALL
            if done[team] >= len(lists[team]):
                break
        product_id = lists[team][done[team]]
        done[team] += 1
        if product_id not in placed:
            placed.add(product_id)
            page.append(product_id)
    tops = {team: set(ranking[:limit]) for team, ranking in lists.items()}
    return page, tuple(_owner(product_id, tops) for product_id in page)


DESIGNS: Mapping[str, Callable[..., Page]] = {"team_draft": team_draft, "balanced": balanced}


def _owner(product_id: str, tops: Mapping[str, set[str]]) -> str:
    owners = [team for team, top in tops.items() if product_id in top]
    return owners[0] if len(owners) == 1 else "both"
