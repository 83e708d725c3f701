"""Journey (c): a query gets results, more of them behind the flag, and an exposure that says so."""

from pathlib import Path

import pytest

from experiments.assignment import assign
from experiments.definition import Experiment, load_experiments
from experiments.exposure import InMemoryEventLog
from product_index.catalog import Catalogue
from product_index.pictures import LocalPictures
from recall_plugin.channels.uniecs import UniecsChannel
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import Query
from recall_plugin.settings import Settings

from .conftest import NOON, Parts
from .walking import rebuild

# Long enough for any machine: these stories are not about time.
PATIENT = Settings(budget_ms=60_000)
GRACE_MS = 60_000
BASE = ["lamp", "scarf"]


@pytest.fixture
def experiment() -> Experiment:
    """The flag as it ships."""
    return load_experiments(None)["uniecs-recall"]


def somebody_in(experiment: Experiment, variant: str) -> str:
    """A shopper who gets this variant."""
    shoppers = (f"shopper-{number}" for number in range(1_000))
    return next(unit for unit in shoppers if assign(experiment, unit, now=NOON).variant == variant)


@pytest.mark.parametrize("variant", ["control", "treatment"])
def test_a_shopper_is_served_a_variant_and_the_log_says_which(
    parts: Parts,
    catalogue: Catalogue,
    pictures: LocalPictures,
    tmp_path: Path,
    experiment: Experiment,
    variant: str,
) -> None:
    """Control gets exactly its own search; treatment gets it first, and then what only UniECS finds."""
    rebuild(catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path)
    events = InMemoryEventLog()
    channel = UniecsChannel(parts.encoder, lambda: parts.database, alias=parts.alias)
    plugin = RecallPlugin([channel], experiment, events, settings=PATIENT)
    query = Query(text="red mug", image=pictures.read("mug.jpg"), limit=3)

    result = plugin.recall(
        query,
        BASE,
        unit_id=somebody_in(experiment, variant),
        session_id="s1",
        query_id="q1",
        now=NOON,
        grace_ms=GRACE_MS,
    )

    (exposure,) = events.exposures
    served = [product.product_id for product in exposure.served]
    assert variant == result.variant == exposure.variant
    assert list(result.product_ids)[:3] == served
    assert BASE == served[:2]
    assert (variant == "treatment") == ("mug" in served)
    assert (variant == "treatment") == bool(exposure.triggered)
    plugin.close()


def test_without_an_index_the_shopper_gets_the_search_of_the_shop(
    parts: Parts, experiment: Experiment
) -> None:
    """The channel has nothing to search yet: the answer is the base, and says that it is degraded."""
    events = InMemoryEventLog()
    channel = UniecsChannel(parts.encoder, lambda: parts.database, alias=parts.alias)
    plugin = RecallPlugin([channel], experiment, events, settings=PATIENT)

    result = plugin.recall(
        Query(text="mug"),
        BASE,
        unit_id=somebody_in(experiment, "treatment"),
        session_id="s1",
        now=NOON,
        grace_ms=GRACE_MS,
    )

    assert BASE == list(result.product_ids)
    assert result.degraded
    assert [True] == [exposure.degraded for exposure in events.exposures]
    plugin.close()
