"""The model and everything that changes with it: one optimiser step at a time.

The first weights are a function of the seed, chance in a step of (seed, step,
part). A batch in parts, or shared by a crew of processes, is learned as one: the
vectors of all parts are computed without a graph, the loss of the whole batch is
taken over them, and each part is encoded again to receive its share of the gradient
(gradient caching). So the memory of a step is that of one part, and every sample
has the whole batch as negatives. Only the built-in image tower can tell: its batch
statistics are those of a part.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .config import Recipe
from .crew import Crew
from .errors import InvalidConfig, TrainingStopped
from .fusion import Fused
from .losses import Side
from .model import UniECS
from .objectives import Criterion, Labels
from .pairs import Batch, Marks, PairTable
from .schedule import rate_of
from .views import lone_views, views

Figures = dict[str, float]


class Learner:
    """Holds model, criterion and optimiser; takes steps."""

    def __init__(self, recipe: Recipe, crew: Crew | None = None) -> None:
        self.recipe = recipe
        self.crew = crew or Crew()
        self._parts = recipe.parts * self.crew.size
        if recipe.batch % self._parts:
            raise InvalidConfig(
                f"batch is {recipe.batch}, must be a multiple of {self._parts} "
                f"({recipe.parts} parts in each of {self.crew.size} processes)"
            )
        if recipe.device == "cuda" and not torch.cuda.is_available():
            raise InvalidConfig("device 'cuda' cannot start on this machine; take device 'cpu'")
        self.device = torch.device(recipe.device)
        torch.manual_seed(recipe.seed)
        self.model = UniECS(recipe.model).to(self.device, memory_format=torch.channels_last)
        self.criterion = Criterion(recipe.loss, recipe.model).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self._groups(),
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
            eps=1e-6,
        )

    def step(self, pairs: PairTable, step: int) -> Figures:
        """Take one optimiser step and return its figures.

        Raises:
            TrainingStopped: the loss is not finite.
        """
        recipe = self.recipe
        query, candidate, marks = pairs.batch(seed=recipe.seed, step=step, size=recipe.batch)
        rate = recipe.learning_rate * rate_of(step, recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["times"]
        stage = 1 if step < round(recipe.stage_one * recipe.steps) else 2
        lone = step % recipe.full_every != 0
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        if self._parts == 1:
            asked, offered = self._views([query, candidate], step, 0, lone=lone)
            total, terms = self._loss(asked, offered, marks, stage, step, lone=lone)
            total.backward()
        else:
            total, terms = self._in_parts([query, candidate], marks, stage, step, lone=lone)
        size = torch.nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self.optimizer.step()
        figures = {"loss": total.item(), **{name: term.item() for name, term in terms.items()}}
        if stage == 2 and not lone:
            figures |= {f"weight_{name}": weight for name, weight in self.criterion.weigher.weights().items()}
        return figures | {"stage": stage, "learning_rate": rate, "gradient": float(size)}

    def settle(self) -> None:
        """Agree on the running statistics, which every process has of its own parts."""
        self.crew.average(each for each in self.model.buffers() if each.is_floating_point())

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must keep."""
        return {
            "model": self.model.state_dict(),
            "criterion": self.criterion.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "weigher": self.criterion.weigher.state(),
        }

    def restore(self, states: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.model.load_state_dict(states["model"])
        self.criterion.load_state_dict(states["criterion"])
        self.optimizer.load_state_dict(states["optimizer"])
        self.criterion.weigher.restore(states["weigher"])

    def _groups(self) -> list[dict[str, Any]]:
        """Weights by their rate and whether they are pulled to 0: no bias, norm or scalar is."""
        recipe = self.recipe
        # A text that is drawn is looked at by the image tower.
        both = (self.model.image_tower, getattr(self.model.text_tower, "look", self.model.text_tower))
        # Of a pretrained tower, what widens its tokens did not come with it.
        came = [weight for tower in both for weight in getattr(tower, "tower", tower).parameters()]
        towers = list(dict.fromkeys(came))
        for weight in towers:
            weight.requires_grad_(recipe.tower_rate > 0)
        learned = set(towers)
        everything = [*self.model.parameters(), *self.criterion.parameters()]
        rest = [weight for weight in everything if weight not in learned]
        return [
            {"params": weights, "weight_decay": decay, "times": times}
            for times, part in ((recipe.tower_rate, towers), (1.0, rest))
            for decay, weights in (
                (recipe.weight_decay, [each for each in part if each.ndim > 1]),
                (0.0, [each for each in part if each.ndim <= 1]),
            )
        ]

    def _views(self, batches: list[Batch], step: int, part: int, *, lone: bool) -> list[Side]:
        recipe = self.recipe
        torch.manual_seed(
            (recipe.seed * 1_000_003 + step) * 1_009 + part if part else recipe.seed * 1_000_003 + step
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            if lone:
                return lone_views(self.model, *batches, augmentation=recipe.augmentation)
            return views(self.model, batches, drop=recipe.modality_dropout, augmentation=recipe.augmentation)

    def _loss(
        self, asked: Side, offered: Side, marks: Marks, stage: int, step: int, *, lone: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        labels = Labels(
            groups=torch.from_numpy(marks.groups).to(self.device),
            asks=torch.from_numpy(marks.asks).to(self.device),
            grades=torch.from_numpy(marks.grades).to(self.device),
        )
        codes = getattr(getattr(self.model.fusion, "pool_image", None), "codes", None)
        total, terms = self.criterion(asked, offered, labels, stage=stage, codes=codes, lone=lone)
        if not torch.isfinite(total):
            raise TrainingStopped(
                f"step {step + 1}: the loss is {total.item()}; "
                f"lower learning_rate ({self.recipe.learning_rate})"
            )
        return total, terms

    def _in_parts(
        self, batches: list[Batch], marks: Marks, stage: int, step: int, *, lone: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rows = len(marks.groups)
        if rows % self._parts:
            raise InvalidConfig(
                f"{rows} pairs make no batch of {self._parts} equal parts; give more pairs or fewer parts"
            )
        width = rows // self._parts
        mine = range(self.crew.rank, self._parts, self.crew.size)

        def encode(part: int) -> list[Side]:
            rows_of_part = slice(part * width, (part + 1) * width)
            return self._views([batch.part(rows_of_part) for batch in batches], step, part, lone=lone)

        with torch.no_grad(), _untouched_statistics(self.model):
            seen = torch.stack([_vectors(encode(part)) for part in mine])  # (P, 2, 3, 3, B/N, D)
        # By rank, then by part; part p belongs to rank p % size.
        everyones = self.crew.gather(seen).transpose(0, 1).flatten(0, 1)  # (N, 2, 3, 3, B/N, D)
        leaf = everyones.permute(1, 2, 3, 0, 4, 5).flatten(3, 4).detach().requires_grad_()  # (2, 3, 3, B, D)
        asked, offered = (self._side(leaf[at], batch) for at, batch in enumerate(batches))
        total, terms = self._loss(asked, offered, marks, stage, step, lone=lone)
        total.backward()
        for weight in self.model.parameters():  # of a term on weights alone: everyone has all of it
            if weight.grad is not None:
                weight.grad /= self.crew.size
        assert leaf.grad is not None  # noqa: S101 - backward fills it, for the type checker
        for part in mine:
            share = leaf.grad[..., part * width : (part + 1) * width, :]
            (_vectors(encode(part)) * share).sum().backward()
        for weight in self.model.parameters():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.crew.add(weight.grad for weight in self.model.parameters())
        return total, terms

    def _side(self, vectors: Tensor, batch: Batch) -> Side:
        sees = self.recipe.model.sees
        return Side(
            image=Fused(*vectors[0]),
            text=Fused(*vectors[1]),
            both=Fused(*vectors[2]),
            has_image=torch.from_numpy(batch.has_image & np.bool_(sees != "text")).to(self.device),
            has_text=torch.from_numpy(batch.has_text & np.bool_(sees != "image")).to(self.device),
        )


def _vectors(sides: list[Side]) -> Tensor:
    """Stack what the losses read of a part: (sides, views, fields, rows, D)."""
    return torch.stack(
        [torch.stack([torch.stack(view) for view in (s.image, s.text, s.both)]) for s in sides]
    )


@contextmanager
def _untouched_statistics(model: nn.Module) -> Iterator[None]:
    """The first of two passes must not count twice in the running statistics."""
    norms = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
