"""Where a catalogue is: what a path, a URL and a `catalogue.toml` say before anything is opened.

file = "abt.csv"          # if it is not called products.*
delimiter = "|"           # if the header line leaves doubt
encoding = "latin-1"      # if it is neither UTF-8 nor Windows-1252
pictures = "photos.zip"   # a folder or a zip, if not in this folder
url = "postgresql+psycopg://host/shop"   # instead of a file (see catalog_sql)
table = "catalog.products"               # or a view, if not called products
key = "entity_id"                        # unique, not null; the primary key without
[columns]
product_id = "article"
images = ["front", "back"]
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .catalog_files import SUFFIXES
from .errors import InvalidCatalogue

_TOML_KEYS = {
    "file": str, "delimiter": str, "encoding": str, "pictures": str, "columns": dict,
    "url": str, "table": str, "key": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a catalogue's place says before anything is opened."""

    path: Path
    options: Mapping[str, Any]
    pictures: Path | None
    url: str | None = field(default=None, repr=False)


def find(place: Path | str) -> Found:
    """Look where a catalogue is, and read its catalogue.toml where there is one.

    Raises:
        InvalidCatalogue: there is none, or its catalogue.toml is wrong.
    """
    if isinstance(place, str) and "://" in place:
        return Found(path=Path(), options={}, pictures=None, url=place)
    path = Path(place)
    if not path.exists():
        raise InvalidCatalogue(
            f"catalogue {str(path)!r} does not exist; give a folder with products{SUFFIXES[0]}"
        )
    folder = path if path.is_dir() else path.parent
    options = _read_options(path if path.suffix == ".toml" else folder / "catalogue.toml")
    pictures = folder / options.get("pictures", ".")
    if not pictures.exists():
        raise InvalidCatalogue(
            f"catalogue.toml names pictures {str(pictures)!r}, which is not there; correct it"
        )
    url = options.get("url") if path.is_dir() or path.suffix == ".toml" else None
    return Found(path=path, options=options, pictures=pictures, url=url)


def products_file(found: Found) -> Path:
    """The file that holds the products: the one that was given, or the one in the folder.

    Raises:
        InvalidCatalogue: there is none, or several may be meant.
    """
    if found.path.is_file() and found.path.suffix != ".toml":
        return found.path
    folder = found.path if found.path.is_dir() else found.path.parent
    named: str | None = found.options.get("file")
    if named is not None:
        if not (folder / named).is_file():
            raise InvalidCatalogue(
                f"catalogue.toml names file {named!r}, which is not in {folder}; correct it"
            )
        return folder / named
    for suffix in SUFFIXES:
        if (folder / f"products{suffix}").is_file():
            return folder / f"products{suffix}"
    others = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if len(others) == 1:
        return others[0]
    there = f", only {', '.join(file.name for file in others)}" if others else " and no other such file"
    raise InvalidCatalogue(
        f"{folder} has no products{'/'.join(SUFFIXES)}{there}; "
        'name the file in catalogue.toml: file = "..." or give its path'
    )


def _read_options(toml: Path) -> dict[str, Any]:
    if not toml.exists():
        return {}
    try:
        options = tomllib.loads(toml.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidCatalogue(f"{toml} cannot be read: {error}; correct it") from error
    for key, value in options.items():
        if key not in _TOML_KEYS:
            raise InvalidCatalogue(
                f"{toml} has {key!r}, which is no setting; there are: {', '.join(_TOML_KEYS)}"
            )
        if not isinstance(value, _TOML_KEYS[key]):
            raise InvalidCatalogue(f"{toml}: {key} is {value!r}, must be a {_TOML_KEYS[key].__name__}")
    return options
