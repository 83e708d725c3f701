"""Loading channels: each by itself, only those that are planned."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import structlog

from recall_plugin.build import (
    CHANNEL_GROUP,
    build_channels,
    build_event_log,
    installed_channels,
    load_channels,
)
from recall_plugin.channels import Channel
from recall_plugin.channels.in_memory import InMemoryChannel
from recall_plugin.errors import BrokenChannel, InvalidSettings
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import ChannelRequest, Query
from recall_plugin.settings import Settings, read_settings
from tests.recall_plugin.doubles import PROGRAM_S, finds, hits

ROOT = Path(__file__).parents[2]


def sound(_: Settings) -> Channel:
    return finds("new", name="sound")


def misnamed(_: Settings) -> Channel:
    return finds("new", name="other")


def broken(_: Settings) -> Channel:
    raise FileNotFoundError("no model here")


def exiting(_: Settings) -> Channel:
    raise SystemExit(1)


def declared(**channels: str) -> list[EntryPoint]:
    return [
        EntryPoint(name=name, value=value if ":" in value else f"{__name__}:{value}", group=CHANNEL_GROUP)
        for name, value in channels.items()
    ]


def settings(**fields: object) -> Settings:
    given: dict[str, Any] = {"_env_file": None} | fields
    return Settings(**given)


@pytest.mark.parametrize(
    "value", ["broken", "exiting", "misnamed", "no_such_function", "no.such.module:make"]
)
def test_one_broken_channel_takes_no_other_with_it(value: str) -> None:
    """It is logged and left out; the base is served without it."""
    with structlog.testing.capture_logs() as lines:
        loaded = load_channels(["third", "sound"], settings(), installed=declared(third=value, sound="sound"))

    assert ["sound"] == [channel.name for channel in loaded]
    # Threads of other tests may still have something to say.
    assert ["third"] == [line["channel"] for line in lines if line["event"] == "channel_left_out"]


def test_in_strict_mode_a_broken_channel_is_an_error() -> None:
    """For CI, where somebody reads it."""
    with pytest.raises(BrokenChannel, match="no model here"):
        load_channels(["third"], settings(strict_channels=True), installed=declared(third="broken"))


def test_a_planned_channel_that_is_not_installed_is_told_by_name() -> None:
    """With what there is, and what to do."""
    with pytest.raises(BrokenChannel, match="no channel 'style' is installed; there are: sound"):
        load_channels(["style"], settings(strict_channels=True), installed=declared(sound="sound"))


def test_a_channel_that_no_plan_names_is_not_even_imported() -> None:
    """Installing a package must not put its code on the request path."""
    assert [] == load_channels([], settings(strict_channels=True), installed=declared(third="no.such:thing"))


def test_the_uniecs_channel_is_installed_under_its_name() -> None:
    """As the packaged experiment's plan calls it."""
    assert "uniecs" in installed_channels()


def test_channels_run_in_a_sidecar_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    """Nothing of a channel is imported into the funnel's process then."""
    beside = build_channels(["no-such-channel", "uniecs"], settings(sidecar_socket=tmp_path / "s"))
    here = build_channels(["no-such-channel"], settings(channels_in="process"))

    assert ["no-such-channel", "uniecs"] == [channel.name for channel in beside]
    assert [] == here
    with pytest.raises(InvalidSettings, match="at most 103"):
        build_channels(["uniecs"], settings(sidecar_socket=tmp_path / ("s" * 120)))


def test_events_need_somewhere_to_go() -> None:
    """An experiment without a log is worth nothing: said at the start."""
    with pytest.raises(InvalidSettings, match="KAFKA_BOOTSTRAP is not set"):
        build_event_log(settings())
    with pytest.raises(InvalidSettings, match="KAFKA_BOOTSTRAP"):
        RecallPlugin.from_settings(settings())


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By the names that all rooms use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECALL_GRACE_MS", "25")
    monkeypatch.setenv("RECALL_FLOOR_IMAGE", "0.3")
    monkeypatch.setenv("EXPERIMENTS", str(tmp_path))
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:9092")
    read = read_settings()

    assert (25, 0.3, tmp_path, "127.0.0.1:9092") == (
        read.grace_ms,
        read.floor_image,
        read.experiments,
        read.kafka_bootstrap,
    )


