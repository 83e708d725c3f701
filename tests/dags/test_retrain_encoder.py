"""A new encoder is trained, judged beside the one that serves, promoted or not; then the index follows."""

import colorsys
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dags import _models

from .patience import PATIENT

ROOT = Path(__file__).parents[2]
COLOURS = 24

RECIPE = """
[data]
pairs = "pairs.jsonl"
validation = "pairs.jsonl"
[train]
steps = 2
batch = 24
learning_rate = 5e-3
threads = 1
[model]
width = 16
heads = 2
side_px = 32
channels = [4, 6, 8]
hash_rows = 256
gram_width = 8
max_tokens = 12
dropout = 0.0
"""

# One process for all: Airflow and torch take seconds to come up.
RUNS = """
import json, os, sys
from airflow.utils import db
from airflow.dag_processing.dagbag import DagBag
db.initdb()
def run(dag_id, **conf):
    dag = DagBag(dag_folder=f"dags/{dag_id}.py").dags[dag_id]
    done = dag.test(run_conf=conf)
    states = {one.task_id: str(one.state) for one in done.get_task_instances()}
    links = {link: os.path.basename(os.path.realpath(f"{os.environ['UNIECS_MODELS']}/{link}"))
             for link in ("promoted", "live")}
    print("RAN", json.dumps({"state": str(done.state), **states, **links}), flush=True)
run("retrain_encoder")
run("refresh_product_index")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pairs of a word and a colour, and a shop that sells two of them."""
    from PIL import Image

    rows = []
    for number in range(COLOURS):
        shade = tuple(
            int(255 * part) for part in colorsys.hsv_to_rgb(number / COLOURS, 1, 1 - number % 2 / 2)
        )
        buffer = io.BytesIO()
        Image.new("RGB", (40, 40), shade).save(buffer, "PNG")
        (tmp_path / f"{number}.png").write_bytes(buffer.getvalue())
        side = {"text": f"tone{number} bowl", "image": f"{number}.png"}
        rows.append({"query": side, "candidate": {**side, "text": f"jar {number * 7919}"}})
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "products.jsonl").write_text(
        '{"id": "a", "title": "jar"}\n{"id": "b", "title": "bowl"}'
    )
    return tmp_path


@pytest.mark.airflow
@pytest.mark.milvus
@pytest.mark.torch
@pytest.mark.slow
def test_a_model_is_trained_judged_promoted_and_then_served(folder: Path) -> None:
    """Both DAGs whole; the link of the readers moves with the index, not before."""
    pytest.importorskip("torch")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "KAFKA"))}
    environment = {
        **kept,
        **PATIENT,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "MILVUS_URI": str(folder / "index.db"),
        "CATALOGUE": str(folder / "shop"),
        "REBUILD_FOLDER": str(folder / "rebuild"),
        "UNIECS_MODEL": str(folder / "models" / "live"),
        "UNIECS_MODELS": str(folder / "models"),
        "UNIECS_RECIPE": str(folder / "recipe.toml"),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUNS], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800
    )

    lines = [line.removeprefix("RAN ") for line in done.stdout.splitlines() if line.startswith("RAN ")]
    assert 2 == len(lines), done.stdout[-3000:] + done.stderr[-3000:]
    first, refresh = map(json.loads, lines)
    assert ("success", "success") == (first["state"], first["promote"])
    model = first["promoted"]
    assert model.startswith("uniecs-")
    assert ("success", model, model) == (refresh["state"], refresh["promoted"], refresh["live"])
    (decision,) = (folder / "models" / "decisions").glob("*.json")
    assert "there is no model before it" == json.loads(decision.read_text())["reason"]
    assert [] == list((folder / "models").glob(".draft-*"))


def answers(folder: Path, name: str, *, found: float) -> Path:
    """What a model found: so large a share of the questions in every scenario."""
    ranks = [1 if place < found * 40 else 50 for place in range(40)]
    side = {"gallery": 99, "ranks": ranks, "units": [str(place) for place in range(40)]}
    forms = ("text", "image", "both")
    said = [{"query": one, "candidate": other, **side} for one in forms for other in forms]
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"model_id": name, "scenarios": said}))
    return path


