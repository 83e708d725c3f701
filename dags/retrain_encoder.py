"""Train a new encoder, and promote it if it loses nowhere.

1. **train** by the recipe, afresh or from the weights that are promoted; a killed run goes on where it was;
2. **judge_served** and **judge_new** ask both models the same held-out pairs, in nine scenarios;
3. **decide** compares them question by question, by a seeded bootstrap: one scenario that loses, and not by
   chance, is enough to refuse. What was decided, and by which figures, is kept in `UNIECS_MODELS/decisions`;
4. **promote** moves the link `UNIECS_MODELS/promoted` in one step. `refresh_product_index` hears of it and
   builds a collection with the new model; when that is served, `UNIECS_MODELS/live` follows, which is the
   UNIECS_MODEL of all who read. A refused model is no failure: promote is skipped, nothing else changes.

Needs UNIECS_MODELS, a folder that all workers share. It runs when somebody says that there are new pairs (the
asset `training_pairs`), or by hand.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from dags._manners import ENCODER, PAIRS, manners, pool


@dag(
    schedule=[PAIRS],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=manners(hours=2),
    params={
        "recipe": Param(
            None, type=["null", "string"], description="TOML file; UNIECS_RECIPE, else demo/encoder.toml."
        ),
        "start": Param(
            "fresh", enum=["fresh", "continue"], description="Random weights, or those that are promoted."
        ),
        "steps": Param(
            None, type=["null", "integer"], minimum=1, description="Instead of the recipe's number of steps."
        ),
        "held_out": Param(
            None, type=["null", "string"], description="Pairs to judge by; the recipe's validation without."
        ),
        "alpha": Param(
            0.05, type="number", exclusiveMinimum=0, maximum=0.5,
            description="How often a model that is as good may be refused.",
        ),
        "seed": Param(20, type="integer", description="Of the bootstrap."),
    },
    tags=["encoder", "on-demand"],
    doc_md=__doc__,
)  # fmt: skip
def retrain_encoder() -> None:
    """Pairs to an encoder that serves."""
    served = judge_served()
    draft = train()
    promote(draft, decide(served, judge_new(draft)))


@task(execution_timeout=timedelta(hours=24), pool=pool("gpu_embed"), max_active_tis_per_dag=1)
def train() -> str:
    """Train into a draft; return its folder."""
    from dags import _retraining as steps

    models, params = _models(), get_current_context()["params"]
    draft = models / f".draft-{_key()}"
    start_from = None
    with _hopeless_is_not_retried():
        if params["start"] == "continue":
            start_from = steps.served_model(models, os.environ.get("UNIECS_MODEL", ""))
            if start_from is None:
                raise _refusal("start is 'continue', but no model is promoted yet; train fresh")
        steps.train(steps.read_recipe(_recipe(), steps=params["steps"]), draft, start_from=start_from)
    return str(draft)


@task(pool=pool("gpu_embed"))
def judge_served() -> str | None:
    """Ask the model that is promoted now; None where there is none yet."""
    from dags import _retraining as steps

    with _hopeless_is_not_retried():
        served = steps.served_model(_models(), os.environ.get("UNIECS_MODEL", ""))
        if served is None:
            print("no model is promoted yet: whatever comes is better")
            return None
        return str(steps.judge(served, _held_out(), _answers() / "before.json"))


@task(pool=pool("gpu_embed"))
def judge_new(draft: str) -> str:
    """Ask the new model the same."""
    from dags import _retraining as steps

    with _hopeless_is_not_retried():
        return str(steps.judge(Path(draft), _held_out(), _answers() / "after.json"))


@task
def decide(before: str | None, after: str) -> dict[str, Any]:
    """Compare them; write down what was decided and why."""
    from dags import _retraining as steps

    params = get_current_context()["params"]
    decision = _models() / "decisions" / f"{_key()}.json"
    with _hopeless_is_not_retried():
        return steps.decide(
            Path(before) if before else None,
            Path(after),
            decision,
            seed=params["seed"],
            alpha=params["alpha"],
        )


@task(max_active_tis_per_dag=1, outlets=[ENCODER])
def promote(draft: str, decided: dict[str, Any], *, outlet_events: Any = None) -> str:
    """Keep the model and move the link; or drop it, and say why."""
    import structlog
    from airflow.sdk.exceptions import AirflowSkipException

    from dags import _models as kept
    from dags import _retraining as steps

    log, models = structlog.get_logger("dags"), _models()
    if not decided["promote"]:
        log.warning("promotion_refused", **decided)
        steps.drop_draft(Path(draft))
        raise AirflowSkipException(f"{decided['model_id']} is not promoted: {decided['reason']}")
    kept.keep(models, Path(draft), decided["model_id"])
    kept.point(models, kept.PROMOTED, decided["model_id"])
    log.info("promoted", **decided)
    outlet_events[ENCODER].extra = decided
    return str(models / decided["model_id"])


def _models() -> Path:
    from dags import _models as kept

    models = kept.models_folder()
    if models is None:
        raise _refusal("UNIECS_MODELS is not set; name a folder for models that all workers share")
    models.mkdir(parents=True, exist_ok=True)
    return models


def _key() -> str:
    """A name for the files of this run, the same at every try."""
    return hashlib.sha256(get_current_context()["dag_run"].run_id.encode()).hexdigest()[:12]


def _answers() -> Path:
    return _models() / "decisions" / _key()


def _recipe() -> Path:
    named = get_current_context()["params"]["recipe"] or os.environ.get("UNIECS_RECIPE", "")
    return Path(named or Path(__file__).resolve().parents[1] / "demo" / "encoder.toml")


def _held_out() -> Path:
    from dags import _retraining as steps

    asked = get_current_context()["params"]["held_out"]
    if asked:
        return Path(asked)
    recipe = steps.read_recipe(_recipe(), steps=None)
    if recipe.validation is None:
        raise _refusal(f"{_recipe()} names no validation pairs; give it some, or the run a held_out")
    return recipe.validation


@contextmanager
def _hopeless_is_not_retried() -> Iterator[None]:
    """What the model's room refuses, it will refuse again."""
    from uniecs.errors import UniecsError

    try:
        yield
    except UniecsError as error:
        raise _refusal(str(error)) from error


def _refusal(sentence: str) -> Exception:
    from airflow.sdk.exceptions import AirflowFailException

    return AirflowFailException(sentence)


retrain_encoder()
