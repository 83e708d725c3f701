"""The nine terms of the released training loop, with its constants and its faults.

Kept so that the corrected losses can be measured against them: hinges on
similarities that a learned scale multiplies, one-sided contrasts, no masking of
false negatives. `s` is that scale; query is side 1, candidate side 2.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .losses import Side

# As the released code's defaults; their sum divides the total.
REFERENCE_WEIGHTS = {
    "ppm": 0.8,
    "pdc": 0.5,
    "plc": 0.5,
    "pull": 0.5,
    "v2t": 0.3,
    "v2f": 0.3,
    "t2f": 0.3,
    "v2v": 1.0,
    "t2t": 1.0,
}
_MATCH_MARGIN, _DISTINCT_MARGIN, _LOCAL_TOLERANCE, _NEIGHBOURS = 0.3, 0.2, 0.05, 10
_CROSS, _IMAGE, _TEXT = 0.07, 0.03, 0.03  # temperatures
_HARD_MARGIN = 0.2  # in logits


def reference_terms(query: Side, candidate: Side, s: Tensor) -> dict[str, Tensor]:
    """Return the terms of samples that have both sides on both sides; 0 where there are fewer than two."""
    whole = query.has_image & query.has_text & candidate.has_image & candidate.has_text
    u = {letter: query.view(letter)[0][whole] for letter in "vtm"}
    w = {letter: candidate.view(letter)[0][whole] for letter in "vtm"}
    if len(u["m"]) < 2:
        nothing = query.both.vector.sum() * 0 * s
        return dict.fromkeys(REFERENCE_WEIGHTS, nothing)
    scores = {letter: s * (u[letter] @ w["m"].T) for letter in "mvt"}  # (B, B) each
    return {
        "ppm": _match(scores),
        "pdc": _distinct(scores),
        "plc": _local(scores),
        "pull": sum((2 - (u[letter] * u["m"]).sum(-1).mean()) / 2 for letter in "vt") - 1,
        "v2t": (_ce(u["v"], w["t"], _CROSS) + _ce(w["t"], u["v"], _CROSS)) / 2,
        "v2f": _ce(u["m"], w["v"], _CROSS),
        "t2f": _ce(u["t"], w["m"], _CROSS),
        "v2v": _ce(u["v"], w["v"], _IMAGE) + _hard(u["v"], w["v"]),
        "t2t": _ce(u["t"], w["t"], _TEXT),
    }


def _match(scores: dict[str, Tensor]) -> Tensor:
    hinges = []
    for each in scores.values():
        other = 1 - torch.eye(len(each), device=each.device)
        hinges.append((_MATCH_MARGIN * other + each - each.diagonal()[:, None]).clamp(min=0).mean())
    return torch.stack(hinges).mean()


def _distinct(scores: dict[str, Tensor]) -> Tensor:
    """The diagonal is not left out: as released, it also pushes the positive down."""
    hinges = [
        (_DISTINCT_MARGIN + scores["m"] - scores[letter].diagonal()[:, None]).clamp(min=0).mean()
        for letter in "vt"
    ]
    return torch.stack(hinges).mean()


def _local(scores: dict[str, Tensor]) -> Tensor:
    nearest = scores["m"].topk(min(_NEIGHBOURS, len(scores["m"])), dim=1).indices
    near = {letter: each.gather(1, nearest) for letter, each in scores.items()}
    gaps = [((near[a] - near[b]) ** 2 - _LOCAL_TOLERANCE).clamp(min=0).mean() for a, b in ("vm", "tm", "vt")]
    return torch.stack(gaps).mean()


def _ce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    return cross_entropy(a @ b.T / temperature, torch.arange(len(a), device=a.device))


def _hard(a: Tensor, b: Tensor) -> Tensor:
    logits = a @ b.T / _IMAGE
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    hardest = logits.masked_fill(own, -1e4).topk(max(1, len(a) // 2), dim=1).values
    return (_HARD_MARGIN + hardest - logits.diagonal()[:, None]).clamp(min=0).mean()
