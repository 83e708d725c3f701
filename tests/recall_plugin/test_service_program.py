"""`python -m recall_plugin serve`, as a process manager runs it: signals, and its own sidecar beside it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.processes import free_port
from recall_plugin.errors import InvalidSettings
from recall_plugin.service.trying import check_index, settings_for_trying
from recall_plugin.settings import Settings
from tests.recall_plugin.doubles import PATIENCE_S, PROGRAM_S, wait_for
from tests.recall_plugin.serving import ASKED, PACKAGED, TOKEN, client_at

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a socket's address has about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="sv-", dir="/tmp") as made:
        yield Path(made)


def start(folder: Path, *command: str, **environment: str) -> "subprocess.Popen[str]":
    there = {"PYTHONPATH": str(ROOT), "PATH": "", "UNIECS_MODEL": "hash", "MILVUS_URI": "http://127.0.0.1:1"}
    return subprocess.Popen(
        [sys.executable, "-m", "recall_plugin", *command],
        cwd=folder,
        env=there | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_it_reloads_at_a_hang_up_and_ends_well_without_dropping_a_request(folder: Path) -> None:
    """Asked all the while; its channels run in a sidecar that it starts itself, and that ends after it."""
    definitions, port = folder / "definitions", free_port()
    definitions.mkdir()
    shutil.copy(PACKAGED, definitions)
    environment = {
        "RECALL_PORT": str(port),
        "RECALL_EVENTS": str(folder / "events"),
        "EXPERIMENTS": str(definitions),
        "RECALL_SIDECAR_SOCKET": str(folder / "s"),
        "RECALL_SIDECAR_START": "true",
        "RECALL_SIDECAR_GIVES_WAY": "false",
    }
    running = start(folder, "serve", **environment)
    statuses: list[int] = []
    stop = threading.Event()
    with client_at(f"http://127.0.0.1:{port}") as client:
        wait_for(lambda: answers(client) or running.poll() is not None)

        def ask_on() -> None:
            while not stop.is_set():
                statuses.append(client.post("/recall", json=ASKED | {"wait_ms": 0}).status_code)

        # Nobody has asked yet: readiness alone has the sidecar started.
        wait_for(lambda: "no sidecar answers" not in client.get("/ready").text)
        asker = threading.Thread(target=ask_on)
        asker.start()
        file = definitions / PACKAGED.name
        file.write_text(file.read_text().replace('phase = "1"', 'phase = "2"'))
        running.send_signal(signal.SIGHUP)
        wait_for(lambda: client.get("/experiments").json()[0]["phase"] == "2")
        file.write_text("nonsense")
        running.send_signal(signal.SIGHUP)
        wait_for(lambda: 'outcome="refused"} 1.0' in client.get("/metrics").text)
        stop.set()
        asker.join()
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate(timeout=PROGRAM_S)

    assert 0 == running.returncode, said
    assert {200} == set(statuses)
    assert f"http://127.0.0.1:{port}" in said
    assert list((folder / "events").iterdir()), "exposures are on the disk"
    (pid,) = sidecars(folder / "s")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not (folder / "s").exists())


def sidecars(path: Path) -> list[int]:
    """The process that serves a socket."""
    from recall_plugin.errors import SidecarAway
    from recall_plugin.sidecar.client import SidecarLine, describe

    try:
        return [describe(SidecarLine(path), within_s=PATIENCE_S).pid]
    except SidecarAway:
        return []


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RECALL_HOST": "shop.internal"}, "set RECALL_TOKEN"),
        ({"RECALL_HOST": "192.0.2.1", "RECALL_TOKEN": TOKEN}, "192.0.2.1:8080 cannot be listened at"),
        ({}, "RECALL_EVENTS"),
    ],
)
def test_what_keeps_it_from_serving_is_one_sentence(
    folder: Path, environment: dict[str, str], says: str
) -> None:
    """Exit 2, before anything listens."""
    said, _ = (running := start(folder, "serve", **environment)).communicate(timeout=PROGRAM_S)

    assert 2 == running.returncode, said
    assert says in said
    assert said.splitlines()[-1].startswith("error: ")


def test_the_console_is_tried_on_definitions_of_its_own(tmp_path: Path) -> None:
    """Nothing that ships is changed by a ramp; what is there already stays as it is."""
    settings = Settings(_env_file=None)
    first = settings_for_trying(settings, tmp_path, token=TOKEN)
    assert first.experiments is not None
    (first.experiments / PACKAGED.name).write_text("changed")
    again = settings_for_trying(settings, tmp_path, token=TOKEN)

    assert ("process", TOKEN) == (first.channels_in, first.token.get_secret_value())
    assert first == again
    assert "changed" == (first.experiments / PACKAGED.name).read_text()
    with pytest.raises(InvalidSettings, match="`make demo` makes one"):
        check_index(str(tmp_path / "none.db"))
    check_index("http://127.0.0.1:19530")
