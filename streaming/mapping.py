"""Which column of a table is which field of a product: a TOML file, checked at the start.

Pure but for reading the file. What a row then means is `debezium.py`'s business.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from .errors import InvalidSettings

# Positions in a database's own log: they interleave between rows, so that a
# smaller one may be the newer change of its product.
LOG_POSITIONS = frozenset(
    {"lsn", "commit_lsn", "change_lsn", "scn", "commit_scn", "gtid", "pos", "txid", "xmin", "ts_ms"}
)


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


# One column, or several of which the first that a row has is read: the old and
# the new name while a column is being renamed.
Columns = Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnNames(_Part):
    """The columns of a table, by what they tell of a product.

    Attributes:
        version: a whole number that rises with every change of a row, a delete
            and the row's second life included; kept by the shop itself.
        price_scale: where prices are whole numbers or bytes, how many of the
            digits are after the point: 2 for cents.
        in_stock: true or false, or how many are left.
        image_uris: a list, JSON text of a list, or one name.
        attributes: a column with a JSON object, or a table of attribute and column.
    """

    product_id: Columns
    version: Columns
    title: Columns | None = None
    description: Columns | None = None
    category: Columns | None = None
    brand: Columns | None = None
    price: Columns | None = None
    price_scale: int | None = Field(default=None, ge=0, le=18)
    currency: Columns | None = None
    in_stock: Columns | None = None
    image_uris: Columns | None = None
    attributes: Columns | dict[str, str] | None = None

    @field_validator("version")
    @classmethod
    def _a_version_of_the_row(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name.startswith("__") or name.casefold() in LOG_POSITIONS:
                raise ValueError(
                    f"{name!r} is a position in the database's log, which does not rise per product; "
                    "name a column that every change of a row raises"
                )
        return names


class FlattenedNames(_Part):
    """What a flattened row carries beside its columns (`add.fields=op,source.ts_ms`)."""

    op: str = "__op"
    deleted: str = "__deleted"
    occurred_at_ms: str = "__source_ts_ms"


class ColumnMapping(_Part):
    """How rows of a table are read as changes of products.

    Attributes:
        form: `envelope` as Debezium writes it, or `flattened` by its unwrapping transform.
        tombstones: what a null value means. `skip`: it follows a delete that was
            told before, and must not be a second one: delivered again after the
            row's second life it would remove that. `remove`: it is the only
            sign of a delete (`delete.tombstone.handling.mode=tombstone`).
        constants: fields that are the same for all products, like the currency.
    """

    form: Literal["envelope", "flattened"]
    tombstones: Literal["skip", "remove"] = "skip"
    columns: ColumnNames
    constants: dict[Literal["currency", "category", "brand"], str] = Field(default_factory=dict)
    flattened: FlattenedNames = FlattenedNames()


def read_mapping(path: Path) -> ColumnMapping:
    """Return the mapping in a TOML file.

    Raises:
        InvalidSettings: it cannot be read, or says something that it may not.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"CHANGES_MAPPING {path}: {error.strerror}; name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"CHANGES_MAPPING {path} is not TOML in UTF-8: {error}") from error
    return mapping_of(told, name=str(path))


def mapping_of(told: Mapping[str, object], *, name: str = "the mapping") -> ColumnMapping:
    """Return the mapping that a parsed file tells.

    Raises:
        InvalidSettings: naming each entry and its rule.
    """
    try:
        return ColumnMapping.model_validate(told)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidSettings(f"CHANGES_MAPPING {name}: {said}; see docs/schemas/debezium.toml") from error
