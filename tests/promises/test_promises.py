"""The eight promises that cross rooms, each in one test that bears its name.

They are the reason to trust the whole; every room tests its share in more
detail. The first two run on the encoder that is committed.
"""

import io
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.assignment import assign
from experiments.definition import Experiment, load_experiments
from experiments.exposure import Exposure, InMemoryEventLog, Outcome, ServedProduct, event_id
from experiments.trust import check_everything
from experiments.warehouse import collect
from product_index.embedding import spec_of
from product_index.encoder import Content, Encoder, HashEncoder
from product_index.errors import StoreUnavailable
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.product import Product, ProductChange
from product_index.receipt import Receipt
from product_index.refresh import apply_changes, refresh_page
from product_index.uniecs_encoder import UniecsEncoder
from product_index.vector_store import Hit, VectorStore
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import ChannelAnswer, ChannelRequest, Query
from recall_plugin.settings import Settings
from streaming.change_log import Outgoing
from streaming.events import encode_change
from streaming.in_memory import InMemoryChangeLog, InMemoryTopics
from streaming.worker import Pace, Worker

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 15, tzinfo=UTC)
TOPIC = "product-changes"
NOWHERE = NoPictures()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The encoder that the demo serves."""
    return UniecsEncoder(ROOT / "demo" / "model")


@pytest.fixture
def experiment() -> Experiment:
    """The flag as it ships."""
    return load_experiments(None)["uniecs-recall"]


def photo(rng: Random) -> bytes:
    """A small picture unlike any other."""
    picture = Image.effect_noise((rng.randint(40, 160), rng.randint(40, 160)), rng.uniform(10, 100))
    out = io.BytesIO()
    picture.convert("RGB").save(out, "JPEG")
    return out.getvalue()


def contents(count: int, *, seed: int) -> list[Content]:
    """Text, pictures and both, short and long."""
    rng = Random(seed)
    words = [
        "striped",
        "red",
        "mug",
        "of",
        "fine",
        "blue",
        "porcelain",
        "with",
        "a",
        "very",
        "long",
        "handle",
        "红色",
        "杯子",
    ]
    found = []
    for number in range(count):
        text = " ".join(rng.choices(words, k=rng.randint(1, 30))) if number % 3 != 1 else None
        found.append(Content(text=text, pictures=(photo(rng),) if number % 3 != 0 else ()))
    return found


def change(product_id: str, version: int, title: str | None = "red mug") -> ProductChange:
    """A version of a product; no title takes it off the shelf."""
    product = None if title is None else Product(product_id=product_id, title=title)
    occurred_at = NOW + timedelta(seconds=version)
    return ProductChange(product_id=product_id, version=version, occurred_at=occurred_at, product=product)


def store_for(encoder: Encoder) -> VectorStore:
    """An empty collection."""
    return InMemoryVectorDatabase().create("green", spec_of(encoder))


def test_1_a_products_vector_does_not_depend_on_its_batchmates(encoder: Encoder) -> None:
    """Bit for bit: alone, among others, in another order."""
    mixed = contents(60, seed=1)
    together = encoder.embed(mixed)
    backwards = encoder.embed(mixed[::-1])[::-1]

    assert together.tobytes() == backwards.tobytes()
    for row, content in enumerate(mixed[:12]):
        assert together[row].tobytes() == encoder.embed([content])[0].tobytes(), row


def test_2_batch_and_stream_give_the_same_vector_for_the_same_product(encoder: Encoder) -> None:
    """A page of the night and micro-batches of the day end with the same bits."""
    rng = Random(2)
    photos = {f"{number}.jpg": photo(rng) for number in range(20)}
    products = [
        Product(
            product_id=f"p{number}", title=f"mug number {number}", image_uris=(name,) if number % 4 else ()
        )
        for number, name in enumerate(photos)
    ]
    changes = [
        ProductChange(product_id=product.product_id, version=1, occurred_at=NOW, product=product)
        for product in products
    ]
    night, day, pictures = store_for(encoder), store_for(encoder), NoPictures(photos)

    refresh_page(changes, encoder, night, pictures, now=NOW)
    topics = InMemoryTopics()
    topics.send([Outgoing(topic=TOPIC, key=key, value=value) for key, value in map(encode_change, changes)])
    Worker(
        changes=InMemoryChangeLog(topics, TOPIC),
        sink=topics,
        apply=lambda batch: apply_changes(batch, encoder, day, pictures, now=NOW),
        pace=Pace(batch_size=7, batch_wait_s=0.0),
    ).run(stop=lambda: False, max_idle_s=0.0)

    nightly = {row.product_id: row.vector.tobytes() for page in night.rows() for row in page}
    streamed = {row.product_id: row.vector.tobytes() for page in day.rows() for row in page}
    assert 20 == len(nightly)
    assert nightly == streamed


def test_3_an_older_change_never_replaces_a_newer_one_nor_brings_a_deleted_product_back() -> None:
    """Any order of delivery ends where the right order ends."""
    encoder = HashEncoder()
    history = [
        *(change("mug", version, f"mug, mark {version}") for version in range(1, 6)),
        *(change("lamp", version, f"lamp, mark {version}") for version in range(1, 5)),
        change("lamp", 5, None),
    ]
    for seed in range(20):
        rng, store = Random(seed), store_for(encoder)
        delivered = rng.sample(history, k=len(history)) + rng.choices(history, k=5)
        while delivered:
            batch = [delivered.pop() for _ in range(min(len(delivered), rng.randint(1, 4)))]
            apply_changes(batch, encoder, store, NOWHERE, now=NOW)

        assert "mug, mark 5" == store.get(["mug"])["mug"].title
        assert store.fingerprints(["lamp"])["lamp"].deleted
        assert 1 == store.count()


def test_4_offsets_are_committed_only_after_the_store_has_answered() -> None:
    """While the store is away nothing is acknowledged; a crash then loses nothing."""
    encoder, topics = HashEncoder(), InMemoryTopics()
    store = store_for(encoder)
    key, value = encode_change(change("mug", 1))
    topics.send([Outgoing(topic=TOPIC, key=key, value=value)])
    changes = InMemoryChangeLog(topics, TOPIC)
    acknowledged: list[int] = []

    def away_twice(batch: Sequence[ProductChange]) -> Receipt:
        acknowledged.append(len(changes.commits))
        if len(acknowledged) < 3:
            raise StoreUnavailable("away")
        return apply_changes(batch, encoder, store, NOWHERE, now=NOW)

    Worker(
        changes=changes,
        sink=topics,
        apply=away_twice,
        pace=Pace(batch_wait_s=0.0),
        sleep=lambda _seconds: None,
    ).run(stop=lambda: False, max_idle_s=0.0)

    assert [0, 0, 0] == acknowledged
    assert 1 == len(changes.commits)
    assert 1 == store.count()


class Finds:
    """A channel that finds what it is told, or fails as it is told."""

    name = "uniecs"

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def find(self, request: ChannelRequest) -> ChannelAnswer:
        if isinstance(self._answer, Exception):
            raise self._answer
        found: ChannelAnswer = self._answer(request)
        return found

    def close(self) -> None:
        """Nothing to let go of."""


def found(*product_ids: str) -> ChannelAnswer:
    """An answer with these products."""
    return ChannelAnswer(
        status="ok", hits=tuple(Hit(product_id=one, score=0.9, version=1) for one in product_ids)
    )


def test_5_the_variant_in_the_log_is_the_variant_that_was_served(experiment: Experiment) -> None:
    """For every shopper: what was shown is that variant's page, and the log shows the same page."""
    events = InMemoryEventLog()
    plugin = RecallPlugin(
        [Finds(lambda _request: found("only-uniecs"))], experiment, events, settings=Settings(grace_ms=10_000)
    )
    variants = []
    for number in range(200):
        served = plugin.recall(
            Query(text="mug"), ["base-1"], unit_id=f"shopper-{number}", session_id="s", now=NOW
        )
        logged = events.exposures[-1]
        variants.append(logged.variant)
        assert served.variant == logged.variant
        assert list(served.product_ids) == [product.product_id for product in logged.served]
        assert ("only-uniecs" in served.product_ids) == (logged.variant == "treatment")
    plugin.close()

    assert {"control", "treatment"} == set(variants)
    assert 200 == len(events.exposures)


