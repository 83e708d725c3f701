"""What the tests of this room share: the packaged experiment, and a place for logs."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.definition import Experiment, load_experiments
from tests.experiments.logs import write_archive

Archive = Callable[[Iterable[Mapping[str, Any]], Iterable[Mapping[str, Any]]], Path]


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """The packaged experiment."""
    return load_experiments()["uniecs-recall"]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Write events to a new archive and return its folder."""
    return lambda exposures, outcomes: write_archive(tmp_path / "logs", exposures, outcomes)
