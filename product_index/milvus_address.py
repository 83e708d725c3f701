"""What an address of Milvus means: a folder or a server, and how to behave there.

Nothing here imports its client; what that does to environment and logs is kept away.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .errors import InvalidSettings

# pymilvus pings an idle connection every 10 s, which milvus-lite takes for an attack:
# it hangs up with "too many pings". On this machine nothing drops idle connections.
NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}


def local_folder(uri: str) -> str | None:
    """The folder that the address names, or None for a server's.

    Raises:
        InvalidSettings: it is neither.
    """
    if "://" in uri:
        return None
    if not uri.endswith(".db"):
        raise InvalidSettings(
            f"MILVUS_URI is {uri!r}, must be a folder ending in .db or an address such as http://127.0.0.1:19530"
        )
    return str(Path(uri).absolute())


def manners(uri: str) -> dict[str, Any]:
    """How to behave towards that server."""
    is_here = urlsplit(uri).hostname in ("127.0.0.1", "localhost", "::1")
    return {"grpc_options": NO_PINGS} if is_here else {}


def mute_foreign_loggers() -> None:
    """Each failed call logs a traceback there; our errors carry the same cause, once."""
    for name in ("pymilvus", "milvus_lite", "grpc._server", "grpc", "faiss"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def without_settings() -> Iterator[None]:
    """Hide MILVUS_URI from pymilvus' import: it reads that (and `.env`) itself, and refuses a folder."""
    kept = dict(os.environ)
    os.environ["MILVUS_URI"] = ""
    try:
        yield
    finally:
        for name in os.environ.keys() - kept.keys():
            del os.environ[name]
        os.environ.update(kept)


def said(error: Any) -> str:
    """What a failed call says, in its own words."""
    return str(error.details()) if hasattr(error, "details") else repr(error)