def test_6_a_unit_keeps_its_variant_across_processes_languages_ramp_ups_and_days(
    experiment: Experiment,
) -> None:
    """The hash is of bytes and the ramp only adds; `docs/schemas` has rows for other languages."""
    from dataclasses import replace

    units = [*(f"shopper-{number}" for number in range(400)), "用户12345", "🛒-7"]
    today = {unit: assign(experiment, unit, now=NOW).variant for unit in units}
    ramp = [replace(experiment, traffic=share) for share in (0.01, 0.1, 0.5, 1.0)]

    for unit in units:
        decisions = [assign(step, unit, now=NOW + timedelta(days=9)) for step in ramp]
        inside = [decision.variant for decision in decisions if decision.reason == "assigned"]
        assert {today[unit]} == set(inside), "once in, always in, with the same variant"
        assert sorted(decision.reason == "assigned" for decision in decisions) == [
            decision.reason == "assigned" for decision in decisions
        ], "a larger share only adds"
    code = (
        "import sys; from datetime import datetime, UTC; from experiments.assignment import assign;"
        "from experiments.definition import load_experiments; e = load_experiments(None)['uniecs-recall'];"
        "print(*[assign(e, u, now=datetime(2026, 1, 15, tzinfo=UTC)).variant for u in sys.argv[1:]])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, *units[-20:]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [today[unit] for unit in units[-20:]] == other.stdout.split()


def test_7_no_winner_is_named_when_the_sample_ratio_is_off(experiment: Experiment, tmp_path: Path) -> None:
    """Far more clicks in treatment, but every third shopper of control is missing from the log."""
    from experiments.analysis import analyse
    from streaming.archive import Archiver
    from streaming.archive_topics import TopicEvents
    from streaming.in_memory import InMemoryTopicReader

    topics = InMemoryTopics()
    for exposure, outcome in _lost_control(experiment):
        _log(topics, exposure, outcome)
    reader = InMemoryTopicReader(topics, ["search-exposures", "search-outcomes"])
    kinds: dict[str, Any] = {"search-exposures": "exposures", "search-outcomes": "outcomes"}
    Archiver(TopicEvents(reader, kinds), tmp_path).run(stop=lambda: False, until_caught_up=True)

    aggregates = collect(experiment, tmp_path)
    result = analyse(experiment, aggregates)

    ctr = next(row for row in result["comparisons"] if row["metric"] == "ctr")
    assert ctr["p_value"] < 1e-6, "it would have won"
    assert not result["sample_ratio"]["ok"]
    assert "fail" in {check.status for check in check_everything(experiment, aggregates)}
    assert "broken" == result["verdict"]["word"]
    assert "ship" not in str(result["verdict"]).lower()


def _lost_control(experiment: Experiment) -> list[tuple[Exposure, Outcome | None]]:
    rng, events = Random(7), []
    for number in range(1_500):
        unit = f"shopper-{number}"
        moment = experiment.start + timedelta(days=number % 28, hours=9)
        variant = assign(experiment, unit, now=moment).variant
        if variant == "control" and number % 3 == 0:
            continue
        exposure = Exposure(
            event_id=event_id("exposed", experiment.name, experiment.phase, unit, "s", unit),
            experiment=experiment.name,
            variant=variant,
            unit_id=unit,
            session_id="s",
            query_id=unit,
            query="mug",
            query_kind="text",
            occurred_at=moment,
            served=(
                ServedProduct(product_id="mug", position=1, channels=("base",), rank_per_channel={"base": 1}),
            ),
        )
        clicked = rng.random() < (0.6 if variant == "treatment" else 0.3)
        outcome = Outcome(
            event_id=event_id("click", unit),
            kind="click",
            unit_id=unit,
            occurred_at=moment + timedelta(seconds=9),
            product_id="mug",
            query_id=unit,
            position=1,
        )
        events.append((exposure, outcome if clicked else None))
    return events


def _log(topics: InMemoryTopics, exposure: Exposure, outcome: Outcome | None) -> None:
    from experiments.events.event_json import exposure_to_json, outcome_to_json

    key = exposure.unit_id.encode()
    topics.send([Outgoing(topic="search-exposures", key=key, value=exposure_to_json(exposure))])
    if outcome is not None:
        topics.send([Outgoing(topic="search-outcomes", key=key, value=outcome_to_json(outcome))])


def _hang(release: Any, _request: ChannelRequest) -> ChannelAnswer:
    release.wait(300)
    return found("too-late")


def test_8_with_the_channel_slow_hung_broken_or_absent_the_funnel_answers_exactly_as_without_it(
    experiment: Experiment,
) -> None:
    """The same products in the same order, and the log admits what was missing."""
    from threading import Event

    release, base = Event(), ["base-1", "base-2", "base-3"]
    nonsense = ChannelAnswer(
        status="ok", hits=tuple(Hit(product_id="x", score=float("nan"), version=1) for _ in range(5_000))
    )
    faults: dict[str, list[Any]] = {
        "hung": [Finds(partial(_hang, release))],
        "broken": [Finds(RuntimeError("no"))],
        "nonsense": [Finds(lambda _request: nonsense)],
        "not an answer": [Finds(lambda _request: None)],
        "absent": [],
    }
    treated = next(
        unit
        for unit in (f"shopper-{number}" for number in range(99))
        if assign(experiment, unit, now=NOW).variant == "treatment"
    )
    try:
        for fault, channels in faults.items():
            events = InMemoryEventLog()
            plugin = RecallPlugin(channels, experiment, events, settings=Settings(grace_ms=0))
            for _ in range(3):
                served = plugin.recall(
                    Query(text="mug"), lambda: base, unit_id=treated, session_id="s", now=NOW
                )
                assert base == list(served.product_ids), fault
                assert "treatment" == served.variant, fault
            if fault != "nonsense":
                assert all(exposure.degraded for exposure in events.exposures), fault
            assert 3 == len(events.exposures), fault
            release.set()
            plugin.close()
    finally:
        release.set()


def test_the_vectors_of_the_committed_encoder_are_unit(encoder: Encoder) -> None:
    """What the first promises speak of is fit to be searched."""
    lengths = np.linalg.norm(encoder.embed(contents(12, seed=3)), axis=1)

    assert np.allclose(1.0, lengths, atol=1e-5)
