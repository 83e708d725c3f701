"""Tables as they come: a clear sentence and exit 2, or counted and shown; never NaN, never a crash."""

import json
from pathlib import Path

import duckdb
import narwhals as nw
import pyarrow as pa
import pytest

from experiments.errors import InvalidData

from .tables import command, compare

REFUSED = {
    "no bytes": (b"", "has 0 bytes; write it again"),
    "no rows": (b"variant,y\n", "a header and no rows"),
    "text": (b"variant,y\nA,1\nA,abc\nB,2\n", "row 2: 'y' is 'abc', must be a finite number"),
    "decimal comma": (b"variant;y\nA;1,5\nB;2,5\n", "row 1: 'y' is '1,5'.*a decimal comma must be a point"),
    "infinity": (b"variant,y\nA,1\nB,inf\n", "row 2: 'y' is 'inf', must be a finite number"),
    "no such column": (b"variant,z\nA,1\nB,2\n", "has no column 'y'; it has variant, z"),
    "no control": (b"variant,y\nC,1\nB,2\n", "no row has variant = 'A'; its values are 'B', 'C'"),
    "no treatment": (b"variant,y\nA,1\nA,2\n", "one value only, 'A': nothing to compare it with"),
    "a row too long": (b"variant,y\nA,1\nB,2,3\nA,1\n", "not readable CSV.*as many fields in each row"),
    "another encoding": ("variant,y,name\nA,1,é\nB,2,ü\n".encode("latin-1"), "not readable CSV.*UTF-8"),
    "not Parquet": (b"PAR1xxxx", "8 bytes. is not readable Parquet"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_be_read_is_one_sentence(tmp_path: Path, case: str) -> None:
    """It names the file, the row and the value."""
    content, sentence = REFUSED[case]
    file = tmp_path / "units.csv"
    file.write_bytes(content)

    with pytest.raises(InvalidData, match=f"(?s){sentence}"):
        compare(file, "y=mean(y)")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"caps": ["y=0.2"]}, "cap is 0.2; give a quantile in"),
        ({"caps": ["z=0.9"]}, "no metric 'z'; there are y"),
        ({"covariates": ["y=y"]}, "cannot be its own covariate"),
        ({"split": "1:1:1"}, "3 shares, the table 2 variants: A, B"),
        ({"split": "A=1,C=1"}, "a variant 'B' that --split A=1,C=1 does not plan"),
        ({"split": "1:x"}, "must be numbers, like 1:1"),
        ({"alpha": 2.0}, "alpha is 2.0, must be between 0 and 1"),
        ({"unit": "shopper"}, "covers|all 2 units are in two variants"),
        ({"segments": ["country"]}, "no column 'country'"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence(options: dict[str, object], sentence: str) -> None:
    """The value, the rule, the next step."""
    rows = pa.table({"variant": ["A", "B", "A", "B"], "y": [1.0, 2.0, 3.0, 5.0], "shopper": [1, 1, 2, 2]})

    with pytest.raises(InvalidData, match=sentence):
        compare(rows, "y=mean(y)", **options)


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("mean(y)", "must be NAME="),
        ("m=median(y)", "no formula 'median'; there are mean"),
        ("m=ratio(y)", "must be like ratio"),
        ("m=quantile(y,2)", "must be between 0 and 1"),
        ("m=quantile(y,half)", "must be a number"),
        ("m=proportion(y)", "'y' has 2; a proportion needs 0 or 1, for other numbers write mean"),
    ],
)
def test_a_formula_that_cannot_be_read_shows_how_to_write_it(formula: str, sentence: str) -> None:
    """The likely mistakes, each with its right form."""
    with pytest.raises(InvalidData, match=sentence):
        compare(pa.table({"variant": ["A", "B"], "y": [1.0, 2.0]}), formula)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("A,1\nB,3\n", "A has one unit only"),
        ("A,1\nA,2\nB,\nB,NaN\n", "B has no units with a value"),
        ("A,0\nA,0\nB,0\nB,0\n", "no variation: every unit has the same value"),
        ("A,5\nA,5\nB,6\nB,6\n", "no variation: no unit differs from its own variant"),
        ("A,1\nA,NaN\nA,3\nB,2\nB,\nB,9\n", "A is not clearly different from zero"),
    ],
)
def test_what_cannot_be_computed_has_a_reason_and_exit_0(tmp_path: Path, rows: str, reason: str) -> None:
    """Strict JSON: no NaN anywhere."""
    file = tmp_path / "units.csv"
    file.write_text(f"variant,y\n{rows}")
    done, found = command(file, "--metric", "y=mean(y)", "--metric", "q=quantile(y,0.9)")

    assert 0 == done.exit_code
    assert reason in found["comparisons"][0]["reason"]
    assert found["comparisons"][0]["lift"] is None


