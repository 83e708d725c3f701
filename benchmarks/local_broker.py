"""A Kafka broker that may be stopped and started again on its data, with any settings."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.kafka_broker import cache_folder, cluster_id, find_java, java_command, kafka_jars, server_properties
from demo.processes import Process, free_port, start_process, wait_until
from streaming.kafka import broker_answers

# As the demo's: what takes so long is a fault on any machine.
BROKER_START_S = 300.0


class LocalBroker:
    """A Kafka broker whose data outlives its process.

    Args:
        folder: for its settings and data.
        properties: its settings by its port and its controller's; the demo's without.
        format_: more options of `kafka-storage format`, such as `--add-scram=...`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        properties: Callable[[int, int], str] | None = None,
        format_: Sequence[str] = (),
    ) -> None:
        self.port, controller = free_port(), free_port()
        self._folder = folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        told = server_properties(port=self.port, controller_port=controller, folder=self._folder)
        self._file = self._folder / "server.properties"
        self._file.write_text(properties(self.port, controller) if properties else told, encoding="utf-8")
        self._command = java_command(find_java(), kafka_jars(cache_folder()), self._folder)
        tool = [*self._command, "kafka.tools.StorageTool", "format", "--standalone"]
        tool += [f"--cluster-id={cluster_id()}", f"--config={self._file}", *format_]
        subprocess.run(tool, check=True, capture_output=True)
        self._process: Process | None = None

    @property
    def bootstrap(self) -> str:
        """Its address, the same after every start."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Of its process, while it runs."""
        return None if self._process is None else self._process.pid

    def start(self, *, answers: Callable[[], bool] | None = None) -> None:
        """Start it and wait until it answers."""
        ready = answers or (lambda: broker_answers(self.bootstrap, timeout_s=30.0))
        self._process = start_process(
            "kafka", [*self._command, "kafka.Kafka", str(self._file)], self._folder / "broker.log"
        )
        wait_until(ready, self._process, timeout_s=BROKER_START_S)

    def stop(self) -> None:
        """Stop it; what it holds stays."""
        if self._process is not None:
            self._process.stop()
