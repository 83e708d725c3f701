"""What every task about the index needs: settings, the database, and which errors are worth a retry."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from product_index.settings import Settings
    from product_index.vector_store import VectorDatabase


def settings_of_run() -> "Settings":
    """Those of the environment; a `catalogue` among the run's parameters goes first."""
    from airflow.sdk import get_current_context

    from product_index.settings import read_settings

    settings, catalogue = read_settings(), get_current_context()["params"].get("catalogue")
    return settings.model_copy(update={"catalogue": catalogue}) if catalogue else settings


@contextmanager
def open_index(settings: "Settings") -> "Iterator[VectorDatabase]":
    """The database, closed at the end: an embedded folder is then free for the next task."""
    from product_index.build import build_database

    database = build_database(settings)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def hopeless_is_not_retried() -> Iterator[None]:
    """What will fail in the same way again fails at once."""
    from airflow.sdk.exceptions import AirflowFailException

    from product_index.errors import ProductIndexError, Retryable

    try:
        yield
    except Retryable:
        raise
    except ProductIndexError as error:
        raise AirflowFailException(str(error)) from error