@pytest.mark.parametrize(
    ("name", "value"), [("RECALL_GRACE_MS", "-1"), ("RECALL_FLOOR_TEXT", "1.5"), ("RECALL_IN_FLIGHT", "many")]
)
def test_a_setting_that_breaks_a_rule_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    """The variable, its value and the rule."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSettings, match=f"^{name} is '{value}': .*; correct it in the environment"):
        read_settings()


def test_the_twin_of_a_channel_keeps_to_limit_and_filters() -> None:
    """It ships, for a first try."""
    channel = InMemoryChannel({"mug": hits("a", "b", "c")})
    query = Query(text="mug", limit=2)
    request = ChannelRequest(query=query, limit=2, deadline_s=0, request_id="q", unit_id="u")

    assert ["a", "b"] == [hit.product_id for hit in channel.find(request).hits]
    channel.close()


def test_importing_the_plugin_loads_no_heavy_client() -> None:
    """A search service pays for a model only where it runs one."""
    heavy = ["torch", "pymilvus", "onnxruntime", "kafka", "duckdb", "fastapi", "uvicorn", "PIL"]
    code = (
        "import sys, recall_plugin.plugin, recall_plugin.channels.uniecs\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=PROGRAM_S, cwd=ROOT)

    assert (0, "") == (done.returncode, done.stdout.strip()), done.stderr


def check(*options: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "recall_plugin", "check", *options]
    paths = {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run(
        command,
        capture_output=True,
        check=False,
        text=True,
        timeout=PROGRAM_S,
        cwd=cwd,
        env=paths | environment,
    )


def test_check_says_what_would_run(tmp_path: Path) -> None:
    """Before the first shopper does."""
    done = check("--no-ask", cwd=tmp_path, RECALL_GRACE_MS="30")

    assert 0 == done.returncode, done.stderr
    assert "100% of its slots, from 2026-01-05, on" in done.stdout
    assert "treatment 50%: uniecs by AppendQuota(protected_head=4, quota=8, every=2)" in done.stdout
    assert "plus 30 ms" in done.stdout
    assert ("", 1) == (done.stderr, done.stdout.count("sidecar at"))  # said in words, not logged as well


def test_check_tells_a_monitor(tmp_path: Path) -> None:
    """One document; a sidecar that does not answer is a fact of it, not a failure."""
    socket = str(tmp_path / "nobody.sock")
    done = check("--no-ask", "--json", cwd=tmp_path, RECALL_SIDECAR_SOCKET=socket)
    told = json.loads(done.stdout)

    assert (0, "") == (done.returncode, done.stderr)
    assert ("uniecs-recall", True, []) == tuple(told[name] for name in ("experiment", "on", "asked"))
    assert [[], ["uniecs"]] == [one["channels"] for one in told["variants"]]
    assert {"socket": socket, "answers": False, "channels": {}} == told["sidecar"]


def test_check_tells_what_keeps_it_from_running(tmp_path: Path) -> None:
    """One line, exit 2."""
    done = check("--no-ask", cwd=tmp_path, EXPERIMENTS=str(tmp_path / "nowhere"))

    assert 2 == done.returncode
    assert done.stderr.startswith("error: ")
    assert 1 == len(done.stderr.splitlines())


@pytest.mark.milvus
def test_check_asks_each_planned_channel_once(tmp_path: Path, milvus_lite_server: str) -> None:
    """Loaded is not yet working: here nothing is served under the alias."""
    there = {"MILVUS_URI": milvus_lite_server, "UNIECS_MODEL": "hash", "PRODUCT_ALIAS": "nothing_here"}
    done = check(cwd=tmp_path, **there)

    assert 1 == done.returncode, done.stderr
    assert "asked       uniecs: off, no collection or alias 'nothing_here'" in done.stdout

    told = check("--json", cwd=tmp_path, **there)
    (asked,) = json.loads(told.stdout)["asked"]
    assert (1, "uniecs", "off", False) == (
        told.returncode,
        *(asked[name] for name in ("channel", "status", "answered")),
    )
