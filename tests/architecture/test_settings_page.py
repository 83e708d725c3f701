"""The page of settings says what the classes say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_settings_is_what_the_rooms_declare() -> None:
    """Who looks a setting up must not read of one that is gone, nor miss one that is new."""
    said = subprocess.run(
        [sys.executable, "scripts/settings_page.py", "--check"],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
    )

    assert (0, "") == (said.returncode, said.stderr)
