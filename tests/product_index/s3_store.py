"""A store that speaks S3, on loopback: moto's server, and s3fs to speak with it.

Neither can be among the packages of a checkout with Airflow: botocore wants
python-dateutil below 3, and constraints.txt has 4. So both are fetched once into
the user's cache, as the real Milvus is. The server has a process of its own,
with its own packages; the client is found behind what is installed.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import fsspec

from demo.processes import Process, free_port, port_answers, start_process, wait_until

from .fetched import packages

MOTO = "5.2.5"
KEY, SECRET = "our-access-key-id", "our-secret-access-key"


@dataclass(frozen=True, slots=True)
class S3Store:
    """One server, with nothing in it."""

    endpoint: str
    packages: Path
    process: Process

    @property
    def environment(self) -> dict[str, str]:
        """What its clients are told."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        """As its owner would."""
        host = HTTPConnection(self.endpoint.partition("://")[2], timeout=300)
        with closing(host):
            host.request("PUT", f"/{name}")
            assert 200 == host.getresponse().status

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections, and answers nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)


def start_s3(folder: Path) -> S3Store:
    """Start one.

    Raises:
        CannotFetch: there is none in the cache, and none comes.
        StackError: it does not start.
    """
    client = fsspec.__version__
    both = packages(
        f"moto-{MOTO}-s3fs-{client}", f"moto[s3]=={MOTO}", "flask", "flask-cors", f"s3fs=={client}"
    )
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = start_process("s3", argv, folder / "s3.log", {"PYTHONPATH": str(both)})
    try:
        wait_until(lambda: port_answers(port), process, timeout_s=300.0)
    except BaseException:
        process.stop()
        raise
    return S3Store(f"http://127.0.0.1:{port}", both, process)
