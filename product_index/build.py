"""The one place that chooses: which encoder, which database, where pictures are.

Heavy clients load when they are chosen, not when this is imported.
"""

import os
from functools import partial
from pathlib import Path

from .catalog import Catalogue, open_catalogue, picture_root
from .encoder import Encoder, HashEncoder
from .errors import InvalidSettings
from .picture_cache import PictureCache
from .picture_web import WebRules, fetch
from .pictures import NoPictures, Pictures, pictures_beside
from .remote_pictures import Away, Fetch, RemotePictures
from .settings import Settings
from .vector_store import VectorDatabase

# The encoder without weights, for tests and for trying the road without a model.
TWIN = "hash"


def build_encoder(settings: Settings) -> Encoder:
    """Open the encoder that UNIECS_MODEL names.

    Raises:
        InvalidSettings: there is no exported model.
    """
    if settings.uniecs_model == TWIN:
        return HashEncoder()
    folder = Path(settings.uniecs_model).resolve()  # once: where it is a link, a promotion may move it
    if not (folder / "config.json").is_file():
        raise InvalidSettings(
            f"UNIECS_MODEL is {settings.uniecs_model!r}, which holds no exported encoder (no config.json); "
            "set it to the folder that `python -m uniecs export` wrote"
        )
    from .uniecs_encoder import UniecsEncoder

    return UniecsEncoder(folder)


def build_database(settings: Settings) -> VectorDatabase:
    """Connect to the database that MILVUS_URI names.

    Raises:
        StoreUnavailable: nothing answers, or another process holds the folder.
    """
    from .milvus import MilvusVectorDatabase

    return MilvusVectorDatabase(
        settings.milvus_uri, token=settings.milvus_token, timeout_s=settings.milvus_timeout_s
    )


def build_catalogue(settings: Settings) -> Catalogue:
    """Open the catalogue that CATALOGUE names.

    Raises:
        InvalidSettings: none is named.
        InvalidCatalogue: it cannot be read as one.
    """
    if settings.catalogue is None:
        raise InvalidSettings(
            "CATALOGUE is not set; set it to a folder with products.jsonl, .csv or .parquet, "
            "or to a database's URL"
        )
    return open_catalogue(settings.catalogue)


def build_pictures(settings: Settings) -> Pictures:
    """Where pictures are: names under PICTURE_ROOT or beside the catalogue, addresses as the settings allow.

    Raises:
        InvalidSettings: PICTURE_ROOT does not exist, or PICTURE_STORES names no store.
    """
    local = build_local_pictures(settings)
    fetchers: dict[str, Fetch] = {}
    if settings.picture_web != "off":
        rules = WebRules(
            inside=frozenset(_listed(settings.picture_hosts.casefold())),
            only_inside=settings.picture_web == "listed",
            timeout_s=settings.picture_timeout_s,
        )
        fetchers |= dict.fromkeys(("http", "https"), partial(fetch, rules))
    if settings.picture_stores:
        from .picture_stores import StorePictures  # heavy: load only when chosen

        stores = StorePictures(_listed(settings.picture_stores), timeout_s=settings.picture_timeout_s)
        fetchers |= dict.fromkeys(stores.schemes, stores)
    if not fetchers:
        return local
    return RemotePictures(
        local,
        fetchers,
        PictureCache(settings.picture_cache, max_bytes=settings.picture_cache_mb * 1_000_000),
        Away(settings.picture_cache / "away"),
        fresh_s=settings.picture_fresh_s,
        patience_s=settings.picture_patience_s,
        timeout_s=settings.picture_timeout_s,
    )


def build_local_pictures(settings: Settings) -> Pictures:
    """Those under PICTURE_ROOT, else beside the catalogue; nothing is fetched.

    Raises:
        InvalidSettings: PICTURE_ROOT does not exist.
    """
    if settings.picture_root is not None:
        return pictures_beside(*map(Path, settings.picture_root.split(os.pathsep)))
    if settings.catalogue is None:
        return NoPictures()
    root = picture_root(settings.catalogue)
    return NoPictures() if root is None else pictures_beside(root)


def _listed(said: str) -> list[str]:
    return [part.strip() for part in said.split(",") if part.strip()]
