"""The service as a program: uvicorn, and what the signals mean."""

import asyncio
import signal
import socket
from collections.abc import Callable

import structlog
import uvicorn

from experiments.errors import ExperimentsError
from product_index.errors import ProductIndexError
from recall_plugin.errors import InvalidSettings, RecallPluginError
from recall_plugin.settings import Settings

from .app import RecallApp

log = structlog.get_logger(__name__)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# A request that is under way at SIGTERM is answered within this.
END_WITHIN_S = 10


def check_address(settings: Settings) -> None:
    """Refuse to be reachable from elsewhere without a token.

    Raises:
        InvalidSettings: it would be.
    """
    if settings.host not in _LOOPBACK and not settings.token.get_secret_value():
        raise InvalidSettings(
            f"RECALL_HOST is {settings.host!r}, which others reach; set RECALL_TOKEN, or listen on 127.0.0.1"
        )


def listening(settings: Settings) -> socket.socket:
    """The socket to serve on; bound, so that who is told the address can use it.

    Raises:
        InvalidSettings: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((settings.host, settings.port))
    except OSError as error:
        made.close()
        raise InvalidSettings(
            f"{settings.host}:{settings.port} cannot be listened at ({error.strerror or error}); "
            "set RECALL_HOST and RECALL_PORT to what is free"
        ) from error
    return made


def address_of(bound: socket.socket) -> str:
    """As a person types it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_service(app: RecallApp, bound: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads without dropping a request."""
    # uvicorn ends well at these, and then raises them again: by then they have been heard.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    with asyncio.Runner(loop_factory=_fast_loop()) as runner, bound:
        runner.run(_serve(app, bound))


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """That of uvloop where there is one: not on every system."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(app: RecallApp, bound: socket.socket) -> None:
    config = uvicorn.Config(
        app.route,
        loop="none",
        http="httptools",
        lifespan="on",
        access_log=False,
        server_header=False,
        date_header=False,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=END_WITHIN_S,
    )
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = asyncio.create_task(_reload(app))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    await uvicorn.Server(config).serve(sockets=[bound])


async def _reload(app: RecallApp) -> None:
    try:
        await app.service.reload()
        app.metrics.reloaded(went_well=True)
    except (RecallPluginError, ExperimentsError, ProductIndexError) as error:
        app.metrics.reloaded(went_well=False)
        log.error("reload_refused", why=str(error), effect="what was served before goes on")  # noqa: TRY400
