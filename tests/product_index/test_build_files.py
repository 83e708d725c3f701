"""A rebuild's files in a folder or in an object store: the same road, and never half a file."""

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import fsspec
import pytest

from product_index import rebuild
from product_index.build_files import (
    is_there,
    names_in,
    place_of,
    read_text,
    remove_folder,
    write_text,
    write_whole,
)  # fmt: skip
from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.errors import FolderUnavailable, InvalidSettings
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from tests.product_index.rows import NOON, state_of

ENCODER = HashEncoder(16)


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store in memory that fsspec brings, and one that speaks S3."""
    kind = request.param
    if kind == "s3":
        request.getfixturevalue("s3").make_bucket("builds")
    yield f"{kind}://builds/night"
    files = fsspec.filesystem(kind)
    if files.exists("builds"):
        files.rm("builds", recursive=True)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    rows = [{"id": f"p{n:02}", "title": f"mug number {n}", "version": 1} for n in range(12)]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def rebuilt(shop: Path, folder: str | Path, *, day: int = 0) -> rebuild.Plan:
    """Each step gets the plan by its address alone, as tasks do."""
    now = NOON + timedelta(days=day)
    begun = rebuild.begin(
        open_catalogue(shop), ENCODER, alias="products", folder=folder, now=now, seed="", part_rows=5
    )
    for number in range(3):
        plan = rebuild.read_plan(str(begun.path))
        rebuild.embed_shard(plan, number, ENCODER, NoPictures(), now=now)
    return rebuild.read_plan(str(begun.path))


def test_a_rebuild_in_a_store_gives_the_same_rows_as_one_in_a_folder(shop: Path, store: str) -> None:
    database = InMemoryVectorDatabase()
    at_home = rebuild.load_shards(rebuilt(shop, shop / "rebuild"), database)
    before = state_of(at_home)

    plan = rebuilt(shop, store, day=1)

    assert str(plan.path).startswith(store)
    assert before == state_of(rebuild.load_shards(plan, database))


def test_what_is_served_is_taken_over_and_what_is_done_is_not_done_again(shop: Path, store: str) -> None:
    served = rebuild.load_shards(rebuilt(shop, store), InMemoryVectorDatabase())
    plan = rebuild.begin(
        open_catalogue(shop), ENCODER, alias="products", folder=store, now=NOON + timedelta(days=1), seed=""
    )

    assert 12 == rebuild.take_over(plan, served)
    made = rebuild.embed_shard(plan, 0, ENCODER, NoPictures(), now=NOON)
    assert 12 == made.reused
    assert made == rebuild.embed_shard(plan, 0, ENCODER, NoPictures(), now=NOON + timedelta(hours=1))


def test_files_of_old_builds_go_from_a_store_too(shop: Path, store: str) -> None:
    names = [rebuilt(shop, store, day=day).collection for day in range(3)]

    assert names[:1] == rebuild.drop_files(store, "products", before=names[1], kept=names[1:])
    assert [] == rebuild.drop_files(store, "products", before=names[1], kept=names[1:])
    assert names[1:] == sorted(place.name for place in place_of(store).iterdir())


def test_an_address_of_this_machine_is_a_folder(tmp_path: Path) -> None:
    assert tmp_path / "a b" == place_of(f"file://{tmp_path}/a%20b")
    assert Path(".demo/rebuild") == place_of(".demo/rebuild")


@pytest.mark.parametrize("kind", ["folder", "store"])
def test_half_a_file_is_never_there(kind: str, tmp_path: Path, store: str) -> None:
    """Neither where writing fails, nor in the place of what was there before."""
    place = place_of(store if kind == "store" else tmp_path) / "plan.json"
    write_text(place, "whole")

    def fails(part: Path) -> None:
        part.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(FolderUnavailable, match="No space left"):
        write_whole(place, fails)

    assert "whole" == read_text(place)
    assert ["plan.json"] == [path.name for path in place.parent.iterdir()]


def test_a_store_that_fails_is_told_and_may_be_asked_again(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(store) / "plan.json"

    def away(*_: object, **__: object) -> None:
        raise RuntimeError("the bucket does not answer")

    with monkeypatch.context() as meanwhile:
        for asked in ("put_file", "get_file", "info", "ls", "rm"):
            meanwhile.setattr(place.fs, asked, away)
        for act in (partial(write_text, text="whole"), read_text, is_there, names_in, remove_folder):
            with pytest.raises(FolderUnavailable, match="the bucket does not answer"):
                act(place)
    write_text(place, "whole")

    assert is_there(place)
    assert "whole" == read_text(place)


def test_an_address_of_no_known_store_is_refused_before_the_work() -> None:
    with pytest.raises(InvalidSettings, match="REBUILD_FOLDER is 'nowhere://bucket'"):
        place_of("nowhere://bucket")


def test_an_address_with_a_key_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidSettings, match="AWS_ACCESS_KEY_ID") as refused:
        place_of("s3://key:secret@bucket/rebuild")

    assert "secret@" not in str(refused.value)
