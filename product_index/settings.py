"""What the environment may say about the index. Read once, at the door."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import InvalidSettings


class Settings(BaseSettings):
    """The index, by environment or `.env`; names as here, in capitals.

    Attributes:
        milvus_uri: a folder ending in `.db`, or a server's address.
        milvus_token: of the server, `user:password` or a key.
        milvus_timeout_s: for one request.
        uniecs_model: folder of the exported encoder; `hash` is the twin without weights.
        product_alias: the name that readers follow.
        catalogue: folder of products, a file of them, a catalogue.toml, or a database's URL.
        picture_root: folders or zips of pictures, separated as in PATH; the catalogue's own without.
        rebuild_folder: where a rebuild keeps its shards.
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
    rebuild_folder: Path = Path(".demo/rebuild")


def read_settings() -> Settings:
    """The settings of this environment.

    Raises:
        InvalidSettings: naming each variable, its value and the rule.
    """
    try:
        return Settings()
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, one['loc'])).upper()} is {one['input']!r}: {one['msg']}"
            for one in error.errors()
        )
        raise InvalidSettings(f"{said}; correct it in the environment or .env") from error
