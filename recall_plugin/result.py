"""What the host gets back from `recall`, and the page as the log will tell it."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, overload

from experiments.exposure import ServedProduct

from .merge import Blended, Provenance
from .query import BASE, ChannelAnswer, RecalledItem

NO_ANSWERS: Mapping[str, ChannelAnswer] = MappingProxyType({})


class RecallResult(NamedTuple):
    """The answer, and how it came about.

    A named tuple: it is made for every search of the shop, also where the flag is off.

    Attributes:
        product_ids: best first. In control, and wherever nothing was recalled,
            the very object that the base gave.
        variant: what the unit was served.
        reason: why: `assigned`, `off`, `not_in_traffic`, `override`, ...
        degraded: a planned channel's answer is missing.
        channels: what each planned channel answered; empty in control.
        latency_ms: of the whole step, the base included.
        triggered: whether the page differs from the base's; None in control.
        counterfactual: the page that base alone would have given; empty in control.
        blended: the joined list with its provenance; None where nothing was joined.
        teams, weights: of an interleaved page, place by place: see `interleave.Page`.
    """

    product_ids: Sequence[str]
    variant: str
    reason: str
    query_id: str
    degraded: bool = False
    channels: Mapping[str, ChannelAnswer] = NO_ANSWERS
    latency_ms: float = 0.0
    triggered: bool | None = None
    counterfactual: tuple[str, ...] = ()
    blended: Blended | None = None
    teams: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def items(self) -> Sequence[RecalledItem]:
        """The same products, each with who found it and at which rank."""
        if self.blended is not None:
            return self.blended
        return tuple(
            RecalledItem(product_id=product_id, ranks={BASE: rank})
            for rank, product_id in enumerate(self.product_ids, start=1)
        )


class ServedPage(Sequence[ServedProduct]):
    """The page as it was shown, written out when the log encodes it: no shopper waits for that.

    Args:
        product_ids: a copy; the host may change its own list.
        provenance: who found them; the base at the place they stand without.
    """

    __slots__ = ("_product_ids", "_provenance")

    def __init__(self, product_ids: tuple[str, ...], provenance: Provenance | None = None) -> None:
        self._product_ids = product_ids
        self._provenance = provenance

    def __len__(self) -> int:
        return len(self._product_ids)

    def __iter__(self) -> Iterator[ServedProduct]:
        return map(self._product, range(len(self)))

    @overload
    def __getitem__(self, place: int) -> ServedProduct: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ServedProduct]: ...
    def __getitem__(self, place: int | slice) -> ServedProduct | Sequence[ServedProduct]:
        places = range(len(self))[place]
        return self._product(places) if isinstance(places, int) else [*map(self._product, places)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self._product_ids)

    def _product(self, place: int) -> ServedProduct:
        product_id, position = self._product_ids[place], place + 1
        ranks = {BASE: position} if self._provenance is None else self._provenance.ranks(product_id)
        return ServedProduct(
            product_id=product_id, position=position, channels=tuple(ranks), rank_per_channel=ranks
        )
