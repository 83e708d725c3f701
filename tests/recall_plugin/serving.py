"""A service on a real socket, for tests that are its clients."""

import io
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image

from experiments.exposure import EventLog, InMemoryEventLog
from product_index.product import Product
from recall_plugin.channels import Channel
from recall_plugin.service.app import RecallApp, build_app
from recall_plugin.service.window import Window
from recall_plugin.settings import Settings
from tests.recall_plugin.doubles import PATIENCE_S, TREATED, Hangs, finds, wait_for

TOKEN = "let me in"  # noqa: S105 - of the tests
STEERING = {"authorization": f"Bearer {TOKEN}"}
PACKAGED = Path(__file__).parents[2] / "experiments" / "definitions" / "uniecs-recall.toml"
ASKED = {"text": "red mug", "base": ["a", "b"], "unit_id": TREATED, "session_id": "s1", "wait_ms": 10_000}

# From the settings' fields to the settings: what a test changes, a reload sees.
Environment = dict[str, Any]


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, "red").save(out, kind)
    return out.getvalue()


def settings_of(environment: Environment) -> Callable[[], Settings]:
    return lambda: Settings(_env_file=None, **environment)


def app_of(
    *channels: Channel,
    environment: Environment | None = None,
    log: EventLog | None = None,
    products: Sequence[Product] = (),
) -> RecallApp:
    """A service of these channels; `uniecs` finds two products where none are given."""
    there: Environment = {"token": TOKEN, "channels_in": "process"}
    there = there if environment is None else environment
    for name, value in (("token", TOKEN), ("channels_in", "process")):
        there.setdefault(name, value)
    known = channels or (finds("new", "b"),)
    window = Window()
    window.put(products)

    def open_channels(names: Collection[str], _: Settings) -> list[Channel]:
        return [channel for channel in known if channel.name in names]

    return build_app(
        settings_of(there), log or InMemoryEventLog(), window=window, open_channels=open_channels
    )


@contextmanager
def serving(app: RecallApp) -> Iterator[str]:
    """Its address, as long as it lasts."""
    config = uvicorn.Config(app.route, port=0, http="httptools", lifespan="on", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started or not thread.is_alive())
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def client_at(url: str) -> httpx.Client:
    """One that waits as long as tests do."""
    return httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False)


@contextmanager
def client_of(*channels: Channel, **options: Any) -> Iterator[httpx.Client]:
    """A client of a service of these channels."""
    with (
        serving(app_of(*channels, **options)) as url,
        client_at(url) as client,
    ):
        try:
            yield client
        finally:
            for channel in channels:
                if isinstance(channel, Hangs):
                    channel.let_go.set()


def refusal(answer: httpx.Response, status: int) -> str:
    """The sentence of a problem; fails if it is none."""
    assert status == answer.status_code, answer.text
    assert "application/problem+json" == answer.headers["content-type"]
    said = answer.json()
    assert {"type", "title", "status", "detail"} == set(said)
    assert status == said["status"]
    detail: str = said["detail"]
    assert detail
    assert "\n" not in detail
    return detail
