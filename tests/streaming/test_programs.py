"""`python -m streaming` as people run it: real Kafka, real milvus-lite, processes that are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest

from experiments.events.kafka_log import KafkaEventLog
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from streaming.build import group_lag
from streaming.freshness import read_freshness
from streaming.kafka import ensure_topics

from .making import change_json, click, exposure

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300.0  # nothing takes so long, on however busy a machine


class Programs:
    """Runs the room's programs in an environment of their own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        # Only what is told here: a developer's own settings must not reach the test.
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "MILVUS_"))
        }
        self.environment = {**kept, "PYTHONPATH": str(ROOT), **environment}

    def run(self, *arguments: str, told: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run to the end."""
        return subprocess.run(
            [sys.executable, "-m", "streaming", *arguments],
            input=told,
            capture_output=True,
            cwd=self.folder,
            env=self.environment,
            timeout=TIMEOUT_S,
            check=False,
        )

    def status(self, *arguments: str) -> str:
        """What it says; it does not wait for a broker that is busy, so a person asks again."""
        answers: list[str] = []

        def answered() -> bool:
            told = self.run("status", *arguments)
            answers.append(told.stdout.decode() + told.stderr.decode())
            return told.returncode == 0

        self.wait_for(answered)
        return answers[-1]

    @contextmanager
    def started(self, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
        """Run beside the test; ended for certain."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "streaming", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def wait_for(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not ready():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)


@pytest.fixture
def programs(tmp_path: Path, kafka_bootstrap: str, unique_name: Callable[[str], str]) -> Programs:
    return Programs(
        tmp_path,
        KAFKA_BOOTSTRAP=kafka_bootstrap,
        CHANGES_TOPIC=unique_name("changes"),
        EXPOSURES_TOPIC=unique_name("exposures"),
        OUTCOMES_TOPIC=unique_name("outcomes"),
        CONSUMER_GROUP=unique_name("index"),
        ARCHIVE_GROUP=unique_name("archive"),
        CONSUMER_SESSION_TIMEOUT_S="6",  # so long the next one waits for what a killed one had
        MILVUS_TIMEOUT_S="120",
        TOPIC_PARTITIONS="2",
        EXPERIMENT_LOGS=str(tmp_path / "archive"),
        UNIECS_MODEL="hash",
        BATCH_SIZE="16",
    )


@pytest.mark.kafka
@pytest.mark.milvus
def test_a_consumer_that_is_killed_leaves_the_index_as_if_it_had_not_been(
    programs: Programs, milvus_lite_server: str, unique_name: Callable[[str], str]
) -> None:
    """Published by one program, kept by another, killed once, told to stop at the end."""
    from product_index.milvus import MilvusVectorDatabase

    alias = unique_name("products").replace("-", "_")
    programs.environment |= {"MILVUS_URI": milvus_lite_server, "PRODUCT_ALIAS": alias}
    database = MilvusVectorDatabase(milvus_lite_server, timeout_s=120)
    store = database.create(f"{alias}_green", spec_of(HashEncoder()))
    database.switch(alias, f"{alias}_green")
    ids = [f"p-{number}" for number in range(120)]
    first = [change_json(one, version=1) for one in ids]
    second = [change_json(one, version=2, title="blue cup") for one in ids[:40]]
    priced = [change_json(one, version=2, title="red mug, mark 1", price=5.0) for one in ids[40:60]]
    removed = [change_json(one, op="delete", version=3) for one in ids[100:]]
    stale = [change_json(one, version=1, title="old") for one in ids[:10]]

    def behind() -> int:
        connection = {"bootstrap_servers": [programs.environment["KAFKA_BOOTSTRAP"]]}
        topic, group = programs.environment["CHANGES_TOPIC"], programs.environment["CONSUMER_GROUP"]
        return sum(one.behind for one in group_lag(connection, [topic], group=group))

    published = programs.run("publish", "-", told=b"\n".join(first))
    assert (0, b"120 changes published") == (published.returncode, published.stdout[:21]), published.stderr
    with programs.started("consume") as killed:
        programs.wait_for(lambda: behind() < 120)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    written = store.fingerprints(ids)  # the others are new to the next one, whatever their version
    programs.run("publish", "-", told=b"\n".join([*second, *priced, *removed]))
    programs.run("publish", "-", "--as-is", told=b"\n".join([*stale, b'{"product_id": "p-1"}']))
    arguments = ("consume", "--freshness-log", "freshness.jsonl", "--metrics-port", "0")
    programs.environment["CONSUMER_SESSION_TIMEOUT_S"] = "60"  # it may stand still, and still does each once
    with programs.started(*arguments) as told_to_stop:
        programs.wait_for(lambda: behind() == 0)
        (port,) = set(re.findall(r"http://127\.0\.0\.1:(\d+)/metrics", (programs.folder / "log").read_text()))
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=TIMEOUT_S) as healthy:
            assert 200 == healthy.status
        fresh = programs.status("--metrics-port", port, "--over-s", "0.2")
        assert re.search(r"  scalar: \d+ changes, half within", fresh)
        told_to_stop.send_signal(signal.SIGTERM)
        assert 0 == told_to_stop.wait(TIMEOUT_S), (programs.folder / "log").read_text()[-3000:]

    rows = store.get(ids)
    assert 100 == store.count()
    assert {1: 40, 2: 60, 3: 20} == {
        version: sum(row.fingerprint.version == version for row in rows.values()) for version in (1, 2, 3)
    }
    assert {"blue cup"} == {rows[one].title for one in ids[:40]}
    assert {5.0} == {rows[one].price for one in ids[40:60]}
    classes = {
        outcome: len(times) for outcome, times in read_freshness(programs.folder / "freshness.jsonl").items()
    }
    assert (20, 1) == (classes["delete"], classes["poison"])
    assert sum(one in written for one in ids[:40]) <= classes.get("text", 0) <= 40
    assert sum(one in written for one in ids[40:60]) <= classes.get("scalar", 0) <= 20
    figures = json.loads(programs.status("--json", "--over-s", "0.2"))
    assert (programs.environment["CONSUMER_GROUP"], 0) == tuple(
        figures["groups"][0][name] for name in ("group", "behind")
    )
    assert 1 == figures["dead_letters_not_replayed"]
    status = programs.status()
    assert f"{programs.environment['CONSUMER_GROUP']}: 0 messages behind" in status
    assert "dead letters not replayed: 1" in status
    letters = programs.run("dead-letters").stdout.decode()
    assert re.search(r"^p-1: decode: .+ \[\S+/\d at \d+, 20\S+\]\n1 dead letter not put back; ", letters), (
        letters
    )
    (letter,) = map(json.loads, programs.run("dead-letters", "--json").stdout.splitlines())
    assert ("p-1", "decode") == (letter["key"], letter["stage"])
    assert b"1 dead letter put back" in programs.run("replay").stdout
    assert b"0 dead letters not put back\n" == programs.run("dead-letters").stdout
    database.switch(alias, store.name)
    database.close()


