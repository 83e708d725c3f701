"""A rendered shop: the same for the same seed, recognisable, and badly described."""

import json
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from demo.drawing import PHOTO_PX, Look, draw_photo
from demo.sellers import TITLE_STYLES
from demo.shapes import SHAPES
from demo.shop import SECOND_PHOTO_SHARE, make_product, read_truth, render_shop
from demo.words import COLOURS, KINDS, MATERIALS, PATTERNS, names_of

MANY = [make_product(7, index) for index in range(3000)]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def share_of(photo: bytes, wanted: Callable[[int, int, int], bool]) -> float:
    """The share of a photo's pixels that are as wanted."""
    pixels = Image.open(BytesIO(photo)).convert("RGB").tobytes()
    triples = zip(pixels[0::3], pixels[1::3], pixels[2::3], strict=True)
    return sum(wanted(*triple) for triple in triples) / PHOTO_PX**2


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops") / "shop"
    render_shop(folder, products=30, seed=7)
    return folder


def test_the_same_seed_gives_the_same_bytes(shop: Path, tmp_path: Path) -> None:
    """What is committed about a shop stays true wherever it is rendered again."""
    render_shop(tmp_path / "again", products=30, seed=7)

    assert files_of(shop) == files_of(tmp_path / "again")


def test_a_shop_does_not_depend_on_how_many_draw_it(shop: Path, tmp_path: Path) -> None:
    """A machine with more cores renders the same shop."""
    render_shop(tmp_path / "by-two", products=30, seed=7, workers=2)

    assert files_of(shop) == files_of(tmp_path / "by-two")


def test_another_seed_is_another_shop(shop: Path, tmp_path: Path) -> None:
    """Training and demo shops share no product."""
    render_shop(tmp_path / "other", products=30, seed=8)

    ours, theirs = read_truth(shop) or {}, read_truth(tmp_path / "other") or {}
    assert not ours.keys() & theirs.keys()
    assert [dict(t, product_id="") for t in ours.values()] != [
        dict(t, product_id="") for t in theirs.values()
    ]


def test_a_larger_shop_begins_with_the_smaller_one(shop: Path, tmp_path: Path) -> None:
    """A product depends on the seed and its number alone."""
    render_shop(tmp_path / "larger", products=33, seed=7)

    smaller = files_of(shop)
    larger = files_of(tmp_path / "larger")
    assert {name for name in smaller if name.endswith(".jpg")} < larger.keys()
    assert larger["products.jsonl"].startswith(smaller["products.jsonl"])


def test_a_finished_shop_is_left_as_it_is(shop: Path) -> None:
    """Running the demo again draws nothing again."""
    before = (shop / "images").stat().st_mtime_ns
    drawn: list[int] = []

    render_shop(shop, products=30, seed=7, progress=lambda done, _: drawn.append(done))

    assert [] == drawn
    assert before == (shop / "images").stat().st_mtime_ns


def test_an_interrupted_shop_starts_clean(tmp_path: Path) -> None:
    """Nothing half drawn is ever served, and a second run gets all of it."""

    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_shop(tmp_path / "shop", products=6, seed=1, progress=interrupt)
    assert not (tmp_path / "shop").exists()

    render_shop(tmp_path / "shop", products=6, seed=1)
    assert 6 == len((tmp_path / "shop" / "products.jsonl").read_text().splitlines())
    assert ["shop"] == [path.name for path in tmp_path.iterdir()]


def test_other_parameters_make_the_shop_again(tmp_path: Path) -> None:
    """A shop on disk is the shop that was asked for."""
    render_shop(tmp_path / "shop", products=4, seed=1)
    render_shop(tmp_path / "shop", products=5, seed=1)

    assert 5 == len((tmp_path / "shop" / "products.jsonl").read_text().splitlines())


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    """A slip in a path must not cost anybody's files."""
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(FileExistsError, match="not a rendered shop; name an empty folder"):
        render_shop(tmp_path, products=4)
    assert "years of work" == (tmp_path / "thesis.txt").read_text()


def test_a_shop_without_products_is_refused(tmp_path: Path) -> None:
    """The message has the value and the rule."""
    with pytest.raises(ValueError, match="products is 0, must be at least 1"):
        render_shop(tmp_path / "shop", products=0)


def test_every_picture_that_is_named_is_there_and_small(shop: Path) -> None:
    """The catalogue reader finds each photo under its name, and no photo is left over."""
    named = [
        name
        for line in (shop / "products.jsonl").read_text().splitlines()
        for name in json.loads(line)["images"]
    ]

    assert sorted(named) == sorted(f"images/{path.name}" for path in (shop / "images").iterdir())
    for name in named:
        with Image.open(shop / name) as photo:
            assert ((PHOTO_PX, PHOTO_PX), "JPEG") == (photo.size, photo.format)


