"""Batches to the three views of each side that the losses compare.

The towers run once over all sides; fusion runs three times: picture alone, text
alone, both. In training pictures are augmented and a modality is sometimes hidden.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .config import Augmentation
from .fusion import Fused
from .losses import Side
from .model import UniECS
from .pairs import Batch


def views(
    model: UniECS, batches: Sequence[Batch], *, drop: float = 0.0, augmentation: Augmentation = "mild"
) -> list[Side]:
    """Encode batches in their three views.

    Args:
        model: in training mode, pictures are also augmented.
        batches: each becomes one side.
        drop: the chance that one modality of a sample is hidden from its view of both.
        augmentation: how far pictures are changed in training.
    """
    device = model.device
    pixels = torch.from_numpy(np.concatenate([batch.pixels for batch in batches])).to(device)
    ids = torch.from_numpy(_stack_ids([batch.ids for batch in batches])).to(device)
    has_image = torch.from_numpy(np.concatenate([batch.has_image for batch in batches])).to(device)
    has_text = torch.from_numpy(np.concatenate([batch.has_text for batch in batches])).to(device)
    if model.config.sees != "both":  # a baseline that is blind to one side
        has_image, has_text = (
            has_image & (model.config.sees == "image"),
            has_text & (model.config.sees == "text"),
        )
    if model.training:
        pixels = _AUGMENTATIONS[augmentation](pixels)
    rows = len(pixels)
    image = model.image(pixels, has_image)
    text = model.text(ids, has_text)
    lottery = torch.rand(rows, device=device)
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
        cut = [Fused(*(tensor[part] for tensor in each)) for each in (image_alone, text_alone, both)]
        sides.append(
            Side(image=cut[0], text=cut[1], both=cut[2], has_image=has_image[part], has_text=has_text[part])
        )
    return sides


def lone_views(
    model: UniECS, pictures: Batch, texts: Batch, *, augmentation: Augmentation = "mild"
) -> list[Side]:
    """Encode the pictures of one batch and the texts of another, and nothing else of either."""
    device = model.device
    sees = model.config.sees
    has_image = torch.from_numpy(pictures.has_image).to(device) & (sees != "text")
    has_text = torch.from_numpy(texts.has_text).to(device) & (sees != "image")
    pixels = torch.from_numpy(pictures.pixels).to(device)
    if model.training:
        pixels = _AUGMENTATIONS[augmentation](pixels)
    image = model.image(pixels, has_image)
    seen = model.fuse(image, model.absent(len(has_image)), meet=False)
    text = model.text(torch.from_numpy(texts.ids).to(device), has_text)
    read = model.fuse(model.absent(len(has_text)), text, meet=False)
    return [
        Side(image=seen, text=seen, both=seen, has_image=has_image, has_text=torch.zeros_like(has_image)),
        Side(image=read, text=read, both=read, has_image=torch.zeros_like(has_text), has_text=has_text),
    ]


def augment(pixels: Tensor) -> Tensor:
    """Crop, mirror and relight pictures (B, S, S, 3) uint8; colour itself is a signal and stays."""
    rows, device = len(pixels), pixels.device
    scale = 0.75 + 0.3 * torch.rand(rows, device=device)
    mirror = torch.where(torch.rand(rows, device=device) < 0.5, -1.0, 1.0)
    shift = (torch.rand(rows, 2, device=device) - 0.5) * 0.2
    none = torch.zeros(rows, device=device)
    planes = _framed(pixels, [scale * mirror, none, shift[:, 0]], [none, scale, shift[:, 1]])
    light = 0.85 + 0.3 * torch.rand(rows, 1, 1, 1, device=device)
    return _pixels(planes * light + 20 * (torch.rand(rows, 1, 1, 1, device=device) - 0.5))


def augment_strongly(pixels: Tensor) -> Tensor:
    """For few photos and many epochs: also turn, stretch, crop to a half, change contrast, tint a little."""
    rows, device = len(pixels), pixels.device

    def chance(low: float, high: float, *more: int) -> Tensor:
        return low + (high - low) * torch.rand(rows, *more, device=device)

    scale, stretch, turn = chance(0.5, 1.0), torch.exp(chance(-0.2, 0.2)), chance(-0.4, 0.4)
    mirror = torch.where(torch.rand(rows, device=device) < 0.5, -1.0, 1.0)
    room = 1.05 - scale  # how far the frame may be moved without leaving the picture
    right, down = chance(-1, 1) * room, chance(-1, 1) * room
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    planes = _framed(pixels, [cos * stretch * mirror, -sin, right], [sin * mirror, cos / stretch, down])
    grey = planes.mean((1, 2, 3), keepdim=True)
    planes = (planes - grey) * chance(0.7, 1.3, 1, 1, 1) + grey
    return _pixels(planes * chance(0.75, 1.25, 1, 1, 1) * chance(0.92, 1.08, 3, 1, 1))


_AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda pixels: pixels,
    "mild": augment,
    "strong": augment_strongly,
}


def _framed(pixels: Tensor, across: Sequence[Tensor], down: Sequence[Tensor]) -> Tensor:
    """Look at pictures (B, S, S, 3) through affine frames; each row is three numbers a sample."""
    frames = torch.stack([torch.stack(list(across), 1), torch.stack(list(down), 1)], 1)  # (B, 2, 3)
    planes = pixels.permute(0, 3, 1, 2).float()
    grid = torch.nn.functional.affine_grid(frames, list(planes.shape), align_corners=False)
    return torch.nn.functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)


def _pixels(planes: Tensor) -> Tensor:
    return planes.clamp(0, 255).permute(0, 2, 3, 1).round().to(torch.uint8)


def _stack_ids(parts: Sequence[np.ndarray]) -> np.ndarray:
    length, grams = max(part.shape[1] for part in parts), max(part.shape[2] for part in parts)
    padded = [
        np.pad(part, ((0, 0), (0, length - part.shape[1]), (0, grams - part.shape[2]))) for part in parts
    ]
    return np.concatenate(padded)
