"""Airflow, told where to live before anything imports it."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="session")
def dag_bag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Every DAG of the folder, parsed as Airflow's own processor does; no database is needed."""
    pytest.importorskip("airflow", reason="Airflow is not installed; install the extra 'dags'")
    home = tmp_path_factory.mktemp("airflow")
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
    }
    kept = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    with warnings.catch_warnings():
        # Airflow and what it imports deprecate among themselves; nothing of it is ours.
        warnings.simplefilter("ignore")
        from airflow.dag_processing.dagbag import DagBag

        yield DagBag(dag_folder=str(FOLDER))
    for name, value in kept.items():
        if value is None:
            os.environ.pop(name)
        else:
            os.environ[name] = value
