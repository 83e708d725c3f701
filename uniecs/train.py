"""One training run: pairs in, an exported model folder out.

Chance is a function of (seed, step): batches, augmentation and dropout are drawn
afresh from it at every step, so a run that was stopped and resumed ends with the
weights of one that was not. The log is JSON Lines, one object a step.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .checkpoint import load_checkpoint, save_checkpoint
from .config import Recipe
from .errors import TrainingStopped
from .evaluate import Scenario, Vectors, evaluate, mean_recall
from .export import export_model
from .losses import LossWeigher, Side, loss_terms
from .model import UniECS
from .pairs import Batch, ItemTable, PairTable
from .rows import Item, Pair, read_pairs

Figures = dict[str, float]


class Watcher(Protocol):
    """Is told what happens; draws no conclusions."""

    def picture_read(self) -> None:
        """One more picture was decoded."""

    def stepped(self, step: int, figures: Figures) -> None:
        """A step is done."""


class Silent:
    """Watches without a word."""

    def picture_read(self) -> None:
        """Say nothing."""

    def stepped(self, step: int, figures: Figures) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run leaves behind."""

    model_id: str
    steps: int
    scenarios: list[Scenario]


def train(recipe: Recipe, output: Path, *, resume: bool = False, watcher: Watcher | None = None) -> Trained:
    """Train by a recipe and export into `output`; work files go to `output/training`.

    Raises:
        InvalidRows: the pairs break their contract.
        TrainingStopped: a loss is not finite, or the checkpoint is foreign.
    """
    watcher = watcher or Silent()
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    pairs = PairTable(read_pairs(recipe.pairs), recipe.model, watcher.picture_read)
    judge = _Judge(recipe, watcher)
    run = _Run(recipe)
    work = output / "training"
    work.mkdir(parents=True, exist_ok=True)
    checkpoint, log_path = work / "checkpoint.pt", work / "log.jsonl"
    start = run.restore(checkpoint) if resume and checkpoint.exists() else 0

    step = start
    with log_path.open("a" if start else "w", encoding="utf-8") as log:
        try:
            while step < recipe.steps:
                figures = run.step(pairs, step)
                step += 1
                if step % recipe.validate_every == 0 and step < recipe.steps:
                    figures["validation_recall_at_10"] = mean_recall(judge.scenarios(run.model))
                log.write(json.dumps({"step": step, **figures}) + "\n")
                log.flush()
                watcher.stepped(step, figures)
                if step % recipe.save_every == 0:
                    run.save(checkpoint, step)
        except KeyboardInterrupt:
            run.save(checkpoint, step)
            raise
    run.save(checkpoint, step)
    scenarios = judge.scenarios(run.model)
    model_id = export_model(run.model.eval(), output)
    return Trained(model_id=model_id, steps=step, scenarios=scenarios)


