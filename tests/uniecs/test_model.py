"""The eight promises of the corrected design, on the torch model, whatever fuses the sides."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from uniecs.config import ModelConfig  # noqa: E402 - after the skip
from uniecs.fusion import Tokens, _gate  # noqa: E402
from uniecs.model import UniECS  # noqa: E402

pytestmark = pytest.mark.torch


SHAPES = {
    "gated_token": {},
    "late_attention": {"fusion": "late_attention"},
    "modality_experts": {"fusion": "modality_experts"},
    "blend": {"fusion": "blend"},
    "concat": {"fusion": "concat"},
    "lifted_mean": {"fusion": "lifted_mean"},
    "mean": {"fusion": "mean"},
    "residual stem, four views": {"stem": "residual", "pool_views": 4},
    "shortcut": {"shortcut": True},
    "entity gate": {"entity_gate": True},
}


@pytest.fixture(params=SHAPES, ids=list(SHAPES))
def model(request: pytest.FixtureRequest, tiny: ModelConfig) -> UniECS:
    torch.manual_seed(3)
    return UniECS(replace(tiny, **SHAPES[request.param])).eval()


@pytest.fixture
def inputs(tiny: ModelConfig) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Four pictures, and four texts of five words with three n-grams each."""
    chance = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (4, tiny.side_px, tiny.side_px, 3), dtype=torch.uint8, generator=chance)
    return pixels, torch.randint(1, tiny.hash_rows, (4, 5, 3), generator=chance)


def flags(*values: bool) -> "torch.Tensor":
    return torch.tensor(values)


def embed(
    model: UniECS, pixels: "torch.Tensor", ids: "torch.Tensor", images: "torch.Tensor", texts: "torch.Tensor"
) -> "torch.Tensor":
    with torch.no_grad():
        return model.fuse(model.image(pixels, images), model.text(ids, texts)).vector


ALL = flags(True, True, True, True)
NONE = ~ALL


