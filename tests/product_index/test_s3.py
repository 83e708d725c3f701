"""Pictures and rebuilds on a server that speaks S3, through the client that a shop would install."""

import json
import logging
from datetime import timedelta
from pathlib import Path

import fsspec
import pytest

from product_index import rebuild
from product_index.build import build_pictures
from product_index.catalog import open_catalogue
from product_index.encoder import HashEncoder
from product_index.errors import InvalidSettings, PictureMissing, PictureUnavailable
from product_index.in_memory import InMemoryVectorDatabase
from product_index.picture_stores import StorePictures
from product_index.pictures import MAX_PICTURE_BYTES, Pictures
from product_index.settings import Settings

from .picture_host import PICTURE
from .rows import NOON
from .s3_store import KEY, SECRET, S3Store

BUCKET = "shop-pictures"
KEPT = {
    "mug.jpg": PICTURE,
    "views/by window, 2.jpg": PICTURE + b"2",
    "empty.jpg": b"",
    "page.jpg": b"<html>",
}


@pytest.fixture
def full(s3: S3Store) -> S3Store:
    """The shop's bucket with its pictures, and the bucket of somebody else."""
    files = fsspec.filesystem("s3")
    for name in (BUCKET, "another"):
        s3.make_bucket(name)
    files.pipe({f"{BUCKET}/{name}": body for name, body in KEPT.items()} | {"another/mug.jpg": PICTURE})
    return s3


@pytest.fixture
def pictures(full: S3Store, tmp_path: Path) -> Pictures:
    return build_pictures(
        Settings(
            picture_stores=f"s3://{BUCKET}",
            picture_cache=tmp_path / "kept",
            picture_patience_s=0,
            picture_timeout_s=60,
        )
    )


def test_pictures_of_a_bucket_are_read(pictures: Pictures) -> None:
    for name in ("mug.jpg", "views/by window, 2.jpg"):
        assert KEPT[name] == pictures.read(f"s3://{BUCKET}/{name}")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (f"{BUCKET}/none.jpg", "check the name"),
        (f"{BUCKET}/empty.jpg", "is no picture"),
        (f"{BUCKET}/page.jpg", "is no picture"),
        (f"{BUCKET}/views/", "is no file"),
        (f"{BUCKET}/../another/mug.jpg", "PICTURE_STORES"),
        ("another/mug.jpg", "PICTURE_STORES"),
        ("no-such-bucket/mug.jpg", "PICTURE_STORES"),
        (f"key:{SECRET}@{BUCKET}/mug.jpg", "PICTURE_STORES"),
    ],
)
def test_what_is_no_picture_of_the_shop_is_missing_and_says_why(
    name: str, why: str, pictures: Pictures
) -> None:
    with pytest.raises(PictureMissing, match=why) as missing:
        pictures.read(f"s3://{name}")

    assert SECRET not in str(missing.value)


def test_a_picture_that_is_too_large_is_not_read_to_its_end(pictures: Pictures, full: S3Store) -> None:
    url = f"s3://{BUCKET}/large.jpg"
    fsspec.filesystem("s3").pipe_file(url, PICTURE + bytes(2 * MAX_PICTURE_BYTES))

    with pytest.raises(PictureMissing, match=f"has {MAX_PICTURE_BYTES + 1} bytes.* make it smaller"):
        pictures.read(url)


def test_a_store_that_hangs_is_asked_again_later(full: S3Store) -> None:
    read, url = StorePictures([f"s3://{BUCKET}"], timeout_s=0.5), f"s3://{BUCKET}/mug.jpg"
    with full.hanging(), pytest.raises(PictureUnavailable, match="no answer within"):
        read(url)

    assert PICTURE == StorePictures([f"s3://{BUCKET}"], timeout_s=60)(url).picture


def test_a_private_host_cannot_be_reached_by_calling_it_a_bucket(pictures: Pictures, full: S3Store) -> None:
    """The store's own address is of this machine, and may be asked by its client only."""
    with pytest.raises(PictureMissing, match="private address"):
        pictures.read(f"{full.endpoint}/{BUCKET}/mug.jpg")


def test_a_catalogue_is_rebuilt_with_pictures_and_shards_in_the_store(
    pictures: Pictures, full: S3Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From snapshot to rows; what cannot be had is noted, and the key is nowhere."""
    caplog.set_level(logging.INFO)
    full.make_bucket("builds")
    names = ["mug.jpg", "views/by window, 2.jpg", "none.jpg", "empty.jpg"]
    rows = [
        {"id": f"p{n}", "title": f"mug {n}", "version": 1, "image": f"s3://{BUCKET}/{name}"}
        for n, name in enumerate(names)
    ]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    encoder, database = HashEncoder(16), InMemoryVectorDatabase()

    plan = rebuild.begin(
        open_catalogue(tmp_path), encoder, alias="products", folder="s3://builds/night", now=NOON, seed=""
    )
    plan = rebuild.read_plan(str(plan.path))
    made = rebuild.embed_shard(plan, 0, encoder, pictures, now=NOON + timedelta(minutes=1))
    store = rebuild.load_shards(plan, database)

    held = store.get([f"p{n}" for n in range(4)])
    assert 4 == store.count()
    assert [False, False, True, True] == [
        held[f"p{n}"].fingerprint.image_digest.startswith("missing:") for n in range(4)
    ]
    assert 2 == len(made.notes)
    files = fsspec.filesystem("s3")
    kept = {name: files.cat_file(name) for name in files.find("builds/night")}
    assert {"plan.json", "problems.txt", "vectors-00000.parquet"} <= {
        name.rpartition("/")[2] for name in kept
    }
    for said in (caplog.text, *made.notes, *(body.decode("latin-1") for body in kept.values())):
        assert SECRET not in said
        assert KEY not in said


def test_a_place_with_a_key_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidSettings, match="AWS_ACCESS_KEY_ID") as refused:
        StorePictures([f"s3://{KEY}:{SECRET}@{BUCKET}"])

    assert SECRET not in str(refused.value)
