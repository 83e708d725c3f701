"""An OpenFeature client reads our experiments."""

from datetime import timedelta

import pytest
from openfeature.api import get_client, set_provider
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext

from experiments.assignment import assign
from experiments.definition import Experiment, load_experiments
from experiments.flags import ExperimentsProvider

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