def test_more_padding_does_not_change_a_vector(
    model: UniECS, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """Neither padded words nor padded n-grams are read."""
    pixels, ids = inputs
    padded = torch.zeros(4, 11, 9, dtype=torch.int64)
    padded[:, :5, :3] = ids

    torch.testing.assert_close(
        embed(model, pixels, ids, ALL, ALL), embed(model, pixels, padded, ALL, ALL), rtol=0, atol=1e-6
    )


def test_a_vector_does_not_depend_on_its_batchmates_nor_on_their_presence(
    model: UniECS, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """The published code's flag was one number for the whole batch."""
    pixels, ids = inputs
    first = embed(model, pixels, ids, ALL, ALL)[0]
    others = torch.cat([pixels[:1], pixels[1:].flip(0)]), torch.cat([ids[:1], ids[1:].flip(0)])
    changed = embed(model, *others, flags(True, False, True, False), flags(True, True, False, True))[0]

    torch.testing.assert_close(first, changed, rtol=0, atol=1e-6)


def test_the_content_of_an_absent_side_is_never_seen(
    model: UniECS, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """Not a bit of the vector differs, whatever lies where the absent side would be."""
    pixels, ids = inputs

    assert torch.equal(embed(model, pixels, ids, ALL, NONE), embed(model, pixels, ids.flip(1), ALL, NONE))
    assert torch.equal(embed(model, pixels, ids, NONE, ALL), embed(model, 255 - pixels, ids, NONE, ALL))


def test_gates_are_exactly_zero_where_the_other_side_is_absent(tiny: ModelConfig) -> None:
    """So the present side passes the cross layers unchanged."""
    gate = torch.nn.Linear(2 * tiny.width + 1, tiny.width)
    own = torch.randn(2, 3, tiny.width)
    opened = _gate(gate, own, torch.randn(2, 3, tiny.width), flags(True, False))

    assert (opened[0] > 0).all()
    assert torch.equal(torch.zeros_like(opened[1]), opened[1])


def test_sides_that_cannot_meet_may_skip_the_cross_layers(
    model: UniECS, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """What training saves on one-sided views changes nothing."""
    pixels, ids = inputs
    with torch.no_grad():
        image, text = model.image(pixels, ALL), model.text(ids, ALL)
        for sides in ((image, model.absent(4)), (model.absent(4), text)):
            assert torch.equal(model.fuse(*sides).vector, model.fuse(*sides, meet=False).vector)


def test_every_parameter_gets_a_gradient(
    model: UniECS, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """The alignment heads and the vectors of absence among them."""
    pixels, ids = inputs
    images, texts = flags(True, True, False, True), flags(True, True, True, False)
    fused = model.train().fuse(model.image(pixels, images), model.text(ids, texts))
    chance = torch.Generator().manual_seed(1)
    sum((part * torch.randn(part.shape, generator=chance)).sum() for part in fused).backward()
    idle = [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]

    assert [] == idle


def test_a_text_of_padding_alone_gives_no_nan(
    model: UniECS, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """A softmax over nothing is 0 here."""
    pixels, ids = inputs
    for images in (ALL, NONE):
        assert torch.isfinite(embed(model, pixels, torch.zeros_like(ids), images, ALL)).all()


def test_vectors_have_length_one(model: UniECS, inputs: tuple["torch.Tensor", "torch.Tensor"]) -> None:
    """In every form."""
    for images, texts in ((ALL, ALL), (ALL, NONE), (NONE, ALL)):
        torch.testing.assert_close(torch.ones(4), embed(model, *inputs, images, texts).norm(dim=1))


def test_a_mixed_batch_equals_its_rows_one_by_one(
    model: UniECS, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """Text, picture and both side by side."""
    pixels, ids = inputs
    images, texts = flags(True, False, True, True), flags(True, True, False, True)
    together = embed(model, pixels, ids, images, texts)
    alone = [
        embed(model, pixels[at : at + 1], ids[at : at + 1], images[at : at + 1], texts[at : at + 1])
        for at in range(4)
    ]

    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


def test_presence_is_said_and_not_guessed_from_values(tiny: ModelConfig) -> None:
    """A present text whose tokens happen to be zeros is still present."""
    model = UniECS(tiny).eval()
    zeros, mask = torch.zeros(1, 2, tiny.width), torch.ones(1, 2, dtype=torch.bool)
    image = Tokens(torch.ones(1, 4, tiny.width), torch.ones(1, 4, dtype=torch.bool), flags(True))
    with torch.no_grad():
        said = model.fuse(image, Tokens(zeros, mask, flags(True))).vector
        absent = model.fuse(image, Tokens(zeros, mask, flags(False))).vector

    assert not torch.allclose(said, absent)


def test_a_model_that_sees_one_side_gives_the_other_no_say(
    tiny: ModelConfig, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """The baselines of the ablations: whatever the picture, the text decides."""
    pixels, ids = inputs
    model = UniECS(replace(tiny, sees="text")).eval()

    assert torch.equal(embed(model, pixels, ids, ALL, ALL), embed(model, 255 - pixels, ids, ALL, ALL))
    assert torch.equal(embed(model, pixels, ids, ALL, ALL), embed(model, pixels, ids, NONE, ALL))


def test_the_reference_mode_reads_padding_and_its_batch_as_released(
    tiny: ModelConfig, inputs: tuple["torch.Tensor", "torch.Tensor"]
) -> None:
    """What the corrections correct is there to be measured: tokens beyond the text count."""
    pixels, ids = inputs
    torch.manual_seed(3)
    model = UniECS(replace(tiny, mode="reference")).eval()
    with torch.no_grad():
        image, text = model.image(pixels, ALL), model.text(ids, ALL)
        read = model.fuse(image, text).vector
        masked = text._replace(values=text.values * text.mask.unsqueeze(-1))
        unread = model.fuse(image, masked).vector

    assert tiny.max_tokens == text.values.shape[1]
    torch.testing.assert_close(torch.ones(4), read.norm(dim=1))
    assert not torch.allclose(read, unread)
