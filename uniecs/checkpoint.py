"""A training run on disk, so that it can be stopped at any step and gone on with."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from .config import ModelConfig, Recipe, record
from .errors import TrainingStopped


def save_checkpoint(path: Path, *, recipe: Recipe, step: int, states: dict[str, Any]) -> None:
    """Write the run's state; a crash leaves the previous one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    torch.save({"recipe": json.dumps(recipe.as_json()), "step": step, "states": states}, draft)
    os.replace(draft, path)


def load_checkpoint(path: Path, *, recipe: Recipe) -> tuple[int, dict[str, Any]]:
    """Return the step to go on from, and the states.

    Raises:
        TrainingStopped: the file is unreadable, or of another recipe.
    """
    saved = _read(path)
    defaults = Recipe(pairs=Path()).as_json()
    theirs, ours = (_said(each, defaults) for each in (json.loads(saved["recipe"]), recipe.as_json()))
    changed = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if changed:
        raise TrainingStopped(
            f"checkpoint {path} was made with another {', '.join(changed)}; "
            "undo the change, or train without --resume"
        )
    return int(saved["step"]), dict(saved["states"])


def load_model(path: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """Return the shape and the weights of a checkpoint.

    Raises:
        TrainingStopped: the file is not there or cannot be read.
    """
    saved = _read(path)
    shape = json.loads(saved["recipe"])["model"]
    return record(ModelConfig, shape, where=f"{path} [model]"), dict(saved["states"]["model"])


def _said(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return what differs from the defaults: a setting that came later is not a change."""
    return {
        name: _said(value, defaults[name]) if isinstance(value, dict) else value
        for name, value in values.items()
        if value != defaults.get(name)
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(torch.load(path, weights_only=True))
    except Exception as error:  # torch raises many kinds on a damaged file
        raise TrainingStopped(
            f"checkpoint {path} cannot be read ({error}); delete it, or train without --resume"
        ) from error
