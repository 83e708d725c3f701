"""What the environment may say about the index. Read once, at the door."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import InvalidSettings


class Settings(BaseSettings):
    """The index, by environment or `.env`; names as here, in capitals.

    Attributes:
        milvus_uri: a folder ending in `.db`, or a server's address.
        milvus_token: of the server, `user:password` or a key.
        milvus_timeout_s: seconds for one request.
        uniecs_model: folder of the exported encoder; `hash` is the twin without weights.
        product_alias: the name that readers follow.
        catalogue: folder of products, a file of them, a catalogue.toml, or a database's URL.
        picture_root: folders or zips of pictures, separated as in PATH; the catalogue's own without.
        picture_web: whether pictures are fetched by http: from the open internet, from listed hosts
            only, or not at all.
        picture_hosts: hosts that may have private addresses (the shop's own), comma between.
        picture_stores: places in object stores, such as s3://bucket/folder, comma between.
        picture_timeout_s: seconds for one picture.
        picture_patience_s: so long a host that is away is waited for; then the picture counts as missing.
        picture_fresh_s: so long a fetched picture is taken for what it was, without asking.
        picture_cache: where fetched pictures are kept; shared by all workers, if it can be.
        picture_cache_mb: megabytes of all of them together.
        rebuild_folder: where a rebuild keeps its shards: a folder, or a place in an object store such as
            s3://bucket/rebuild.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    milvus_uri: Annotated[str, Field(min_length=1)] = ".demo/index.db"
    milvus_token: str = Field(default="", repr=False)
    milvus_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    uniecs_model: Annotated[str, Field(min_length=1)] = "demo/model"
    # Milvus' rule for names; room is left for what is appended to it.
    product_alias: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] = "products"
    catalogue: str | Path | None = Field(default=None, repr=False)  # a URL may hold a password
    picture_root: str | None = None
    picture_web: Literal["public", "listed", "off"] = "public"
    picture_hosts: str = ""
    picture_stores: str = ""
    picture_timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    picture_patience_s: Annotated[float, Field(ge=0)] = 600.0
    picture_fresh_s: Annotated[float, Field(ge=0)] = 0.0
    picture_cache: Path = Path(".demo/pictures")
    picture_cache_mb: Annotated[int, Field(ge=0)] = 2_000
    rebuild_folder: Annotated[str, Field(min_length=1)] = ".demo/rebuild"


def read_settings() -> Settings:
    """The settings of this environment.

    Raises:
        InvalidSettings: naming each variable, its value and the rule.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettings(what_is_wrong(error)) from error


def what_is_wrong(error: ValidationError, *, prefix: str = "") -> str:
    """Each variable that breaks a rule, its value and the rule; for the settings of every room.

    A secret has no rule that it could break, so none is shown.

    Args:
        error: what reading the environment raised.
        prefix: of the room's variables; one that all rooms share is named in capitals, and has none.
    """
    faults = []
    for fault in error.errors():
        name = ".".join(map(str, fault["loc"]))
        variable = f"{prefix}{name.upper()}" if name.islower() else name
        faults.append(f"{variable} is {fault['input']!r}: {fault['msg']}")
    return f"{'; '.join(faults)}; correct it in the environment or .env"
