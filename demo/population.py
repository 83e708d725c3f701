"""Who searches for what, and when: four weeks of a shop's visitors.

Drawn from a seed alone, before anything is served: nothing of it depends on
an arm, so both arms face the same shoppers.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp
from random import Random

from .tastes import Wish, World

WEEKS = 4
# The last searches leave time for their orders within the four weeks.
_LAST_HOURS = 2
# Shops sleep at night; searches per hour of the day, relative.
_BUSY = (1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 7, 6, 6, 6, 7, 8, 9, 10, 10, 8, 5, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shopper:
    """One unit.

    Attributes:
        eagerness: multiplies every chance to click; 1 on average.
        purse: multiplies what an order is worth; 1 on average.
        searches: how often this shopper searches in four weeks.
    """

    unit_id: str
    eagerness: float
    purse: float
    searches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One shopper asks once."""

    shopper: Shopper
    wish: Wish
    session_id: str
    query_id: str
    occurred_at: datetime

    @property
    def unit_id(self) -> str:
        """Who asks."""
        return self.shopper.unit_id

    @property
    def text(self) -> str | None:
        """What is typed, if anything."""
        return self.wish.text

    @property
    def image(self) -> bytes | None:
        """What is shown, if anything: an encoded image file."""
        return self.wish.image


def plan_searches(world: World, *, shoppers: int, seed: int, start: datetime) -> list[Search]:
    """Who asks for what and when, in order of time; nothing of it depends on an arm.

    Raises:
        ValueError: the start has no time zone, or there are no shoppers.
    """
    if start.tzinfo is None:
        raise ValueError(f"start is {start}, must have a time zone")
    if shoppers < 1:
        raise ValueError(f"shoppers is {shoppers}, must be at least 1")
    rng = Random(f"plan:{seed}")
    searches = []
    for number in range(shoppers):
        shopper = _draw_shopper(number, rng)
        wishes = rng.choices(world.wishes, weights=world.popularity, k=shopper.searches)
        for at, (wish, moment) in enumerate(
            zip(wishes, sorted(_draw_time(start, rng) for _ in wishes), strict=True)
        ):
            searches.append(
                Search(
                    shopper=shopper,
                    wish=wish,
                    session_id=f"{shopper.unit_id}-{moment:%m%d}",
                    query_id=f"{shopper.unit_id}-q{at + 1}",
                    occurred_at=moment,
                )
            )
    searches.sort(key=lambda search: (search.occurred_at, search.query_id))
    return searches


def _draw_shopper(number: int, rng: Random) -> Shopper:
    """Uneven as in life: many search once, a few a dozen times."""
    eagerness, purse = rng.uniform(0.5, 1.5), rng.lognormvariate(-0.125, 0.5)
    extra = rng.gammavariate(0.8, 2.4)
    return Shopper(
        unit_id=f"shopper-{number:05d}",
        eagerness=eagerness,
        purse=purse,
        searches=1 + min(30, _poisson(extra, rng)),
    )


def _poisson(mean: float, rng: Random) -> int:
    """Knuth's way, good for small means."""
    limit, product, count = exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def _draw_time(start: datetime, rng: Random) -> datetime:
    day = rng.randrange(7 * WEEKS)
    hours = len(_BUSY) - (_LAST_HOURS if day == 7 * WEEKS - 1 else 0)
    hour = rng.choices(range(hours), weights=_BUSY[:hours])[0]
    return start + timedelta(days=day, hours=hour, seconds=rng.randrange(3600))
