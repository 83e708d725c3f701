"""Towers that every row shares and none changes, so that a row is what joins them and its losses.

They were trained as two towers, so that no fusion had a say in them, and are looked
through once a picture: rows are trained in seconds.
"""

import hashlib

import torch
from torch import Tensor, nn

from uniecs.model import UniECS

TOWERS = ("image_tower", "text_tower")


class Remembered(nn.Module):
    """A frozen image tower that knows each picture it has seen by its bytes."""

    def __init__(self, tower: nn.Module, seen: dict[bytes, Tensor]) -> None:
        super().__init__()
        self.tower, self.tokens, self._seen = tower.eval(), tower.tokens, seen

    def train(self, mode: bool = True) -> "Remembered":
        """Stay as it is: no batch statistics, no dropout."""
        del mode
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, S, S, 3) uint8 -> tokens (B, L, D)."""
        keys = [hashlib.sha256(one.numpy().tobytes()).digest() for one in pixels]
        unseen = [at for at, key in enumerate(keys) if key not in self._seen]
        if unseen:
            with torch.no_grad():
                for at, tokens in zip(unseen, self.tower(pixels[unseen]), strict=True):
                    self._seen[keys[at]] = tokens.clone()
        return torch.stack([self._seen[key] for key in keys]).clone()


class SharedTowers:
    """The towers of a model, and the pictures they have seen so far."""

    def __init__(self, model: UniECS) -> None:
        self._states = {tower: getattr(model, tower).state_dict() for tower in TOWERS}
        self._seen: dict[bytes, Tensor] = {}

    def put_into(self, model: UniECS) -> None:
        """Replace the model's own."""
        for tower in TOWERS:
            getattr(model, tower).load_state_dict(self._states[tower])
        model.image_tower = Remembered(model.image_tower, self._seen)
