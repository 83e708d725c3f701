"""GrowthBook's bucketing, version 2: for a shop whose experiments began there.

An experiment with `hashing = "growthbook-2"` gives each unit the arm that
GrowthBook's SDKs give it for the same seed (here the salt), shares (weights)
and traffic (coverage). Its namespaces are not spoken: they use its first hash,
which ties seeds that differ in their last letter.

The text is hashed as UTF-16 units, as its JavaScript and Python SDKs do; its
Rust and Elixir SDKs hash UTF-8, and give other arms for ids beyond ASCII.
"""

from collections.abc import Sequence

_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
_PLACES = 10_000

Range = tuple[float, float]


def place(unit_id: str, *, seed: str) -> float:
    """Where in [0, 1) a unit stands, in steps of 1/10,000.

    >>> place("a", seed="b")
    0.665
    """
    return _fnv1a(str(_fnv1a(seed + unit_id))) % _PLACES / _PLACES


def ranges(shares: Sequence[float], *, coverage: float) -> tuple[Range, ...]:
    """Each arm's places: its share of [0, 1), of which the first part is covered.

    Plain floats, added in order, as the SDKs do: the last bit of a bound decides for a unit on it.
    """
    found, start = [], 0.0
    for share in shares:
        found.append((start, start + coverage * share))
        start += share
    return tuple(found)


def arm_at(where: float, among: Sequence[Range]) -> int | None:
    """Which arm owns the place; None if none does."""
    for number, (first, last) in enumerate(among):
        if first <= where < last:
            return number
    return None


def _fnv1a(text: str) -> int:
    """FNV-1a, 32 bits, over UTF-16 code units: two bytes at a time, as one number."""
    found = _FNV_OFFSET
    units = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(units[::2], units[1::2], strict=True):
        found = (found ^ (low | high << 8)) * _FNV_PRIME & 0xFFFFFFFF
    return found
