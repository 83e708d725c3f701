"""Real catalogues with real dirt go through whole, and every count is the one that the data have."""

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from benchmarks.retail import ROOT, retail_file
from product_index.catalog import open_catalogue
from product_index.content import text_seen
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures, pictures_beside
from product_index.rebuild import begin, embed_shard, finished_shards, load_shards
from product_index.refresh import refresh_page

from .rows import NOON

LUMA = ROOT.parent / "shared" / "data" / "magento_luma"
MAPPING = """
[columns]
product_id = "StockCode"
title = "Description"
price = "UnitPrice"
updated_at = "InvoiceDate"
version = "row"
"""


@pytest.fixture(scope="module")
def retail() -> list[dict[str, str]]:
    file = retail_file()
    if file is None:
        pytest.skip("online_retail is not here; set SHARED_DATA to the folder that holds online_retail/")
    with gzip.open(file, "rt", encoding="utf-8", newline="") as opened:
        return [row | {"row": str(number)} for number, row in enumerate(csv.DictReader(opened), 1)]


@pytest.fixture
def luma() -> Path:
    if not LUMA.is_dir():
        pytest.skip(f"magento_luma is not at {LUMA}")
    return LUMA


def write_csv(folder: Path, rows: list[dict[str, str]]) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "products.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["row", "StockCode", "Description", "UnitPrice", "InvoiceDate"],
                                extrasaction="ignore")  # fmt: skip
        writer.writeheader()
        writer.writerows(rows)
    (folder / "catalogue.toml").write_text(MAPPING)
    return folder


def test_a_month_of_till_receipts_as_one_catalogue(retail: list[dict[str, str]], tmp_path: Path) -> None:
    """39,659 rows repeat a code: each is told, none replaces the first; what has no words is set aside."""
    catalogue = open_catalogue(write_csv(tmp_path / "retail", retail))
    plan = begin(catalogue, HashEncoder(), alias="products", folder=tmp_path, now=NOON, seed="night")
    problems = (plan.folder / "problems.txt").read_text().splitlines()

    assert (42_481, 2_822, 39_659) == (plan.products + plan.bad_rows, plan.products, plan.bad_rows)
    assert "line 49: id '22632' came on line 10 already" in problems[0]

    for number in range(len(plan.shards)):
        embed_shard(plan, number, HashEncoder(), NoPictures(), now=NOON)
    store = load_shards(plan, InMemoryVectorDatabase())
    failed = [product_id for shard in finished_shards(plan) for product_id, _ in shard.failed]

    first = {row["StockCode"]: row for row in reversed(retail)}
    assert {code for code, row in first.items() if not row["Description"].strip()} == set(failed)
    assert (38, 2_822 - 38) == (len(failed), store.count())


def nights(retail: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """What the shop's catalogue would be every fourth night: the last row of each code that has words."""
    held: dict[str, dict[str, str]] = {}
    days: list[str] = []
    for row in retail:
        if row["InvoiceDate"][:10] not in days:
            days.append(row["InvoiceDate"][:10])
            if len(days) % 4 == 1 and held:
                yield list(held.values())
        if row["Description"].strip() and float(row["UnitPrice"]) > 0:
            held[row["StockCode"]] = row
    yield list(held.values())


def test_the_nights_of_a_real_shop_embed_what_changed_its_words(
    retail: list[dict[str, str]], tmp_path: Path
) -> None:
    """Price flips never call the encoder; the counts are told again by hand, without our code's help."""
    encoder = HashEncoder(16)
    store = InMemoryVectorDatabase().create("products_v1", spec_of(encoder))
    total: Counter[str] = Counter()
    told: Counter[str] = Counter()
    before: dict[str, dict[str, str]] = {}
    for number, snapshot in enumerate(nights(retail)):
        for row in snapshot:
            told[_kind(before.get(row["StockCode"]), row)] += 1
        before = {row["StockCode"]: row for row in snapshot}
        for page in open_catalogue(write_csv(tmp_path / f"night{number}", snapshot)).pages():
            total.update(refresh_page(page, encoder, store, NoPictures(), now=NOON).outcomes.values())

    assert told == total
    assert {"new": 2_799, "text": 10, "scalar": 3_167, "unchanged": 3_658, "stale": 3_006} == dict(total)
    assert 2_799 == store.count()


def _kind(before: dict[str, str] | None, now: dict[str, str]) -> str:
    if before is None:
        return "new"
    if before["row"] == now["row"]:
        return "stale"
    words, price = [" ".join(row["Description"].split()) for row in (before, now)], "UnitPrice"
    if words[0] != words[1]:
        return "text"
    # A title with other white space is another title to show, but no other text to embed.
    same = (before["Description"].strip(), float(before[price])) == (
        now["Description"].strip(),
        float(now[price]),
    )
    return "unchanged" if same else "scalar"


def test_a_shop_with_photos_variants_and_shared_titles(luma: Path, tmp_path: Path) -> None:
    """191 products, 185 titles: the key is the code, never the name."""
    encoder, catalogue = HashEncoder(), open_catalogue(luma)
    pictures = pictures_beside(luma)
    plan = begin(catalogue, encoder, alias="products", folder=tmp_path, now=NOON, seed="night")
    for number in range(len(plan.shards)):
        embed_shard(plan, number, encoder, pictures, now=NOON)
    store = load_shards(plan, InMemoryVectorDatabase())
    rows = [row for page in store.rows() for row in page]
    titles = Counter(row.title for row in rows)
    shared = {title for title, count in titles.items() if count > 1}

    assert (191, 185, 0) == (
        store.count(),
        len(titles),
        sum(len(one.failed) for one in finished_shards(plan)),
    )
    assert ({f"Sprite Stasis Ball {size} cm" for size in (55, 65, 75)}, 9) == (
        shared, sum(titles[title] for title in shared)
    )  # fmt: skip
    assert 191 == len({row.vector.tobytes() for row in rows})  # texts or photos tell them apart
    texts = [text_seen(one.product) for page in catalogue.pages() for one in page if one.product]
    written = [unescape(str(json.loads(line))) for line in (luma / "products.jsonl").read_text().splitlines()]
    assert sum("™" in row for row in written) == sum("™" in text for text in texts) > 50
    assert [] == [text for text in texts if re.search(r"&#?\w+;", text)]
    assert 0 == sum(row.fingerprint.image_digest.startswith("missing:") for row in rows)


def test_another_photo_of_the_same_words_is_a_picture_change(luma: Path) -> None:
    """A shop shows another colour first: the text side is what it was."""
    encoder, pictures = HashEncoder(), pictures_beside(luma)
    store = InMemoryVectorDatabase().create("products_v1", spec_of(encoder))
    rows = {row["sku"]: row for row in map(json.loads, (luma / "products.jsonl").read_text().splitlines())}
    page = [change for page in open_catalogue(luma).pages() for change in page]
    refresh_page(page, encoder, store, pictures, now=NOON)
    other = []
    for change in page:
        product, variants = change.product, rows[change.product_id].get("variants") or []
        photos = [one["image"] for one in variants if one.get("image")]
        shown = next((photo for photo in photos if photo != rows[change.product_id]["image"]), None)
        if product is not None and shown is not None:
            other.append(replace(change, version=1, product=replace(product, image_uris=(shown,))))

    done = refresh_page(other, encoder, store, pictures, now=NOON)

    assert 135 == len(other)
    assert {"picture": 135} == dict(Counter(done.outcomes.values()))
    assert all(text_seen(change.product) for change in other if change.product)
