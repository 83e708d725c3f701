"""Where encoders are kept, which is promoted, and which is live. Files only; nothing here knows Airflow.

    UNIECS_MODELS/uniecs-0123456789ab/    one folder per model, named by its id
    UNIECS_MODELS/promoted -> uniecs-...  what the next rebuild embeds with
    UNIECS_MODELS/live -> uniecs-...      of the collection that is served: UNIECS_MODEL of all who read
    UNIECS_MODELS/decisions/              what was decided, and by which figures

Two links, so that a reader that starts while the index is being rebuilt still
finds the model of what is served. A link moves in one step.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from product_index.rebuild import Plan
    from product_index.settings import Settings

PROMOTED, LIVE = "promoted", "live"


def models_folder() -> Path | None:
    """UNIECS_MODELS; None where models are not kept, and UNIECS_MODEL is all there is."""
    named = os.environ.get("UNIECS_MODELS", "")
    return Path(named).absolute() if named else None


def model_folder(models: Path, link: str) -> Path | None:
    """Where a link points, resolved now; None where there is none."""
    folder = (models / link).resolve()
    return folder if (models / link).is_symlink() and folder.is_dir() else None


def point(models: Path, link: str, model_id: str) -> bool:
    """Let the link point to a model, in one step; return whether that is news."""
    before = model_folder(models, link)
    if before is not None and before.name == model_id:
        return False
    draft = models / f".{link}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(model_id)
    os.replace(draft, models / link)
    return True


def keep(models: Path, draft: Path, model_id: str) -> Path:
    """Move a finished model to its place; again is the same as once."""
    place = models / model_id
    if not place.is_dir():
        os.rename(draft, place)
    return place


def follow(models: Path | None, model_id: str) -> bool:
    """Let `live` point to the model of what is served, if it is kept here; return whether that is news."""
    return models is not None and (models / model_id).is_dir() and point(models, LIVE, model_id)


def for_new_build(settings: "Settings") -> "Settings":
    """Settings with the model that a rebuild is to begin with: the promoted one."""
    models = models_folder()
    promoted = None if models is None else model_folder(models, PROMOTED)
    return settings if promoted is None else settings.model_copy(update={"uniecs_model": str(promoted)})


def for_build(settings: "Settings", plan: "Plan") -> "Settings":
    """Settings with the model that a rebuild began with, whatever was promoted meanwhile."""
    models = models_folder()
    if models is None or not (models / plan.spec.model_id).is_dir():
        return settings
    return settings.model_copy(update={"uniecs_model": str(models / plan.spec.model_id)})
