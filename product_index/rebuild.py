"""Build a whole new collection beside the one that is served.

begin        a snapshot of the catalogue, cut into parts; the name, made once
take_over    what is served of the same model, into files; one process, may be left out
embed_shard  parts -> rows of the index, a Parquet file; any process, any order
load_shards  all rows into the new collection; one process

Plain functions: a scheduler, a test or a person may call them. Each may be
repeated and then ends the same. Whether to serve the collection is not
decided here (see canary, publish).
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from .build_files import Place, is_there, names_in, place_of, read_text, reading, remove_folder, write_text
from .catalog import Catalogue, Report
from .embedding import check_same_space, look_and_embed, spec_of
from .encoder import Encoder
from .errors import InvalidCatalogue
from .index_rows import new_row
from .pictures import Pictures
from .publish import collection_name, old_builds
from .shards import read_changes, read_rows, write_changes, write_rows
from .vector_store import CollectionSpec, VectorDatabase, VectorStore
from .write_behind import WriteBehind

log = structlog.get_logger()

# A shard worth a task's start-up: seconds of encoder work.
PART_ROWS = 500
# Schedulers map over at most 1024 tasks; beyond this many, shards grow instead.
MAX_SHARDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One rebuild: what goes where. Written once by `begin`, read by every step.

    Attributes:
        shards: per shard the names of its snapshot parts.
        products: how many the catalogue has; `bad_rows` are not among them.
        catalogue_at: as of when it speaks; a file may have been written long before.
    """

    collection: str
    alias: str
    folder: "Place"
    spec: CollectionSpec
    shards: tuple[tuple[str, ...], ...]
    products: int
    bad_rows: int
    begun_at: datetime
    catalogue_at: datetime

    @property
    def path(self) -> "Place":
        """Where the plan is kept: the one reference that steps hand on."""
        return self.folder / "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """What one `embed_shard` made: rows in a file, and what could not be embedded.

    Attributes:
        key: identity of its input: snapshot parts, model and preprocessing.
        reused: rows whose vector was taken over: same text, same picture, same model.
        failed: (product id, reason).
        notes: one sentence per picture that could not be had.
    """

    key: str
    rows: int
    failed: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    reused: int = 0


def begin(
    catalogue: Catalogue,
    encoder: Encoder,
    *,
    alias: str,
    folder: "str | Place",
    now: datetime,
    seed: str,
    part_rows: int = PART_ROWS,
) -> Plan:
    """Take the snapshot and plan the shards.

    Args:
        catalogue: read once, here.
        encoder: whose vectors the collection will hold.
        alias: that will serve it.
        folder: under which the rebuild keeps its files; a URL may name a place in an object store.
        now: when it begins; part of the name.
        seed: what began it (a run's id); the same seed and time give the same name.
        part_rows: products per snapshot part.

    Raises:
        InvalidCatalogue: it has no usable row.
    """
    name = collection_name(alias, now=now, seed=seed)
    place = (place_of(folder) / name).absolute()
    report = Report()
    parts = []
    for number, page in enumerate(catalogue.pages(part_rows, report=report)):
        parts.append(f"snapshot-{number:05}.parquet")
        write_changes(place / parts[-1], page)
    each = -(-len(parts) // MAX_SHARDS)
    plan = Plan(
        collection=name,
        alias=alias,
        folder=place,
        spec=spec_of(encoder),
        shards=tuple(tuple(parts[start : start + each]) for start in range(0, len(parts), each)),
        products=report.usable,
        bad_rows=report.bad,
        begun_at=now,
        catalogue_at=catalogue.changed_at,
    )
    said = "".join(f"{problem.sentence}\n" for problem in report.problems)
    write_text(place / "problems.txt", said)
    write_text(plan.path, json.dumps(asdict(plan), default=str, indent=1))
    log.info(
        "rebuild_begun", collection=name, products=plan.products, shards=len(plan.shards),
        bad_rows=report.bad, noticed=report.noticed, problems=str(place / "problems.txt"),
    )  # fmt: skip
    return plan


def read_plan(path: "str | Place") -> Plan:
    """Read a plan that `begin` wrote.

    Raises:
        InvalidCatalogue: it is gone or of another make.
        FolderUnavailable: it cannot be read now.
    """
    try:
        said: dict[str, Any] = json.loads(read_text(place_of(path)))
        said["folder"] = place_of(said["folder"])
        said["spec"] = CollectionSpec(**said["spec"])
        said["shards"] = tuple(map(tuple, said["shards"]))
        for moment in ("begun_at", "catalogue_at"):
            said[moment] = datetime.fromisoformat(said[moment])
        return Plan(**said)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidCatalogue(
            f"the rebuild's plan {path} cannot be read: {error}; begin a new rebuild"
        ) from error


def take_over(plan: Plan, served: VectorStore) -> int:
    """Write what is served of the shards' products beside them, for `embed_shard` to reuse; return how many.

    Nothing is taken from another model: then everything is embedded anew.
    """
    if served.spec != plan.spec:
        log.info("nothing_taken_over", collection=plan.collection, served=served.name, why="another model")
        return 0
    taken = 0
    for number, parts in enumerate(plan.shards):
        ids = [change.product_id for part in parts for change in read_changes(plan.folder / part)]
        stamp = (plan.spec.model_id, plan.spec.preprocess_version)
        rows = [
            row
            for row in served.get(ids).values()
            if (row.fingerprint.model_id, row.fingerprint.preprocess_version) == stamp
        ]
        write_rows(_served_path(plan, number), rows, dimension=plan.spec.dimension)
        taken += len(rows)
    log.info("taken_over", collection=plan.collection, served=served.name, rows=taken)
    return taken


def embed_shard(plan: Plan, number: int, encoder: Encoder, pictures: Pictures, *, now: datetime) -> Shard:
    """Embed one shard of the snapshot into a file; nothing to do if that was done before.

    Raises:
        ModelMismatch: the encoder is not the one that the rebuild began with.
        Retryable: pictures or encoder did not answer.
    """
    check_same_space(encoder, plan.spec, plan.collection)
    key = _shard_key(plan, number)
    done = _read_shard(plan, number)
    if done is not None and done.key == key and is_there(rows_path(plan, number)):
        return done
    rows, failed, notes, reused = [], [], [], 0
    held = _taken_over(plan, number)
    for part in plan.shards[number]:
        changes = {change.product_id: change for change in read_changes(plan.folder / part)}
        products = [change.product for change in changes.values() if change.product]
        seen, embedded = look_and_embed(
            products, pictures, encoder, wanted=lambda one: one.identity not in held
        )
        vectors = {one.product.product_id: held[one.identity] for one in seen if one.identity in held}
        reused += len(vectors)
        vectors |= embedded.vectors
        failed += [(error.product_id, error.reason) for error in embedded.failed]
        for one in seen:
            key_ = one.product.product_id
            notes += [f"product {key_!r}: {note}" for note in one.notes]
            if key_ in vectors:
                rows.append(new_row(changes[key_], one, vectors[key_], spec=plan.spec, now=now))
    write_rows(rows_path(plan, number), rows, dimension=plan.spec.dimension)
    shard = Shard(key=key, rows=len(rows), failed=tuple(failed), notes=tuple(notes), reused=reused)
    write_text(_shard_path(plan, number), json.dumps(asdict(shard), indent=1))
    log.info(
        "shard_embedded", collection=plan.collection, shard=number, rows=len(rows), reused=reused,
        failed=len(failed), pictures_missing=len(notes),
    )  # fmt: skip
    return shard


def load_shards(plan: Plan, database: VectorDatabase) -> VectorStore:
    """Fill the collection with every shard's rows, from empty; one process at a time.

    Raises:
        InvalidCatalogue: a shard has not been embedded.
    """
    finished_shards(plan)
    store, loaded = database.create(plan.collection, plan.spec), 0
    with WriteBehind() as write:
        for number in range(len(plan.shards)):
            for page in read_rows(rows_path(plan, number)):
                write(partial(store.fill, page))
                loaded += len(page)
    store.flush()
    log.info("shards_loaded", collection=plan.collection, rows=loaded)
    return store


def finished_shards(plan: Plan) -> list[Shard]:
    """What every shard made.

    Raises:
        InvalidCatalogue: one is not finished.
    """
    shards = [_read_shard(plan, number) for number in range(len(plan.shards))]
    missing = [number for number, shard in enumerate(shards) if shard is None]
    if missing:
        raise InvalidCatalogue(
            f"{len(missing)} of {len(shards)} shards of {plan.collection} are not embedded (first: "
            f"{missing[0]}); run embed_shard for them"
        )
    return [shard for shard in shards if shard is not None]


def drop_files(folder: "str | Place", alias: str, *, before: str | None, kept: Collection[str]) -> list[str]:
    """Remove what builds of the alias kept in files that were begun before this one; return their names.

    By what is there, not by what was just dropped: a run that was killed, refused or superseded
    leaves files, too. Files of collections that are kept stay.
    """
    home = place_of(folder)
    gone = [name for name in old_builds(names_in(home), alias, live=before or "") if name not in kept]
    for name in gone:
        remove_folder(home / name)
    return sorted(gone)


def rows_path(plan: Plan, number: int) -> "Place":
    """Where a shard's rows are."""
    return plan.folder / f"vectors-{number:05}.parquet"


def _served_path(plan: Plan, number: int) -> "Place":
    return plan.folder / f"served-{number:05}.parquet"


def _taken_over(plan: Plan, number: int) -> dict[tuple[str, str, str], NDArray[np.float32]]:
    """The vectors that are served, by what was seen to make them."""
    path = _served_path(plan, number)
    if not is_there(path):
        return {}
    return {
        (row.product_id, row.fingerprint.text_hash, row.fingerprint.image_digest): row.vector
        for page in read_rows(path)
        for row in page
        if not row.fingerprint.deleted
    }


def _shard_path(plan: Plan, number: int) -> "Place":
    return plan.folder / f"vectors-{number:05}.json"


def _read_shard(plan: Plan, number: int) -> Shard | None:
    try:
        said = json.loads(read_text(_shard_path(plan, number)))
    except (OSError, ValueError):
        return None
    said["failed"] = tuple(map(tuple, said["failed"]))
    return Shard(**said | {"notes": tuple(said["notes"])})


def _shard_key(plan: Plan, number: int) -> str:
    digest = hashlib.sha256(f"{plan.spec}".encode())
    for part in plan.shards[number]:
        with reading(plan.folder / part) as stream:
            digest.update(stream.read())
    return digest.hexdigest()
