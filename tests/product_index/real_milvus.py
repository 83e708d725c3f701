"""A real Milvus server for tests and benchmarks: the one that the PyPI wheel `milvus` carries.

2.3 is an older release, but the true engine: what it shows is what milvus-lite
does not. The wheel is fetched once into the user's cache.
"""

import lzma
import os
import platform
import shutil
import sys
from pathlib import Path

from demo.processes import Process, free_port, log_end, port_answers, start_process, wait_until
from demo.stack import StackError

from .fetched import CannotFetch, packages
from .milvus_standalone import NOT_HERE

VERSION = "2.3.5"
SCRIPT = Path(__file__).with_name("milvus_standalone.py")


class NoRealMilvus(Exception):
    """There is none on this machine; the message says why and what to set."""


def start_real_milvus(folder: Path, *, port: int | None = None) -> tuple[str, Process | None]:
    """Start one on loopback and return its URI; MILVUS_TEST_URI's, where that is set.

    Args:
        folder: for its data; what an earlier one left there is served again.
        port: None picks a free one.

    Raises:
        NoRealMilvus: it cannot run here, or cannot be fetched.
        StackError: it could, but did not start.
    """
    named = os.environ.get("MILVUS_TEST_URI")
    if named:
        return named, None
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise _none_here(f"the wheel milvus {VERSION} is run on Linux x86-64 only")
    try:
        wheel = packages(f"milvus-{VERSION}", "--no-deps", f"milvus=={VERSION}", prepare=_unpack)
    except CannotFetch as why:
        raise _none_here(str(why)) from None
    chosen = free_port(port)
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, str(SCRIPT), str(wheel), str(folder), str(chosen)]
    process = start_process("real-milvus", argv, folder / "server.log")
    try:
        wait_until(lambda: port_answers(chosen), process, timeout_s=600.0)
    except StackError:
        process.stop()
        if process.exit_code == NOT_HERE:
            raise _none_here(log_end(process.log, lines=1).strip()) from None
        raise
    except BaseException:
        process.stop()
        raise
    return f"http://127.0.0.1:{chosen}", process


def _unpack(wheel: Path) -> None:
    (wheel / "bin").mkdir(exist_ok=True)
    for packed in (wheel / "milvus" / "data" / "bin").glob("*.lzma"):
        program = wheel / "bin" / packed.stem
        with lzma.open(packed) as source, program.open("wb") as target:
            shutil.copyfileobj(source, target)
        program.chmod(0o755)
        packed.unlink()


def _none_here(why: str) -> NoRealMilvus:
    return NoRealMilvus(f"no real Milvus here: {why}; set MILVUS_TEST_URI to one that may be written to")
