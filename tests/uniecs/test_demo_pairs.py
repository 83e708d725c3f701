"""What the demo's encoder learns from: true to the shop, and silent about what is held out."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from demo.pairs import MadePairs, make_pairs, shopper_query
from demo.shop import read_truth, render_shop
from uniecs.rows import read_pairs

TRUTH = {
    "type": "mug",
    "colour": "red",
    "second_colour": "white",
    "pattern": "striped",
    "material": "ceramic",
}


def rows(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops") / "shop"
    render_shop(folder, products=24, seed=404)
    return folder


@pytest.fixture(scope="module")
def made(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> MadePairs:
    return make_pairs(shop, tmp_path_factory.mktemp("pairs"), seed=1)


def test_every_pair_is_one_the_trainer_can_read(made: MadePairs) -> None:
    """Both modalities on both sides, and every picture is there."""
    pairs = read_pairs(made.train)

    assert pairs
    for pair in pairs:
        for side in (pair.query, pair.candidate):
            assert side.text
            assert side.image is not None
            assert side.image.is_file()
    assert all(pair.query.image != pair.candidate.image for pair in pairs)


def test_no_held_out_product_is_trained_on(made: MadePairs) -> None:
    """Figures on products it has seen would be no figures."""
    seen = {row["candidate"]["image"] for row in rows(made.train)}
    held = {row["candidate"]["image"] for row in rows(made.validation)}

    assert held
    assert not seen & held


def test_the_same_seed_gives_the_same_pairs(made: MadePairs, shop: Path) -> None:
    """A run can be made again."""
    again = make_pairs(shop, made.train.parent, seed=1)

    assert made.counts == again.counts
    assert len(read_truth(shop) or {}) == 24


def test_queries_say_only_what_is_true_in_varying_words() -> None:
    """Subsets, orders and synonyms; a few slips of the pen."""
    rng = Random(3)
    queries = {shopper_query(TRUTH, rng) for _ in range(300)}
    said = {word for query in queries for word in query.split()}

    assert len(queries) > 60
    assert {"mug", "red", "scarlet", "striped", "ceramic"} <= said
    assert not {"blue", "dotted", "wood", "teapot"} & said


def test_a_catalogue_without_truth_is_refused(tmp_path: Path) -> None:
    """Nobody knows what a real catalogue's pictures show."""
    with pytest.raises(FileNotFoundError, match=r"has no truth\.jsonl; render a shop"):
        make_pairs(tmp_path, tmp_path / "pairs")
