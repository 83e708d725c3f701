"""One training run: pairs in, an exported model folder out.

Batches, augmentation and dropout are drawn afresh from (seed, step) at every
step, so a run that was stopped and resumed ends with the weights of one that was
not. The log is JSON Lines, one object a step.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from .checkpoint import load_checkpoint, save_checkpoint
from .config import Recipe
from .crew import Crew
from .evaluate import Scenario, mean_recall
from .export import export_model
from .judge import Judge
from .learner import Figures, Learner
from .pairs import PairTable
from .rows import read_pairs


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
    """What a run leaves behind.

    Attributes:
        model_id: empty for a process that does not lead its crew.
        steps: how many were taken; fewer than the recipe's where patience ended the run.
    """

    model_id: str
    steps: int
    scenarios: list[Scenario]


def train(
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    watcher: Watcher | None = None,
    crew: Crew | None = None,
) -> Trained:
    """Train by a recipe and export into `output`; work files go to `output/training`.

    Raises:
        InvalidRows: the pairs break their contract.
        InvalidConfig: the device is not there, or the batch cannot be shared as asked.
        TrainingStopped: a loss is not finite, or the checkpoint is foreign.
    """
    crew = crew or Crew()
    watcher = watcher if watcher and crew.leads else Silent()
    torch.set_num_threads(recipe.threads)
    learner = Learner(recipe, crew)
    pairs = PairTable(read_pairs(recipe.pairs), recipe.model, watcher.picture_read)
    held_out = read_pairs(recipe.validation) if recipe.validation and crew.leads else []
    run = _Run(recipe, learner, Judge(held_out, recipe.model, watcher.picture_read), output / "training")
    steps = run.go(pairs, watcher, resume=resume)
    if not crew.leads:
        return Trained(model_id="", steps=steps, scenarios=[])
    scenarios = run.judge.scenarios(learner.model)
    model_id = export_model(learner.model.eval(), output)
    return Trained(model_id=model_id, steps=steps, scenarios=scenarios)


class _Run:
    """The loop of a run and its files."""

    def __init__(self, recipe: Recipe, learner: Learner, judge: Judge, work: Path) -> None:
        self.recipe, self.learner, self.judge = recipe, learner, judge
        self.best, self.waited = -1.0, 0  # the best validation recall, and validations since
        self._checkpoint, self._best, self._log = work / "checkpoint.pt", work / "best.pt", work / "log.jsonl"
        work.mkdir(parents=True, exist_ok=True)

    def go(self, pairs: PairTable, watcher: Watcher, *, resume: bool) -> int:
        """Take the steps that are left; return how many there are now."""
        recipe = self.recipe
        start = step = self._restore() if resume and self._checkpoint.exists() else 0
        with self._log.open("a" if start else "w", encoding="utf-8") as log:
            try:
                while step < recipe.steps and not (recipe.patience and self.waited >= recipe.patience):
                    figures = self.learner.step(pairs, step)
                    step += 1
                    if step % recipe.validate_every == 0 and (step < recipe.steps or recipe.patience):
                        figures["validation_recall_at_10"] = self._validate(step)
                    if self.learner.crew.leads:
                        log.write(json.dumps({"step": step, **figures}) + "\n")
                        log.flush()
                    watcher.stepped(step, figures)
                    if step % recipe.save_every == 0:
                        self._save(self._checkpoint, step)
            except KeyboardInterrupt:
                self._save(self._checkpoint, step)
                raise
        self._save(self._checkpoint, step)
        if recipe.patience and self._best.exists():
            self.learner.restore(load_checkpoint(self._best, recipe=recipe)[1])
        return step

    def _validate(self, step: int) -> float:
        self.learner.settle()
        found = mean_recall(self.judge.scenarios(self.learner.model)) if self.learner.crew.leads else 0.0
        found = self.learner.crew.hear(found)
        self.waited = 0 if found > self.best else self.waited + 1
        if found > self.best and self.recipe.patience:
            self._save(self._best, step)
        self.best = max(self.best, found)
        return found

    def _save(self, path: Path, step: int) -> None:
        self.learner.settle()
        if self.learner.crew.leads:
            states = self.learner.state() | {"patience": {"best": self.best, "waited": self.waited}}
            save_checkpoint(path, recipe=self.recipe, step=step, states=states)

    def _restore(self) -> int:
        step, states = load_checkpoint(self._checkpoint, recipe=self.recipe)
        self.learner.restore(states)
        self.best, self.waited = states["patience"]["best"], states["patience"]["waited"]
        return step
