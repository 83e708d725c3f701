"""The shape of a model and the recipe of a training run, as records that check themselves.

`ModelConfig` is saved as JSON beside the weights; `recipe` reads a run from TOML.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from .errors import InvalidConfig

Fusion = Literal[
    "gated_token", "late_attention", "modality_experts", "blend", "concat", "lifted_mean", "mean"
]
Mode = Literal["fixed", "reference"]
Sees = Literal["both", "text", "image"]
Reads = Literal["words", "pixels"]
Stem = Literal["plain", "residual"]
Weighting = Literal["static", "ema_scale", "uncertainty", "dwa"]
Objective = Literal["uniecs", "beyond_text", "two_tower", "reference"]
Augmentation = Literal["none", "mild", "strong"]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Record = TypeVar("Record")


def _require(allowed: bool, message: str) -> None:
    if not allowed:
        raise InvalidConfig(message)


def _one_of(record: object, **choices: object) -> None:
    for name, kind in choices.items():
        value, known = getattr(record, name), get_args(kind)
        _require(value in known, f"{name} is {value!r}, must be one of {', '.join(map(repr, known))}")


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
    # What came after format 1; at these defaults nothing of it exists.
    fusion: Fusion = "gated_token"
    mode: Mode = "fixed"  # "reference" is the published behaviour, faults and all
    sees: Sees = "both"  # "text" and "image" are blind to the other: baselines
    stem: Stem = "plain"
    shortcut: bool = False  # the read-out starts from the mean of what is there
    # Pretrained towers, by folder or hub name; "" is the built-in one.
    text_tower: str = ""
    image_tower: str = ""
    image_layers: tuple[int, ...] = ()  # of that tower, read side by side; () is its last
    pool_views: int = 1  # learned poolings of each side's tokens; 1 is their mean
    reads: Reads = "words"  # "pixels": a text is drawn, and the image tower looks at it
    entity_gate: bool = False  # the gates also read what names the product: brand, shelf, attributes

    def __post_init__(self) -> None:
        _one_of(self, fusion=Fusion, mode=Mode, reads=Reads, sees=Sees, stem=Stem)
        counts = {"width", "heads", "widening", "hash_rows", "gram_width", "max_tokens", "cross_layers"}
        for name in sorted(counts | {"pool_views"}):
            _require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, must be at least 1")
        _require(self.width % self.heads == 0, f"width {self.width} must be a multiple of heads {self.heads}")
        _require(
            bool(self.image_tower) or self.side_px % 16 == 0,
            f"side_px is {self.side_px}, must be a multiple of 16 (four halvings)",
        )
        _require(self.hash_rows > 1, f"hash_rows is {self.hash_rows}, must be over 1 (row 0 is padding)")
        _require(len(self.channels) == 3, f"channels is {self.channels}, must be three widths")
        _require(0 <= self.dropout < 1, f"dropout is {self.dropout}, must be in [0, 1)")
        _require(
            self.mode == "fixed" or self.fusion == "gated_token",
            f"fusion is {self.fusion!r}, but mode 'reference' has its own; leave fusion out",
        )
        _require(
            self.reads == "words" or (not self.text_tower and self.mode == "fixed"),
            f"reads is {self.reads!r}, but text_tower and mode 'reference' read words; leave one out",
        )
        _require(
            not self.image_layers or (bool(self.image_tower) and min(self.image_layers) >= 0),
            f"image_layers is {self.image_layers}, must be layers of an image_tower, from 0; name the tower",
        )
        _require(
            not self.entity_gate
            or (self.reads, self.text_tower, self.mode, self.fusion) == ("words", "", "fixed", "gated_token"),
            "entity_gate is on, but needs the built-in text tower, mode 'fixed' and fusion 'gated_token'",
        )

    @property
    def image_tokens(self) -> int:
        """How many tokens a picture has in the built-in tower."""
        return (self.side_px // 16) ** 2

    def as_json(self) -> dict[str, Any]:
        """Return plain values; what came after format 1 is said only where it is used.

        So the fingerprint of a model outlives new settings that it does not use.
        """
        values = dict(json.loads(json.dumps(asdict(self))))
        unused = {each.name for each in fields(self) if values[each.name] == each.default} - _FORMAT_1
        return {name: value for name, value in values.items() if name not in unused}


# Always written, also at their defaults: the settings of the first format.
_FORMAT_1 = frozenset(
    {"width", "heads", "widening", "dropout", "side_px", "channels", "image_blocks", "hash_rows"}
    | {"gram_width", "max_tokens", "text_blocks", "cross_layers", "self_blocks", "fuse_blocks"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights, temperatures and margins; all margins are in cosine."""

    objective: Objective = "uniecs"
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
    # Options, off at 0: their weights beside the three.
    never_hurt: float = 0.0  # both may not score the positive below text or image alone
    same_tongue: float = 0.0  # a discriminator of text from image vectors, its gradient reversed
    diversity: float = 0.0  # of the views of `pool_views`

    def __post_init__(self) -> None:
        weights = (self.cmal, self.clal, self.imcl)
        _require(min(weights) >= 0 < sum(weights), f"loss weights are {weights}, must be >= 0 and not all 0")
        _one_of(self, weighting=Weighting, objective=Objective)
        for name in ("temperature_cross", "temperature_image", "temperature_text", "temperature_both"):
            _require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}, must be over 0")
        for name in ("never_hurt", "same_tongue", "diversity"):
            _require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}, must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training run. Paths are relative to the recipe's own file."""

    pairs: Path
    validation: Path | None = None
    seed: int = 7
    steps: int = 1_000
    batch: int = 128  # of all processes together
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    modality_dropout: float = 0.05
    validate_every: int = 200
    save_every: int = 100
    threads: int = 2
    stage_one: float = 0.0  # share of the steps that align the towers before fusion learns
    patience: int = 0  # validations without a better recall before a run ends; 0 never ends it
    tower_rate: float = 1.0  # times the learning rate, for both towers; 0 leaves them as they came
    # One step in so many learns all there is. The others learn the query's picture with the
    # candidate's text alone, the link that needs most passes, at a third of the cost.
    full_every: int = 1
    parts: int = 1  # of a batch: only one part's activations are held at a time
    augmentation: Augmentation = "mild"
    device: Device = "cpu"
    precision: Precision = "float32"
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "save_every", "threads", "parts", "full_every"):
            _require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}, must be at least 1")
        _require(self.batch >= 2, f"batch is {self.batch}, must be at least 2 (one negative)")
        _require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}, must be over 0")
        for name in ("modality_dropout", "stage_one"):
            _require(0 <= getattr(self, name) < 1, f"{name} is {getattr(self, name)}, must be in [0, 1)")
        _require(self.tower_rate >= 0, f"tower_rate is {self.tower_rate}, must be at least 0")
        _require(self.patience >= 0, f"patience is {self.patience}, must be at least 0")
        _require(
            not self.patience or self.validation is not None,
            f"patience is {self.patience}, but [data] has no 'validation' to be patient with; name one",
        )
        _one_of(self, device=Device, precision=Precision, augmentation=Augmentation)

    def as_json(self) -> dict[str, Any]:
        """Return plain values, for a log or a comparison."""
        return dict(json.loads(json.dumps(asdict(self), default=str)))


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
