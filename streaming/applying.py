"""Apply what was read so that one change that cannot be used does not stop the others.

Pure but for the call it is given. A call that one change spoils is halved until
that change stands alone; where the latest change of a product is unusable, the
one before it counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from product_index.errors import Invalid, Unembeddable
from product_index.product import ProductChange
from product_index.receipt import Receipt, joined
from product_index.standing import coalesce

from .change_log import Message

Apply = Callable[[Sequence[ProductChange]], Receipt]


@dataclass(frozen=True, slots=True)
class Read:
    """A message, and the change that it carries."""

    message: Message
    change: ProductChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of all that was read.

    Attributes:
        receipts: one per call that was needed.
        outcomes: of each change that counted, by its identity.
        unusable: each message whose change could not be used, and why.
    """

    receipts: Sequence[Receipt]
    outcomes: Mapping[int, str]
    unusable: Sequence[tuple[Message, str]]


def apply_all(read: Sequence[Read], apply: Apply) -> Applied:
    """Apply the latest change of each product that can be used."""
    receipts: list[Receipt] = []
    outcomes: dict[int, str] = {}
    unusable: list[tuple[Message, str]] = []
    left = list(read)
    while left:
        latest = {id(change) for change in coalesce([one.change for one in left])}
        receipt = apply_or_bisect([one.change for one in left], apply)
        receipts.append(receipt)
        reasons = dict(receipt.failed)
        for one in left:
            if id(one.change) not in latest:
                continue
            product_id = one.change.product_id
            outcomes[id(one.change)] = receipt.outcomes.get(product_id, "failed")
            if product_id in reasons:
                unusable.append((one.message, reasons[product_id]))
        left = [one for one in left if one.change.product_id in reasons and id(one.change) not in latest]
    return Applied(receipts=receipts, outcomes=outcomes, unusable=unusable)


def apply_or_bisect(changes: Sequence[ProductChange], apply: Apply) -> Receipt:
    """Apply; if one change spoils the whole call, halve until it stands alone."""
    try:
        return apply(changes)
    except (Invalid, Unembeddable) as error:
        ids = list(dict.fromkeys(change.product_id for change in changes))
        if len(ids) == 1:
            return Receipt(failed=((ids[0], str(error)),), outcomes={ids[0]: "failed"})
        first = set(ids[: len(ids) // 2])
        halves = (
            [one for one in changes if one.product_id in first],
            [one for one in changes if one.product_id not in first],
        )
        return joined([apply_or_bisect(half, apply) for half in halves])
