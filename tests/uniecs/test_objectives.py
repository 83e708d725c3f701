"""What a run learns by: every objective knows right from wrong, and grades are gains."""

from dataclasses import replace
from typing import get_args

import pytest

torch = pytest.importorskip("torch")

from uniecs.config import LossConfig, ModelConfig, Objective  # noqa: E402 - after the skip
from uniecs.fusion import Fused  # noqa: E402
from uniecs.losses import Side, contrast  # noqa: E402
from uniecs.objectives import Criterion, Labels, graded_contrast  # noqa: E402

pytestmark = pytest.mark.torch

ROWS = 8


def side(vectors: "torch.Tensor") -> Side:
    fused = Fused(vectors, vectors, vectors)
    there = torch.ones(len(vectors), dtype=torch.bool)
    return Side(image=fused, text=fused, both=fused, has_image=there, has_text=there)


def labels(rows: int = ROWS) -> Labels:
    return Labels(groups=torch.arange(rows), asks=torch.arange(rows), grades=torch.ones(rows))


@pytest.mark.parametrize("objective", get_args(Objective))
def test_pairs_that_meet_cost_less_than_pairs_that_do_not(objective: Objective, tiny: ModelConfig) -> None:
    """In stage one and in stage two."""
    criterion = Criterion(LossConfig(objective=objective, false_negative_margin=2.0), tiny)
    right, wrong = torch.eye(ROWS, 16), torch.eye(ROWS, 16).roll(1, dims=0)
    for stage in (1, 2):
        good, _ = criterion(side(right), side(right), labels(), stage=stage)
        bad, terms = criterion(side(right), side(wrong), labels(), stage=stage)
        assert good < bad
        assert all(torch.isfinite(term) for term in terms.values())


def test_with_one_candidate_a_query_the_graded_contrast_is_the_plain_one(tiny: ModelConfig) -> None:
    """A file without grades is a file of grades 1."""
    chance = torch.Generator().manual_seed(2)
    a, b = (torch.nn.functional.normalize(torch.randn(ROWS, 16, generator=chance), dim=-1) for _ in "ab")
    there = torch.ones(ROWS, dtype=torch.bool)
    own = torch.eye(ROWS, dtype=torch.bool)
    config = LossConfig()

    torch.testing.assert_close(
        contrast((a, there), (b, there), own, 0.1, config),
        graded_contrast((a, there), (b, there), labels(), 0.1, config),
    )


def test_the_better_graded_candidate_should_stand_higher() -> None:
    """Same product 2, same category 1: gain 3 against gain 1."""
    query = torch.eye(4)[[0, 0, 1, 2]]
    graded = Labels(
        groups=torch.tensor([0, 1, 2, 3]),
        asks=torch.tensor([0, 0, 1, 2]),
        grades=torch.tensor([2.0, 1, 1, 1]),
    )
    near, far = torch.tensor([0.9, 0.0, 0.0, 0.436]), torch.tensor([0.5, 0.0, 0.0, 0.866])
    others = torch.eye(4)[1:3]
    there = torch.ones(4, dtype=torch.bool)
    config = LossConfig(false_negative_margin=2.0)

    def cost(*candidates: "torch.Tensor") -> float:
        offered = torch.cat([torch.stack(candidates), others])
        return graded_contrast((query, there), (offered, there), graded, 0.2, config).item()

    assert cost(near, far) < cost(far, near)


def test_reversed_gradients_pull_the_modalities_together(tiny: ModelConfig) -> None:
    """What helps the discriminator is what the model unlearns."""
    torch.manual_seed(0)
    criterion = Criterion(LossConfig(same_tongue=1.0, cmal=1e-9, clal=0.0, imcl=0.0), tiny)
    image, text = torch.randn(ROWS, 16, requires_grad=True), torch.randn(ROWS, 16, requires_grad=True)
    there = torch.ones(ROWS, dtype=torch.bool)
    views = Side(image=Fused(image, image, image), text=Fused(text, text, text), both=Fused(text, text, text),
                 has_image=there, has_text=there)  # fmt: skip
    _, terms = criterion(views, views, labels())
    terms["same_tongue"].backward()
    told = criterion.tongue.weight[0]

    # A step against the gradient makes pictures look less like pictures, and texts less like texts.
    assert (-image.grad @ told).sum() < 0 < (-text.grad @ told).sum()


def test_both_may_not_score_below_one_alone(tiny: ModelConfig) -> None:
    """The hinge is 0 where fusing helps, and positive where it hurts."""
    criterion = Criterion(LossConfig(never_hurt=1.0), tiny)
    good, bad = torch.eye(ROWS, 16), torch.eye(ROWS, 16).roll(1, dims=0)
    hurt = replace(side(good), both=Fused(bad, bad, bad))

    assert 0 == criterion(side(good), side(good), labels())[1]["never_hurt"]
    assert criterion(side(good), hurt, labels())[1]["never_hurt"] > 0.5


def test_views_that_look_alike_cost(tiny: ModelConfig) -> None:
    """Of `pool_views`: equal codes are as bad as it gets, orthogonal ones free."""
    criterion = Criterion(LossConfig(diversity=1.0), tiny)
    vectors = side(torch.eye(ROWS, 16))
    costs = [
        criterion(vectors, vectors, labels(), codes=codes)[1]["diversity"].item()
        for codes in (torch.eye(3, 16), torch.ones(3, 16))
    ]

    assert pytest.approx([0.0, 1.0]) == costs
