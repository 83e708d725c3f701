"""Who gets what: kill switch, a tester's override, the experiment, or the host's own flag vendor.

Ours is a hash: it is asked at once. A vendor's client is foreign code that may
wait for a network: it is asked on threads of its own beside the base, and what
it has not said when the base is ready does not count. The search then is the
base's, and is not part of the experiment.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock

from experiments.assignment import Decision, assign
from experiments.definition import Experiment
from experiments.errors import InvalidOverride
from experiments.overrides import read_override
from experiments.targeting import Attribute

from .tally import Tally
from .workers import Workers

Vendor = Callable[[str, Mapping[str, Attribute]], Decision]


class Decider:
    """Decides for one experiment.

    Args:
        override_secret: that overrides are signed with; none is taken without.
        vendor: decides in our experiment's stead, for example `experiments.flags.FlagVendor`.
    """

    def __init__(
        self,
        experiment: Experiment,
        tally: Tally,
        *,
        override_secret: str = "",
        vendor: Vendor | None = None,
        in_flight: int = 8,
    ) -> None:
        self._experiment = experiment
        self._tally = tally
        self._secret = override_secret
        self._vendor = vendor
        self._workers = Workers("vendor", limit=in_flight)

    @property
    def waits(self) -> bool:
        """Whether a decision comes from elsewhere, and may come late."""
        return self._vendor is not None

    def now(
        self, unit_id: str, *, now: datetime, attributes: Mapping[str, Attribute], override: str | None
    ) -> tuple[str, str]:
        """The variant and the reason.

        Raises:
            InvalidUnit: the id cannot be hashed.
        """
        if override is not None and (forced := self._forced(override, unit_id, now)) is not None:
            return forced, "override"
        decision = assign(self._experiment, unit_id, now=now, attributes=attributes)
        return decision.variant, decision.reason

    def later(
        self,
        unit_id: str,
        *,
        now: datetime,
        attributes: Mapping[str, Attribute],
        override: str | None,
        then: Callable[[str, str], None],
    ) -> "Pending":
        """Ask the vendor beside the base; `then` is called with what it says in time."""
        pending = Pending(then)
        forced = None if override is None else self._forced(override, unit_id, now)
        if forced is not None:
            pending.say(forced, "override")
        elif (vendor := self._vendor) is not None and not self._workers.submit(
            lambda: self._ask(vendor, unit_id, attributes, pending)
        ):
            self._tally.add("vendor.shed")
        return pending

    def close(self) -> None:
        """Ask no more."""
        self._workers.close()

    def _ask(
        self, vendor: Vendor, unit_id: str, attributes: Mapping[str, Attribute], pending: "Pending"
    ) -> None:
        variant: str = self._experiment.control
        reason: str = "vendor_failed"
        try:
            decision = vendor(unit_id, attributes)
            variant, reason = self._experiment.variant(decision.variant).name, decision.reason
        except Exception:
            self._tally.add("vendor.error")
        if not pending.say(variant, reason):
            self._tally.add("vendor.late")

    def _forced(self, override: str, unit_id: str, now: datetime) -> str | None:
        try:
            read = read_override(override, self._secret, self._experiment, unit_id=unit_id, now=now)
        except InvalidOverride:
            self._tally.add("override_refused")
            return None
        return read.variant


class Pending:
    """A decision that may come, until the base is ready."""

    def __init__(self, then: Callable[[str, str], None]) -> None:
        self._then = then
        self._lock = Lock()
        self._open = True

    def say(self, variant: str, reason: str) -> bool:
        """The decision is this; False if nobody waits any more."""
        with self._lock:
            if not self._open:
                return False
            self._open = False
            self._then(variant, reason)
            return True

    def close(self) -> None:
        """The base is ready: what has not been said does not count."""
        with self._lock:
            self._open = False
