"""Journey (a): a catalogue becomes a collection that is served, every night."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from product_index.canary import check_collection
from product_index.catalog import Catalogue
from product_index.errors import CanaryRefused
from product_index.pictures import LocalPictures
from product_index.publish import previous_alias, rollback
from product_index.rebuild import begin, embed_shard, load_shards
from product_index.search import search_products

from .conftest import NOON, Parts
from .walking import rebuild


def test_a_catalogue_becomes_a_collection_that_search_finds(
    parts: Parts, catalogue: Catalogue, pictures: LocalPictures, tmp_path: Path
) -> None:
    """Every product is found by its words, and by its picture."""
    verdict = rebuild(
        catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path / "work"
    )

    by_words = search_products(
        parts.database, parts.encoder, alias=parts.alias, text="striped red mug", limit=4
    )
    photo = pictures.read("vase.jpg")
    by_picture = search_products(parts.database, parts.encoder, alias=parts.alias, image=photo, limit=4)
    assert (4, 1.0) == (verdict.products, verdict.recall)
    assert "mug" == by_words[0].product_id
    assert "vase" == by_picture[0].product_id


def test_the_next_night_serves_anew_and_a_rollback_serves_the_night_before(
    parts: Parts, catalogue: Catalogue, pictures: LocalPictures, tmp_path: Path
) -> None:
    """The alias moves on, and back, in one step each."""
    names = []
    for night in (NOON, NOON + timedelta(days=1)):
        rebuild(
            catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path, now=night
        )
        names.append(parts.database.resolve(parts.alias))

    assert names[0] == parts.database.resolve(previous_alias(parts.alias))
    rollback(parts.database, parts.alias)
    assert names[0] == parts.database.resolve(parts.alias)


def test_a_collection_that_is_not_fit_leaves_what_is_served_alone(
    parts: Parts, catalogue: Catalogue, pictures: LocalPictures, tmp_path: Path
) -> None:
    """A new collection that lost a row is refused by name, and the old one goes on."""
    rebuild(catalogue, parts.database, parts.encoder, pictures, alias=parts.alias, folder=tmp_path)
    live = parts.database.resolve(parts.alias)
    later = NOON + timedelta(days=1)
    plan = begin(
        catalogue, parts.encoder, alias=parts.alias, folder=tmp_path, now=later, seed="broken", part_rows=1
    )
    for number in range(len(plan.shards)):
        embed_shard(plan, number, parts.encoder, pictures, now=later)
    whole = load_shards(plan, parts.database)
    broken = parts.database.create(plan.collection, plan.spec)
    assert whole.name == broken.name

    with pytest.raises(CanaryRefused, match="not fit to serve"):
        check_collection(plan, broken, parts.encoder, pictures, chance=np.random.default_rng(7))

    assert live == parts.database.resolve(parts.alias)
