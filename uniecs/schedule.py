"""The learning rate over a run; a stage one has a curve of its own."""

import math

from .config import Recipe


def rate_of(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to 2% over real optimiser steps."""
    turn = round(recipe.stage_one * recipe.steps)
    first, last = (0, turn) if step < turn else (turn, recipe.steps)
    step, steps = step - first, last - first
    warm = max(1, round(recipe.warmup * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