def test_a_worse_model_is_refused_by_name_and_the_same_one_is_not_promoted_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The decision is kept with its figures; nobody has to look for why."""
    from dags import _retraining

    good, bad = answers(folder, "uniecs-good", found=0.9), answers(folder, "uniecs-bad", found=0.5)
    kept = folder / "decisions" / "run.json"

    refused = _retraining.decide(good, bad, kept, seed=1, alpha=0.05)
    assert (False, "uniecs-bad") == (refused["promote"], refused["model_id"])
    assert "loses in 9 of 9 scenarios: text -> text: R@10 0.900 -> 0.500" in refused["reason"]
    assert 9 == len(json.loads(kept.read_text())["comparisons"])
    assert 9 == capsys.readouterr().out.count("LOST")

    assert _retraining.decide(bad, good, kept, seed=1, alpha=0.05)["promote"]
    again = _retraining.decide(good, good, kept, seed=1, alpha=0.05)
    assert (False, "it is the model that is promoted already") == (again["promote"], again["reason"])


@pytest.mark.torch
def test_a_run_may_begin_with_the_weights_of_another_of_the_same_shape(folder: Path) -> None:
    """What is kept of that one is its checkpoint; its optimiser and its steps are not taken over."""
    pytest.importorskip("torch")
    import torch

    from dags import _retraining
    from uniecs.checkpoint import load_checkpoint, save_checkpoint
    from uniecs.errors import TrainingStopped
    from uniecs.learner import Learner

    recipe = _retraining.read_recipe(folder / "recipe.toml", steps=None)
    longer = _retraining.read_recipe(folder / "recipe.toml", steps=500)
    old = Learner(recipe)
    source, begun = folder / "old.pt", folder / "new" / "training" / "checkpoint.pt"
    save_checkpoint(source, recipe=recipe, step=60, states=old.state())

    _retraining.begin_with(source, longer, begun)

    step, states = load_checkpoint(begun, recipe=longer)
    assert 0 == step
    weights = old.model.state_dict()
    assert weights.keys() == states["model"].keys()
    assert all(torch.equal(weights[name], states["model"][name]) for name in weights)
    with pytest.raises(TrainingStopped, match=r"another \[model\]"):
        _retraining.begin_with(source, replace(recipe, model=replace(recipe.model, width=32)), begun)
    with pytest.raises(TrainingStopped, match="cannot be read"):
        _retraining.begin_with(folder / "nothing.pt", recipe, begun)


def test_a_link_moves_in_one_step_and_only_to_what_is_kept(tmp_path: Path) -> None:
    draft = tmp_path / ".draft"
    draft.mkdir()
    assert None is _models.model_folder(tmp_path, "promoted")

    for _ in range(2):  # a retry after the draft has gone to its place
        assert tmp_path / "uniecs-1" == _models.keep(tmp_path, draft, "uniecs-1")
    assert [True, False] == [_models.point(tmp_path, "promoted", "uniecs-1") for _ in range(2)]
    assert tmp_path / "uniecs-1" == _models.model_folder(tmp_path, "promoted")

    assert not _models.follow(tmp_path, "uniecs-2")
    assert not _models.follow(None, "uniecs-1")
    assert _models.follow(tmp_path, "uniecs-1")
    assert ["live", "promoted", "uniecs-1"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.milvus
def test_the_readers_model_follows_what_is_served_after_a_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one command; a model that is not kept there is named."""
    from dags.__main__ import app
    from product_index.milvus import MilvusVectorDatabase
    from product_index.vector_store import CollectionSpec

    models = tmp_path / "models"
    for name in ("uniecs-old", "uniecs-new"):
        (models / name).mkdir(parents=True)
    _models.point(models, "live", "uniecs-new")
    monkeypatch.setenv("MILVUS_URI", str(tmp_path / "index.db"))
    monkeypatch.setenv("UNIECS_MODELS", str(models))
    database = MilvusVectorDatabase(str(tmp_path / "index.db"))
    for name in ("uniecs-old", "uniecs-lost"):
        spec = CollectionSpec(dimension=4, model_id=name, preprocess_version="1")
        database.create(name.replace("-", "_"), spec)
    database.switch("products", "uniecs_old")
    database.close()

    said = [CliRunner().invoke(app, ["model"]).output for _ in range(2)]
    assert ["restart what reads", "as before"] == [one.strip().rpartition(", ")[2] for one in said]
    assert models / "uniecs-old" == _models.model_folder(models, "live")

    database = MilvusVectorDatabase(str(tmp_path / "index.db"))
    database.switch("products", "uniecs_lost")
    database.close()
    lost = CliRunner().invoke(app, ["model"])
    assert (2, True) == (lost.exit_code, "uniecs-lost is served, but is not kept in" in lost.output)
    assert models / "uniecs-old" == _models.model_folder(models, "live")