def test_the_truth_is_told_in_known_words_and_not_to_the_shop(shop: Path) -> None:
    """Shoppers read it; the catalogue has no column of it."""
    truth = read_truth(shop) or {}
    rows = [json.loads(line) for line in (shop / "products.jsonl").read_text().splitlines()]

    assert [row["product_id"] for row in rows] == list(truth)
    for row in rows:
        true = truth[row["product_id"]]
        assert true["type"] in KINDS
        assert true["material"] in KINDS[true["type"]].materials
        assert true["colour"] != true["second_colour"]
        assert not {"type", "pattern", "title_style"} & row.keys()


def test_a_catalogue_that_was_not_rendered_has_no_truth(tmp_path: Path) -> None:
    """Nobody knows what is true of a real product."""
    assert read_truth(tmp_path) is None


def test_there_is_enough_to_tell_apart() -> None:
    """Kinds, colours and patterns are many, and each comes up."""
    seen = {
        name: Counter(getattr(made.look, name) for made in MANY) for name in ("type", "colour", "pattern")
    }

    assert set(SHAPES) == set(KINDS) == set(seen["type"])
    assert set(COLOURS) == set(seen["colour"])
    assert set(PATTERNS) == set(seen["pattern"])
    assert len(seen["type"]) >= 16
    assert len(seen["colour"]) >= 10
    assert len(seen["pattern"]) >= 7


def test_titles_are_sparse_silent_and_wrong_as_often_as_stated() -> None:
    """The shares are what a picture can add to: they must be what the demo says."""
    styles = Counter(made.title_style for made in MANY)

    for style, share in TITLE_STYLES.items():
        assert share == pytest.approx(styles[style] / len(MANY), abs=0.03), style
    assert 1 == pytest.approx(sum(TITLE_STYLES.values()))


def test_a_silent_title_names_no_kind_and_a_bare_one_nothing_else() -> None:
    """What the title leaves out can only be seen."""
    colours = {word for name in COLOURS for word in names_of("colour", name)}
    patterns = {word for name in PATTERNS for word in names_of("pattern", name)}
    for made in MANY:
        words = set(made.listing["title"].lower().split())
        if made.title_style == "silent":
            assert not words & set(names_of("type", made.look.type)), made.listing["title"]
        if made.title_style in ("silent", "bare"):
            assert not words & (colours | patterns), made.listing["title"]


def test_most_descriptions_are_empty_or_idle() -> None:
    """Sellers write little."""
    empty = sum(not made.listing["description"] for made in MANY) / len(MANY)

    assert 0.45 < empty < 0.65


def test_some_products_have_a_second_photo_and_it_is_another_one() -> None:
    """Two photos show the same thing in two places."""
    second = [made for made in MANY if len(made.scenes) == 2]

    assert SECOND_PHOTO_SHARE == pytest.approx(len(second) / len(MANY), abs=0.03)
    assert second[0].photo(0) != second[0].photo(1)


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_a_photo_shows_the_product_large_and_in_its_colour(kind: str) -> None:
    """Whatever the scene, the thing and its colour are there to be seen."""
    for scene in range(4):
        look = Look(
            type=kind,
            colour="red",
            second_colour="white",
            pattern="plain",
            material=KINDS[kind].materials[-1],
        )
        photo = draw_photo(look, product_seed=kind, scene_seed=str(scene))
        red = share_of(photo, lambda r, g, b: r > 1.6 * max(g, b) and r > 70)

        assert red > (0.02 if kind in ("watch", "necktie", "guitar", "bottle") else 0.04)


@pytest.mark.parametrize("pattern", sorted(set(PATTERNS) - {"plain"}))
def test_a_pattern_can_be_seen(pattern: str) -> None:
    """A patterned thing differs from a plain one of the same seeds, in its second colour."""
    photos = [
        draw_photo(
            Look(type="cushion", colour="red", second_colour="blue", pattern=name, material="cotton"),
            product_seed="1",
            scene_seed="1",
        )
        for name in ("plain", pattern)
    ]
    blue = [share_of(photo, lambda r, g, b: b > 1.3 * max(r, g)) for photo in photos]

    assert blue[1] > blue[0] + 0.03


def test_every_material_is_made_into_something() -> None:
    """The vocabulary has no word that the shop does not use."""
    assert MATERIALS.keys() == {material for kind in KINDS.values() for material in kind.materials}


def test_an_unknown_field_has_no_names() -> None:
    """The message says which there are."""
    with pytest.raises(ValueError, match="field is 'smell', must be one of type, colour, pattern, material"):
        names_of("smell", "red")
