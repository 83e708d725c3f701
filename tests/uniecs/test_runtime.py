"""The exported model in service: the same bits for the same row, whatever is around it."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uniecs.errors import EmptyRow, InvalidConfig, InvalidModel, UnreadablePicture
from uniecs.preprocess import Pixels, read_picture
from uniecs.runtime import Row, Runtime

from .conftest import Paint, paint_picture

WORDS = [
    "striped",
    "red",
    "blue",
    "mug",
    "teapot",
    "红色",
    "wool",
    "scarf",
    "XL",
    "🎁",
    "ceramic",
    "of",
    "a,",
    "very-long-winded",
    "plain",
]


def mixed_rows(count: int) -> list[Row]:
    """Rows of every form and many lengths; some pictures and texts come twice."""
    chance = random.Random(17)
    rows = []
    for at in range(count):
        text = " ".join(chance.choices(WORDS, k=chance.randint(1, 40)))
        colour = tuple(chance.randrange(0, 256, 51) for _ in range(3))
        picture = paint_picture(colour, size=(chance.randint(8, 90), 40))
        rows.append(Row(text=text if at % 3 else None, picture=picture if at % 3 != 1 else None))
    return rows


def test_a_rows_vector_has_the_same_bits_alone_and_in_any_batch(runtime: Runtime, demo_model: Path) -> None:
    """Batch and stream must agree bit for bit: batchmates, places and threads do not matter."""
    rows = mixed_rows(120)
    together = runtime.embed(rows)
    alone = np.concatenate([Runtime.embed(runtime, [row]) for row in rows])
    order = random.Random(4).sample(range(len(rows)), len(rows))
    fresh = Runtime(demo_model, threads=1)  # nothing kept from before
    shuffled = np.concatenate(
        [fresh.embed([rows[at] for at in order[start : start + 7]]) for start in range(0, len(order), 7)]
    )

    assert together.tobytes() == alone.tobytes()
    assert together[order].tobytes() == shuffled.tobytes()
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_another_process_gives_the_same_bits(runtime: Runtime, demo_model: Path) -> None:
    """The nightly batch and the stream are different processes."""
    code = (
        "import hashlib, sys; from pathlib import Path; from uniecs.runtime import Row, Runtime;"
        "vectors = Runtime(Path(sys.argv[1]), threads=3).embed("
        "[Row(text='mug'), Row(text='striped red mug')]);"
        "print(hashlib.sha256(vectors.tobytes()).hexdigest())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(demo_model)], capture_output=True, text=True, check=True
    )
    ours = runtime.embed([Row(text="mug"), Row(text="striped red mug")])

    assert hashlib.sha256(ours.tobytes()).hexdigest() == run.stdout.strip()


def test_a_new_title_costs_no_vision_pass(demo_model: Path, paint: Paint) -> None:
    """Image tokens are kept by the picture's bytes."""
    runtime = Runtime(demo_model)
    picture = paint("teal")
    first = runtime.embed([Row(text="bowl", picture=picture), Row(picture=picture)])
    again = runtime.embed([Row(text="teal bowl", picture=picture)])

    assert 1 == runtime.image_passes
    assert 2 == runtime.text_passes
    assert not np.array_equal(first[0], again[0])


def test_a_picture_is_decoded_once(demo_model: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever checks first and embeds later pays once; the bits are those of embedding alone."""
    runtime, decoded = Runtime(demo_model), []

    def counting(picture: bytes, *, side_px: int) -> Pixels:
        decoded.append(picture)
        return read_picture(picture, side_px=side_px)

    monkeypatch.setattr("uniecs.runtime.read_picture", counting)
    pictures = [paint("red"), paint("blue")]
    for picture in (*pictures, *pictures):
        runtime.check_picture(picture)
    checked = runtime.embed([Row(picture=picture) for picture in pictures])
    runtime.check_picture(pictures[0])

    assert pictures == decoded
    assert np.array_equal(checked, Runtime(demo_model).embed([Row(picture=one) for one in pictures]))


def test_serving_loads_no_torch(demo_model: Path) -> None:
    """A search service installs neither torch nor the training files' needs."""
    code = (
        "import sys; from pathlib import Path; from uniecs.runtime import Row, Runtime;"
        "Runtime(Path(sys.argv[1])).embed([Row(text='mug')]); print('torch' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(demo_model)], capture_output=True, text=True, check=True
    )

    assert "False" == run.stdout.strip()


def test_a_row_with_neither_text_nor_picture_is_named(runtime: Runtime) -> None:
    """Row numbers count from 0, as in the list that was given."""
    with pytest.raises(EmptyRow, match="row 1: has neither text nor picture"):
        runtime.embed([Row(text="mug"), Row(text="  ")])


def test_a_row_with_a_broken_picture_is_named(runtime: Runtime, paint: Paint) -> None:
    """Beyond the first portion of a long call too."""
    rows = [Row(picture=paint("red"))] * 300 + [Row(picture=b"junk")]
    with pytest.raises(UnreadablePicture, match="row 300: picture of 4 bytes cannot be decoded"):
        runtime.embed(rows)


def test_no_rows_give_no_vectors(runtime: Runtime) -> None:
    """An empty page is not an error."""
    assert (0, runtime.dimension) == runtime.embed([]).shape


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    """One sentence: value, rule, next step."""
    with pytest.raises(
        InvalidModel, match=r"nowhere is not an exported model: config.json.* missing; run `make train`"
    ):
        Runtime(tmp_path / "nowhere")


def test_graphs_of_another_model_are_refused(demo_model: Path, tmp_path: Path) -> None:
    """Half an update must not become a vector space of its own."""
    copy = tmp_path / "model"
    shutil.copytree(demo_model, copy)
    with (copy / "fusion.onnx").open("ab") as graph:
        graph.write(b"\0")
    with pytest.raises(InvalidModel, match=r"the graphs are not those that config\.json names"):
        Runtime(copy)


def test_a_model_of_another_preprocessing_is_refused(demo_model: Path, tmp_path: Path) -> None:
    """Weights read pixels and ids as they were trained on them."""
    copy = tmp_path / "model"
    shutil.copytree(demo_model, copy)
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(settings | {"preprocess_version": "other-9"}))
    with pytest.raises(InvalidModel, match="other-9"):
        Runtime(copy)


def test_an_absent_accelerator_is_named(demo_model: Path) -> None:
    """Asked for and not there: said at once, not served slowly in silence."""
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(InvalidConfig, match="provider 'cuda' cannot start"):
        Runtime(demo_model, provider="cuda")
