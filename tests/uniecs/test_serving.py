"""What serving may choose: rows that share runs, 8-bit weights, several pictures of one product."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uniecs.batched import buckets
from uniecs.config import ModelConfig
from uniecs.errors import EmptyRow, InvalidConfig, InvalidRows, UnreadablePicture
from uniecs.model_folder import GRAPHS
from uniecs.rows import read_items
from uniecs.runtime import Row, Runtime
from uniecs.several_pictures import share_tokens

from .conftest import Paint, paint_picture
from .test_runtime import mixed_rows


def test_rows_that_share_runs_have_the_same_vectors_to_a_rounding(demo_model: Path, runtime: Runtime) -> None:
    """Lengths differ, pictures are missing; padding is masked."""
    rows = mixed_rows(50)
    together = Runtime(demo_model, threads=1, rows_a_run=16)

    np.testing.assert_allclose(runtime.embed(rows), together.embed(rows), rtol=0, atol=2e-6)
    assert (0, 128) == together.embed([]).shape
    with pytest.raises(EmptyRow, match="row 1: has neither"):
        together.embed([Row(text="mug"), Row()])


def test_like_lengths_share_a_bucket() -> None:
    """A long text does not make short ones long."""
    sizes = [3, 30, 2, 31, 4, 29]

    assert [{0, 2, 4}, {1, 3, 5}] == [set(each) for each in buckets(sizes, most=3)]


def test_eight_bits_are_a_space_of_their_own_near_the_first(
    demo_model: Path, runtime: Runtime, tmp_path: Path
) -> None:
    """Another fingerprint, a fraction of the bytes of what is multiplied, nearly the same directions."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (uniecs-online[uniecs-train])")
    from uniecs.quantize import quantize_model

    def weights(graph: Any) -> Iterator[Any]:
        stored = (each for each in graph.initializer if each.data_type == onnx.TensorProto.INT8)
        yield from map(onnx.numpy_helper.to_array, stored)
        for branch in (each.g for node in graph.node for each in node.attribute if each.HasField("g")):
            yield from weights(branch)

    model_id = quantize_model(demo_model, tmp_path / "int8")
    small = Runtime(tmp_path / "int8")
    rows = mixed_rows(40)
    cosines = (runtime.embed(rows) * small.embed(rows)).sum(axis=1)
    sizes = [(folder / "fusion.onnx").stat().st_size for folder in (tmp_path / "int8", demo_model)]

    assert model_id == small.model_id != runtime.model_id
    assert sizes[0] < sizes[1] / 3
    assert cosines.min() > 0.98
    # Two products with a byte fit 16 bits, which is all that some processors add them in.
    for graph in GRAPHS:
        numbers = list(weights(onnx.load(tmp_path / "int8" / graph).graph))
        assert numbers
        assert 2 * 255 * max(int(abs(each.astype(int)).max()) for each in numbers) < 2**15
    with pytest.raises(InvalidConfig, match="name another folder"):
        quantize_model(demo_model, demo_model)


def test_one_picture_keeps_its_tokens_bit_for_bit() -> None:
    """Nothing changes for the products of today."""
    tokens = np.random.default_rng(1).normal(size=(1, 16, 8)).astype(np.float32)

    assert share_tokens([tokens]) is tokens


@pytest.mark.parametrize(("pictures", "each"), [(2, 4), (4, 4), (5, 1), (16, 1), (40, 1)])
def test_several_pictures_share_the_tokens_of_one(pictures: int, each: int) -> None:
    """Squares of neighbouring cells are averaged; beyond as many pictures as tokens, the first are seen."""
    grid = np.arange(16, dtype=np.float32).reshape(1, 16, 1)
    shared = share_tokens([grid] * pictures)

    assert (1, min(pictures, 16) * each, 1) == shared.shape
    if each == 4:  # the corners' means of a 4 x 4 grid
        assert [2.5, 4.5, 10.5, 12.5] == shared[0, :4, 0].tolist()


def test_tokens_that_are_no_grid_are_shared_in_runs() -> None:
    """A class token first, as pretrained towers have it."""
    tokens = np.arange(17, dtype=np.float32).reshape(1, 17, 1)

    assert (1, 16, 1) == share_tokens([tokens, tokens]).shape


