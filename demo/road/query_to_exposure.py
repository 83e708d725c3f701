"""Journey three: shoppers ask, half of them with UniECS, and what they were shown is logged."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from demo.changes import StreamedChange, catalogue_after
from demo.home import Home
from demo.population import Search
from demo.shoppers import PAGE_LENGTH, Summary, Truth, simulate, true_effect
from demo.tastes import World, build_world
from demo.telling import Telling
from experiments.assignment import assign
from experiments.definition import Experiment
from experiments.events.kafka_log import KafkaEventLog
from experiments.exposure import InMemoryEventLog
from product_index.build import build_database
from product_index.encoder import Encoder
from product_index.errors import ProductIndexError
from product_index.pictures import Pictures
from product_index.settings import Settings as IndexSettings
from recall_plugin.channels.uniecs import UniecsChannel
from recall_plugin.plugin import RecallPlugin, RecallResult
from recall_plugin.query import Query
from recall_plugin.service.shop_search import ShopSearch
from recall_plugin.settings import Settings as RecallSettings

from .catalogue_to_index import Shop

WISHES_SEED = 7
# A typical draw by a stated rule, neither a lucky nor an unlucky one: of the seeds 1 to 10 the
# one whose revenue comes out in the middle (docs/experiments-log.md).
SHOPPERS_SEED = 5
# A demo on two cores shares them with Kafka, Milvus and the consumer, and its base answers in
# one millisecond; so it waits for UniECS longer than a shop with a base of 50 ms would.
GRACE_MS = 500.0
# The same pages without a clock: the truth must not depend on how busy the machine was.
PATIENT_MS = 60_000.0
# How many results of the base the plugin sees; the page shows fewer.
BASE_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What happened in four simulated weeks.

    Attributes:
        degraded: treated searches whose UniECS answer came too late or not at all.
        lost_events: exposures and outcomes that did not reach Kafka.
    """

    world: World
    summary: Summary
    truth: Truth
    treated: int
    degraded: int
    lost_events: int


class Funnel:
    """The shop's own search with the plugin beside it, as a host would call it."""

    def __init__(self, own: ShopSearch, plugin: RecallPlugin) -> None:
        self._own = own
        self._plugin = plugin
        self.treated: Counter[bool] = Counter()

    def page(self, search: Search, *, unit_id: str | None = None) -> list[str]:
        """The page for a search; `unit_id` asks in somebody else's name."""
        result = self.ask(
            Query(text=search.text, image=search.image, limit=PAGE_LENGTH),
            unit_id=unit_id or search.unit_id,
            session_id=search.session_id,
            query_id=search.query_id,
            now=search.occurred_at,
        )
        if result.channels:
            self.treated[result.degraded] += 1
        return list(result.product_ids[:PAGE_LENGTH])

    def ask(
        self, query: Query, *, unit_id: str, session_id: str, query_id: str, now: datetime
    ) -> RecallResult:
        """One search, the base computed while UniECS looks."""
        return self._plugin.recall(
            query,
            lambda: self._own.search(query.text, limit=BASE_LIMIT),
            unit_id=unit_id,
            session_id=session_id,
            query_id=query_id,
            now=now,
        )


def open_plugin(
    encoder: Encoder,
    settings: IndexSettings,
    experiment: Experiment,
    event_log: KafkaEventLog | InMemoryEventLog,
    *,
    grace_ms: float,
) -> RecallPlugin:
    """The plugin with the UniECS channel, on the alias that is served."""
    channel = UniecsChannel(encoder, lambda: build_database(settings), alias=settings.product_alias)
    recall = RecallSettings(grace_ms=min(grace_ms, 10_000), budget_ms=PATIENT_MS)
    return RecallPlugin([channel], experiment, event_log, settings=recall)


def world_of(shop: Shop, changes: Sequence[StreamedChange], pictures: Pictures) -> World:
    """The shoppers' world after the day's changes."""
    products, truth = catalogue_after(shop.products, changes, truth=shop.truth)
    return build_world(products, truth=truth, read_picture=pictures.read, seed=WISHES_SEED)


def let_them_shop(
    home: Home,
    world: World,
    own: ShopSearch,
    encoder: Encoder,
    settings: IndexSettings,
    experiment: Experiment,
    *,
    bootstrap: str,
    shoppers: int,
    telling: Telling,
) -> Served:
    """Four weeks of searches through the funnel; then the truth, from both arms' pages."""
    for notice in world.notices:
        telling.say(notice)
    events = KafkaEventLog(bootstrap)
    plugin = open_plugin(encoder, settings, experiment, events, grace_ms=GRACE_MS)
    funnel = Funnel(own, plugin)
    try:
        with telling.bar("searches") as progress:
            summary = simulate(
                world,
                funnel.page,
                shoppers=shoppers,
                seed=SHOPPERS_SEED,
                start=experiment.start,
                happened=plugin.happened,
                progress=progress,
            )
    finally:
        plugin.close()
    truth = _truth(world, own, encoder, settings, experiment, shoppers=shoppers, telling=telling)
    home.truth.write_text(json.dumps(dict(truth.lifts), indent=1) + "\n", encoding="utf-8")
    return Served(
        world=world,
        summary=summary,
        truth=truth,
        treated=sum(funnel.treated.values()),
        degraded=funnel.treated[True],
        lost_events=events.dropped,
    )


def _truth(
    world: World,
    own: ShopSearch,
    encoder: Encoder,
    settings: IndexSettings,
    experiment: Experiment,
    *,
    shoppers: int,
    telling: Telling,
) -> Truth:
    """What the same shoppers are expected to do on each arm's pages; nothing of it is logged."""
    plugin = open_plugin(encoder, settings, experiment, InMemoryEventLog(), grace_ms=PATIENT_MS)
    funnel = Funnel(own, plugin)
    someone = {arm: somebody_in(experiment, arm, now=experiment.start) for arm in ("control", "treatment")}
    try:
        with telling.bar("the truth: both arms' pages") as progress:
            return true_effect(
                world,
                lambda search, arm: funnel.page(search, unit_id=someone[arm]),
                shoppers=shoppers,
                seed=SHOPPERS_SEED,
                start=experiment.start,
                progress=progress,
            )
    finally:
        plugin.close()


def somebody_in(experiment: Experiment, arm: str, *, now: datetime) -> str:
    """A unit that is always in this arm, at full traffic."""
    everybody = replace(experiment, traffic=1.0)
    for number in range(10_000):
        unit = f"truth-{number}"
        if assign(everybody, unit, now=now).variant == arm:
            return unit
    raise ProductIndexError(f"no unit of 10,000 is in arm {arm!r}; see the shares of {experiment.name!r}")
