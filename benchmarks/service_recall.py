"""The service for `benchmarks.service`: POST /recall on a port, with the switches' file it is given."""

import sys
from collections.abc import Collection
from pathlib import Path

import structlog
import uvicorn

from product_index.vector_store import Hit
from recall_plugin.build import NoEventLog
from recall_plugin.channels import Channel
from recall_plugin.channels.in_memory import InMemoryChannel
from recall_plugin.service.app import build_app
from recall_plugin.service.window import Window
from recall_plugin.settings import Settings

FOUND = [Hit(product_id=f"found-{number:06}", score=0.5, version=1) for number in range(200)]


def settings_of(switches: str) -> Settings:
    """Channels in this process, and the grace that both servers grant."""
    return Settings(_env_file=None, channels_in="process", switches=Path(switches), wait_ms=50, grace_ms=50)


def channels(names: Collection[str], _: Settings) -> list[Channel]:
    """One that answers at once."""
    return [InMemoryChannel({"striped red mug": FOUND}, name=name) for name in names]


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    app = build_app(lambda: settings_of(sys.argv[2]), NoEventLog(), window=Window(), open_channels=channels)
    uvicorn.run(app.route, port=int(sys.argv[1]), http="httptools", access_log=False, log_config=None)
