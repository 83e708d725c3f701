"""Serve a real Milvus on one loopback port: `python milvus_standalone.py WHEEL DATA PORT`.

WHEEL is the unpacked PyPI wheel `milvus`, which carries the server. It listens
on every address, on a dozen ports, and cannot be told otherwise. So it runs in
a network of its own (Linux), where nobody else is, and this program hands on
what comes to the one port that others may reach.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

# The exit code that says: not on this machine, whatever you try.
NOT_HERE = 3
INSIDE = 19530
_START_S = 540.0
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_SIOCSIFFLAGS, _IFF_UP, _PR_SET_PDEATHSIG = 0x8914, 1, 1


def main(wheel: Path, data: Path, port: int) -> None:
    """Serve until SIGTERM."""
    with socket.socket() as door:  # made before we leave: it stays in the network of this machine
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", port))
        try:
            leave_network()
        except OSError as error:
            print(f"this system gives no network of its own to a process ({error.strerror})", flush=True)
            sys.exit(NOT_HERE)
        milvus = start(wheel, data)
        try:
            wait(milvus)
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(hand_on(door))
        finally:
            milvus.terminate()
            try:
                milvus.wait(1)  # its graceful end takes long, and nobody comes back for the data
            except subprocess.TimeoutExpired:
                milvus.kill()


def leave_network() -> None:
    """Move this process into an empty network with a loopback of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWNET | (_CLONE_NEWUSER if user else 0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def start(wheel: Path, data: Path) -> "subprocess.Popen[bytes]":
    """Write its settings and start it."""
    sys.path.insert(0, str(wheel))
    from milvus import MilvusServerConfig

    settings = MilvusServerConfig(data_dir=str(data), proxy_port=INSIDE)
    settings.set("proxy.timeTickInterval", 50)  # ms; a strong read waits for the next one
    settings.resolve()
    environment = {
        **os.environ,
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": "9091",
        "MILVUS_RUN_DIR": str(data / "run"),
        "LD_LIBRARY_PATH": str(wheel / "bin"),
    }
    libc = ctypes.CDLL(None)
    return subprocess.Popen(
        [wheel / "bin" / "milvus", "run", "standalone"],
        cwd=data,
        env=environment,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),  # noqa: PLW1509 - one thread
    )


def wait(milvus: "subprocess.Popen[bytes]") -> None:
    """Wait until it says that it is well."""
    deadline = time.monotonic() + _START_S
    while milvus.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen("http://127.0.0.1:9091/healthz", timeout=60) as answer,
        ):
            if b"OK" in answer.read():
                return
        time.sleep(0.1)
    sys.exit(f"Milvus is not well: exit code {milvus.poll()}")


async def hand_on(door: socket.socket) -> None:
    """Hand on every connection until SIGTERM."""
    me = asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    async with await asyncio.start_server(connect, sock=door) as server:
        await server.serve_forever()


async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, both ways."""
    inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", INSIDE)
    for one in (writer, inner_writer):
        one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One way of a connection."""
    with contextlib.suppress(OSError):
        while said := await reader.read(2**18):
            writer.write(said)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
