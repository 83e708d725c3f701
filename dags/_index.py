"""What every task about the index needs: settings, the database, and which errors are worth a retry."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from product_index.rebuild import Plan
    from product_index.settings import Settings
    from product_index.vector_store import VectorDatabase

# So long a task waits for the embedded folder, which is one process's at a time: a step takes seconds.
HELD_S = 120.0
_HELD_POLL_S = 0.2


def settings_of_run() -> "Settings":
    """Those of the environment; a `catalogue` among the run's parameters goes first."""
    from airflow.sdk import get_current_context

    from product_index.settings import read_settings

    settings, catalogue = read_settings(), get_current_context()["params"].get("catalogue")
    return settings.model_copy(update={"catalogue": catalogue}) if catalogue else settings


@contextmanager
def open_index(settings: "Settings") -> "Iterator[VectorDatabase]":
    """The database, closed at the end: an embedded folder is then free for the next task."""
    database = _connect(settings, deadline=time.monotonic() + HELD_S)
    try:
        yield database
    finally:
        database.close()


def _connect(settings: "Settings", *, deadline: float) -> "VectorDatabase":
    """Wait while a task of another run holds the embedded folder; a server answers or does not."""
    from product_index.build import build_database
    from product_index.errors import StoreUnavailable

    while True:
        try:
            return build_database(settings)
        except StoreUnavailable:
            if not settings.milvus_uri.endswith(".db") or time.monotonic() > deadline:
                raise
        time.sleep(_HELD_POLL_S)


@contextmanager
def build_of(plan: str, settings: "Settings") -> "Iterator[tuple[Plan, VectorDatabase]]":
    """A plan and the database, for a step of its build; skipped where a later build is served already."""
    from product_index.publish import still_wanted
    from product_index.rebuild import read_plan

    with hopeless_is_not_retried(), open_index(settings) as database:
        planned = read_plan(plan)
        with still_wanted(database, planned.alias, planned.collection):
            yield planned, database


@contextmanager
def hopeless_is_not_retried() -> Iterator[None]:
    """What will fail in the same way again fails at once; what is for nothing is skipped."""
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    from product_index.errors import ProductIndexError, Retryable, Superseded

    try:
        yield
    except Retryable:
        raise
    except Superseded as error:
        raise AirflowSkipException(str(error)) from error
    except ProductIndexError as error:
        raise AirflowFailException(str(error)) from error
