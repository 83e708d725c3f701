"""How fast products go through a refresh, against the encoder alone; and that batch and stream agree.

    python -m benchmarks.bulk                      # 5,000 products, the committed encoder, milvus-lite
    python -m benchmarks.bulk --products 2500,5000 --real --out bulk.json
    python -m benchmarks.bulk --products 500 --large   # an encoder of the size that a shop serves: 5 minutes

The same slices of a messy catalogue go three ways in turn, so that a busy
moment of the machine hits all: the encoder alone on contents that are in
memory already; a page of changes into Milvus, as a stream or an incremental
run does; a shard of a rebuild into its file, and the files into Milvus. Each
way has an encoder of its own, so that none finds the other's pictures known.
In the end both collections are compared, bit for bit. Of two sizes the second
tells what of the load grows with the catalogue and what a server takes whatever
it is given (to seal, to index, to load what it indexed).
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.goods import write_goods
from product_index.catalog import open_catalogue
from product_index.embedding import look, spec_of
from product_index.encoder import Content
from product_index.milvus import MilvusVectorDatabase
from product_index.pictures import pictures_beside
from product_index.product import ProductChange
from product_index.rebuild import begin, embed_shard, load_shards
from product_index.refresh import refresh_page
from product_index.uniecs_encoder import UniecsEncoder
from product_index.vector_store import VectorStore

NOW = datetime(2026, 11, 20, tzinfo=UTC)
# A slice is as long as a part of a rebuild, where there are five of them.
SLICE, SLICES = 500, 5


def measure(folder: Path, uri: str, products: int, model: Path) -> dict[str, Any]:
    """Seconds per slice of each way, and whether the two collections are the same."""
    catalogue = open_catalogue(write_goods(folder / "goods", products, pictures=products // 2))
    pictures = pictures_beside(folder / "goods")
    alone, paged, sharded, looking = (UniecsEncoder(model) for _ in range(4))
    database = MilvusVectorDatabase(uri, timeout_s=60)
    store = database.create("bulk_paged", spec_of(paged))
    rows = min(SLICE, -(-products // SLICES))
    plan = begin(catalogue, sharded, alias="products", folder=folder, now=NOW, seed="bulk", part_rows=rows)
    took: dict[str, list[float]] = {"alone": [], "page": [], "shard": []}
    for number, page in enumerate(catalogue.pages(rows)):
        contents = _contents(page, looking, pictures)
        took["alone"].append(_timed(lambda contents=contents: alone.embed(contents)))
        took["page"].append(_timed(lambda page=page: refresh_page(page, paged, store, pictures, now=NOW)))
        took["shard"].append(
            _timed(lambda number=number: embed_shard(plan, number, sharded, pictures, now=NOW))
        )
        print(
            f"slice {number}: " + ", ".join(f"{way} {said[-1]:.2f} s" for way, said in took.items()),
            flush=True,
        )
    began = time.perf_counter()
    store.flush()
    took["flush"] = [time.perf_counter() - began]
    began = time.perf_counter()
    rebuilt = load_shards(plan, database)
    took["load"] = [time.perf_counter() - began]
    different = _different(store, rebuilt)
    database.close()
    return {"took": took, "products": products, "different": different}


def _contents(page: Sequence[ProductChange], encoder: UniecsEncoder, pictures: Any) -> list[Content]:
    seen = [look(change.product, pictures, encoder) for change in page if change.product]
    return [one.content for one in seen if one.content is not None]


def _timed(act: Any) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _different(one: VectorStore, other: VectorStore) -> int:
    """Products whose row differs in a bit of vector or fingerprint, or is in one of them only."""
    left, right = ({row.product_id: row for page in store.rows() for row in page} for store in (one, other))
    same = sum(
        key in right
        and np.array_equal(row.vector.view(np.uint32), right[key].vector.view(np.uint32))
        and row.fingerprint == right[key].fingerprint
        for key, row in left.items()
    )
    return len(left.keys() | right.keys()) - same


def told(found: dict[str, Any]) -> str:
    """What a person reads."""
    took, products = found["took"], found["products"]
    lines = [
        "| way | items/s | of the encoder alone, median of slices | least .. most |",
        "|---|--:|--:|--:|",
    ]
    for way, name in (
        ("alone", "encoder alone"),
        ("page", "refresh into Milvus"),
        ("shard", "shards into files"),
    ):
        ratios = [alone / ours for alone, ours in zip(took["alone"], took[way], strict=True)]
        lines.append(
            f"| {name} | {products / sum(took[way]):.0f} | {median(ratios):.2f} "
            f"| {min(ratios):.2f} .. {max(ratios):.2f} |"
        )
    whole = sum(took["shard"]) + sum(took["load"])
    lines.append(
        f"| rebuild: shards and load | {products / whole:.0f} | {sum(took['alone']) / whole:.2f} | |"
    )
    lines.append(f"\nrows that differ between page and shard: {found['different']} of {products}")
    return "\n".join(lines)


def grown(less: dict[str, Any], more: dict[str, Any]) -> str:
    """What of the load is the same at any size, and what the rebuild is without that."""
    (one,), (other,) = less["took"]["load"], more["took"]["load"]
    each = max(0.0, (other - one) / (more["products"] - less["products"]))
    alone, shards = sum(more["took"]["alone"]), sum(more["took"]["shard"])
    growing = shards + each * more["products"]
    return (
        f"load: {other - each * more['products']:.1f} s whatever the size, and {each * 1000:.3f} ms a row; "
        f"a rebuild without the fixed seconds: {alone / growing:.2f} of the encoder alone"
    )


def run(products: int, *, real: bool, large: bool) -> dict[str, Any]:
    """All ways at one size, on a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path("demo/model")
        if large:
            from benchmarks.large_encoder import make_large_encoder

            model = make_large_encoder(Path(folder) / "large", width=256)
        uri, server = str(Path(folder) / "index.db"), None
        if real:
            from tests.product_index.real_milvus import start_real_milvus

            uri, server = start_real_milvus(Path(folder) / "real")
        try:
            return measure(Path(folder), uri, products, model)
        finally:
            if server is not None:
                server.stop()


def main() -> None:
    """Measure, print, and keep the figures if asked to."""
    said = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    said.add_argument("--products", default="5000", help="how many; two numbers, comma between, tell growth")
    said.add_argument("--real", action="store_true", help="into a real Milvus instead of milvus-lite")
    said.add_argument("--large", action="store_true", help="with MiniLM and a tower of ViT-B/32's shape")
    said.add_argument("--out", type=Path, help="keep the figures as JSON")
    asked_for = said.parse_args()
    found: list[dict[str, Any]] = []
    for products in map(int, asked_for.products.split(",")):
        found.append(run(products, real=asked_for.real, large=asked_for.large))
        print(told(found[-1]), flush=True)
        if asked_for.out:
            machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
            asked_for.out.write_text(json.dumps({"machine": machine, "runs": found}, indent=1))
    if len(found) > 1:
        print(grown(found[0], found[-1]))


if __name__ == "__main__":
    main()
