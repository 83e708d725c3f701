"""Servers that every room's integration tests share: one of each per test run."""

import os
import sys
import uuid
from collections.abc import Callable, Iterator

import hypothesis
import pytest
import structlog

# No test depends on how busy the machine is, and a gate gives the same answer twice.
hypothesis.settings.register_profile(
    "untimed",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, but for those of foreign code that nobody here can mend."""
    # kafka-python 3.0 reads its schemas by a function that Python 3.11 and 3.12 deprecate.
    config.addinivalue_line("filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning")
    # ... and drops a socket that does not connect or shake hands (`KafkaNetSocket.connect`,
    # `_build_transport`): the garbage collector closes it, in whatever test happens to run.
    config.addinivalue_line("filterwarnings", "ignore:unclosed <(socket|ssl):ResourceWarning")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Torch takes its first seed from the system; here, as `random` and numpy do, from that of the run."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(item.config.getoption("randomly_seed", 0))


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """A program under test sends its log lines where it wants; the next test starts anew."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Kafka: KAFKA_BOOTSTRAP's, or one started for this run."""
    from demo.stack import start_kafka

    folder = tmp_path_factory.mktemp("kafka")
    broker = start_kafka(folder, folder / "kafka.log")
    try:
        yield broker.bootstrap
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def milvus_lite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a milvus-lite server started for this run; use collection names of your own."""
    from demo.stack import start_milvus_lite

    folder = tmp_path_factory.mktemp("milvus")
    server = start_milvus_lite(folder / "index.db", folder / "milvus.log")
    try:
        yield server.uri
    finally:
        server.stop()


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Make a name nobody else in this run uses: `unique_name("product-changes")`."""
    return lambda name: f"{name}-{uuid.uuid4().hex[:12]}"