def test_every_picture_of_a_product_counts_and_is_looked_at_once(demo_model: Path, paint: Paint) -> None:
    """A second photo moves the vector; both are in the cache, whatever the title."""
    runtime = Runtime(demo_model, threads=1)
    red, blue = paint("red"), paint("blue")
    alone, two, turned = runtime.embed(
        [
            Row(text="mug", picture=red),
            Row(text="mug", picture=red, more=(blue,)),
            Row(text="mug", picture=blue, more=(red,)),
        ]
    )

    assert 2 == runtime.image_passes
    assert not np.allclose(alone, two)
    assert two @ turned > alone @ turned
    runtime.embed([Row(text="blue mug", picture=red, more=(blue,))])
    assert 2 == runtime.image_passes


def test_a_file_may_name_several_pictures(demo_model: Path, tmp_path: Path, paint: Paint) -> None:
    """`images` beside or instead of `image`; a missing one is named with its row."""
    for colour in ("red", "blue"):
        (tmp_path / f"{colour}.png").write_bytes(paint(colour))
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"text": "mug", "images": ["red.png", "blue.png"]}\n{"image": "red.png", "images": ["no.png"]}\n'
    )
    (_, both), (_, broken) = read_items(file)
    runtime = Runtime(demo_model, threads=1)
    expected = runtime.embed([Row(text="mug", picture=paint("red"), more=(paint("blue"),))])

    assert expected.tobytes() == next(iter(runtime.embed_items([("row", both)]))).tobytes()
    with pytest.raises(InvalidRows, match=r"rows:2: picture .*no\.png cannot be opened"):
        list(runtime.embed_items([("rows:2", broken)]))


def test_a_broken_second_picture_names_its_row(runtime: Runtime, paint: Paint) -> None:
    """Never a grey square in its place."""
    with pytest.raises(UnreadablePicture, match="row 1: picture of 4 bytes cannot be decoded"):
        runtime.embed([Row(text="a"), Row(picture=paint("red"), more=(b"junk",))])


BAD_TEXTS = [
    "x" * 10_000,
    "слово " * 2_000,
    "🎁",
    "👩‍👩‍👧‍👦" * 500,
    "قميص قطني أزرق",
    "红色马克杯",
    "\u202eevil",
    "\ud800",
    "\x00",
    "…!?",
]


@pytest.mark.parametrize("text", BAD_TEXTS, ids=lambda text: ascii(text[:6]))
@pytest.mark.parametrize("rows_a_run", [1, 8])
def test_any_text_has_a_vector(demo_model: Path, text: str, rows_a_run: int) -> None:
    """Long, emoji, right to left, Chinese, half a surrogate: finite and of length 1."""
    vector = Runtime(demo_model, threads=1, rows_a_run=rows_a_run).embed([Row(text=text)])[0]

    assert pytest.approx(1, abs=1e-5) == float(np.linalg.norm(vector))


def test_weights_that_are_not_numbers_never_give_a_vector(demo_model: Path, tmp_path: Path) -> None:
    """A damaged export is refused at its first row, also when its fingerprint is right."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (uniecs-online[uniecs-train])")
    import json

    from uniecs.errors import InvalidModel
    from uniecs.model_folder import fingerprint

    copy = tmp_path / "model"
    shutil.copytree(demo_model, copy)
    graph = onnx.load(copy / "fusion.onnx")
    weight = next(each for each in graph.graph.initializer if len(each.dims) == 2)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(list(weight.dims), np.nan, np.float32), weight.name))
    onnx.save(graph, copy / "fusion.onnx")
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(settings | {"fingerprint": fingerprint(copy, settings)}))
    with pytest.raises(InvalidModel, match="gives a vector that is not finite"):
        Runtime(copy).embed([Row(text="mug", picture=paint_picture("red"))])


def test_a_bare_text_does_not_pay_for_the_meeting_of_the_sides(tiny: ModelConfig, tmp_path: Path) -> None:
    """The graph asks at every run whether any row has both; the answer changes no bit."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (uniecs-online[uniecs-train])")
    import torch

    from uniecs.export import export_model
    from uniecs.model import UniECS

    torch.manual_seed(3)
    export_model(UniECS(tiny), tmp_path)
    graph = onnx.load(tmp_path / "fusion.onnx").graph
    (asks,) = (node for node in graph.node if node.op_type == "If")
    sizes = sorted(len(branch.g.node) for branch in asks.attribute)
    rows = [Row(text="a mug"), Row(text="a cup", picture=paint_picture("red")), Row(text="a bowl")]
    among = Runtime(tmp_path, threads=1, rows_a_run=3).embed(rows)
    alone = Runtime(tmp_path, threads=1, rows_a_run=3).embed(rows[::2])

    assert sizes[0] <= 2  # passing by is two copies
    assert sizes[1] > 40
    np.testing.assert_allclose(among[::2], alone, rtol=0, atol=1e-6)
