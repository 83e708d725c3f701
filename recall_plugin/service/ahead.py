"""The join rule over HTTP: recall is begun when the shopper asks, and joined when the base is there.

    POST /recall/ahead {text, unit_id, session_id, query_id}   at once
    ... the host computes its base ...
    POST /recall {query_id, base, ...}                         takes what is ready, and RECALL_GRACE_MS later

A base may take longer than a channel may: what was found waits for it. What is begun and
never joined is given up after RECALL_AHEAD_MS: no evidence about any channel, and nothing
is logged.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.targeting import Attribute
from recall_plugin.plugin import RecallResult
from recall_plugin.query import Query

from .problems import Problem
from .standing import Standing

# At a thousand searches a second and ten seconds for each, more are a leak in the host.
MAX_AHEAD = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """One search that waits for its base."""

    unit_id: str
    session_id: str
    base: "asyncio.Future[Sequence[str]]"
    result: "asyncio.Task[RecallResult]"
    forget: asyncio.TimerHandle


class AheadTable:
    """Searches that were begun, by the host's query id."""

    def __init__(self) -> None:
        self._begun: dict[str, Begun] = {}

    def __len__(self) -> int:
        return len(self._begun)

    def begin(
        self,
        standing: Standing,
        query: Query,
        *,
        unit_id: str,
        session_id: str,
        query_id: str,
        attributes: Mapping[str, Attribute],
        override: str | None,
    ) -> None:
        """Ask the channels now.

        Raises:
            Problem: the id is taken (409), or too many wait (503).
        """
        if query_id in self._begun:
            raise Problem(409, f"query_id {query_id!r} was begun already; join it, or name this search anew")
        if len(self._begun) >= MAX_AHEAD:
            raise Problem(
                503,
                f"{len(self._begun)} searches wait for their base; send the base after each /recall/ahead",
            )
        loop = asyncio.get_running_loop()
        base: asyncio.Future[Sequence[str]] = loop.create_future()

        async def joined() -> RecallResult:
            with standing.in_use():
                return await standing.plugin.arecall(
                    query,
                    base,
                    unit_id=unit_id,
                    session_id=session_id,
                    query_id=query_id,
                    attributes=attributes,
                    override=override,
                )

        self._begun[query_id] = Begun(
            unit_id=unit_id,
            session_id=session_id,
            base=base,
            result=loop.create_task(joined()),
            forget=loop.call_later(standing.settings.ahead_ms / 1000, self._give_up, query_id),
        )

    def take(self, query_id: str | None, *, unit_id: str, session_id: str) -> Begun | None:
        """What was begun under this id, if anything.

        Raises:
            Problem: it was begun for somebody else (409).
        """
        begun = self._begun.get(query_id) if query_id is not None else None
        if begun is None or query_id is None:
            return None
        if (begun.unit_id, begun.session_id) != (unit_id, session_id):
            raise Problem(
                409, f"query_id {query_id!r} was begun for another unit or session; send the same to both"
            )
        del self._begun[query_id]
        begun.forget.cancel()
        return begun

    def close(self) -> None:
        """Give all up."""
        for query_id in list(self._begun):
            self._give_up(query_id)

    def _give_up(self, query_id: str) -> None:
        begun = self._begun.pop(query_id, None)
        if begun is not None:
            begun.forget.cancel()
            begun.result.cancel()
