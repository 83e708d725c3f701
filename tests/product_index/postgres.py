"""A private PostgreSQL on loopback, from the programs that the system has installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from demo.processes import free_port, log_end, start_process, wait_until

PASSWORD = "s3cret/with:signs"  # noqa: S105 - of a database that lives for a test


class NoPostgres(Exception):
    """There is none on this machine; the message says what to install."""


@contextmanager
def postgres() -> Iterator[str]:
    """Start one with an empty database `shop`; its URL, password and all.

    Raises:
        NoPostgres: initdb and postgres are not installed, or nobody else may run them.
    """
    programs = _programs()
    # Not under pytest's own folder: PostgreSQL refuses to be root, and others may not enter there.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        asking, data = _user(folder), folder / "data"
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        subprocess.run(
            [*asking, str(programs / "initdb"), "-D", str(data), "-U", "shop", "-A", "scram-sha-256",
             "--pwfile", str(folder / "password"), "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"],
            check=True, capture_output=True, timeout=600, cwd=folder,
        )  # fmt: skip
        port = free_port()
        argv = [*asking, str(programs / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1",
                "-k", str(folder), "-c", "fsync=off"]  # fmt: skip
        server = start_process("postgres", argv, folder / "server.log")
        try:
            wait_until(lambda: _created(port), server, timeout_s=300.0)
            yield f"postgresql+psycopg://shop:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/shop"
        except BaseException:
            print(log_end(folder / "server.log"))
            raise
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _created(port: int) -> bool:
    """Make the database, if it is there already to be asked; for a moment it answers that it is starting."""
    import psycopg

    told = {"host": "127.0.0.1", "port": port, "user": "shop", "password": PASSWORD, "dbname": "postgres"}
    try:
        with psycopg.connect(**told, autocommit=True, connect_timeout=60) as connection:
            connection.execute("CREATE DATABASE shop")
    except psycopg.OperationalError:
        return False
    return True


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    there = shutil.which("initdb") or (str(found[-1]) if found else None)
    if there is None:
        raise NoPostgres("PostgreSQL is not installed here; install the system's package `postgresql`")
    return Path(there).resolve().parent


def _user(folder: Path) -> list[str]:
    """How to run a program that refuses to be run by root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise NoPostgres("PostgreSQL refuses to be run by root and there is no setpriv; run as another user")
    os.chown(folder, 65534, 65534)
    return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
