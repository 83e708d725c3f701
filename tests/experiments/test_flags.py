"""An OpenFeature client reads our experiments."""

from dataclasses import replace
from datetime import timedelta

import pytest
from openfeature.api import get_client, set_provider, set_provider_and_wait
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.hook import Hook
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from experiments.assignment import assign
from experiments.definition import Experiment, Experiments, load_experiments
from experiments.errors import InvalidUnit
from experiments.flags import ExperimentsProvider, FlagVendor
from experiments.targeting import Target

EXPERIMENTS = load_experiments()
START = EXPERIMENTS["uniecs-recall"].start


def client_of(provider: ExperimentsProvider, domain: str) -> OpenFeatureClient:
    set_provider(provider, domain)
    return get_client(domain)


@pytest.fixture
def client() -> OpenFeatureClient:
    """A client whose clock stands at the experiment's start."""
    return client_of(ExperimentsProvider(EXPERIMENTS, clock=lambda: START), "ours")


def test_a_flag_as_text_is_the_variant_that_assignment_gives(
    client: OpenFeatureClient, experiment: Experiment
) -> None:
    """One core: a host that asks OpenFeature and one that asks us serve the same."""
    for unit in ("shopper-1", "shopper-2", "用户12345", "🛒-17"):
        decision = assign(experiment, unit, now=START)
        details = client.get_string_details("uniecs-recall", "none", EvaluationContext(unit))

        assert (decision.variant, decision.variant, "SPLIT") == (
            details.value,
            details.variant,
            details.reason,
        )
        assert (decision.variant == "treatment") is client.get_boolean_value(
            "uniecs-recall", False, EvaluationContext(unit)
        )
        plan = client.get_object_value("uniecs-recall", {}, EvaluationContext(unit))
        assert list(decision.plan.channels) == plan["channels"]  # type: ignore[call-overload]


def test_without_a_unit_or_an_experiment_the_hosts_default_is_served(client: OpenFeatureClient) -> None:
    """A flag never breaks the host's request."""
    nobody = client.get_string_details("uniecs-recall", "mine", EvaluationContext())
    unknown = client.get_string_details("recall-v2", "mine", EvaluationContext("shopper-1"))
    number = client.get_integer_details("uniecs-recall", 7, EvaluationContext("shopper-1"))

    assert ("mine", "TARGETING_KEY_MISSING") == (nobody.value, nobody.error_code)
    assert ("mine", "FLAG_NOT_FOUND") == (unknown.value, unknown.error_code)
    assert "defined here: uniecs-recall" in str(unknown.error_message)
    assert (7, "TYPE_MISMATCH") == (number.value, number.error_code)
    assert client.get_float_value("uniecs-recall", 0.5, EvaluationContext("shopper-1")) == 0.5


def test_the_kill_switch_and_the_start_give_control() -> None:
    """Asked at each evaluation, so that it works at once."""
    off = client_of(ExperimentsProvider(EXPERIMENTS, enabled=lambda _: False, clock=lambda: START), "off")
    early = client_of(ExperimentsProvider(EXPERIMENTS, clock=lambda: START - timedelta(days=1)), "early")

    killed = off.get_string_details("uniecs-recall", "none", EvaluationContext("shopper-1"))
    waiting = early.get_string_details("uniecs-recall", "none", EvaluationContext("shopper-1"))

    assert ("control", "DISABLED") == (killed.value, killed.reason)
    assert ("control", "DEFAULT") == (waiting.value, waiting.reason)


def test_a_unit_that_cannot_be_hashed_is_an_invalid_context(client: OpenFeatureClient) -> None:
    """The host sees its default and the reason."""
    details = client.get_string_details("uniecs-recall", "mine", EvaluationContext("\ud800"))

    assert ("mine", "INVALID_CONTEXT") == (details.value, details.error_code)


def test_targeting_is_asked_of_the_clients_context(experiment: Experiment) -> None:
    """What the host puts into its evaluation context."""
    only_there = replace(experiment, targeting=(Target(attribute="region", is_in=("cn",)),))
    client = client_of(ExperimentsProvider(Experiments([only_there]), clock=lambda: START), "targeted")

    here = client.get_string_details("uniecs-recall", "none", EvaluationContext("u-1", {"region": "cn"}))
    there = client.get_string_details("uniecs-recall", "none", EvaluationContext("u-1", {"region": "sg"}))

    assert ("SPLIT", "DEFAULT") == (here.reason, there.reason)
    assert "not_targeted" == there.flag_metadata["experiment_reason"]


class Vendor(InMemoryProvider):
    """Somebody else's flags."""

    def __init__(self, value: str, reason: Reason) -> None:
        flag: InMemoryFlag[str] = InMemoryFlag(
            "one",
            {"one": value},
            context_evaluator=lambda flag, _: FlagResolutionDetails(value=value, reason=reason),
        )
        super().__init__({"their-flag": flag})


@pytest.mark.parametrize(
    ("value", "reason", "flag_key", "expected"),
    [
        ("treatment", Reason.SPLIT, "their-flag", ("treatment", "assigned")),
        ("control", Reason.TARGETING_MATCH, "their-flag", ("control", "assigned")),
        ("treatment", Reason.DEFAULT, "their-flag", ("treatment", "vendor_default")),
        ("blue", Reason.SPLIT, "their-flag", ("control", "vendor_failed")),
        ("treatment", Reason.SPLIT, "no-such-flag", ("control", "vendor_failed")),
    ],
)
def test_a_hosts_own_vendor_may_decide(
    experiment: Experiment, value: str, reason: Reason, flag_key: str, expected: tuple[str, str]
) -> None:
    """Only what it split or targeted is an assignment; its errors and defaults are not."""
    set_provider_and_wait(Vendor(value, reason), "vendor")
    decision = FlagVendor(get_client("vendor"), experiment, flag_key=flag_key)("u-1", {"region": "cn"})

    assert expected == (decision.variant, decision.reason)


def test_a_hook_that_fails_moves_nobody_to_control(experiment: Experiment) -> None:
    """An OpenFeature client answers with the default when a hook raises: an SRM, if it were believed."""

    class Failing(Hook):
        def after(self, *_: object, **__: object) -> None:
            raise OSError("the log's disk is full")

    set_provider_and_wait(Vendor("treatment", Reason.SPLIT), "hooked")
    client = get_client("hooked")
    client.add_hooks([Failing()])

    assert "vendor_failed" == FlagVendor(client, experiment, flag_key="their-flag")("u-1", {}).reason
    with pytest.raises(InvalidUnit):
        FlagVendor(client, experiment, flag_key="their-flag")("", {})
