"""Journey one: a catalogue of products becomes a collection that is served."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.home import Home
from demo.shop import read_truth, render_shop
from demo.stack import Stack
from demo.telling import Telling
from product_index.build import build_encoder
from product_index.catalog import Catalogue, Report, open_catalogue
from product_index.encoder import Encoder
from product_index.pictures import LocalPictures, pictures_beside
from product_index.product import Product
from product_index.settings import Settings as IndexSettings

# From 7 upwards the first shop with two striped red mugs, so that the example query has an answer.
SHOP_SEED = 12
# Embedding runs at tens of products a second on a slow machine; a DAG that takes longer hangs.
DAG_TIMEOUT_S = 1_800.0
# Problems of a catalogue that are shown; `python -m product_index catalogue` shows all.
SHOWN_PROBLEMS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What is sold, and what the demo knows about it.

    Attributes:
        truth: what is true of each product; None for a real catalogue.
        picture_root: where the catalogue's own pictures are.
    """

    products: list[Product]
    truth: dict[str, dict[str, Any]] | None
    picture_root: Path
    pictures: LocalPictures


def open_shop(home: Home, telling: Telling, *, products: int) -> Shop:
    """Render the shop if it is not there yet, or open the catalogue that was named."""
    if home.is_rendered:
        with telling.bar("rendering products", total=products) as progress:
            render_shop(home.catalogue, products=products, seed=SHOP_SEED, progress=progress, workers=2)
    catalogue = open_catalogue(home.catalogue)
    _tell_columns(catalogue, telling)
    report = Report()
    found = [
        change.product
        for page in catalogue.pages(report=report)
        for change in page
        if change.product is not None
    ]
    with_pictures = sum(bool(product.image_uris) for product in found)
    bad = f"; {report.bad:,} rows are no products" if report.bad else ""
    telling.say(f"{len(found):,} products, {with_pictures:,} with pictures{bad}")
    for problem in report.problems[:SHOWN_PROBLEMS]:
        telling.say(f"  {problem.sentence}")
    return Shop(
        products=found,
        truth=read_truth(home.catalogue) if home.is_rendered else None,
        picture_root=catalogue.picture_root,
        pictures=pictures_beside(catalogue.picture_root),
    )


def open_encoder(home: Home, telling: Telling) -> Encoder:
    """Load the exported encoder; onnxruntime serves it, torch stays out."""
    encoder = build_encoder(IndexSettings(uniecs_model=str(home.model)))
    size_mib = sum(path.stat().st_size for path in home.model.glob("*.onnx")) / 2**20
    telling.say(f"{encoder.model_id}: {encoder.dimension} dimensions, {size_mib:.1f} MiB of weights")
    telling.say(f"how it was made: {home.model / 'MODEL_CARD.md'}")
    telling.say(f"served by onnxruntime; torch is {'' if 'torch' in sys.modules else 'not '}loaded")
    return encoder


def fill_index(stack: Stack, telling: Telling, env: Mapping[str, str]) -> None:
    """Build a collection, check it, and serve it."""
    run_dag(stack, telling, "refresh_product_index", {}, env)


def run_dag(
    stack: Stack, telling: Telling, dag: str, conf: Mapping[str, Any], env: Mapping[str, str]
) -> None:
    """Run a DAG under Airflow, whole, and print a line per task.

    Raises:
        StackError: its run did not succeed.
    """
    argv = [sys.executable, "-m", "dags", "run", dag, "--conf", json.dumps(conf)]
    telling.follow(stack.process(dag, argv, env=env), timeout_s=DAG_TIMEOUT_S)


def _tell_columns(catalogue: Catalogue, telling: Telling) -> None:
    columns = catalogue.columns
    told = [
        name if _plain(name) == field else f"{field} (from {name!r})"
        for field, name in columns.fields.items()
    ]
    if columns.pictures:
        told.append(f"pictures (from {', '.join(map(repr, columns.pictures))})")
    telling.say(catalogue.name)
    telling.say(f"  recognised: {', '.join(told)}")
    for kind, names in (("attributes", columns.attributes), ("ignored", columns.ignored)):
        if names:
            telling.say(f"  {kind}: {', '.join(names)}")
    for remark in catalogue.remarks:
        telling.say(f"  {remark}")


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")
