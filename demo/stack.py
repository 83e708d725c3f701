"""The servers of the demo: started, named, and always stopped.

A real Apache Kafka and milvus-lite, each a process of its own on loopback.
`Stack` stops everything in reverse order, by pid, whatever happens.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self
from urllib.parse import urlsplit

from .kafka_broker import cache_folder, cluster_id, find_java, java_command, kafka_jars, server_properties
from .processes import (
    Process,
    StackError,
    end_leftovers,
    free_port,
    log_end,
    port_answers,
    start_process,
    wait_until,
)

# A cold start on two busy cores took up to 10 s; five minutes are a fault on any machine.
START_TIMEOUT_S = 300.0
NAMED_TIMEOUT_S = 10.0
SETTINGS = "server.properties"
# A MILVUS_URI that begins otherwise is a folder.
_SERVERS = ("http://", "https://", "tcp://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A Kafka broker that answers.

    Attributes:
        pid: None where it is not ours (KAFKA_BOOTSTRAP).
        remark: what a person should know about how it runs, or "".
    """

    bootstrap: str
    pid: int | None
    remark: str = ""
    _process: Process | None = field(default=None, repr=False)

    def stop(self) -> None:
        """End it if we started it."""
        if self._process is not None:
            self._process.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A Milvus that answers."""

    uri: str
    pid: int | None
    _process: Process | None = field(default=None, repr=False)

    def stop(self) -> None:
        """End it if we started it: it flushes and releases the folder."""
        if self._process is not None:
            self._process.stop()


def start_kafka(
    folder: Path, log: Path, *, port: int | None = None, run_folder: Path | None = None
) -> Broker:
    """Start a single-node Kafka, or use the one that KAFKA_BOOTSTRAP names.

    Args:
        folder: for its settings and data; what an earlier run left there is removed.
        log: of the broker.
        port: None picks a free one.
        run_folder: where the pid is noted for the next run.

    Raises:
        StackError: no Java, no jars, no port, or it does not answer.
    """
    named = os.environ.get("KAFKA_BOOTSTRAP", "").strip()
    if named:
        _check_named_kafka(named)
        return Broker(bootstrap=named, pid=None, remark="named by KAFKA_BOOTSTRAP")
    java = find_java()
    libs = kafka_jars(cache_folder())
    command = java_command(java, libs, folder)
    for attempt in (1, 2):
        chosen, controller = free_port(port), free_port()
        properties = server_properties(port=chosen, controller_port=controller, folder=folder.resolve())
        _format(command, folder.resolve(), properties)
        process = start_process(
            "kafka", [*command, "kafka.Kafka", str(folder.resolve() / SETTINGS)], log, run_folder=run_folder
        )
        bootstrap = f"127.0.0.1:{chosen}"
        ready = partial(_broker_is_up, chosen, bootstrap)
        try:
            wait_until(ready, process, timeout_s=START_TIMEOUT_S)
        except BaseException as error:
            process.stop()
            # Another program took the port between the pick and the bind.
            raced = isinstance(error, StackError) and "Address already in use" in log_end(log, lines=200)
            if attempt == 1 and raced:
                continue
            raise
        return Broker(bootstrap=bootstrap, pid=process.pid, remark=java.remark, _process=process)
    raise AssertionError("unreachable: the second attempt returns or raises")


def start_milvus_lite(
    data_dir: Path, log: Path, *, port: int | None = None, run_folder: Path | None = None
) -> Server:
    """Serve a milvus-lite folder on loopback, so that several processes can share it.

    Args:
        data_dir: ends in `.db`, so that an embedded client can open it later, too.
        log: of the server.
        port: None picks a free one.
        run_folder: where the pid is noted for the next run.

    Raises:
        StackError: not a `.db` folder, in use, or it does not answer.
    """
    if data_dir.suffix != ".db":
        raise StackError(
            f"milvus-lite folder {data_dir} must end in .db; name it {data_dir.with_suffix('.db')}"
        )
    if data_dir.exists() and not data_dir.is_dir():
        raise StackError(f"{data_dir} is a file, milvus-lite 3 keeps a folder there; move it away")
    data_dir.mkdir(parents=True, exist_ok=True)
    chosen = free_port(port)
    argv = [sys.executable, "-m", "demo.milvus_server", str(data_dir), str(chosen)]
    process = start_process("milvus", argv, log, run_folder=run_folder)
    try:
        wait_until(lambda: port_answers(chosen), process, timeout_s=START_TIMEOUT_S)
    except BaseException:
        process.stop()
        raise
    return Server(uri=f"http://127.0.0.1:{chosen}", pid=process.pid, _process=process)


class Stack:
    """Starts what is asked, tells where each log is, and stops everything.

    with Stack(Path(".demo"), say=console.print) as stack:
        broker = stack.kafka()
        milvus = stack.milvus()
        consumer = stack.process("consumer", [sys.executable, "-m", "streaming", "consume"], env={...})

    Attributes:
        folder: `logs/`, `run/`, `kafka/` and `index.db/` are kept in it.
        say: takes one line at a time.
    """

    def __init__(self, folder: Path, *, say: Callable[[str], object] = print) -> None:
        self.folder = folder
        self._say = say
        self._stops: list[tuple[str, Callable[[], None]]] = []
        self._handlers: dict[
            signal.Signals, signal.Handlers | Callable[[int, FrameType | None], object] | int | None
        ] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in end_leftovers(self._run_folder):
            self._say(f"ended {name}, left by a run that was killed")
        if threading.current_thread() is threading.main_thread():
            for sign in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(sign) is not signal.SIG_IGN:  # `nohup` means it
                    self._handlers[sign] = signal.signal(sign, _exit)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            # Each stop is bounded; a second Ctrl-C must not leave the rest running.
            for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                handler = signal.signal(sign, signal.SIG_IGN)
                self._handlers.setdefault(sign, handler)
        still_there = []
        try:
            while self._stops:
                name, stop = self._stops.pop()
                try:
                    stop()
                except Exception as error:  # the others must stop, too
                    still_there.append(f"could not stop {name}: {error}")
        finally:
            for sign, handler in self._handlers.items():
                signal.signal(sign, handler)
            self._handlers.clear()
        for sentence in still_there:  # last: there may be nobody left to tell
            self._say(sentence)

    def check_named(self) -> None:
        """Ask the servers that KAFKA_BOOTSTRAP and MILVUS_URI name, if any, before anything is made for them.

        Raises:
            StackError: one does not answer.
        """
        if broker := os.environ.get("KAFKA_BOOTSTRAP", "").strip():
            _check_named_kafka(broker)
        if (uri := os.environ.get("MILVUS_URI", "").strip()).startswith(_SERVERS):
            _check_named_milvus(uri)

    def kafka(self, *, port: int | None = None) -> Broker:
        """Start the change log, or use the one that KAFKA_BOOTSTRAP names."""
        log = self._log("kafka")
        named = os.environ.get("KAFKA_BOOTSTRAP", "").strip()
        self._say(f"using Kafka at {named}" if named else f"starting Apache Kafka; its log: {log}")
        broker = start_kafka(self.folder / "kafka", log, port=port, run_folder=self._run_folder)
        self._stops.append(("kafka", broker.stop))
        if broker.remark and not named:
            self._say(broker.remark)
        return broker

    def milvus(self, *, port: int | None = None) -> Server:
        """Start the vector database on `index.db`, or use the server that MILVUS_URI names."""
        named = os.environ.get("MILVUS_URI", "").strip()
        if named.startswith(_SERVERS):
            self._say(f"using Milvus at {named}")
            return Server(uri=named, pid=None)
        log = self._log("milvus")
        data_dir = Path(named) if named else self.folder / "index.db"
        self._say(f"starting milvus-lite on {data_dir}; its log: {log}")
        server = start_milvus_lite(data_dir, log, port=port, run_folder=self._run_folder)
        self._stops.append(("milvus", server.stop))
        return server

    def process(self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Process:
        """Start a program of ours."""
        log = self._log(name)
        self._say(f"starting {name}; its log: {log}")
        process = start_process(name, argv, log, env, run_folder=self._run_folder)
        self._stops.append((name, process.stop))
        return process

    @property
    def _run_folder(self) -> Path:
        return self.folder / "run"

    def _log(self, name: str) -> Path:
        log = self.folder / "logs" / f"{name}.log"
        log.unlink(missing_ok=True)  # one run, one log
        return log


def _format(command: list[str], folder: Path, properties: str) -> None:
    """Write the settings and an empty data folder; one broker's data is one run's."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(properties, encoding="utf-8")
    tool = [*command, "kafka.tools.StorageTool", "format", "--standalone"]
    options = [f"--cluster-id={cluster_id()}", f"--config={folder / SETTINGS}"]
    formatted = subprocess.run([*tool, *options], capture_output=True, text=True, check=False)
    if formatted.returncode != 0:
        last = (formatted.stdout + formatted.stderr).strip().splitlines()[-1:]
        raise StackError(
            f"Kafka could not prepare {folder / 'data'}: {' '.join(last)}; is the disk full or read-only?"
        )


