"""OpenFeature, both ways: our experiments for a host's client, a host's own flags for our plugin.

`ExperimentsProvider` answers a client from our definitions. A flag is an
experiment, its targeting key the unit, its context what targeting asks. As
text it is the variant's name, as an object its plan, as a boolean whether it
is not control. Local and pure but for the clock it is given: nothing waits.

`FlagVendor` asks a client which variant a unit gets, for a host whose flags
live with a vendor. A client may wait for a network, and it answers with the
default on any error, also when a hook fails: such an answer is no assignment.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from .assignment import Decision, assign, check_unit
from .definition import Experiment, Experiments
from .errors import InvalidUnit
from .targeting import Attribute

T = TypeVar("T")

# OpenFeature's words for ours.
_REASONS = {
    "assigned": Reason.SPLIT,
    "not_in_traffic": Reason.DEFAULT,
    "not_started": Reason.DEFAULT,
    "not_targeted": Reason.DEFAULT,
    "off": Reason.DISABLED,
}


class ExperimentsProvider(AbstractProvider):
    """Answers an OpenFeature client from our definitions.

    Args:
        enabled: asked at each evaluation with the experiment's name: the kill switch.
        clock: the time, for experiments that have not started.
    """

    def __init__(
        self,
        experiments: Experiments,
        *,
        enabled: Callable[[str], bool] = lambda _name: True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__()
        self._experiments = experiments
        self._enabled = enabled
        self._clock = clock

    def get_metadata(self) -> Metadata:
        """The provider's name."""
        return Metadata(name="uniecs-experiments")

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """The variant's name."""
        return self._resolve(flag_key, default_value, evaluation_context, lambda decision: decision.variant)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """The variant's plan."""
        return self._resolve(flag_key, default_value, evaluation_context, _plan)

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Whether the unit gets anything but control."""
        return self._resolve(flag_key, default_value, evaluation_context, self._is_treated)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Refused: an experiment is not a number."""
        return _failed(default_value, ErrorCode.TYPE_MISMATCH, f"{flag_key!r} is an experiment: ask for text")

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Refused: an experiment is not a number."""
        return _failed(default_value, ErrorCode.TYPE_MISMATCH, f"{flag_key!r} is an experiment: ask for text")

    def _is_treated(self, decision: Decision) -> bool:
        return decision.variant != self._experiments[decision.experiment].control

    def _resolve(
        self, flag_key: str, default: T, context: EvaluationContext | None, value: Callable[[Decision], T]
    ) -> FlagResolutionDetails[T]:
        if flag_key not in self._experiments:
            known = ", ".join(self._experiments)
            return _failed(
                default, ErrorCode.FLAG_NOT_FOUND, f"no experiment {flag_key!r}; defined here: {known}"
            )
        unit_id = context.targeting_key if context is not None else None
        if unit_id is None:
            return _failed(default, ErrorCode.TARGETING_KEY_MISSING, "set targeting_key to the unit's id")
        try:
            decision = assign(
                self._experiments[flag_key],
                unit_id,
                now=self._clock(),
                enabled=self._enabled(flag_key),
                attributes=_attributes(context),
            )
        except InvalidUnit as error:
            return _failed(default, ErrorCode.INVALID_CONTEXT, str(error))
        return FlagResolutionDetails(
            value=value(decision),
            variant=decision.variant,
            reason=_REASONS[decision.reason],
            flag_metadata={"experiment_reason": decision.reason},
        )


class FlagVendor:
    """Lets a host's own OpenFeature client decide who gets which variant.

    A unit is part of the experiment where the vendor says that it split or
    targeted it. Its default, its errors and variants that the experiment does
    not have are control, and not part of it.

    Args:
        flag_key: the vendor's flag, of text; its values are our variants' names.
    """

    def __init__(self, client: OpenFeatureClient, experiment: Experiment, *, flag_key: str) -> None:
        self._client = client
        self._experiment = experiment
        self._flag_key = flag_key

    def __call__(self, unit_id: str, attributes: Mapping[str, Attribute]) -> Decision:
        """What the vendor says of this unit. It may wait.

        Raises:
            InvalidUnit: the id is not text, is empty, or has no UTF-8 form.
        """
        check_unit(unit_id)
        experiment = self._experiment
        context = EvaluationContext(unit_id, dict(attributes))
        said = self._client.get_string_details(self._flag_key, experiment.control, context)
        variants = {variant.name: variant for variant in experiment.variants}
        if said.error_code is not None or said.value not in variants:
            control = experiment.control_variant
            return Decision(experiment.name, control.name, "vendor_failed", control.plan)
        variant = variants[said.value]
        apart = said.reason in (Reason.DEFAULT, Reason.DISABLED, Reason.STATIC)
        return Decision(
            experiment.name, variant.name, "vendor_default" if apart else "assigned", variant.plan
        )


def _attributes(context: EvaluationContext | None) -> Mapping[str, Attribute]:
    known = context.attributes if context is not None else {}
    return {name: value for name, value in known.items() if isinstance(value, str | int | float | bool)}


def _plan(decision: Decision) -> Mapping[str, FlagValueType]:
    plan = decision.plan
    return {"channels": list(plan.channels), "merge": plan.merge, "parameters": dict(plan.parameters)}


def _failed(default: T, code: ErrorCode, message: str) -> FlagResolutionDetails[T]:
    return FlagResolutionDetails(value=default, error_code=code, error_message=message, reason=Reason.ERROR)
