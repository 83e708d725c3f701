"""A run of a DAG ends when it is told to, whatever a task is doing."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_sigterm_ends_a_run_whose_task_has_put_its_own_answer_in_place() -> None:
    """Airflow's tasks do: they tell the operator, and go on."""
    code = (
        "import signal, time; from dags.__main__ import _end_on_sigterm\n"
        "_end_on_sigterm()\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('on_kill'))\n"
        "print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert "up\n" == running.stdout.readline()

        running.send_signal(signal.SIGTERM)

        assert 128 + signal.SIGTERM == running.wait(300)
