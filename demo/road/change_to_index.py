"""Journey two: what changes in the shop is found by search within seconds."""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rich.table import Table

from demo.changes import StreamedChange, make_changes
from demo.home import Home
from demo.processes import Process, StackError, wait_until
from demo.stack import Stack
from demo.telling import Telling
from product_index.build import build_database
from product_index.encoder import Content, Encoder, UnreadablePicture, Vectors
from product_index.errors import PictureMissing, PictureUnavailable
from product_index.pictures import Pictures
from product_index.settings import Settings as IndexSettings
from product_index.vector_store import VectorStore
from recall_plugin.service.shop_search import ShopSearch
from streaming.build import open_sink
from streaming.change_log import MessageSink, Outgoing
from streaming.events import encode_change
from streaming.freshness import percentile, read_freshness
from streaming.settings import Settings as StreamSettings

from .catalogue_to_index import Shop

# About what a small shop sees in its busiest minute: a trickle, not a backlog.
CHANGES_PER_S = 30.0
# The consumer is far behind if it has not taken a few hundred changes by then.
ARRIVAL_TIMEOUT_S = 120.0
# What the consumer says in its log once it is a member of the group.
CONSUMING = b'"event": "consuming"'
START_TIMEOUT_S = 60.0
# A product counts as found if its own words and picture bring it up this high.
FOUND_WITHIN = 10

# What the demo calls a message, and what the consumer says became of it.
OUTCOME_OF = {
    "new": "new",
    "retitled": "text",
    "rephotographed": "picture",
    "repriced": "scalar",
    "deleted": "delete",
    "stale": "stale",
    "poison": "poison",
}


# What is late on purpose, or no change at all, has no freshness.
NEVER_FRESH = ("stale", "poison")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What became of one class of changes.

    Attributes:
        right: the index holds what it must after the whole stream.
        found: search shows it (or, for a removal, does not).
        freshness_ms: of each message, source change to searchable.
    """

    label: str
    sent: int
    right: int
    found: int
    freshness_ms: tuple[int, ...]


def start_consumer(stack: Stack, home: Home, env: Mapping[str, str]) -> Process:
    """Start `python -m streaming consume` as its own process, and wait until it consumes."""
    argv = [sys.executable, "-m", "streaming", "consume", "--freshness-log", str(home.freshness)]
    consumer = stack.process("consumer", argv, env=env)
    wait_until(lambda: CONSUMING in consumer.log.read_bytes(), consumer, timeout_s=START_TIMEOUT_S)
    return consumer


def send_changes(
    home: Home, shop: Shop, funnel: ShopSearch, settings: StreamSettings, telling: Telling
) -> list[StreamedChange]:
    """Publish a day's changes in half a minute; the shop's own search takes them too."""
    changes = make_changes(
        shop.products,
        picture_folder=home.arrivals,
        read_picture=shop.pictures.read,
        truth=shop.truth,
        now=datetime.now(UTC),
    )
    with open_sink(settings) as sink, telling.bar("publishing changes", total=len(changes)) as progress:
        began = time.monotonic()
        for number, change in enumerate(changes):
            time.sleep(max(0.0, began + number / CHANGES_PER_S - time.monotonic()))
            _send(sink, change, settings.changes_topic)
            if change.change is not None:
                funnel.apply(change.change)
            progress(number + 1, len(changes))
    kinds = Counter(change.label for change in changes)
    telling.say(
        f"published {len(changes)}: " + ", ".join(f"{count} {label}" for label, count in kinds.items())
    )
    return changes


def wait_for_arrival(
    home: Home, changes: Sequence[StreamedChange], consumer: Process, telling: Telling
) -> None:
    """Wait until the consumer has worked off every message.

    Raises:
        StackError: it ended, or is too slow.
    """
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    with telling.bar("arriving in search", total=len(changes)) as progress:
        while (done := sum(map(len, read_freshness(home.freshness).values()))) < len(changes):
            progress(done, len(changes))
            if consumer.exit_code is not None:
                raise StackError(f"the consumer ended with code {consumer.exit_code}; see {consumer.log}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"{done} of {len(changes)} changes arrived within {ARRIVAL_TIMEOUT_S:g} s; "
                    f"see {consumer.log}"
                )
            time.sleep(0.1)


def check_arrival(
    home: Home,
    changes: Sequence[StreamedChange],
    encoder: Encoder,
    pictures: Pictures,
    settings: IndexSettings,
) -> list[Arrived]:
    """Ask the index for every product that changed."""
    database = build_database(settings)
    try:
        store = database.open(settings.product_alias)
        stored = store.fingerprints([change.product_id for change in changes if change.change is not None])
        sent: Counter[str] = Counter()
        right: Counter[str] = Counter()
        found: Counter[str] = Counter()
        for change in changes:
            sent[change.label] += 1
            if change.change is None:
                continue
            row = stored.get(change.product_id)
            version = None if row is None or row.deleted else row.version
            right[change.label] += version == change.expect_version
            seen = _search(change, encoder, pictures, store)
            found[change.label] += seen is not None and (change.expect_version == seen.get(change.product_id))
    finally:
        database.close()
    took = defaultdict(list, read_freshness(home.freshness))
    dead = len(took["poison"])
    return [
        Arrived(
            label=label,
            sent=count,
            right=dead if label == "poison" else right[label],
            found=found[label],
            freshness_ms=tuple(took[OUTCOME_OF[label]]),
        )
        for label, count in sent.items()
    ]


def tell_arrival(arrived: Sequence[Arrived], telling: Telling) -> None:
    """Print what became of each class."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("     change", "sent", "in index", "in search", "fresh p50", "fresh p99"):
        table.add_column(name, justify="left" if "change" in name else "right", no_wrap=True)
    for one in arrived:
        is_poison = one.label == "poison"
        told = () if one.label in NEVER_FRESH else one.freshness_ms
        table.add_row(
            f"     {one.label}",
            str(one.sent),
            "set aside" if is_poison and one.right == one.sent else str(one.right),
            "-" if is_poison else str(one.found),
            *(f"{percentile(told, share)} ms" if told else "-" for share in (0.5, 0.99)),
        )
    telling.console.print(table)
    telling.say("in index: as it must be after all of them; in search: its own words and picture find it")


def _send(sink: MessageSink, change: StreamedChange, topic: str) -> None:
    """Publish one message; it occurred now, but for one that comes late."""
    key, value = change.key, change.value
    if change.change is not None:
        current = change.change
        if change.label != "stale":
            current = replace(current, occurred_at=datetime.now(UTC))
        key, value = encode_change(current)
    sink.send([Outgoing(topic=topic, key=key, value=value)])


def _search(
    change: StreamedChange, encoder: Encoder, pictures: Pictures, store: VectorStore
) -> dict[str, int] | None:
    """Versions by product of what the changed product's own words and picture find; None: nothing to ask."""
    vector = _asked(change, encoder, pictures)
    if vector is None:
        return None
    return {hit.product_id: hit.version for hit in store.search(vector, limit=FOUND_WITHIN)[0]}


def _asked(change: StreamedChange, encoder: Encoder, pictures: Pictures) -> Vectors | None:
    """Words and picture as a vector; words alone where a seller's picture cannot be read, as in the index."""
    try:
        picture = (pictures.read(change.ask_image),) if change.ask_image else ()
        if picture:
            return encoder.embed([Content(text=change.ask_text, pictures=picture)])
    except (PictureMissing, PictureUnavailable, UnreadablePicture):
        pass
    return encoder.embed([Content(text=change.ask_text)]) if change.ask_text else None
