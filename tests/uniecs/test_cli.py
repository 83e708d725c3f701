"""python -m uniecs: rows in, vectors out, and one clear line for what cannot be."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uniecs.runtime import Row, Runtime

from .conftest import Paint


def uniecs(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "uniecs", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def write_rows(folder: Path, *lines: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def test_embed_writes_unit_vectors_in_row_order(
    demo_model: Path, runtime: Runtime, tmp_path: Path, paint: Paint
) -> None:
    """Text, a relative picture, an absolute one, and both; the bits are those of the runtime."""
    picture = paint("navy")
    (tmp_path / "navy.png").write_bytes(picture)
    rows = write_rows(
        tmp_path,
        {"text": "navy bowl"},
        {"image": "navy.png"},
        {"image": str(tmp_path / "navy.png")},
        {"text": "navy bowl", "image": "navy.png"},
    )
    output = tmp_path / "vectors.npy"
    run = uniecs("embed", "--model", demo_model, "--input", rows, "--output", output)
    vectors = np.load(output)
    expected = runtime.embed(
        [
            Row(text="navy bowl"),
            Row(picture=picture),
            Row(picture=picture),
            Row(text="navy bowl", picture=picture),
        ]
    )

    assert 0 == run.returncode, run.stderr
    assert expected.tobytes() == vectors.tobytes()
    assert run.stdout.startswith("4 vectors of ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{oops\n", "rows.jsonl:2: not JSON"),
        ("[1]\n", "rows.jsonl:2: '[1]' is not an object"),
        ({"title": "mug"}, "rows.jsonl:2: has neither text nor image; give at least one"),
        ({"text": 7}, "rows.jsonl:2: text is 7, must be a string"),
        ({"image": "none.png"}, "rows.jsonl:2: picture"),
        ({"image": "rows.jsonl"}, "rows.jsonl:2: picture of"),
    ],
)
def test_a_bad_row_is_one_line_that_names_it_and_nothing_is_written(
    demo_model: Path, tmp_path: Path, line: object, said: str
) -> None:
    """No traceback, no half a file."""
    rows = write_rows(tmp_path, {"text": "mug"}, line)
    run = uniecs("embed", "--model", demo_model, "--input", rows, "--output", tmp_path / "vectors.npy")
    last = run.stderr.strip().splitlines()[-1]

    assert 2 == run.returncode
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in run.stderr
    assert {"rows.jsonl"} == {path.name for path in tmp_path.iterdir()}


def test_a_missing_rows_file_is_named(demo_model: Path, tmp_path: Path) -> None:
    """Before the model is loaded."""
    run = uniecs(
        "embed", "--model", demo_model, "--input", tmp_path / "none.jsonl", "--output", tmp_path / "v.npy"
    )

    assert 2 == run.returncode
    assert run.stderr.startswith("error: no file")


def test_evaluate_prints_json(demo_model: Path, tmp_path: Path, paint: Paint) -> None:
    """Recall, MRR, nDCG and an interval for each scenario that the pairs fill, and for the mixed gallery."""
    (tmp_path / "red.png").write_bytes(paint("red"))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        json.dumps({"query": {"text": "mug"}, "candidate": {"text": "mug", "image": "red.png"}, "group": "m"})
        + "\n"
    )
    run = uniecs("evaluate", "--model", demo_model, "--pairs", pairs, "--json")
    answer = json.loads(run.stdout)

    assert 0 == run.returncode, run.stderr
    assert [("text", each) for each in ("text", "image", "both", "mixed")] == [
        (each["query"], each["candidate"]) for each in answer["scenarios"]
    ]
    first = answer["scenarios"][0]
    assert dict.fromkeys(["1", "5", "10", "20", "50"], 1.0) == first["recall"]
    assert (1.0, 1.0, [1.0, 1.0]) == (
        first["mrr_at_10"],
        first["ndcg_at_10"],
        first["recall_at_10_interval"],
    )


def test_a_picture_that_is_not_there_ends_evaluate_with_its_line(demo_model: Path, tmp_path: Path) -> None:
    """One sentence with the line of the pair, and no figures of the others."""
    pairs = tmp_path / "pairs.jsonl"
    sound = {"query": {"text": "mug"}, "candidate": {"text": "red mug"}}
    missing = {"query": {"text": "bowl"}, "candidate": {"image": "none.png"}}
    pairs.write_text("".join(json.dumps(each) + "\n" for each in (sound, missing)))
    run = uniecs("evaluate", "--model", demo_model, "--pairs", pairs, "--json")
    last = run.stderr.strip().splitlines()[-1]

    assert (2, "") == (run.returncode, run.stdout)
    assert last.startswith(f"error: {pairs}:2: picture {tmp_path / 'none.png'} cannot be opened")
    assert "paths are relative to the file" in last
    assert "Traceback" not in run.stderr


def test_an_unknown_setting_in_a_recipe_is_named(tmp_path: Path) -> None:
    """A typo in a recipe must not train something else."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\npairs = "p.jsonl"\n[train]\nstps = 5\n')
    run = uniecs("train", recipe, "--output", tmp_path / "out")

    assert 2 == run.returncode
    assert "unknown setting 'stps'" in run.stderr
