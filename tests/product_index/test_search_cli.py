"""`python -m product_index`: what it prints, and what it says when it cannot."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from product_index import publish
from product_index.encoder import HashEncoder, UnreadablePicture
from product_index.errors import InvalidQuery, ModelMismatch, UnknownCollection
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.refresh import apply_changes
from product_index.search import search_products
from product_index.settings import Settings, read_settings
from product_index.vector_store import CollectionSpec, Filter
from tests.product_index.rows import NOON, change

ENCODER = HashEncoder()
SPEC = CollectionSpec(dimension=64, model_id="hash-1", preprocess_version="words-1")
PICTURE = b"a picture of a red mug"
CHANGES = [
    change("mug", title="red mug", price=9.0, image_uris=("mug.jpg",)),
    change("plate", title="blue plate", price=20.0, brand="Acme"),
    change("bowl", title="blue bowl", price=None, in_stock=False),
]


def fill(database: object) -> None:
    for day in range(2):
        name = publish.collection_name("products", now=NOON + timedelta(days=day), seed="")
        store = database.create(name, SPEC)  # type: ignore[attr-defined]
        apply_changes(CHANGES, ENCODER, store, NoPictures({"mug.jpg": PICTURE}), now=NOON)
        publish.switch(database, "products", name)  # type: ignore[arg-type]


@pytest.fixture
def database() -> InMemoryVectorDatabase:
    filled = InMemoryVectorDatabase()
    fill(filled)
    return filled


def test_products_are_found_by_words_by_a_picture_and_by_both(database: InMemoryVectorDatabase) -> None:
    for options in ({"text": "blue plate"}, {"text": "plate", "where": Filter(brand="Acme")}):
        assert "plate" == search_products(database, ENCODER, alias="products", **options)[0].product_id  # type: ignore[arg-type]
    for text in (None, "red"):
        assert (
            "mug"
            == search_products(database, ENCODER, alias="products", text=text, image=PICTURE)[0].product_id
        )


def test_a_question_that_cannot_be_asked_is_refused(database: InMemoryVectorDatabase) -> None:
    with pytest.raises(InvalidQuery, match="empty"):
        search_products(database, ENCODER, alias="products", text="  ")
    for limit in (0, 1001):
        with pytest.raises(InvalidQuery, match=str(limit)):
            search_products(database, ENCODER, alias="products", text="mug", limit=limit)
    with pytest.raises(UnreadablePicture):
        search_products(database, ENCODER, alias="products", image=b"broken")
    with pytest.raises(UnknownCollection, match="refresh_product_index"):
        search_products(InMemoryVectorDatabase(), ENCODER, alias="products", text="mug")


def test_a_query_encoder_of_another_model_is_refused(database: InMemoryVectorDatabase) -> None:
    """Its vectors would mean something else in that space."""
    for other in (HashEncoder(model_id="hash-2"), HashEncoder(32)):
        with pytest.raises(ModelMismatch, match="hash-1"):
            search_products(database, other, alias="products", text="mug")


def test_settings_come_from_the_environment_and_a_wrong_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRODUCT_ALIAS", "shop")
    monkeypatch.setenv("MILVUS_URI", "http://127.0.0.1:19530")
    settings = read_settings()
    assert ("shop", "http://127.0.0.1:19530") == (settings.product_alias, settings.milvus_uri)
    assert "secret" not in repr(Settings(milvus_token="secret"))  # noqa: S106 - no password

    monkeypatch.setenv("PRODUCT_ALIAS", "1 shop")
    with pytest.raises(Exception, match="PRODUCT_ALIAS is '1 shop'"):
        read_settings()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from product_index.milvus import MilvusVectorDatabase

    folder = tmp_path_factory.mktemp("cli")
    database = MilvusVectorDatabase(str(folder / "index.db"))
    fill(database)
    database.close()
    (folder / "mug.jpg").write_bytes(PICTURE)
    return {
        **os.environ,
        "MILVUS_URI": str(folder / "index.db"),
        "UNIECS_MODEL": "hash",
        "FOLDER": str(folder),
    }


def ask(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "product_index", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_asking_where_there_is_no_index_makes_none(tmp_path: Path) -> None:
    """One sentence, and the folder is as it was."""
    missing = tmp_path / "index.db"

    answered = ask({**os.environ, "MILVUS_URI": str(missing), "UNIECS_MODEL": "hash"}, "search", "mug")

    assert (2, "") == (answered.returncode, answered.stdout)
    assert f"error: there is no index at MILVUS_URI={missing}" in answered.stderr
    assert not missing.exists()


@pytest.mark.milvus
def test_search_answers_with_ids_titles_and_scores_as_json_alone(environment: dict[str, str]) -> None:
    image = str(Path(environment["FOLDER"]) / "mug.jpg")

    answered = ask(
        environment, "search", "red", "--image", image, "--json", "--limit", "2", "--price-max", "30"
    )

    hits = json.loads(answered.stdout)
    assert (0, "") == (answered.returncode, answered.stderr)
    assert ("mug", "red mug", 9.0) == tuple(hits[0][name] for name in ("product_id", "title", "price"))
    assert hits[0]["score"] > 0.8
    assert 2 == len(hits)


@pytest.mark.milvus
def test_status_and_rollback_tell_what_is_served(environment: dict[str, str]) -> None:
    before = json.loads(ask(environment, "status", "--json").stdout)
    assert [3, 3] == [one["products"] for one in before["collections"]]

    rolled = ask(environment, "rollback")

    assert 0 == rolled.returncode, rolled.stderr
    after = json.loads(ask(environment, "status", "--json").stdout)
    assert (before["live"], before["previous"]) == (after["previous"], after["live"])
    back = json.loads(ask(environment, "rollback", "--json").stdout)
    assert {name: before[name] for name in ("alias", "live", "previous")} == back


@pytest.mark.parametrize(
    ("words", "pattern"),
    [(["search"], "empty"), (["search", "x", "--limit", "0"], "limit is 0"),
     (["search", "--image", "/nowhere.jpg"], "/nowhere.jpg"), (["catalogue", "/nowhere"], "does not exist")],
)  # fmt: skip
@pytest.mark.milvus
def test_bad_input_is_one_sentence_and_exit_two(tmp_path: Path, words: list[str], pattern: str) -> None:
    environment = {**os.environ, "MILVUS_URI": str(tmp_path / "index.db"), "UNIECS_MODEL": "hash"}

    answered = ask(environment, *words)

    assert 2 == answered.returncode
    assert answered.stderr.startswith("error: ")
    assert pattern in answered.stderr
    assert 1 == answered.stderr.count("\n")


def test_a_catalogue_is_shown_as_it_was_understood(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text("SKU,Name,Photo\n1,Mug,a.jpg\n,None,\n")

    shown = ask(dict(os.environ), "catalogue", str(tmp_path))
    said = json.loads(ask(dict(os.environ), "catalogue", str(tmp_path), "--json").stdout)

    assert "2 rows: 1 product, 1 bad row, 0 values not used" in shown.stdout
    assert "line 3" in shown.stdout
    assert "pictures: 0 of 1 looked for are there; the first that is not: no picture 'a.jpg'" in shown.stdout
    assert {"named": 1, "missing": 1, "addresses": 0} == said["pictures_looked_for"]
    assert ({"product_id": "SKU", "title": "Name"}, ["Photo"], 1) == (
        said["fields"],
        said["pictures"],
        said["bad"],
    )


def test_vectors_are_unit(database: InMemoryVectorDatabase) -> None:
    rows = next(database.open("products").rows())

    assert np.allclose(1, [np.linalg.norm(row.vector) for row in rows])
