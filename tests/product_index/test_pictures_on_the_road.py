"""Pictures by address, on every road: by settings, by night and by stream."""

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from product_index.build import build_pictures
from product_index.catalog import open_catalogue
from product_index.embedding import embed_seen, look
from product_index.encoder import Encoder, HashEncoder
from product_index.errors import HostAway, PictureMissing, PictureUnavailable
from product_index.in_memory import InMemoryVectorDatabase, InMemoryVectorStore
from product_index.pictures import pictures_beside
from product_index.product import Product
from product_index.rebuild import begin, embed_shard, load_shards
from product_index.refresh import apply_changes
from product_index.settings import Settings

from .picture_host import PICTURE, PictureHost, picture_host
from .rows import NOON, SPEC, change


@pytest.fixture
def served() -> Iterator[PictureHost]:
    with picture_host() as host:
        yield host


def settings_for(host: PictureHost, tmp_path: Path, **more: object) -> Settings:
    usual = {"picture_hosts": host.name, "picture_cache": tmp_path / "kept", "picture_timeout_s": 30.0}
    return Settings(**(usual | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["hash", "demo/model"])
def test_the_same_picture_by_any_road_gives_the_same_digest_and_vector(
    kind: str, served: PictureHost, bucket: str, tmp_path: Path
) -> None:
    """In a folder, a zip, over HTTP, from the cache, from a store."""
    import io
    import zipfile

    from PIL import Image

    from product_index import build

    whole = io.BytesIO()
    Image.effect_noise((60, 40), 50).convert("RGB").save(whole, "JPEG")
    (tmp_path / "mug.jpg").write_bytes(whole.getvalue())
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("mug.jpg", whole.getvalue())
    fsspec.filesystem("memory").pipe_file("/shop/mug.jpg", whole.getvalue())
    encoder: Encoder = build.build_encoder(Settings(uniecs_model=kind))
    remote = build_pictures(settings_for(served, tmp_path, picture_stores=bucket))
    ways = [
        ("mug.jpg", pictures_beside(tmp_path)), ("mug.jpg", pictures_beside(tmp_path / "photos.zip")),
        ((tmp_path / "mug.jpg").as_uri(), pictures_beside(tmp_path)),
        (served.url("noise.jpg"), remote), (served.url("noise.jpg"), remote),
        ("memory://shop/mug.jpg", remote),
    ]  # fmt: skip
    served.pictures["noise.jpg"] = whole.getvalue()

    seen = [
        look(Product(product_id="mug", title="a mug", image_uris=(uri,)), pictures, encoder)
        for uri, pictures in ways
    ]
    vectors = [embed_seen([one], encoder).vectors["mug"] for one in seen]

    assert {hashlib.sha256(hashlib.sha256(whole.getvalue()).hexdigest().encode()).hexdigest()} == {
        one.image_digest for one in seen
    }
    assert all(np.array_equal(vectors[0], vector) for vector in vectors)


def test_a_host_that_is_away_holds_a_batch_and_one_that_stays_away_does_not(
    served: PictureHost, tmp_path: Path
) -> None:
    """The stream's contract: `Retryable` means the same call later; a missing picture is made up for."""
    encoder, store = HashEncoder(16), InMemoryVectorStore("products_v1", SPEC)
    batch = [change("mug", image_uris=(served.url("mug.jpg"),)), change("cup")]
    apply = functools.partial(apply_changes, encoder=encoder, store=store, now=NOON)
    served.down = True

    with pytest.raises(PictureUnavailable):
        apply(batch, pictures=build_pictures(settings_for(served, tmp_path)))
    assert 0 == store.count()

    given_up = apply(batch, pictures=build_pictures(settings_for(served, tmp_path, picture_patience_s=0.0)))
    assert (2, 1) == (given_up.embedded, len(given_up.notes))
    served.down = False

    again = apply(batch, pictures=build_pictures(settings_for(served, tmp_path)))
    assert {"mug": "picture", "cup": "stale"} == again.outcomes


def test_a_rebuild_that_met_a_hanging_host_goes_on_where_it_was(served: PictureHost, tmp_path: Path) -> None:
    """The shard fails at once and by name; the next try does only what is left."""
    rows = [
        {"id": f"p{n}", "title": "a mug", "image": served.url("hang" if n > 5 else "mug.jpg")}
        for n in range(9)
    ]
    (tmp_path / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder, pictures = HashEncoder(), build_pictures(settings_for(served, tmp_path))
    plan = begin(open_catalogue(tmp_path), encoder, alias="products", folder=tmp_path / "rebuild", now=NOON,
                 seed="night", part_rows=3)  # fmt: skip
    for number in (0, 1):
        embed_shard(plan, number, encoder, pictures, now=NOON)

    pictures = build_pictures(settings_for(served, tmp_path, picture_timeout_s=0.5))
    with pytest.raises(HostAway, match=f"{served.name}/hang.*does not answer"):
        embed_shard(plan, 2, encoder, pictures, now=NOON)
    asked = served.asked["mug.jpg"]
    served.pictures["hang"] = PICTURE
    for number in range(3):
        embed_shard(plan, number, encoder, build_pictures(settings_for(served, tmp_path)), now=NOON)

    assert 9 == load_shards(plan, InMemoryVectorDatabase()).count()
    assert asked == served.asked["mug.jpg"]  # finished shards are not made again


def test_the_settings_say_who_is_asked(served: PictureHost, tmp_path: Path) -> None:
    url = served.url("mug.jpg")

    assert PICTURE == build_pictures(settings_for(served, tmp_path, picture_web="listed")).read(url)
    for settings, pattern in (
        (Settings(picture_cache=tmp_path / "1"), "private address"),
        (Settings(picture_cache=tmp_path / "2", picture_web="listed"), "not listed"),
        (Settings(picture_cache=tmp_path / "3", picture_web="off"), "no picture"),
    ):
        with pytest.raises(PictureMissing, match=pattern):
            build_pictures(settings).read(url)
