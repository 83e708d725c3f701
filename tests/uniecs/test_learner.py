"""A batch in parts, or among processes, is learned as one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from demo.processes import free_port  # noqa: E402 - after the skip
from uniecs.config import LossConfig, ModelConfig, Recipe  # noqa: E402
from uniecs.errors import InvalidConfig, TrainingStopped  # noqa: E402
from uniecs.learner import Learner  # noqa: E402
from uniecs.pairs import PairTable  # noqa: E402
from uniecs.rows import Item, Pair  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def pairs(tiny: ModelConfig) -> PairTable:
    """Texts alone: batch statistics of pictures are those of a part, and would differ."""
    words = ["red mug", "blue mug", "striped scarf", "wool scarf", "teapot", "lamp", "plate", "bowl"]
    rows = [
        Pair(query=Item(word, None), candidate=Item(f"{word} of clay", None), group=word, grade=1.0, line=at)
        for at, word in enumerate(words)
    ]
    return PairTable(rows, tiny)


@pytest.fixture
def recipe(tiny: ModelConfig) -> Recipe:
    # No warm-up: the first step moves the weights for all to see.
    return Recipe(pairs=Path("pairs.jsonl"), batch=8, steps=4, warmup=0.0, threads=1, model=tiny)


@pytest.fixture
def double() -> Iterator[None]:
    """What differs by rounding alone differs in the fifteenth place, on every processor."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def weights(learner: Learner) -> "torch.Tensor":
    return torch.cat([each.detach().flatten() for each in learner.model.parameters()])


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("loss", [LossConfig(), LossConfig(objective="beyond_text", weighting="uncertainty")])
def test_a_batch_in_parts_is_learned_as_the_whole_batch(
    recipe: Recipe, pairs: PairTable, loss: LossConfig
) -> None:
    """Gradient caching: the same loss, and the same weights after the step.

    But for the decay of weights that have no gradient here: alone none is none, in parts it is 0.
    """
    recipe = replace(recipe, modality_dropout=0.0, augmentation="none", loss=loss)
    learners = []
    for parts in (1, 4):
        learners.append(Learner(replace(recipe, parts=parts)))
        learners[-1].figures = learners[-1].step(pairs, 0)
    whole, cached = learners

    assert pytest.approx(whole.figures["loss"], abs=1e-6) == cached.figures["loss"]
    assert pytest.approx(whole.figures["gradient"], rel=1e-4) == cached.figures["gradient"]
    torch.testing.assert_close(weights(whole), weights(cached), rtol=0, atol=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused(recipe: Recipe) -> None:
    """With the two numbers and the rule."""
    with pytest.raises(InvalidConfig, match="batch is 8, must be a multiple of 3"):
        Learner(replace(recipe, parts=3))


def test_an_absent_accelerator_is_named_before_anything_is_read(recipe: Recipe) -> None:
    """Not a traceback of a driver."""
    if torch.cuda.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(InvalidConfig, match="device 'cuda' cannot start"):
        Learner(replace(recipe, device="cuda"))


def test_weights_that_are_not_numbers_stop_the_run(recipe: Recipe, pairs: PairTable) -> None:
    """Never trained on, never exported."""
    learner = Learner(recipe)
    with torch.no_grad():
        next(learner.model.parameters()).fill_(float("nan"))
        learner.model.text_tower.widen.weight.fill_(float("nan"))
    with pytest.raises(TrainingStopped, match="step 1: the loss is nan"):
        learner.step(pairs, 0)


def test_towers_learn_at_their_own_rate(recipe: Recipe, pairs: PairTable) -> None:
    """At 0 a pretrained tower stays as it came, and fusion learns around it."""
    learner = Learner(replace(recipe, tower_rate=0.0))
    before = {name: each.detach().clone() for name, each in learner.model.named_parameters()}
    learner.step(pairs, 0)
    moved = {name for name, each in learner.model.named_parameters() if not torch.equal(each, before[name])}

    assert moved
    assert all(name.startswith("fusion.") for name in moved)


def test_half_precision_learns_too(recipe: Recipe, pairs: PairTable) -> None:
    """bfloat16 inside the model, float32 in the losses and the weights."""
    learner = Learner(replace(recipe, precision="bfloat16", modality_dropout=0.0))
    # The same step again, for another has another batch: falls for every seed of thirty.
    losses = [learner.step(pairs, 0)["loss"] for _ in range(8)]

    assert losses[-1] < losses[0]
    assert {torch.float32} == {each.dtype for each in learner.model.parameters()}


WORKER = """
import json, os, sys
from pathlib import Path
import torch
from uniecs.config import LossConfig, ModelConfig, Recipe
from uniecs.crew import join_crew
from uniecs.train import train

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # so that no rounding is seen
crew = join_crew(os.environ, "cpu")
folder = Path(sys.argv[1])
model = ModelConfig(**json.loads(sys.argv[2]))
recipe = Recipe(pairs=folder / "pairs.jsonl", batch=8, steps=3, warmup=0.0, threads=1, modality_dropout=0.0,
                augmentation="none", model=model, loss=LossConfig(weighting="uncertainty"))
from uniecs.learner import Learner
from uniecs.pairs import PairTable
from uniecs.rows import read_pairs
learner = Learner(recipe, crew)
pairs = PairTable(read_pairs(recipe.pairs), model)
for step in range(3):
    figures = learner.step(pairs, step)
torch.save({"weights": torch.cat([p.detach().flatten() for p in learner.model.parameters()]),
            "loss_weights": learner.criterion.weigher.weights()}, folder / f"{crew.size}-{crew.rank}.pt")
crew.part()
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path, tiny: ModelConfig) -> None:
    """As `torchrun` starts them; weights and loss weights are equal on both, and as one process has them."""
    rows = [
        {"query": {"text": w}, "candidate": {"text": f"{w} of clay"}}
        for w in ["mug", "bowl", "cup", "jar", "pan", "pot", "lid", "urn"]
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "worker.py").write_text(WORKER)
    shape = json.dumps(replace(tiny, dropout=0.0).as_json())
    together = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    runs = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "worker.py"), str(tmp_path), shape],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | more,
            stderr=subprocess.PIPE,
        )
        for more in ({}, together | {"RANK": "0"}, together | {"RANK": "1"})
    ]
    for run in runs:
        _, said = run.communicate(timeout=1_800)
        assert 0 == run.returncode, said.decode()
    alone, first, second = (torch.load(tmp_path / name) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))

    assert torch.equal(first["weights"], second["weights"])
    assert first["loss_weights"] == second["loss_weights"]
    np.testing.assert_allclose(alone["weights"].numpy(), first["weights"].numpy(), rtol=0, atol=2e-5)
