"""The shape of a model and the recipe of a training run, as records that check themselves.

`ModelConfig` is saved as JSON beside the weights; `Recipe` is read from TOML.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from .errors import InvalidConfig

Weighting = Literal["static", "ema_scale"]
Record = TypeVar("Record")


def _require(allowed: bool, message: str) -> None:
    if not allowed:
        raise InvalidConfig(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Widths and depths; the defaults are the committed model, about 2.7 million numbers."""

    width: int = 128  # D: of every token, and of the final vector
    heads: int = 4
    widening: int = 2  # feed-forward width, as a multiple of D
    dropout: float = 0.05  # of what each block adds
    # image tower
    side_px: int = 64  # four tokens a side after four halvings
    channels: tuple[int, int, int] = (24, 64, 96)
    image_blocks: int = 1
    # text tower
    hash_rows: int = 16_384  # row 0 is padding
    gram_width: int = 80
    max_tokens: int = 32
    text_blocks: int = 1
    # fusion
    cross_layers: int = 2
    self_blocks: int = 1
    fuse_blocks: int = 1

    def __post_init__(self) -> None:
        counts = {"width", "heads", "widening", "hash_rows", "gram_width", "max_tokens", "cross_layers"}
        for name in sorted(counts):
            _require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, must be at least 1")
        _require(self.width % self.heads == 0, f"width {self.width} must be a multiple of heads {self.heads}")
        _require(
            self.side_px % 16 == 0, f"side_px is {self.side_px}, must be a multiple of 16 (four halvings)"
        )
        _require(self.hash_rows > 1, f"hash_rows is {self.hash_rows}, must be over 1 (row 0 is padding)")
        _require(len(self.channels) == 3, f"channels is {self.channels}, must be three widths")
        _require(0 <= self.dropout < 1, f"dropout is {self.dropout}, must be in [0, 1)")

    @property
    def image_tokens(self) -> int:
        """How many tokens a picture has."""
        return (self.side_px // 16) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights, temperatures and margins; all margins are in cosine."""

    cmal: float = 1.0
    clal: float = 0.5
    imcl: float = 1.0
    weighting: Weighting = "static"
    temperature_cross: float = 0.07
    temperature_image: float = 0.05
    temperature_text: float = 0.05
    temperature_both: float = 0.05
    hinge_margin: float = 0.2
    neighbours: int = 10
    tolerance: float = 0.05
    # A negative this far above the positive is taken for an unmarked positive.
    false_negative_margin: float = 0.1

    def __post_init__(self) -> None:
        weights = (self.cmal, self.clal, self.imcl)
        _require(min(weights) >= 0 < sum(weights), f"loss weights are {weights}, must be >= 0 and not all 0")
        _require(
            self.weighting in ("static", "ema_scale"),
            f"weighting is {self.weighting!r}, must be 'static' or 'ema_scale'",
        )
        for name in ("temperature_cross", "temperature_image", "temperature_text", "temperature_both"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, must be over 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run. Paths are relative to the recipe's own file."""

    pairs: Path
    validation: Path | None = None
    seed: int = 7
    steps: int = 1_000
    batch: int = 128
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    modality_dropout: float = 0.05  # of what each block adds5
    validate_every: int = 200
    save_every: int = 100
    threads: int = 2
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "save_every", "threads"):
            _require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, must be at least 1")
        _require(self.batch >= 2, f"batch is {self.batch}, must be at least 2 (one negative)")
        _require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}, must be over 0")
        _require(
            0 <= self.modality_dropout < 1, f"modality_dropout is {self.modality_dropout}, must be in [0, 1)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain values, for a log or a comparison."""
        return dict(json.loads(json.dumps(asdict(self), default=str)))


def read_recipe(path: Path) -> Recipe:
    """Read a TOML recipe with tables [data], [train], [model], [loss].

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


def record(kind: type[Record], values: Mapping[str, Any], *, where: str) -> Record:
    """Build a config record from read values, refusing names and types it does not know."""
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            raise InvalidConfig(f"{where}: unknown setting {name!r}; known are {', '.join(known)}")
        if known[name].type in (int, float) and not (
            isinstance(value, int | float) and not isinstance(value, bool)
        ):
            raise InvalidConfig(f"{where}: {name} is {value!r}, must be a number")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return kind(**plain)
    except InvalidConfig as error:
        raise InvalidConfig(f"{where}: {error}") from error
    except TypeError as error:
        raise InvalidConfig(f"{where}: {error}") from error