@pytest.mark.kafka
def test_an_archiver_that_is_killed_doubles_nothing(programs: Programs, kafka_bootstrap: str) -> None:
    """Killed while it writes, then run to the end."""
    names = {kind: programs.environment[f"{kind.upper()}_TOPIC"] for kind in ("exposures", "outcomes")}
    ensure_topics({"bootstrap_servers": [kafka_bootstrap]}, list(names.values()), partitions=2)
    events = KafkaEventLog(
        kafka_bootstrap, exposures_topic=names["exposures"], outcomes_topic=names["outcomes"]
    )
    archive = programs.folder / "archive"
    with programs.started("archive", "--chunk-wait-s", "0.1") as killed:
        for number in range(300):
            events.exposed(exposure(number))
            events.happened(click(number))
        programs.wait_for(lambda: any(archive.glob("exposures/day=*/*.parquet")))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    events.close(timeout_s=TIMEOUT_S)

    told = programs.run("archive", "--until-caught-up")

    assert (0, 0) == (told.returncode, events.dropped), told.stderr
    for kind, letter in (("exposures", "e"), ("outcomes", "o")):
        found = [
            row["event_id"]
            for file in archive.glob(f"{kind}/day=*/*.parquet")
            for row in pq.ParquetFile(file).read(columns=["event_id"]).to_pylist()
        ]
        assert sorted(f"{letter}{number}" for number in range(300)) == sorted(found)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (
            ["publish", "no-such-file"],
            {"KAFKA_BOOTSTRAP": "x"},
            "no-such-file: No such file or directory; name a file",
        ),
        (["consume"], {"UNIECS_MODEL": "no-such-model"}, "UNIECS_MODEL is 'no-such-model'"),
        (["status"], {"BATCH_SIZE": "0"}, "BATCH_SIZE is '0': Input should be greater than or equal to 1"),
        (["status"], {"KAFKA_BOOTSTRAP": "localhost"}, "address 'localhost' must be host:port"),
        (["status"], {"KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL is 'TLS': Input should be"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    """No traceback for what a person can mend."""
    told = Programs(tmp_path, **environment).run(*arguments)

    assert 2 == told.returncode
    assert f"error: {said}" in told.stderr.decode() or said in told.stderr.decode().partition("error: ")[2]
    assert "Traceback" not in told.stderr.decode()


def test_secrets_do_not_show(tmp_path: Path) -> None:
    """Neither in a refusal nor in what settings print."""
    secrets = {"KAFKA_SASL_PASSWORD": "hunter2", "KAFKA_SSL_PASSWORD": "hunter3"}

    told = Programs(tmp_path, KAFKA_SASL_MECHANISM="MAGIC", **secrets).run("status")

    assert 2 == told.returncode
    assert b"KAFKA_SASL_MECHANISM" in told.stderr
    assert b"hunter" not in told.stderr + told.stdout
