"""What shoppers want: true of the product in a rendered shop, in common words in a real one."""

from io import BytesIO

import pytest
from PIL import Image

from demo.shop import make_product
from demo.tastes import NEXT_BEST, build_world
from demo.words import names_of
from product_index.errors import PictureMissing
from product_index.product import Product

MADE = [make_product(5, number) for number in range(120)]
RENDERED = [
    Product(product_id=made.product_id, title=made.listing["title"], image_uris=tuple(made.image_names()))
    for made in MADE
]
TRUTH = {
    made.product_id: {
        name: getattr(made.look, name) for name in ("type", "colour", "second_colour", "pattern", "material")
    }
    for made in MADE
}
REAL = [
    Product(product_id="h1", title="Blue fleece hoodie", category="Hoodies", attributes={"fit": "slim"}),
    Product(product_id="h2", title="Grey fleece hoodie", category="Hoodies"),
    Product(product_id="h3", title="Blue cotton jacket", category="Jackets"),
    Product(product_id="y1", title="Yoga mat", category="Fitness", image_uris=("mat.jpg", "mat-2.jpg")),
    Product(product_id="n1", title="", description="A quiet thermos for long walks"),
]


def picture(colour: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (60, 40), colour).save(out, "JPEG")
    return out.getvalue()


PHOTOS = {"mat.jpg": picture("green"), "mat-2.jpg": picture("lime")}


def read(uri: str) -> bytes:
    if uri not in PHOTOS:
        raise PictureMissing(f"no picture {uri!r}")
    return PHOTOS[uri]


def test_shoppers_of_a_rendered_shop_ask_in_true_words() -> None:
    """Whatever the seller wrote, a shopper names what the thing is, and nothing that it is not."""
    world = build_world(RENDERED, truth=TRUTH, distinct_searches=100)
    for wish in world.wishes:
        true = TRUTH[wish.target]
        left = f" {wish.text} "
        said = {}
        for field in ("type", "colour", "pattern", "material"):
            names = sorted(names_of(field, true[field]), key=len, reverse=True)
            said[field] = next((name for name in names if f" {name} " in left), None)
            left = left.replace(f" {said[field]} ", "  ") if said[field] else left
        assert said["type"]
        assert not left.strip(), (wish.text, true)
        assert 1 <= sum(word is not None for word in said.values()) - 1 <= 3 or true["pattern"] == "plain"


def test_the_wishes_depend_on_the_seed_alone() -> None:
    """The simulation and the truth are about the same searches."""
    first, again, other = (
        build_world(RENDERED, truth=TRUTH, read_picture=read, seed=seed) for seed in (1, 1, 2)
    )

    assert first.wishes == again.wishes
    assert first.wishes != other.wishes


def test_a_shoppers_photo_is_never_the_shops_own() -> None:
    """Recall must find what a photo shows, not the file that it already has."""
    world = build_world(RENDERED, truth=TRUTH, read_picture=read, distinct_searches=100)
    shops_own = {made.photo(number) for made in MADE for number in range(len(made.scenes))}
    photos = [wish.image for wish in world.wishes if wish.image is not None]

    assert len(photos) >= 3
    assert not shops_own & set(photos)
    assert {"text", "image", "both"} == {wish.kind for wish in world.wishes}


def test_the_same_product_is_worth_most_and_another_kind_nothing() -> None:
    """Relevance is 1 for what was wanted, less for what shares colour or pattern, 0 for another kind."""
    world = build_world(RENDERED, truth=TRUTH)
    wish = world.wishes[0]
    for other, true in TRUTH.items():
        relevance = world.relevance(wish, other)
        if other == wish.target:
            assert relevance == 1
        elif true["type"] != TRUTH[wish.target]["type"]:
            assert relevance == 0
        else:
            assert 0 < relevance <= NEXT_BEST + 1e-9
    assert 0 == world.relevance(wish, "never heard of")


def test_real_products_are_near_by_rare_common_words_and_shelf() -> None:
    """Without a truth, a hoodie is nearer to a hoodie than to a jacket, and far from a mat."""
    world = build_world(REAL, distinct_searches=20)
    hoodie = next(wish for wish in world.wishes if wish.target == "h1")

    assert 1 == world.relevance(hoodie, "h1")
    assert world.relevance(hoodie, "h2") > world.relevance(hoodie, "h3") >= 0
    assert 0 == world.relevance(hoodie, "y1")
    assert "no truth is known" in world.notices[0]


def test_shoppers_of_a_real_catalogue_use_its_words() -> None:
    """Also where all there is to go by is a description."""
    world = build_world(REAL, distinct_searches=20)

    assert {"h1", "h2", "h3", "y1", "n1"} == {wish.target for wish in world.wishes}
    for wish in world.wishes:
        product = world.products[wish.target]
        words = " ".join((product.title, product.category, product.description, *product.attributes.values()))
        assert set((wish.text or "").split()) <= set(words.lower().split())


def test_a_real_photo_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cropped, turned and in other light, it is still a picture, and not the shop's bytes."""
    monkeypatch.setattr("demo.tastes.KIND_SHARES", {"image": 1.0})
    world = build_world(REAL, read_picture=read, distinct_searches=10)
    photo = next(wish.image for wish in world.wishes if wish.target == "y1")

    assert photo is not None
    assert photo not in PHOTOS.values()
    assert "JPEG" == Image.open(BytesIO(photo)).format


@pytest.mark.parametrize("kind", ["image", "both"])
def test_where_no_picture_can_be_read_shoppers_type(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A catalogue without pictures still has shoppers, and it is said that none asks by photo."""
    monkeypatch.setattr("demo.tastes.KIND_SHARES", {kind: 1.0})
    world = build_world(REAL[:3], read_picture=read, distinct_searches=10)

    assert {"text"} == {wish.kind for wish in world.wishes}
    assert "nobody asks by photo" in world.notices[-1]
