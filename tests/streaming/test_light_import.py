"""A consumer that is asked for its help must not load a model."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["streaming", "streaming.__main__", "experiments.events.kafka_log"])
def test_importing_the_room_loads_no_heavy_client(module: str) -> None:
    """torch, pymilvus, onnxruntime and pyarrow load when they are chosen."""
    code = (
        f"import sys, importlib; importlib.import_module({module!r});"
        "print(sorted({'torch', 'pymilvus', 'onnxruntime', 'pyarrow', 'kafka'} & set(sys.modules)))"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == told.stdout.strip()
