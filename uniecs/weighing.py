"""How several loss terms become one number.

The paper names adaptive weighting and gives no rule; the released code has
constants. These rules are ours:

static        the weights of the config
ema_scale     each also divided by the term's own running size, within a factor of 5
uncertainty   each term times exp(-eta), plus eta, with eta learned
dwa           more for a term that falls slowly: a softmax over its recent ratio
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .config import Weighting


class LossWeigher(nn.Module):
    """Joins terms into sum(w * L) / sum(w); every weight is positive.

    Terms of base weight 0 are left out. All processes of a run see the same
    terms, so they hold the same weights.
    """

    DECAY = 0.99
    START_AFTER_STEPS = 200
    BOUNDS = (0.2, 5.0)
    # Single steps are too noisy to compare: means of so many steps are.
    WINDOW_STEPS = 50
    SOFTNESS = 2.0

    def __init__(self, base: Mapping[str, float], weighting: Weighting = "static") -> None:
        super().__init__()
        self.base = {name: weight for name, weight in base.items() if weight > 0}
        self.weighting = weighting
        self.sizes: dict[str, float] = {}
        self.steps = 0
        self._windows: dict[str, list[float]] = {
            name: [] for name in self.base
        }  # means, then the running sum
        self._sums: dict[str, float] = dict.fromkeys(self.base, 0.0)
        self.etas = (
            nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in self.base})
            if weighting == "uncertainty"
            else nn.ParameterDict()
        )

    def join(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the total, and remember the sizes of the terms."""
        terms = {name: terms[name] for name in self.base}
        self._remember({name: float(term.detach()) for name, term in terms.items()})
        if self.weighting == "uncertainty":
            parts = [
                self.base[name] * (torch.exp(-self.etas[name]) * term + self.etas[name])
                for name, term in terms.items()
            ]
            return torch.stack(parts).sum() / sum(self.base.values())
        weights = self.weights()
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return total / sum(weights.values())

    def weights(self) -> dict[str, float]:
        """Return the present weights; but for `uncertainty`, they always sum to the config's."""
        if self.weighting == "uncertainty":
            return {name: base * math.exp(-self.etas[name].item()) for name, base in self.base.items()}
        lifts = self._lifts()
        raw = {name: base * lifts.get(name, 1.0) for name, base in self.base.items()}
        scale = sum(self.base.values()) / sum(raw.values())
        return {name: weight * scale for name, weight in raw.items()} if lifts else dict(self.base)

    def state(self) -> dict[str, object]:
        """Return what a checkpoint must keep."""
        return {
            "sizes": dict(self.sizes),
            "steps": self.steps,
            "windows": {name: list(means) for name, means in self._windows.items()},
            "sums": dict(self._sums),
            "etas": {name: eta.item() for name, eta in self.etas.items()},
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on from `state()`."""
        self.sizes, self.steps = dict(state["sizes"]), int(state["steps"])  # type: ignore[call-overload]
        self._windows = {name: list(means) for name, means in state["windows"].items()}  # type: ignore[attr-defined]
        self._sums = dict(state["sums"])  # type: ignore[call-overload]
        with torch.no_grad():
            for name, eta in state["etas"].items():  # type: ignore[attr-defined]
                self.etas[name].fill_(eta)

    def _remember(self, sizes: Mapping[str, float]) -> None:
        self.steps += 1
        for name, size in sizes.items():
            self.sizes[name] = self.DECAY * self.sizes.get(name, size) + (1 - self.DECAY) * size
            self._sums[name] += size
            if self.steps % self.WINDOW_STEPS == 0:
                self._windows[name] = [*self._windows[name][-1:], self._sums[name] / self.WINDOW_STEPS]
                self._sums[name] = 0.0

    def _lifts(self) -> dict[str, float]:
        """By how much each term is lifted beyond its base weight; nothing before there is enough to see."""
        low, high = self.BOUNDS
        if self.weighting == "ema_scale" and self.steps > self.START_AFTER_STEPS:
            mean = sum(self.sizes.values()) / len(self.sizes)
            return {name: min(high, max(low, mean / max(size, 1e-12))) for name, size in self.sizes.items()}
        if self.weighting == "dwa" and all(len(means) == 2 for means in self._windows.values()):
            ratios = {
                name: min(high, now / max(before, 1e-12)) for name, (before, now) in self._windows.items()
            }
            powers = {name: math.exp(ratio / self.SOFTNESS) for name, ratio in ratios.items()}
            return {name: power * len(powers) / sum(powers.values()) for name, power in powers.items()}
        return {}
