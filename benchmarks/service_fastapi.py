"""The same as `benchmarks.service_recall`, as FastAPI's tutorial has it: request and response models."""

import sys

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.service_recall import channels, settings_of
from experiments.definition import load_experiments
from recall_plugin.build import NoEventLog
from recall_plugin.plugin import RecallPlugin
from recall_plugin.query import Query


class Recall(BaseModel):
    """What is asked."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = Field(default=None, max_length=2_000)
    limit: int = Field(default=20, ge=1, le=1_000)
    base: list[str] = Field(max_length=10_000)
    unit_id: str = Field(min_length=1)
    session_id: str = Field(min_length=1)
    query_id: str | None = None


class Item(BaseModel):
    """A product and its ranks."""

    product_id: str
    ranks: dict[str, int]


class ChannelSaid(BaseModel):
    """What became of a channel's question."""

    status: str
    took_ms: float
    found: int


class Recalled(BaseModel):
    """What is answered."""

    query_id: str
    variant: str
    reason: str
    items: list[Item]
    degraded: bool
    triggered: bool | None
    channels: dict[str, ChannelSaid]
    latency_ms: float


def build(switches: str) -> FastAPI:
    """One route."""
    app = FastAPI()
    settings = settings_of(switches)
    experiment = load_experiments()["uniecs-recall"]
    plugin = RecallPlugin(channels(["uniecs"], settings), experiment, NoEventLog(), settings=settings)

    @app.post("/recall")
    async def recall(asked: Recall) -> Recalled:
        result = await plugin.arecall(
            Query(text=asked.text, limit=asked.limit),
            asked.base,
            unit_id=asked.unit_id,
            session_id=asked.session_id,
            query_id=asked.query_id,
        )
        return Recalled(
            query_id=result.query_id,
            variant=result.variant,
            reason=result.reason,
            items=[Item(product_id=item.product_id, ranks=dict(item.ranks)) for item in result.items],
            degraded=result.degraded,
            triggered=result.triggered,
            channels={
                name: ChannelSaid(status=one.status, took_ms=one.took_ms, found=len(one.hits))
                for name, one in result.channels.items()
            },
            latency_ms=round(result.latency_ms, 3),
        )

    return app


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    uvicorn.run(
        build(sys.argv[2]), port=int(sys.argv[1]), http="httptools", access_log=False, log_config=None
    )
