"""Validation pairs, read once, and the scenarios of a model on them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .config import ModelConfig
from .evaluate import Embed, Scenario, Vectors, evaluate
from .model import UniECS
from .pairs import ItemTable
from .rows import Item, Pair

_ROWS_AT_ONCE = 256


class Judge:
    """Embeds validation pairs with the torch model, without exporting it."""

    def __init__(
        self, pairs: Sequence[Pair], config: ModelConfig, on_picture: Callable[[], None] = lambda: None
    ) -> None:
        self.pairs = pairs
        self._items = ItemTable(config, on_picture)
        self._where: dict[Item, tuple[int, int]] = {}
        for pair in pairs:
            for side, item in (("query", pair.query), ("candidate", pair.candidate)):
                image, text = self._items.add(item, where=f"line {pair.line}: {side}")
                self._where[Item(item.text, None)] = (-1, text)
                # As in training, of several pictures the first is seen.
                self._where[Item(None, item.image, item.more)] = (image, -1)
                self._where[item] = (image, text)

    def scenarios(self, model: UniECS) -> list[Scenario]:
        """Return the nine scenarios, or those that the pairs can fill."""
        return evaluate(self.pairs, self.embedder(model.eval())) if self.pairs else []

    def embedder(self, model: UniECS) -> Embed:
        """Return the function from items to vectors that `evaluate` asks for."""
        device = model.device

        def embed(items: Sequence[Item]) -> Vectors:
            found = []
            with torch.inference_mode():
                for at in range(0, len(items), _ROWS_AT_ONCE):
                    batch = self._items.batch([self._where[item] for item in items[at : at + _ROWS_AT_ONCE]])
                    numbers = (batch.pixels, batch.has_image, batch.ids, batch.has_text)
                    pixels, has_image, ids, has_text = (torch.from_numpy(each).to(device) for each in numbers)
                    fused = model.fuse(model.image(pixels, has_image), model.text(ids, has_text))
                    found.append(fused.vector.float().cpu().numpy())
            return np.concatenate(found)

        return embed
