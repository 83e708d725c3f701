"""A definition is checked when it is read, and says in one sentence what is wrong with it."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from experiments.definition import SLOTS, Experiment, Experiments, Layer, load_experiments
from experiments.errors import InvalidExperiment, UnknownExperiment

PACKAGED = (
    resources.files("experiments.definitions").joinpath("uniecs-recall.toml").read_text(encoding="utf-8")
)


def read(folder: Path, text: str) -> Experiment:
    (folder / "it.toml").write_text(text, encoding="utf-8")
    return load_experiments(folder)["uniecs-recall"]


def test_the_packaged_experiment_gives_treatment_the_uniecs_channel_and_control_nothing() -> None:
    """Both sides of the funnel, the demo and the report rely on these names."""
    experiment = load_experiments()["uniecs-recall"]

    assert () == experiment.variant("control").plan.channels
    assert ("uniecs",) == experiment.variant("treatment").plan.channels
    assert "control" == experiment.control
    assert ["ctr"] == [metric.name for metric in experiment.metrics if metric.role == "primary"]


@pytest.mark.parametrize(
    ("was", "becomes", "sentence"),
    [
        (
            "share = 0.5\nplan = { channels = []",
            "share = 0.4\nplan = { channels = []",
            "shares sum to 0.9, must be 1",
        ),
        ("slots = [[0, 4294967296]]", "slots = [[0, 4294967297]]", r"must lie in \[0, 4294967296\)"),
        ("slots = [[0, 4294967296]]", "slots = [[5, 5]]", "not be empty"),
        ("slots = [[0, 4294967296]]", "slots = [[0, 10], [9, 20]]", "overlap"),
        ("slots = [[0, 4294967296]]", "slots = []", "owns no slots"),
        ("slots = [[0, 4294967296]]", "slots = [0, 10]", "must be pairs of whole numbers"),
        ('control = "control"', 'control = "old"', "must be one of control, treatment"),
        ("traffic = 1.0", "traffic = 1.5", r"traffic is 1.5, must be in \[0, 1\]"),
        ("traffic = 1.0", "traffic = true", "traffic is True, must be a number"),
        ("traffic = 1.0", "trafic = 1.0", "unknown key 'trafic'"),
        ('phase = "1"\n', "", "has no 'phase'; add it"),
        ('role = "primary"', 'role = "main"', "must be one of primary, secondary, guardrail"),
        ('role = "primary"', 'role = "secondary"', "no metric is primary"),
        ('numerator = "clicks"\ndenominator', 'numerator = "views"\ndenominator', "no column 'views'"),
        ("margin = 0.1\n", "", "a guardrail, and only one, has a margin"),
        ("cap_quantile = 0.99", "cap_quantile = 99", r"must be in \[0.5, 1\)"),
        ("planned = 4", "planned = 0", "planned_looks is 0"),
        ("start = 2026-01-05T00:00:00Z", "start = 2026-01-05T00:00:00", "has no time zone"),
        ('channels = ["uniecs"]', 'channels = ["uniecs", "uniecs"]', "each may be named once"),
        ('channels = ["uniecs"]', "channels = [7]", "must be non-empty text"),
        ('name = "uniecs-recall"', 'name = "UniECS Recall"', "must be lower-case letters"),
        ("[looks]", "[looks", "cannot be read as TOML"),
    ],
)
def test_a_broken_rule_is_one_sentence_that_names_the_file(
    tmp_path: Path, was: str, becomes: str, sentence: str
) -> None:
    """Whoever edits the file sees which file, which value and which rule."""
    assert was in PACKAGED

    with pytest.raises(InvalidExperiment, match=sentence) as caught:
        read(tmp_path, PACKAGED.replace(was, becomes, 1))

    assert str(caught.value).startswith("it.toml: ")


@pytest.mark.parametrize("salt", ["recall", "0123456789ABCDEF", "0123456789abcde", ""])
def test_a_salt_is_random_hex_and_not_a_name(experiment: Experiment, salt: str) -> None:
    """Names that differ in one letter gave tied arms in other tools."""
    with pytest.raises(InvalidExperiment, match="16 random hex digits"):
        replace(experiment, salt=salt)


def test_an_experiment_does_not_take_its_layers_salt(experiment: Experiment) -> None:
    """The arm would follow from the slot, and a ramp would change the split."""
    with pytest.raises(InvalidExperiment, match="one of their own"):
        replace(experiment, salt=experiment.layer.salt)


def test_experiments_in_one_layer_share_no_slot(experiment: Experiment) -> None:
    """A layer is there so that no unit is in two of its experiments."""
    half = SLOTS // 2
    first = replace(experiment, layer=replace(experiment.layer, slots=((0, half),)))
    second = replace(first, name="other", layer=replace(first.layer, slots=((half, SLOTS),)))
    overlapping = replace(first, name="other", layer=replace(first.layer, slots=((half - 1, SLOTS),)))

    assert ["other", "uniecs-recall"] == list(Experiments([first, second]))
    with pytest.raises(InvalidExperiment, match=r"layer 'recall'.*overlap"):
        Experiments([first, overlapping])


def test_experiments_in_one_layer_agree_on_its_salt(experiment: Experiment) -> None:
    """With two salts the slots of one are not the slots of the other."""
    half = SLOTS // 2
    first = replace(experiment, layer=replace(experiment.layer, slots=((0, half),)))
    second = replace(first, name="other", layer=Layer(name="recall", salt="0" * 16, slots=((half, SLOTS),)))

    with pytest.raises(InvalidExperiment, match="a layer has one"):
        Experiments([first, second])


def test_an_unknown_experiment_is_answered_with_those_there_are() -> None:
    """The next step is in the sentence."""
    with pytest.raises(UnknownExperiment, match="no experiment 'uniecs'; defined here: uniecs-recall"):
        load_experiments()["uniecs"]


def test_two_files_may_not_define_one_name(tmp_path: Path) -> None:
    """Which of them is running must not depend on the order of files."""
    (tmp_path / "a.toml").write_text(PACKAGED, encoding="utf-8")
    (tmp_path / "b.toml").write_text(PACKAGED, encoding="utf-8")

    with pytest.raises(InvalidExperiment, match="share a name"):
        load_experiments(tmp_path)


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    """No definitions at all is a mistake in the settings."""
    with pytest.raises(InvalidExperiment, match=r"no \*.toml definitions"):
        load_experiments(tmp_path)
    with pytest.raises(InvalidExperiment, match="is not a folder"):
        load_experiments(tmp_path / "nowhere")


def test_the_signature_changes_with_anything_but_the_ramp(experiment: Experiment, tmp_path: Path) -> None:
    """Results are held against what was written down; a ramp may go on, a changed metric may not."""
    commented = read(tmp_path, "# another comment\n" + PACKAGED)

    assert experiment.signature == commented.signature
    assert experiment.signature == replace(experiment, traffic=0.01).signature
    assert experiment.signature != replace(experiment, salt="0" * 16).signature
    assert experiment.signature != replace(experiment, metrics=experiment.metrics[:-1]).signature