def test_an_arm_that_nobody_reached_is_an_empty_arm_and_a_broken_ratio(tmp_path: Path) -> None:
    """Planned by name, absent from the table: others ignore it and see a perfect split."""
    file = tmp_path / "units.csv"
    file.write_text("variant,y\n" + "A,1\nB,2\nA,3\nB,4\n" * 50)
    _, found = command(file, "--metric", "y=mean(y)", "--split", "A=1,B=1,C=1")

    assert [("B", 100), ("C", 0)] == [(it["treatment"], it["n_treatment"]) for it in found["comparisons"]]
    assert not found["sample_ratio"]["ok"]
    assert "broken" == found["verdict"]


def test_rows_without_a_variant_and_units_in_two_are_counted() -> None:
    """Left out, said so, and too many of them break the comparison."""
    rows = pa.table(
        {
            "variant": ["A", "B"] * 300 + ["A", None],
            "shopper": [*range(600), 1, 601],  # shopper 1 was in B
            "y": [1.0, 2.0, 2.0, 1.0] * 150 + [1.0, 1.0],
        }
    )
    found = compare(rows, "y=mean(y)", unit="shopper")
    check = next(it for it in found["checks"] if it["name"] == "left_out")

    assert {"crossed_units": 1, "unlabelled_rows": 1} == check["figures"]
    assert "warn" == check["status"]
    assert {"A": 300, "B": 299} == found["units"]


def test_a_covariate_that_changes_within_a_unit_is_refused() -> None:
    """It would be known only after the start."""
    rows = {"variant": ["A", "A", "B", "B"], "u": ["x", "x", "y", "z"], "b": [1, 2, 1, 1], "y": [1, 2, 3, 4]}

    with pytest.raises(InvalidData, match="covariate 'b' of unit 'x' is 1 in one row and 2 in another"):
        compare(pa.table(rows), "y=mean(y)", covariates=["y=b"], unit="u")


def test_names_with_quotes_and_names_like_our_own_are_only_names() -> None:
    """No name of the table's own reaches a query unquoted."""
    rows = pa.table({"variant": ["A", "B"] * 20, 'n0"; --': range(40), "v": [1, 2] * 20, "s0": ["x'y"] * 40})
    found = compare(rows, 'm=ratio(n0"; --,v)', segments=["s0"])

    assert 19.0 == found["comparisons"][0]["control_value"]
    assert "x'y" == found["segments"][0]["value"]


@pytest.mark.parametrize("formula", ["y=mean(y)", "y=ratio(y,d)", "y=quantile(y,0.9)"])
@pytest.mark.parametrize("size", [1e120, 1e160, 1e300])
def test_numbers_too_large_to_square_are_a_reason(formula: str, size: float) -> None:
    """Neither a crash nor infinity in the JSON."""
    rows = {"variant": ["A", "B"] * 20, "y": [size * (1 + n % 7) for n in range(40)], "d": [1.0] * 40}
    found = compare(pa.table(rows), formula)["comparisons"][0]

    assert found["p_value"] is not None or found["reason"]
    assert "Infinity" not in json.dumps(found)


@pytest.mark.parametrize("kind", ["arrow", "pandas", "narwhals", "narwhals, lazy", "duckdb"])
def test_a_data_frame_of_any_library_is_a_table(kind: str) -> None:
    """Through Narwhals: the same numbers, whoever holds them."""
    table = pa.table({"variant": ["A", "B", "A", "B"] * 9, "y": [1.0, 2.0, 3.0, 5.0] * 9})
    with duckdb.connect(":memory:") as connection:
        frame = {
            "arrow": lambda: table,
            "pandas": table.to_pandas,
            "narwhals": lambda: nw.from_native(table.to_pandas()),
            "narwhals, lazy": lambda: nw.from_native(table).lazy(),
            "duckdb": lambda: connection.from_arrow(table),
        }[kind]()
        found = compare(frame, "y=mean(y)")["comparisons"][0]
        del frame

    assert (18, 2.0, 3.5) == (found["n_control"], found["control_value"], found["treatment_value"])


@pytest.mark.parametrize("thing", [["A", 1], 7, "units.csv"])
def test_what_is_no_data_frame_is_refused_by_its_type(thing: object) -> None:
    """A file's name is a Path."""
    with pytest.raises(InvalidData, match="cannot be read as a table"):
        compare(thing, "y=mean(y)")
