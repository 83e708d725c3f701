"""The losses are small where the space is good, and only there."""

import pytest

torch = pytest.importorskip("torch")

from uniecs.config import LossConfig  # noqa: E402 - after the skip
from uniecs.fusion import Fused  # noqa: E402
from uniecs.losses import Side, contrast, loss_terms  # noqa: E402
from uniecs.weighing import LossWeigher  # noqa: E402

pytestmark = pytest.mark.torch

CONFIG = LossConfig()
BASE = {"cmal": 1.0, "clal": 0.5, "imcl": 1.0}


def side(vectors: "torch.Tensor", *, has_image: bool = True, has_text: bool = True) -> Side:
    fused = Fused(vectors, vectors, vectors)
    rows = len(vectors)
    return Side(
        image=fused,
        text=fused,
        both=fused,
        has_image=torch.full((rows,), has_image),
        has_text=torch.full((rows,), has_text),
    )


def test_aligned_pairs_cost_less_than_shuffled_ones() -> None:
    """Each of the three terms knows right from wrong."""
    perfect = torch.eye(12)
    mixed = perfect.roll(1, dims=0)
    torch.manual_seed(0)
    views = [torch.nn.functional.normalize(torch.randn(12, 12), dim=-1) for _ in range(3)]
    scattered = Side(
        image=Fused(views[0], views[1], views[1]),
        text=Fused(views[1], views[0], views[0]),
        both=Fused(views[2], views[0], views[1]),
        has_image=torch.ones(12, dtype=torch.bool),
        has_text=torch.ones(12, dtype=torch.bool),
    )
    groups = torch.arange(12)
    good = loss_terms(side(perfect), side(perfect), groups, CONFIG)
    bad = loss_terms(side(perfect), side(mixed), groups, LossConfig(false_negative_margin=2.0))
    torn = loss_terms(scattered, side(perfect), groups, CONFIG)

    assert good["cmal"] < 0.01 < bad["cmal"]
    assert good["imcl"] < 0.01 < bad["imcl"]
    assert good["clal"] < 0.001 < torn["clal"]


def test_samples_of_one_group_are_never_each_others_negatives() -> None:
    """Two photos of the same mug should not be pushed apart."""
    alike = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]), dim=-1)
    view = (alike, torch.ones(3, dtype=torch.bool))
    config = LossConfig(false_negative_margin=2.0)
    apart = contrast(view, view, torch.eye(3, dtype=torch.bool), 0.05, config)
    groups = torch.tensor([0, 0, 1])
    together = contrast(view, view, groups[:, None] == groups[None, :], 0.05, config)

    assert together < 0.01 < apart


def test_a_negative_far_above_its_positive_is_taken_for_an_unmarked_positive() -> None:
    """Catalogues hold the same product twice, and nobody marked it."""
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    candidates = torch.tensor([[0.6, 0.8], [1.0, 0.0]])
    valid = torch.ones(2, dtype=torch.bool)
    own = torch.eye(2, dtype=torch.bool)
    strict = contrast((queries, valid), (candidates, valid), own, 0.1, LossConfig(false_negative_margin=2.0))
    kind = contrast((queries, valid), (candidates, valid), own, 0.1, LossConfig(false_negative_margin=0.1))

    assert kind < 0.1 < strict


def test_a_term_without_its_modality_is_zero_and_still_has_a_gradient_path() -> None:
    """A batch of text pairs teaches text and does not crash."""
    vectors = torch.eye(4, requires_grad=True)
    texts = side(vectors, has_image=False)
    terms = loss_terms(texts, texts, torch.arange(4), CONFIG)
    total = LossWeigher(BASE).join(terms)
    total.backward()

    assert 0 == terms["clal"].item()
    assert torch.isfinite(vectors.grad).all()
