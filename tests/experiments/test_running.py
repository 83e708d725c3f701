"""What is running moves nobody; who is a tester, and whom an experiment is for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.assignment import assign
from experiments.definition import Experiment, Experiments, Layer, load_experiments, read_definition
from experiments.errors import InvalidExperiment, InvalidOverride
from experiments.experiment import SLOTS
from experiments.overrides import Override, read_override, sign_override
from experiments.running import load_running
from experiments.signing import SUFFIX, sign
from experiments.targeting import Target

PACKAGED = Path("experiments/definitions/uniecs-recall.toml")
SIGNED_WITH = "a secret of the shop's own"
NOW = datetime(2026, 2, 1, tzinfo=UTC)


def running(folder: Path, *changes: tuple[str, str]) -> Experiments:
    """The packaged definition, signed before its start, then changed, as it is loaded when it runs."""
    text = PACKAGED.read_text(encoding="utf-8")
    file = folder / PACKAGED.name
    file.write_text(text, encoding="utf-8")
    before = read_definition(file)
    record = sign(before, now=before.start - timedelta(days=1))
    (folder / f"uniecs-recall{SUFFIX}").write_text(record.to_json(), encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")
    return load_running(folder, now=NOW)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('salt = "9d272bcd90e18aa9"', 'salt = "9d272bcd90e18aa8"', "its salt was '9d272bcd90e18aa9', is now"),
        ('salt = "0dcf58ecdb626912"', 'salt = "0dcf58ecdb626913"', "its layer was"),
        ("share = 0.5\nplan = { channels = []", "share = 0.4\nplan = { channels = []", "shares sum to 0.9"),
        ('hypothesis = "', 'hashing = "growthbook-2"\nhypothesis = "', "its hashing was 'murmur3', is now"),
    ],
)
def test_a_change_that_would_move_units_of_a_running_experiment_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    """One sentence: what it was, what it is, what to do."""
    with pytest.raises(InvalidExperiment, match=said):
        running(tmp_path, (old, new))


def test_shares_that_still_sum_move_units_too(tmp_path: Path) -> None:
    """90 to 10 is not 50 to 50."""
    with pytest.raises(InvalidExperiment, match=r"shares were .*0\.5.* are now .*0\.9.*begin a new phase"):
        running(
            tmp_path,
            ("share = 0.5\nplan = { channels = []", "share = 0.9\nplan = { channels = []"),
            ('share = 0.5\nplan = { channels = ["uniecs"]', 'share = 0.1\nplan = { channels = ["uniecs"]'),
        )


def test_what_moves_nobody_may_change(tmp_path: Path) -> None:
    """The ramp, words, and everything in a new phase."""
    assert 0.5 == running(tmp_path, ("traffic = 1.0", "traffic = 0.5"))["uniecs-recall"].traffic
    assert running(tmp_path, ("Click-through rate", "CTR"))
    assert running(tmp_path, ('phase = "1"', 'phase = "2"'), ("9d272bcd90e18aa9", "9d272bcd90e18aa8"))


def test_a_reload_is_held_against_what_is_being_served() -> None:
    """Also where nothing was signed."""
    served = load_experiments()
    other = {"uniecs-recall": replace(served["uniecs-recall"], salt="0" * 16)}

    assert load_running(None, now=NOW, before=served)
    with pytest.raises(InvalidExperiment, match="is running, and its salt was '0000000000000000'"):
        load_running(None, now=NOW, before=other)
    assert load_running(None, now=served["uniecs-recall"].start - timedelta(days=1), before=other)


def test_two_experiments_of_one_layer_share_no_unit(experiment: Experiment) -> None:
    """Mutual exclusion, and slots that overlap are refused."""
    half = SLOTS // 2
    left = replace(experiment, name="left", layer=replace(experiment.layer, slots=((0, half),)))
    right = replace(
        experiment, name="right", salt="1" * 16, layer=replace(experiment.layer, slots=((half, SLOTS),))
    )
    both = Experiments([left, right])
    reasons = [
        {name: assign(one, f"shopper-{number}", now=NOW).reason for name, one in both.items()}
        for number in range(2_000)
    ]

    assert all(sorted(of.values()) == ["assigned", "not_in_traffic"] for of in reasons)
    with pytest.raises(
        InvalidExperiment, match=r"slots \[0, 2147483649\).*overlap.*give each experiment its own"
    ):
        Experiments([replace(left, layer=replace(left.layer, slots=((0, half + 1),))), right])


def test_two_layers_say_nothing_about_each_other(experiment: Experiment) -> None:
    """Units in one experiment are split by the other as everybody is."""
    other = replace(
        experiment, name="rank", salt="f" * 16, layer=Layer(name="rank", salt="e" * 16, slots=((0, SLOTS),))
    )
    units = [f"shopper-{number}" for number in range(20_000)]
    joint = [
        (assign(experiment, unit, now=NOW).variant, assign(other, unit, now=NOW).variant) for unit in units
    ]

    for pair in {("control", "control"), ("control", "treatment"), ("treatment", "treatment")}:
        assert abs(joint.count(pair) / len(units) - 0.25) < 0.02


def test_a_ramp_from_one_to_fifty_percent_moves_nobody(experiment: Experiment) -> None:
    """100,000 shoppers, step by step."""
    units = [f"shopper-{number}" for number in range(100_000)]
    arms: dict[str, str] = {}
    for traffic in (0.01, 0.02, 0.1, 0.5):
        ramped = replace(experiment, traffic=traffic)
        inside = {
            unit: decision.variant
            for unit in units
            if (decision := assign(ramped, unit, now=NOW)).reason == "assigned"
        }
        assert arms.items() <= inside.items()
        assert abs(len(inside) / len(units) - traffic) < 0.01
        arms = inside


TARGETS: list[tuple[dict[str, Any], Any, bool]] = [
    ({"is_in": ("cn", "sg")}, "cn", True),
    ({"is_in": ("cn", "sg")}, "us", False),
    ({"not_in": ("us",)}, "cn", True),
    ({"not_in": ("us",)}, "us", False),
    ({"not_in": ("us",)}, None, False),
    ({"at_least": 12.0}, 12, True),
    ({"at_least": 12.0, "at_most": 13.0}, 13.5, False),
    ({"at_least": 12.0}, "12", False),
    ({"at_least": 1.0}, True, False),
    ({"equals": True}, True, True),
    ({"equals": True}, False, False),
    ({"equals": True}, "true", False),
    ({"equals": False}, None, False),
    ({"at_least": 0.0}, float("nan"), False),
]


@pytest.mark.parametrize(("rule", "value", "expected"), TARGETS)
def test_a_rule_of_targeting_holds_or_does_not(
    experiment: Experiment, rule: dict[str, Any], value: Any, expected: bool
) -> None:
    """Who lacks the attribute, or has one of another kind, takes no part."""
    targeted = replace(experiment, targeting=(Target(attribute="a", **rule),))
    given = {} if value is None else {"a": value}

    assert ("assigned" if expected else "not_targeted") == assign(
        targeted, "u", now=NOW, attributes=given
    ).reason


@given(
    st.dictionaries(
        st.text(max_size=3), st.one_of(st.none(), st.floats(), st.text(), st.binary(), st.booleans())
    )
)
def test_targeting_never_raises(attributes: dict[str, Any]) -> None:
    """Whatever the host says."""
    for rule, _, _ in TARGETS:
        assert Target(attribute="a", **rule).allows(attributes.get("a")) in (True, False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('attribute = "a"', "must ask one thing"),
        ('attribute = ""\nis_in = ["x"]', "names no attribute"),
        ('attribute = "a"\nis_in = ["x"]\nequals = true', "must ask one thing"),
        ('attribute = "a"\nat_least = 3\nat_most = 2', "nobody would take part"),
        ('attribute = "a"\nat_least = inf', "must be finite"),
        ('attribute = "a"\nis_in = [1]', "must be non-empty text"),
        ('attribute = "a"\nlike = "x"', "unknown key 'like'"),
        ('attribute = "a"\nequals = 1', "equals is 1, must be true or false"),
    ],
)
def test_a_rule_that_asks_nothing_or_nonsense_is_refused_at_load(
    tmp_path: Path, line: str, said: str
) -> None:
    """In a definition, by its file."""
    file = tmp_path / "x.toml"
    file.write_text(PACKAGED.read_text(encoding="utf-8") + f"\n[[targeting]]\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidExperiment, match=rf"x\.toml: .*{said}"):
        read_definition(file)


def token(of: Experiment, **fields: Any) -> str:
    known: dict[str, Any] = {
        "experiment": of.name,
        "variant": "treatment",
        "until": NOW + timedelta(hours=4),
    }
    return sign_override(Override(**known | fields), SIGNED_WITH, now=NOW)


def test_a_signed_override_says_what_was_signed(experiment: Experiment) -> None:
    """For anybody, or for one tester."""
    for unit in ("", "用户7"):
        read = read_override(
            token(experiment, unit_id=unit), SIGNED_WITH, experiment, unit_id="用户7", now=NOW
        )
        assert ("treatment", unit) == (read.variant, read.unit_id)


def test_an_override_that_does_not_hold_is_refused_with_one_sentence(experiment: Experiment) -> None:
    """Unsigned, forged, expired, somebody else's, of nothing here, or with no secret set."""
    good = token(experiment)
    version, body, signature = good.split(".")
    later = NOW + timedelta(hours=5)
    cases = [
        ("treatment", SIGNED_WITH, NOW, "'treatment' is not signed; make one"),
        (f"{version}.{body}", SIGNED_WITH, NOW, "is not signed"),
        (f"{version}.{body}x.{signature}", SIGNED_WITH, NOW, "signature is not ours"),
        (f"{version}.{body}.é", SIGNED_WITH, NOW, "signature is not ours"),
        (good, "another secret, also long", NOW, "signature is not ours"),
        (good, SIGNED_WITH, later, "ended at 2026-02-01 04:00 UTC; make a new one"),
        (
            token(experiment, variant="blue"),
            SIGNED_WITH,
            NOW,
            "variant 'blue'; 'uniecs-recall' has control, treatment",
        ),
        (
            token(experiment, experiment="other"),
            SIGNED_WITH,
            NOW,
            "for experiment 'other'; this is 'uniecs-recall'",
        ),
        (token(experiment, unit_id="somebody"), SIGNED_WITH, NOW, "for shopper 'somebody', not for this one"),
        (good, "", NOW, "secret for overrides has 0 characters, must have 16 or more"),
    ]
    for text, secret, now, said in cases:
        with pytest.raises(InvalidOverride, match=said):
            read_override(text, secret, experiment, unit_id="u", now=now)
    for until in (NOW, NOW + timedelta(days=31), (NOW + timedelta(hours=1)).replace(tzinfo=None)):
        with pytest.raises(InvalidOverride, match="within 30 days"):
            token(experiment, until=until)


def test_a_testers_token_by_command(experiment: Experiment) -> None:
    """What is printed holds; what would not is refused."""
    runner = CliRunner(env={"RECALL_OVERRIDE_SECRET": SIGNED_WITH})
    made = runner.invoke(app, ["override", "treatment", "--unit", "u7", "--hours", "1"])
    refused = runner.invoke(app, ["override", "blue"])

    now = datetime.now(UTC)
    assert (
        "treatment"
        == read_override(made.stdout.strip(), SIGNED_WITH, experiment, unit_id="u7", now=now).variant
    )
    assert isinstance(refused.exception, InvalidOverride)
