"""milvus-lite as a server on loopback that ends cleanly on SIGTERM.

`python -m demo.milvus_server DATA_DIR PORT`. Its own command line listens on
every address unless told otherwise and takes SIGTERM as a crash.
"""

import signal
import sys
from types import FrameType


def main(data_dir: str, port: int) -> None:
    """Serve the folder until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    from milvus_lite.adapter.grpc.server import run_server

    run_server(data_dir, host="127.0.0.1", port=port)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # the one thing it closes its files for


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
        sys.exit("usage: python -m demo.milvus_server DATA_DIR PORT, as in `.demo/index.db 19530`")
    main(sys.argv[1], int(sys.argv[2]))
