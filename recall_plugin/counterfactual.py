"""What the other arm would have seen, for a sample of searches in both arms alike.

In treatment it is known: the base alone. In control the channels are asked
here, after the response has gone, on a few threads of their own and never more: with
those busy, or a channel's breaker open, the search is left out and counted.
Neither the channel's breaker nor its threads are touched by it.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from experiments.assignment import bucket
from experiments.definition import SLOTS, Experiment
from experiments.exposure import Exposure

from .cleaning import clean
from .merge import Blended
from .panel import Panel
from .query import ChannelAnswer, ChannelRequest, Query
from .tally import Tally
from .telling import Teller
from .workers import Workers

# Two questions at a time are enough for a sample, and too few to be felt.
AT_A_TIME = 2
# The host sends its page first: this long after it got it.
AFTER_S = 0.05

Join = Callable[[Query, Sequence[str], Mapping[str, ChannelAnswer]], Blended | None]


class Counterfactual:
    """Learns the page that was not served.

    Args:
        share: of the searches, by a hash of their id: the same in both arms.
        channels: of the plan that control does not get.
        join: that plan's merge.
        budget_s: after this a channel's answer is of no use.
    """

    def __init__(
        self,
        experiment: Experiment,
        panel: Panel,
        teller: Teller,
        tally: Tally,
        *,
        share: float,
        channels: Sequence[str],
        join: Join,
        budget_s: float,
        after_s: float = AFTER_S,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._salt = f"counterfactual:{experiment.salt}"
        self._bound = int(share * SLOTS) if channels else 0
        self._panel = panel
        self._teller = teller
        self._tally = tally
        self._channels = tuple(channels)
        self._join = join
        self._budget_s = budget_s
        self._after_s = after_s
        self._pause = pause
        self._clock = clock
        self._workers = Workers("counterfactual", limit=AT_A_TIME)

    def samples(self, query_id: str) -> bool:
        """Whether this search is in the sample."""
        return self._bound > 0 and bucket(query_id, salt=self._salt) < self._bound

    def of_control(
        self, exposure: Exposure, query: Query, own: Sequence[str], *, off: Collection[str]
    ) -> None:
        """Ask later; return at once."""
        base = tuple(own)
        if not self._workers.submit(lambda: self._ask(exposure, query, base, off)):
            self._tally.add("counterfactual.skipped")

    def close(self) -> None:
        """Ask no more."""
        self._workers.close()

    def _ask(self, exposure: Exposure, query: Query, base: tuple[str, ...], off: Collection[str]) -> None:
        """On a thread of its own."""
        self._pause(self._after_s)
        request = ChannelRequest(
            query=query,
            limit=query.limit,
            deadline_s=self._clock() + self._budget_s,
            request_id=exposure.query_id,
            unit_id=exposure.unit_id,
        )
        answers = {}
        for name in self._channels:
            seat = self._panel.seats.get(name)
            if seat is None or name in off or seat.breaker.state != "closed":
                self._tally.add("counterfactual.skipped")
                return
            try:
                answer, _ = clean(seat.channel.find(request), request)
            except Exception as error:
                answer = ChannelAnswer(status="error", reason=repr(error))
            if not answer.answered or self._clock() > request.deadline_s:
                self._tally.add("counterfactual.unanswered")
                return
            answers[name] = answer
        blended = self._join(query, base, answers)
        other_page = base[: query.limit] if blended is None else tuple(blended.product_ids[: query.limit])
        found = blended is not None and blended.adds_to_the_pool
        spoke = answers[self._channels[0]]
        knowing = replace(exposure, index_version=spoke.index_version, model_id=spoke.model_id)
        self._teller.learnt(knowing, other_page, would_change_pool=found)
        self._tally.add("counterfactual.asked")
