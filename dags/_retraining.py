"""The steps of a retraining: train, judge, decide. Plain functions; each may run twice."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dags._models import PROMOTED, model_folder

if TYPE_CHECKING:
    from uniecs.config import Recipe
    from uniecs.evaluate import Judged


def read_recipe(path: Path, *, steps: int | None) -> "Recipe":
    """The recipe, with another number of steps if that is asked for."""
    from uniecs.recipe import read_recipe as read

    recipe = read(path)
    return recipe if steps is None else replace(recipe, steps=steps)


def served_model(models: Path, fallback: str) -> Path | None:
    """What a new model is compared with: the promoted one, else UNIECS_MODEL, else nothing."""
    promoted = model_folder(models, PROMOTED)
    if promoted is not None:
        return promoted
    return Path(fallback).resolve() if (Path(fallback) / "config.json").is_file() else None


def train(recipe: "Recipe", draft: Path, *, start_from: Path | None) -> str:
    """Train and export into the draft's folder, going on where a killed run was; return the model's id.

    Args:
        recipe: what to learn from.
        draft: folder of the new model.
        start_from: a model whose weights it begins with; None begins afresh.
    """
    from uniecs.train import train as run

    checkpoint = draft / "training" / "checkpoint.pt"
    if start_from is not None and not checkpoint.is_file():
        begin_with(start_from / "training" / "checkpoint.pt", recipe, checkpoint)
    trained = run(recipe, draft, resume=True)
    print(f"{trained.model_id} after {trained.steps} steps")
    return trained.model_id


def begin_with(source: Path, recipe: "Recipe", checkpoint: Path) -> None:
    """Write the checkpoint of a run that has taken no step and has the weights of another.

    Raises:
        TrainingStopped: there is no such checkpoint, or its model has another shape.
    """
    from uniecs.checkpoint import load_model, save_checkpoint
    from uniecs.errors import TrainingStopped
    from uniecs.learner import Learner

    shape, weights = load_model(source)
    if shape != recipe.model:
        raise TrainingStopped(
            f"{source} has another [model] than the recipe; give it that one, or train fresh"
        )
    learner = Learner(recipe)
    learner.model.load_state_dict(weights)
    states = learner.state() | {"patience": {"best": -1.0, "waited": 0}}
    save_checkpoint(checkpoint, recipe=recipe, step=0, states=states)


def judge(model: Path, pairs: Path, answer: Path) -> Path:
    """Write what the model finds for held-out pairs, question by question, in the nine scenarios."""
    import numpy as np

    from uniecs.evaluate import judge as ask
    from uniecs.rows import read_pairs
    from uniecs.runtime import Runtime

    runtime = Runtime(model)
    found = ask(
        read_pairs(pairs),
        lambda items: np.concatenate(list(runtime.embed_items((str(item), item) for item in items))),
    )
    said = [
        {
            "query": one.query,
            "candidate": one.candidate,
            "gallery": one.gallery,
            "ranks": one.ranks.tolist(),
            "units": one.units,
        }
        for one in found
    ]
    answer.parent.mkdir(parents=True, exist_ok=True)
    answer.write_text(json.dumps({"model_id": runtime.model_id, "scenarios": said}), encoding="utf-8")
    return answer


def decide(before: Path | None, after: Path, decision: Path, *, seed: int, alpha: float) -> dict[str, Any]:
    """Compare the two, write down what was decided and why, and return it."""
    from uniecs.promotion import Decision, compare
    from uniecs.promotion import decide as weigh

    new_id, new = _answer(after)
    if before is None:
        verdict = Decision(promote=True, reason="there is no model before it", comparisons=())
    else:
        old_id, old = _answer(before)
        verdict = weigh(compare(old, new, seed=seed, alpha=alpha))
        if old_id == new_id:
            verdict = replace(verdict, promote=False, reason="it is the model that is promoted already")
    said = {"model_id": new_id, **verdict.as_dict()}
    decision.parent.mkdir(parents=True, exist_ok=True)
    decision.write_text(json.dumps(said, indent=1), encoding="utf-8")
    for one in verdict.comparisons:
        print(
            f"{one.query:>5} -> {one.candidate:5} {one.questions:6} questions  R@10 {one.before:.3f} -> "
            f"{one.after:.3f}  [{one.low:+.3f}, {one.high:+.3f}]{'  LOST' if one.lost else ''}"
        )
    return {"model_id": new_id, "promote": verdict.promote, "reason": verdict.reason}


def drop_draft(draft: Path) -> None:
    """Remove what a refused or finished retraining kept in files."""
    shutil.rmtree(draft, ignore_errors=True)


def _answer(path: Path) -> "tuple[str, Sequence[Judged]]":
    import numpy as np

    from uniecs.evaluate import Judged

    said = json.loads(path.read_text(encoding="utf-8"))
    return said["model_id"], [
        Judged(
            query=one["query"],
            candidate=one["candidate"],
            gallery=one["gallery"],
            ranks=np.array(one["ranks"], dtype=np.int64),
            ndcg=np.zeros(len(one["ranks"])),
            units=tuple(one["units"]),
        )
        for one in said["scenarios"]
    ]
