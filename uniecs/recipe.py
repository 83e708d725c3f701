"""A recipe file: TOML with the tables [data], [train], [model] and [loss]."""

import tomllib
from pathlib import Path

from .config import LossConfig, ModelConfig, Recipe, record
from .errors import InvalidConfig


def read_recipe(path: Path) -> Recipe:
    """Read a TOML recipe.

    Raises:
        InvalidConfig: naming the file and the setting.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidConfig(
            f"no recipe at {path}; give a TOML file, for example demo/encoder.toml"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidConfig(f"{path}: {error}; give a TOML file") from error
    unknown = sorted(tables.keys() - {"data", "train", "model", "loss"})
    if unknown:
        raise InvalidConfig(f"{path}: unknown table {unknown[0]!r}; known are data, train, model, loss")
    places = tables.get("data", {})
    if "pairs" not in places:
        raise InvalidConfig(f"{path}: [data] has no 'pairs'; name a pairs file (JSON Lines)")
    settings = dict(tables.get("train", {}))
    settings |= {name: path.parent / str(place) for name, place in places.items()}
    settings["model"] = record(ModelConfig, tables.get("model", {}), where=f"{path} [model]")
    settings["loss"] = record(LossConfig, tables.get("loss", {}), where=f"{path} [loss]")
    return record(Recipe, settings, where=f"{path} [data] and [train]")
