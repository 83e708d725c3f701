"""Fixtures of the stream's tests."""

import pytest

from .making import Bench


@pytest.fixture
def bench() -> Bench:
    """A fresh bench."""
    return Bench()