def _check_named_kafka(bootstrap: str) -> None:
    if not _kafka_answers(bootstrap, timeout_s=NAMED_TIMEOUT_S):
        raise StackError(
            f"KAFKA_BOOTSTRAP={bootstrap}: no Kafka broker answers there within {NAMED_TIMEOUT_S:g} s; "
            "start it, correct the address, or unset KAFKA_BOOTSTRAP to have one started here"
        )


def _check_named_milvus(uri: str) -> None:
    try:
        address = urlsplit(uri)
        port = address.port or (443 if address.scheme == "https" else 19530)
        socket.create_connection((address.hostname or "", port), timeout=NAMED_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise StackError(
            f"MILVUS_URI={uri}: nothing answers there ({error}); start it, correct the address, "
            "or unset MILVUS_URI to have milvus-lite started here"
        ) from None


def _broker_is_up(port: int, bootstrap: str) -> bool:
    return port_answers(port) and _kafka_answers(bootstrap, timeout_s=30.0)


def _kafka_answers(bootstrap: str, *, timeout_s: float) -> bool:
    from streaming.kafka import broker_answers  # the one file that knows the client

    return broker_answers(bootstrap, timeout_s=timeout_s)


def _exit(sign: int, _frame: FrameType | None) -> None:
    sys.exit(128 + sign)
