"""The workshop's own tools are content; the same commands are `make lint` and `make types`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["codespell"],
        ["mypy"],
    ],
    ids=["lint", "format", "spelling", "types"],
)
def test_the_tools_are_content(command: list[str]) -> None:
    """Strict types on the rooms, one style everywhere."""
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=1800
    )

    assert 0 == done.returncode, done.stdout + done.stderr
