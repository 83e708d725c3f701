"""Small options from related work: same-style pairs, ranking in reverse, entities in the gate, a blend."""

from dataclasses import replace

import numpy as np
import pytest

from uniecs.config import ModelConfig
from uniecs.errors import InvalidConfig
from uniecs.mining import MOST_A_QUERY, Click, same_style, style_pairs
from uniecs.reverse import reverse_rerank, reversed_scores
from uniecs.rows import Item

SHELVES = {"mug-1": "mugs", "mug-2": "mugs", "mug-3": "mugs", "lamp": "lamps"}


def clicks(query: str, product: str, *shoppers: str) -> list[Click]:
    return [Click(query=query, product_id=product, unit_id=shopper) for shopper in shoppers]


def test_products_clicked_for_the_same_words_are_of_one_style() -> None:
    """By enough different shoppers, in one category, however the words were typed."""
    log = [
        *clicks("red mug", "mug-1", "a", "b", "c"),
        *clicks("Red  MUG", "mug-2", "c", "d", "e"),
        *clicks("red mug", "mug-3", "a", "a", "a"),  # one shopper, three times
        *clicks("red mug", "lamp", "a", "b", "c"),  # of another shelf
    ]

    assert [("mug-1", "mug-2")] == same_style(log, SHELVES)
    assert [] == same_style(log, {"mug-1": "mugs"})


def test_a_query_for_everything_pairs_only_its_most_clicked() -> None:
    """Pairs grow with the square of what was clicked."""
    log = [
        each
        for at in range(100)
        for each in clicks("gift", f"p{at:03}", *(f"s{n}" for n in range(3 + at % 2)))
    ]
    pairs = same_style(log, {f"p{at:03}": "gifts" for at in range(100)})

    assert MOST_A_QUERY * (MOST_A_QUERY - 1) // 2 == len(pairs)


def test_styles_that_share_a_product_are_one_group() -> None:
    """So that none of them is another's wrong answer; a product without its item is left out."""
    items = {name: Item(name, None) for name in ("a", "b", "c", "x", "y")}
    made = list(style_pairs([("a", "b"), ("b", "c"), ("x", "y"), ("x", "gone")], items))

    assert [("a", "b"), ("b", "c"), ("x", "y")] == [(pair.query.text, pair.candidate.text) for pair in made]
    assert ["style:a", "style:a", "style:x"] == [pair.group for pair in made]


def test_a_product_near_every_query_falls_behind_one_that_is_this_querys() -> None:
    """The forward order alone prefers the hub by a hair."""
    query, other = np.eye(3, dtype=np.float32)[:2]
    hub = np.array([0.71, 0.70, 0.08], dtype=np.float32)
    own = np.array([0.70, 0.0, 0.714], dtype=np.float32)
    hits = np.stack([hub, own])

    assert [0, 1] == reverse_rerank(query, hits, other[None], share=0.0).tolist()
    assert [1, 0] == reverse_rerank(query, hits, other[None]).tolist()


def test_what_is_below_the_first_hits_stays_below() -> None:
    """The same scores, in another order, and only among the first."""
    query, other = np.eye(3, dtype=np.float32)[:2]
    gallery = np.array([[0.70, 0.0, 0.714], [0.1, 0.0, 0.99], [0.71, 0.70, 0.08]], dtype=np.float32)
    scores = reversed_scores(other[None], first=2)(query, gallery)

    np.testing.assert_allclose([0.71, 0.1, 0.70], scores)


@pytest.mark.torch
def test_the_gate_reads_what_names_the_product(tiny: ModelConfig) -> None:
    """The same words, marked or not, are let in otherwise; a text without entities has none to read."""
    torch = pytest.importorskip("torch")
    from uniecs.model import UniECS
    from uniecs.readers import reader_of

    config = replace(tiny, entity_gate=True)
    torch.manual_seed(3)
    model, reader = UniECS(config).eval(), reader_of(config, None)
    marked, plain = (torch.from_numpy(reader.ids(text))[None] for text in ("red mug\nWrenfold", "red mug"))
    there = torch.tensor([True])
    with torch.no_grad():
        first = model.text(marked, there)
        none = model.text(plain, there)
        image = model.image(torch.zeros(1, 32, 32, 3, dtype=torch.uint8), there)
        gates = []
        layer = model.fusion.cross[0]
        layer.image_gate.register_forward_hook(lambda _, __, out: gates.append(out))
        layer(image, first)
        layer(image, first._replace(mask=first.mask & (torch.arange(first.mask.shape[1]) > 0)))

    assert [True, True, True, True] == first.mask[0].tolist()
    assert [False, True, True] == none.mask[0].tolist()
    assert not torch.allclose(*gates)


@pytest.mark.torch
def test_each_row_says_how_much_its_channels_count(tiny: ModelConfig) -> None:
    """What is joined lies between the two, so one search blends the scores of both channels."""
    torch = pytest.importorskip("torch")
    from uniecs.fusion import Tokens
    from uniecs.late_fusion import Blend

    torch.manual_seed(3)
    fusion = Blend(replace(tiny, fusion="blend")).eval()
    side = [
        Tokens(torch.randn(4, 3, 16), torch.ones(4, 3, dtype=torch.bool), torch.ones(4, dtype=torch.bool))
        for _ in range(2)
    ]
    v, t = torch.nn.functional.normalize(torch.randn(2, 4, 16), dim=-1)
    with torch.no_grad():
        joined = fusion.join(v, t, *side)
        shares = torch.linalg.lstsq(torch.stack([t, v], dim=-1), joined[..., None]).solution[..., 0]  # (4, 2)

    torch.testing.assert_close(torch.ones(4), shares.sum(1))
    assert ((shares > 0) & (shares < 1)).all()
    assert shares[:, 0].std() > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"entity_gate": True, "fusion": "mean"},
        {"entity_gate": True, "reads": "pixels"},
        {"reads": "pixels", "mode": "reference"},
        {"reads": "pixels", "text_tower": "minilm"},
        {"reads": "aloud"},
    ],
    ids=str,
)
def test_options_that_contradict_each_other_are_refused(wrong: dict[str, object]) -> None:
    """Each names itself and what it needs."""
    with pytest.raises(InvalidConfig, match=r"entity_gate is on, but|reads is"):
        ModelConfig(**wrong)  # type: ignore[arg-type]
