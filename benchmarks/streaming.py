"""How fast a change reaches the index, and where the time goes: ratios of one run.

    python -m benchmarks.streaming [--only embed,large,prices,scale,fresh,retail] [--real-milvus]
    python -m benchmarks.streaming --memory 1000000

Real Apache Kafka, milvus-lite or a real Milvus, the encoder that the demo
serves, products with photos as its shop draws them. Prints Markdown tables.
Every ratio compares figures of the same minutes on the same machine, turn by
turn; nothing here is tuned or stored.
"""

import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import structlog
import typer

from benchmarks.large_encoder import make_large_encoder
from benchmarks.retail import retail_changes, retail_file
from benchmarks.stream_bench import (
    Bench,
    Counting,
    applying,
    goods,
    open_bench,
    table,
    told,
)
from benchmarks.stream_load import fresh, memory, scale
from benchmarks.stream_prices import price_changes
from product_index.content import text_seen
from product_index.embedding import EMBED_BATCH, spec_of
from product_index.encoder import Content, HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.milvus import MilvusVectorDatabase
from product_index.product import ProductChange
from product_index.receipt import Receipt
from product_index.uniecs_encoder import UniecsEncoder

PARTS = ("embed", "large", "prices", "scale", "fresh", "retail")
# So much longer an encoder of that size takes for an item, roughly.
LARGE_TAKES = 16


def main(
    only: Annotated[str, typer.Option(help="Some of the parts, comma between.")] = ",".join(PARTS),
    items: Annotated[int, typer.Option(min=64, help="Products to embed in a turn.")] = 768,
    prices: Annotated[int, typer.Option(min=1024, help="Prices to change in a turn.")] = 8_192,
    turns: Annotated[int, typer.Option(min=1)] = 5,
    open_loop_s: Annotated[float, typer.Option(min=1, help="How long the open loop runs.")] = 30.0,
    real_milvus: Annotated[bool, typer.Option(help="Not milvus-lite: a real server.")] = False,
    memory_over: Annotated[int, typer.Option("--memory", min=0, help="Instead: RSS over messages.")] = 0,
    model: Annotated[Path, typer.Option(help="An exported encoder.")] = Path("demo/model"),
) -> None:
    """Print the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    chosen = only.split(",")
    if unknown := set(chosen) - set(PARTS):
        raise typer.BadParameter(f"no part {sorted(unknown)}; there are {', '.join(PARTS)}")
    with (
        tempfile.TemporaryDirectory(prefix="streaming-") as folder,
        open_bench(Path(folder), real_milvus=real_milvus) as bench,
    ):
        if memory_over:
            memory(bench, memory_over)
            return
        embed_per_s = {}
        if "embed" in chosen:
            embed_per_s["this encoder"] = embedding(bench, model, items, turns)
        if "large" in chosen:
            print("\nAn encoder of MiniLM's and ViT-B/32's size, random weights:")
            large = make_large_encoder(Path(folder) / "large", width=UniecsEncoder(model).dimension)
            embed_per_s["an encoder of that size"] = embedding(bench, large, items // LARGE_TAKES, turns)
        if "prices" in chosen:
            price_changes(bench, prices, turns, embed_per_s)
        if "scale" in chosen:
            scale(bench, prices * 2, turns, real_milvus=real_milvus)
        if "fresh" in chosen:
            fresh(bench, model, for_s=open_loop_s)
        if "retail" in chosen:
            retail(bench)


def embedding(bench: Bench, model: Path, items: int, turns: int) -> float:
    """New products: the encoder alone, and through the consumer. Returns the second, per second.

    Each turn has products of its own, and each side an encoder of its own: it
    keeps what it has seen of a picture.
    """
    with closing(MilvusVectorDatabase(bench.uri)) as database:
        store = database.create(bench.name("green"), spec_of(UniecsEncoder(model)))
        alone, through = [], []
        for turn in range(turns):
            made = goods(items, first=turn * items)
            ours, theirs = UniecsEncoder(model), UniecsEncoder(model)
            for encoder in (ours, theirs):  # what a process does once is in no figure
                encoder.embed([Content(text="a plain white mug")])
            contents = [
                Content(text=text_seen(one), pictures=(made.photos[one.image_uris[0]],))
                for one in made.products
            ]
            apply = applying(ours, store, made.photos)
            for side in ("alone", "through") if turn % 2 else ("through", "alone"):
                if side == "alone":
                    alone.append(items / embed_alone(theirs, contents))
                else:
                    through.append(items / bench.seconds_for(made.changes(), apply))
    print(f"\nNew products, each with a photo, {items} in a turn\n")
    table({"encoder alone": alone, "through the consumer": through})
    told("through the consumer : encoder alone", through, alone, wanted="0.9")
    return statistics.median(through)


def embed_alone(encoder: UniecsEncoder, contents: Sequence[Content]) -> float:
    """The seconds that the encoder takes, in batches of the same size."""
    began_s = time.perf_counter()
    for start in range(0, len(contents), EMBED_BATCH):
        encoder.embed(contents[start : start + EMBED_BATCH])
    return time.perf_counter() - began_s


def retail(bench: Bench) -> None:
    """Four weeks of a real shop through Kafka; no product twice in one call, so nothing is superseded."""
    file = retail_file()
    if file is None:
        print("\nonline_retail is not here, set SHARED_DATA: not replayed")
        return
    rows = list(retail_changes(file))
    encoder = Counting(HashEncoder())
    apply = applying(encoder, InMemoryVectorDatabase().create("green", spec_of(encoder)))  # type: ignore[arg-type]
    calls: list[Receipt] = []

    def one_by_one(changes: Sequence[ProductChange]) -> Receipt:
        outcomes: dict[str, str] = {}
        for wave in waves(changes):
            calls.append(apply(wave))
            outcomes |= calls[-1].outcomes
        return Receipt(outcomes=outcomes)

    took_s = bench.seconds_for([row.change for row in rows], one_by_one)
    embedded, scalar = sum(one.embedded for one in calls), sum(one.scalar for one in calls)
    created, texts = sum(row.created for row in rows), sum(row.text for row in rows)
    folded = [row for row in rows if row.text and row.only_white_space]
    raw = len({row.change.product.title for row in rows if row.change.product})
    seen = len({text_seen(row.change.product) for row in rows if row.change.product})
    print(f"\nonline_retail through Kafka: {len(rows)} changes in {took_s:.1f} s\n")
    print("| what | count |\n| --- | --: |")
    print(f"| creates | {created} |\n| text changes | {texts} |\n| together | {created + texts} |")
    print(f"| of these, text changes of white space alone, below | {len(folded)} |")
    print(f"| asked of the encoder | {encoder.asked} |\n| embedded | {embedded} |")
    print(
        f"| price changes, no encoder call | {sum(row.price for row in rows)} |\n| scalar writes | {scalar} |"
    )
    print(f"| distinct texts as typed | {raw} |\n| distinct texts as the encoder sees them | {seen} |")
    for row in folded:
        print(f"\nfolded: {row.change.product_id}, {row.before!r} -> {row.change.product.title!r}")  # type: ignore[union-attr]


def waves(changes: Iterable[ProductChange]) -> Iterator[list[ProductChange]]:
    """Stretches in which no product comes twice."""
    wave: dict[str, ProductChange] = {}
    for one in changes:
        if one.product_id in wave:
            yield list(wave.values())
            wave = {}
        wave[one.product_id] = one
    if wave:
        yield list(wave.values())


if __name__ == "__main__":
    typer.run(main)
