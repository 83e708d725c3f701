"""Builds that overlap: two backfills and a schedule end with the newest served and one older kept."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from product_index import publish, rebuild
from product_index.canary import Thresholds, check_collection
from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.errors import CollectionInUse, FolderUnavailable, Superseded, UnknownCollection
from product_index.in_memory import InMemoryVectorDatabase
from product_index.pictures import NoPictures
from product_index.vector_store import VectorDatabase
from tests.product_index.rows import NOON, SPEC, state_of

ENCODER = HashEncoder(16)
Step = Callable[[], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"id": f"p{n:02}", "title": f"mug number {n}", "version": 1} for n in range(12)]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def steps_of(folder: Path, database: VectorDatabase, hour: int) -> Iterator[Step]:
    """The tasks of one run, as the DAG does them: what is superseded ends the run."""
    now = NOON + timedelta(hours=hour)
    plans: list[rebuild.Plan] = []

    def begin() -> None:
        catalogue = open_catalogue(folder)
        plans.append(
            rebuild.begin(
                catalogue, ENCODER, alias="products", folder=folder / "rebuild", now=now, seed=f"run {hour}"
            )
        )
        rebuild.embed_shard(plans[0], 0, ENCODER, NoPictures(), now=now)

    def wanted(work: Callable[[rebuild.Plan], object]) -> None:
        with publish.still_wanted(database, "products", plans[0].collection):
            work(plans[0])

    def check(plan: rebuild.Plan) -> None:
        check_collection(
            plan, database.open(plan.collection), ENCODER, NoPictures(),
            chance=np.random.default_rng(1), thresholds=Thresholds(limit=5, queries=3),
        )  # fmt: skip

    def clean() -> None:
        publish.drop_old(database, "products")
        before = database.resolve(publish.previous_alias("products"))
        rebuild.drop_files(folder / "rebuild", "products", before=before, kept=database.names())

    yield begin
    yield partial(wanted, lambda plan: rebuild.load_shards(plan, database))
    yield partial(wanted, check)
    yield partial(wanted, lambda plan: publish.switch(database, "products", plan.collection))
    yield clean


def run_in_order(runs: dict[int, Iterator[Step]], order: list[int]) -> list[int]:
    """Do a step of the run that the order names, and so on; return the runs that were superseded."""
    superseded = []
    for run in order:
        step = next(runs[run], None)
        try:
            if step is not None:
                step()
        except Superseded:
            superseded.append(run)
            runs[run] = iter(())
    return superseded


def test_however_three_builds_overlap_the_newest_is_served_and_one_older_is_kept(
    folder: Path, database: VectorDatabase, kind: str
) -> None:
    """Whatever the order of their steps; nothing of a build that came too late stays."""
    came_too_late = 0
    for seed in range(40 if kind == "memory" else 1):  # the twin shows it, a real store is asked once
        database = InMemoryVectorDatabase() if kind == "memory" else database
        for step in steps_of(folder, database, 0):  # what is served before
            step()
        runs = {hour: steps_of(folder, database, hour) for hour in (1, 2, 3)}
        order = [hour for hour in runs for _ in range(5)]
        np.random.default_rng(seed).shuffle(order)

        superseded = run_in_order(runs, order)

        live, before = (str(database.resolve(name)) for name in ("products", "products_previous"))
        assert publish.collection_name("products", now=NOON + timedelta(hours=3), seed="run 3") == live
        assert 3 not in superseded
        assert [before, live] == database.names()
        assert state_of(database.open(before)) == state_of(database.open(live))
        came_too_late += len(superseded)
    assert kind != "memory" or came_too_late > 10


@pytest.mark.slow
@pytest.mark.milvus
@pytest.mark.parametrize("kind", ["real"])
def test_two_backfills_and_a_schedule_overlap_on_a_real_milvus(
    folder: Path, database: VectorDatabase, kind: str
) -> None:
    """All three are loaded; the first is served, then the last; the one between comes too late."""
    runs = {hour: steps_of(folder, database, hour) for hour in (1, 2, 3)}
    begun_and_loaded, checked_and_served, too_late, cleaned = [1, 2, 3] * 2, [1, 3] * 2, [2], [3, 1]

    superseded = run_in_order(runs, begun_and_loaded + checked_and_served + too_late + cleaned)

    live, before = (str(database.resolve(name)) for name in ("products", "products_previous"))
    wanted = (
        publish.collection_name("products", now=NOON + timedelta(hours=n), seed=f"run {n}") for n in (3, 1)
    )
    assert (live, before) == tuple(wanted)
    assert [2] == superseded
    assert [before, live] == database.names()
    assert state_of(database.open(before)) == state_of(database.open(live))


def test_a_build_whose_collection_was_taken_by_a_later_one_is_superseded_not_broken(
    folder: Path, database: VectorDatabase
) -> None:
    """In the middle of its work; what has another cause is told as it is."""
    early, late = (
        publish.collection_name("products", now=NOON + timedelta(hours=n), seed="") for n in (0, 1)
    )
    for name in (early, late):
        database.create(name, SPEC)

    def meanwhile() -> None:
        publish.switch(database, "products", late)
        publish.drop_old(database, "products")
        database.open(early)

    with pytest.raises(Superseded, match="after"), publish.still_wanted(database, "products", early):
        meanwhile()
    with pytest.raises(UnknownCollection), publish.still_wanted(database, "products", late):
        database.open("nowhere")
    assert [late] == database.names()


def test_a_collection_in_the_place_of_the_alias_is_noticed_before_the_work(database: VectorDatabase) -> None:
    database.create("products", SPEC)

    with pytest.raises(CollectionInUse, match="set PRODUCT_ALIAS"):
        publish.check_alias(database, "products")
    publish.check_alias(database, "wares")


def test_files_go_with_the_build_before_the_one_before(folder: Path) -> None:
    """Also of runs that were killed; never those of a run that may still be at work."""
    names = [publish.collection_name("products", now=NOON + timedelta(hours=n), seed="") for n in range(5)]
    place = folder / "rebuild"
    for name in (*names, "strangers", "other_v20200101T000000Z_abcdef"):
        (place / name).mkdir(parents=True)

    assert [] == rebuild.drop_files(place, "products", before=None, kept=[])
    assert names[1:2] == rebuild.drop_files(place, "products", before=names[2], kept=names[:1])
    assert ["other_v20200101T000000Z_abcdef", names[0], *names[2:], "strangers"] == sorted(
        path.name for path in place.iterdir()
    )
    assert [] == rebuild.drop_files(folder / "nowhere", "products", before=names[2], kept=[])


def test_a_full_folder_is_told_and_the_step_goes_on_where_it_was(folder: Path) -> None:
    """What was written stays; of what was not there is no half."""
    plan = rebuild.begin(
        open_catalogue(folder), ENCODER, alias="products", folder=folder / "rebuild", now=NOON, seed="",
        part_rows=4,
    )  # fmt: skip
    rebuild.embed_shard(plan, 0, ENCODER, NoPictures(), now=NOON)
    made = rebuild.rows_path(plan, 0).stat().st_mtime_ns
    taken = rebuild.rows_path(plan, 1)
    taken.mkdir()  # as good as a full disk: a file cannot take its place

    with pytest.raises(FolderUnavailable, match="make room"):
        rebuild.embed_shard(plan, 1, ENCODER, NoPictures(), now=NOON)
    assert [] == list(plan.folder.glob(".*part"))

    taken.rmdir()
    for number in range(3):
        assert 4 == rebuild.embed_shard(plan, number, ENCODER, NoPictures(), now=NOON).rows
    assert made == rebuild.rows_path(plan, 0).stat().st_mtime_ns
