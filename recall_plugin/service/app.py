"""The whole service as one ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import BoundedSemaphore, Thread

from fastapi import FastAPI

from experiments.exposure import EventLog
from recall_plugin.build import build_channels
from recall_plugin.query import Query
from recall_plugin.settings import Settings

from .console import add_console
from .control import build_control
from .images import Uploads
from .metrics import ServiceMetrics
from .route import RecallRoute
from .standing import OpenChannels, Service
from .window import Window

# Pictures that are embedded before they are asked with; more wait for their question.
EMBED_AT_ONCE = 4
EMBED_WITHIN_S = 10.0


def build_app(
    settings: Callable[[], Settings],
    event_log: EventLog,
    *,
    window: Window | None = None,
    open_channels: OpenChannels = build_channels,
) -> "RecallApp":
    """The service of these settings, which are read again at a reload.

    Args:
        settings: reads them.
        event_log: takes exposures and outcomes; closed with the service.
        open_channels: by name, wherever the settings say that they run.
        window: the products to show; filled from CATALOGUE beside the first requests without.

    Raises:
        RecallPluginError, ExperimentsError: what keeps it from running.
    """
    service, uploads, metrics = (
        Service(settings, event_log, open_channels=open_channels),
        Uploads(),
        ServiceMetrics(),
    )
    control = build_control(service, uploads, metrics, _embedder(service))
    own_window = window is None
    shown = window or Window()
    add_console(control, service, uploads, shown)
    app = RecallApp(service, uploads, metrics, control)
    metrics.watch(
        lambda: service.now.plugin.counts(),  # noqa: PLW0108 - of whatever is served by then
        lambda: {
            "ahead": len(app.route.ahead),
            "upload_bytes": uploads.kept_bytes,
            "dropped_events": service.dropped_events,
        },
    )

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        if own_window:
            Thread(target=shown.fill_from_settings, name="window", daemon=True).start()
        yield
        app.route.ahead.close()
        await service.close()

    control.router.lifespan_context = life
    return app


class RecallApp:
    """An ASGI application; `service` for whoever runs it."""

    def __init__(self, service: Service, uploads: Uploads, metrics: ServiceMetrics, control: FastAPI) -> None:
        self.service = service
        self.metrics = metrics
        self.control = control
        self.route = RecallRoute(service, uploads, metrics, control)


def _embedder(service: Service) -> Callable[[Query], None]:
    """Has a query embedded by every channel that can, on a few threads; above that, not at all."""
    free = BoundedSemaphore(EMBED_AT_ONCE)

    def embed(query: Query) -> None:
        try:
            for channel in service.now.channels:
                prepare = getattr(channel, "prepare", None)
                if prepare is not None:
                    prepare(query, wait_s=EMBED_WITHIN_S)
        except Exception:  # noqa: S110 - a favour: whoever asks with it is told
            pass
        finally:
            free.release()

    def embed_soon(query: Query) -> None:
        if free.acquire(blocking=False):
            asyncio.get_running_loop().run_in_executor(None, embed, query)

    return embed_soon
