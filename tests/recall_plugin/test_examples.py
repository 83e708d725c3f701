"""What a docstring shows is what happens."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "module", ["recall_plugin.merge", "recall_plugin.query", "recall_plugin.query_vectors"]
)
def test_the_examples_in_docstrings_run(module: str) -> None:
    """As written."""
    result = doctest.testmod(import_module(module))

    assert 0 == result.failed
    assert result.attempted
