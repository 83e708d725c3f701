"""A run learns, can be stopped anywhere, and leaves a model that serves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from uniecs.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402 - after the skip
from uniecs.config import LossConfig, ModelConfig, Recipe  # noqa: E402
from uniecs.errors import InvalidRows, TrainingStopped  # noqa: E402
from uniecs.fusion import Fused, Tokens  # noqa: E402
from uniecs.learner import Learner  # noqa: E402
from uniecs.model import UniECS  # noqa: E402
from uniecs.pairs import PairTable  # noqa: E402
from uniecs.rows import read_pairs  # noqa: E402
from uniecs.runtime import Row, Runtime  # noqa: E402
from uniecs.train import Silent, train  # noqa: E402

from .conftest import paint_picture  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]  # each export takes some seconds

COLOURS = ("red", "lime", "blue", "yellow", "black", "white", "cyan", "magenta")


@pytest.fixture
def recipe(tmp_path: Path, tiny: ModelConfig) -> Recipe:
    """Eight colours: a picture, what people call it, and a silent title."""
    rows = []
    for colour in COLOURS:
        (tmp_path / f"{colour}.png").write_bytes(paint_picture(colour))
        candidate = {"text": "bowl", "image": f"{colour}.png"}
        rows.append({"query": {"text": f"{colour} bowl", "image": f"{colour}.png"}, "candidate": candidate})
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Recipe(
        pairs=pairs,
        validation=pairs,
        steps=6,
        batch=8,
        learning_rate=3e-3,
        validate_every=3,
        save_every=2,
        threads=1,
        model=tiny,
    )


class StopAfter(Silent):
    def __init__(self, step: int) -> None:
        self.last = step

    def stepped(self, step: int, figures: dict[str, float]) -> None:
        if step == self.last:
            raise KeyboardInterrupt


def log_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "training" / "log.jsonl").read_text().splitlines()]


def test_a_stopped_and_resumed_run_ends_with_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    """Chance is a function of seed and step, and the checkpoint holds the rest."""
    recipe = replace(recipe, model=replace(recipe.model, dropout=0.2))
    through, broken = tmp_path / "through", tmp_path / "broken"
    whole = train(recipe, through)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, broken, watcher=StopAfter(3))
    resumed = train(recipe, broken, resume=True)

    assert whole.model_id == resumed.model_id
    assert log_of(through) == log_of(broken)
    assert "validation_recall_at_10" in log_of(through)[2]


def test_a_run_learns_and_exports_a_model_that_serves(recipe: Recipe, tmp_path: Path) -> None:
    """The loss falls, nine scenarios are judged, and onnxruntime loads what was written."""
    trained = train(replace(recipe, steps=40, validate_every=100), tmp_path / "model")
    losses = [line["loss"] for line in log_of(tmp_path / "model")]
    runtime = Runtime(tmp_path / "model")

    assert losses[-1] < 0.7 * losses[0]
    assert 9 == len(trained.scenarios)
    assert trained.model_id == runtime.model_id
    assert (1, 16) == runtime.embed([Row(text="红 bowl", picture=paint_picture("red"))]).shape


def test_a_checkpoint_of_another_recipe_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    """Half of one run and half of another is neither."""
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "model", watcher=StopAfter(1))
    with pytest.raises(TrainingStopped, match="made with another learning_rate"):
        train(replace(recipe, learning_rate=1e-4), tmp_path / "model", resume=True)


def test_a_setting_that_came_later_does_not_end_an_older_run(recipe: Recipe, tmp_path: Path) -> None:
    """A checkpoint that does not know it is gone on with, as long as it stands at its default."""
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, recipe=recipe, step=2, states={})
    saved = torch.load(file, weights_only=True)
    older = json.loads(saved["recipe"])
    del older["full_every"], older["model"]["entity_gate"]
    torch.save(saved | {"recipe": json.dumps(older)}, file)

    assert 2 == load_checkpoint(file, recipe=recipe)[0]
    with pytest.raises(TrainingStopped, match="made with another full_every"):
        load_checkpoint(file, recipe=replace(recipe, full_every=2))


def test_a_missing_picture_is_named_with_its_line(recipe: Recipe, tmp_path: Path) -> None:
    """Before the first step, not in the middle of the night."""
    (tmp_path / "blue.png").unlink()
    with pytest.raises(InvalidRows, match=r"line 3: query: picture .*blue.png cannot be opened"):
        train(recipe, tmp_path / "model")


def test_a_run_that_no_longer_improves_ends_with_its_best_weights(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience counts validations; what is exported is the best of them, not the last."""
    exported = []
    monkeypatch.setattr("uniecs.train.export_model", lambda model, _: exported.append(model) or "uniecs-x")
    # At such a rate nothing is learned: the first validation stays the best.
    recipe = replace(recipe, steps=50, validate_every=2, patience=3, learning_rate=1e-12)
    trained = train(recipe, tmp_path / "model")
    best = torch.load(tmp_path / "model" / "training" / "best.pt", weights_only=True)
    kept = best["states"]["model"]["fusion.types"]

    assert 8 == trained.steps  # the first and three more
    assert 2 == best["step"]
    assert torch.equal(kept, exported[0].fusion.types.detach())


def test_stage_one_aligns_before_fusion_learns(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says which stage a step was of, and the rate warms up again for the second."""
    monkeypatch.setattr("uniecs.train.export_model", lambda *_: "uniecs-x")
    loss = LossConfig(objective="beyond_text")
    train(replace(recipe, stage_one=0.5, loss=loss, validation=None), tmp_path / "model")
    log = log_of(tmp_path / "model")

    assert [1, 1, 1, 2, 2, 2] == [line["stage"] for line in log]
    assert {"align"} == {name for name in log[0] if name in ("align", "fused")}
    assert {"align", "fused"} == {name for name in log[5] if name in ("align", "fused")}
    assert log[3]["learning_rate"] > log[2]["learning_rate"]


def test_most_steps_may_learn_the_picture_with_the_text_and_nothing_else(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other side is encoded and nothing meets; in parts it is the same."""
    meetings: list[tuple[int, bool]] = []
    fuse = UniECS.fuse

    def counted(model: UniECS, image: Tokens, text: Tokens, *, meet: bool = True) -> Fused:
        meetings.append((len(image.present), bool((image.present & text.present).any())))
        return fuse(model, image, text, meet=meet)

    monkeypatch.setattr(UniECS, "fuse", counted)
    learner = Learner(replace(recipe, full_every=3))
    pairs = PairTable(read_pairs(recipe.pairs), recipe.model)
    figures = [learner.step(pairs, step) for step in range(4)]

    full, lone = [(16, False), (16, False), (16, True)], [(8, False), (8, False)]
    assert [*full, *lone, *lone, *full] == meetings
    assert [1, 0, 0, 1] == [int("cmal" in each) for each in figures]
    assert figures[1]["loss"] == figures[1]["picture_with_text"] > 0
    assert "picture_with_text" in Learner(replace(recipe, full_every=3, parts=2)).step(pairs, 1)
