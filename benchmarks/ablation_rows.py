"""The rows of the ablation table: what each changes, and the recipe that all share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from uniecs.config import LossConfig, ModelConfig, Recipe

# Narrower than the demo's encoder, of the same depth, so that a row is trained in minutes.
SHARED_MODEL = ModelConfig(
    width=64,
    channels=(16, 32, 48),
    side_px=48,
    hash_rows=8_192,
    gram_width=64,
    max_tokens=20,
    shortcut=True,
)
SHARED_LOSS = LossConfig(false_negative_margin=0.3)  # as in demo/encoder.toml, for its reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row: what differs from UniECS."""

    name: str
    label: str
    model: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    told: Literal["plain", "styled", "banded"] = "plain"  # which pairs: see `benchmarks.retold`
    reverse: bool = False  # the first hits are ranked again by the other direction
    own_towers: bool = False  # nothing to see over towers that stay as they came


def _beyond(fusion: str, *, stage_one: float) -> dict[str, Any]:
    return {
        "model": {"fusion": fusion},
        "loss": {"objective": "beyond_text"},
        "train": {"stage_one": stage_one},
    }


VARIANTS = (
    Variant(name="uniecs", label="UniECS"),
    Variant(name="no-shortcut", label="without the read-out's shortcut", model={"shortcut": False}),
    Variant(name="text-only", label="text only", model={"sees": "text"}),
    Variant(name="image-only", label="image only", model={"sees": "image"}),
    Variant(name="mean", label="mean of the sides", model={"fusion": "mean"}),
    Variant(name="concat", label="concat and MLP", model={"fusion": "concat"}),
    Variant(
        name="two-tower",
        label="CLIP-style two towers",
        model={"fusion": "mean"},
        loss={"objective": "two_tower"},
    ),
    Variant(
        name="beyond-attention",
        label="Beyond Text, late attention",
        **_beyond("late_attention", stage_one=0.4),
    ),
    Variant(
        name="beyond-attention-1", label="... without stage one", **_beyond("late_attention", stage_one=0.0)
    ),
    Variant(
        name="beyond-experts", label="Beyond Text, experts", **_beyond("modality_experts", stage_one=0.4)
    ),
    Variant(
        name="beyond-experts-1", label="... without stage one", **_beyond("modality_experts", stage_one=0.0)
    ),
    Variant(
        name="reference",
        label="reference mode",
        model={"mode": "reference"},
        loss={"objective": "reference"},
    ),
    Variant(name="reference-losses", label="reference losses alone", loss={"objective": "reference"}),
    Variant(name="no-cmal", label="without CMAL", loss={"cmal": 0.0}),
    Variant(name="no-clal", label="without CLAL", loss={"clal": 0.0}),
    Variant(name="no-imcl", label="without IMCL", loss={"imcl": 0.0}),
    Variant(name="ema-scale", label="weighting ema_scale", loss={"weighting": "ema_scale"}),
    Variant(name="uncertainty", label="weighting uncertainty", loss={"weighting": "uncertainty"}),
    Variant(name="dwa", label="weighting dwa", loss={"weighting": "dwa"}),
    Variant(name="late-attention", label="late attention, UniECS losses", model={"fusion": "late_attention"}),
    Variant(name="experts", label="experts, UniECS losses", model={"fusion": "modality_experts"}),
    Variant(name="no-dropout", label="without modality dropout", train={"modality_dropout": 0.0}),
    Variant(name="dropout-0.3", label="modality dropout 0.3", train={"modality_dropout": 0.3}),
    Variant(name="never-hurt", label="more modalities never hurt", loss={"never_hurt": 1.0}),
    Variant(name="same-tongue", label="modality discriminator, reversed", loss={"same_tongue": 0.1}),
    Variant(
        name="views", label="four pooling views, diverse", model={"pool_views": 4}, loss={"diversity": 0.1}
    ),
    Variant(name="residual", label="residual stem", model={"stem": "residual"}, own_towers=True),
    Variant(name="blend", label="learned blend of two channels", model={"fusion": "blend"}),
    Variant(name="reverse", label="reverse re-ranking of the first 50", reverse=True),
    Variant(name="styled", label="same-style pairs from clicks", told="styled"),
    Variant(name="banded", label="title band on the picture", told="banded", own_towers=True),
    Variant(name="entities", label="entity tokens in the gate", model={"entity_gate": True}, own_towers=True),
    Variant(name="pixels", label="pixels alone, one tower", model={"reads": "pixels"}, own_towers=True),
)


def recipe_of(variant: Variant, *, pairs: Path, steps: int, seed: int, threads: int) -> Recipe:
    """Return the shared recipe with what the variant changes."""
    shared = Recipe(
        pairs=pairs,
        seed=seed,
        steps=steps,
        batch=64,
        learning_rate=2e-3,
        threads=threads,
        model=replace(SHARED_MODEL, **variant.model),
        loss=replace(SHARED_LOSS, **variant.loss),
    )
    return replace(shared, **variant.train)


def over_towers(recipe: Recipe) -> Recipe:
    """Return the recipe for towers that were trained before and stay as they came."""
    # A bare mean learns nothing of its own: over towers that stay, each side needs a layer.
    fusion = "lifted_mean" if recipe.model.fusion == "mean" else recipe.model.fusion
    model = replace(recipe.model, fusion=fusion)
    return replace(recipe, model=model, tower_rate=0.0, augmentation="none")
