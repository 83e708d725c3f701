"""Packages that cannot be among those of a checkout: fetched once into the user's cache."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from demo.kafka_broker import cache_folder

# A network that hangs is told from one that is slow by its silence.
IMPATIENT = {"UV_HTTP_TIMEOUT": "10", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_RETRIES": "0"}
_WHOLE_S = 600.0


class CannotFetch(Exception):
    """They do not come; the message says why."""


def packages(name: str, *wanted: str, prepare: Callable[[Path], None] = lambda _folder: None) -> Path:
    """The folder of that name in the cache, with these packages in it.

    Args:
        name: of the folder, with versions in it.
        wanted: as they are told to the installer; options, too.
        prepare: done once to what was fetched.

    Raises:
        CannotFetch: within seconds, where nothing answers.
    """
    folder = cache_folder() / name
    if folder.is_dir():  # renamed into place only when complete
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{name}-") as partial:
        part = Path(partial) / "packages"
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(part), *wanted]
        try:
            done = subprocess.run(
                command, env=IMPATIENT | os.environ, capture_output=True, text=True, timeout=_WHOLE_S
            )
        except subprocess.TimeoutExpired:
            raise CannotFetch(f"{name} cannot be fetched within {_WHOLE_S:g} s") from None
        if done.returncode:
            raise CannotFetch(f"{name} cannot be fetched: {' '.join(done.stderr.split())[:300]}")
        prepare(part)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was quicker
                raise
    return folder
