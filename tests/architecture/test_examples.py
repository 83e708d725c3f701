"""What docstrings show is what happens."""

import doctest
import importlib
import pkgutil

import pytest

ROOMS = ["uniecs", "experiments", "product_index", "recall_plugin", "streaming", "demo"]


def modules() -> list[str]:
    """Every module of every room; programs are left out, importing them is their tests' part."""
    found = []
    for room in ROOMS:
        package = importlib.import_module(room)
        found += [room, *(info.name for info in pkgutil.walk_packages(package.__path__, f"{room}."))]
    return [name for name in found if not name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_run(name: str) -> None:
    """An example that has gone stale is worse than none."""
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)

    assert 0 == failed
