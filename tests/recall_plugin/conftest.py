"""Recall behind the same doors in every test: no environment, no `.env`, no lines on the screen."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("RECALL_GRACE_MS", "RECALL_SWITCHES", "EXPERIMENTS", "KAFKA_BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    with structlog.testing.capture_logs():
        yield


@pytest.fixture(params=["recall", "arecall"])
def how(request: pytest.FixtureRequest) -> str:
    """The sync and the async door."""
    return str(request.param)


@pytest.fixture
def path() -> Iterator[Path]:
    """Of a sidecar's socket. Short: a socket's address has about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as folder:
        yield Path(folder) / "s"