class _Run:
    """The model and everything that changes with it."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.model = UniECS(recipe.model).to(memory_format=torch.channels_last)
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]  # biases and norms
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
            eps=1e-6,
        )
        self.weigher = LossWeigher(recipe.loss)

    def step(self, pairs: PairTable, step: int) -> Figures:
        """Take one optimiser step and return its figures."""
        recipe = self.recipe
        query, candidate, groups = pairs.batch(seed=recipe.seed, step=step, size=recipe.batch)
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        rate = recipe.learning_rate * _schedule(step, recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        asked, offered = views(self.model, [query, candidate], drop=recipe.modality_dropout)
        terms = loss_terms(asked, offered, torch.from_numpy(groups), recipe.loss)
        total = self.weigher.join(terms)
        if not torch.isfinite(total):
            raise TrainingStopped(
                f"step {step + 1}: the loss is {total.item()}; lower learning_rate ({recipe.learning_rate})"
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        size = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.optimizer.step()
        figures = {"loss": total.item(), **{name: term.item() for name, term in terms.items()}}
        figures |= {f"weight_{name}": weight for name, weight in self.weigher.weights().items()}
        return figures | {"learning_rate": rate, "gradient": size.item()}

    def save(self, path: Path, step: int) -> None:
        states: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "weigher": self.weigher.state(),
        }
        save_checkpoint(path, recipe=self.recipe, step=step, states=states)

    def restore(self, path: Path) -> int:
        step, states = load_checkpoint(path, recipe=self.recipe)
        self.model.load_state_dict(states["model"])
        self.optimizer.load_state_dict(states["optimizer"])
        self.weigher.restore(states["weigher"])
        return step


def views(model: UniECS, batches: Sequence[Batch], *, drop: float = 0.0) -> list[Side]:
    """Encode batches in their three views; the towers run once over all of them.

    Args:
        model: in training mode, pictures are also augmented.
        batches: each becomes one side.
        drop: the chance that one modality of a sample is hidden from its view of both.
    """
    pixels = torch.from_numpy(np.concatenate([batch.pixels for batch in batches]))
    has_image = torch.from_numpy(np.concatenate([batch.has_image for batch in batches]))
    has_text = torch.from_numpy(np.concatenate([batch.has_text for batch in batches]))
    if model.training:
        pixels = augment(pixels)
    rows = len(pixels)
    image = model.image(pixels, has_image)
    text = model.text(torch.from_numpy(_stack_ids([batch.ids for batch in batches])), has_text)
    lottery = torch.rand(rows)
    whole = has_image & has_text  # nothing is hidden from a sample that has one modality only
    image_alone = model.fuse(image, model.absent(rows), meet=False)
    text_alone = model.fuse(model.absent(rows), text, meet=False)
    both = model.fuse(
        image._replace(present=has_image & ~(whole & (lottery < drop / 2))),
        text._replace(present=has_text & ~(whole & (lottery > 1 - drop / 2))),
    )
    sides, at = [], 0
    for batch in batches:
        part = slice(at, at + len(batch.has_image))
        at = part.stop
        cut = [type(each)(*(tensor[part] for tensor in each)) for each in (image_alone, text_alone, both)]
        sides.append(
            Side(image=cut[0], text=cut[1], both=cut[2], has_image=has_image[part], has_text=has_text[part])
        )
    return sides


def augment(pixels: Tensor) -> Tensor:
    """Crop, mirror and relight pictures (B, S, S, 3) uint8; colour itself is a signal and stays."""
    rows = len(pixels)
    scale = 0.75 + 0.3 * torch.rand(rows)
    mirror = torch.where(torch.rand(rows) < 0.5, -1.0, 1.0)
    shift = (torch.rand(rows, 2) - 0.5) * 0.2
    none = torch.zeros(rows)
    frames = torch.stack(
        [torch.stack([scale * mirror, none, shift[:, 0]], 1), torch.stack([none, scale, shift[:, 1]], 1)], 1
    )  # (B, 2, 3)
    planes = pixels.permute(0, 3, 1, 2).float()  # (B, 3, S, S)
    grid = torch.nn.functional.affine_grid(frames, list(planes.shape), align_corners=False)
    planes = torch.nn.functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    light = 0.85 + 0.3 * torch.rand(rows, 1, 1, 1)
    planes = (planes * light + 20 * (torch.rand(rows, 1, 1, 1) - 0.5)).clamp(0, 255)
    return planes.permute(0, 2, 3, 1).round().to(torch.uint8)


def _stack_ids(parts: Sequence[np.ndarray]) -> np.ndarray:
    length, grams = max(part.shape[1] for part in parts), max(part.shape[2] for part in parts)
    padded = [
        np.pad(part, ((0, 0), (0, length - part.shape[1]), (0, grams - part.shape[2]))) for part in parts
    ]
    return np.concatenate(padded)


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to 2% over real optimiser steps."""
    warm = max(1, round(recipe.warmup * recipe.steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, recipe.steps - warm)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


class _Judge:
    """Validation pairs, read once, and the scenarios of a model on them."""

    def __init__(self, recipe: Recipe, watcher: Watcher) -> None:
        self._pairs: list[Pair] = read_pairs(recipe.validation) if recipe.validation else []
        self._items = ItemTable(recipe.model, watcher.picture_read)
        self._where: dict[Item, tuple[int, int]] = {}
        for pair in self._pairs:
            for side, item in (("query", pair.query), ("candidate", pair.candidate)):
                image, text = self._items.add(item, where=f"line {pair.line}: {side}")
                self._where[Item(item.text, None)] = (-1, text)
                self._where[Item(None, item.image)] = (image, -1)
                self._where[item] = (image, text)

    def scenarios(self, model: UniECS) -> list[Scenario]:
        """Return the nine scenarios, or those that the pairs can fill."""
        return evaluate(self._pairs, self._embedder(model.eval())) if self._pairs else []

    def _embedder(self, model: UniECS) -> Callable[[Sequence[Item]], Vectors]:
        def embed(items: Sequence[Item]) -> Vectors:
            found = []
            with torch.inference_mode():
                for at in range(0, len(items), 256):
                    batch = self._items.batch([self._where[item] for item in items[at : at + 256]])
                    image = model.image(torch.from_numpy(batch.pixels), torch.from_numpy(batch.has_image))
                    text = model.text(torch.from_numpy(batch.ids), torch.from_numpy(batch.has_text))
                    found.append(model.fuse(image, text).vector.numpy())
            return np.concatenate(found)

        return embed
