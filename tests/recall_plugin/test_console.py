"""The page at `/`, used as people use it, in a real browser; without one these tests are skipped."""

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image

from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.in_memory import InMemoryVectorDatabase
from product_index.product import Product
from recall_plugin.channels.nearest import BEING_OPENED, Serving
from recall_plugin.query import ChannelAnswer
from recall_plugin.service.window import Window
from tests.recall_plugin.doubles import Says, hits
from tests.recall_plugin.serving import PACKAGED, TOKEN, Environment, app_of, client_of, picture, serving

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
# The page asks nobody but the service; a browser left alone asks its maker.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-sync",
]
PATIENCE_MS = 120_000
# A shop's category is often a path, and a card hides what runs out of it: how far the price does.
LONG_CATEGORY = """() => {
    const card = document.querySelector('#base [data-product="red-mug"]');
    card.querySelector(".facts span").textContent = "Women/Tops/Hoodies & Sweatshirts";
    return card.querySelector(".facts b").getBoundingClientRect().right - card.getBoundingClientRect().right;
}"""

SHELF = [
    Product(product_id="red-mug", title="Red mug <b>big</b>", category="cups", brand="Acme", price=9.5),
    Product(product_id="blue-mug", title="Blue mug", category="cups", brand="Other", price=19.0),
    Product(product_id="rug", title="Rug", category="rugs", price=90.0),
    Product(product_id="lamp", title="Lamp", category="lamps", in_stock=False),
]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person waits five seconds for the channels; a test, on however busy a machine, for what comes."""
    monkeypatch.setattr("recall_plugin.service.preview.PATIENCE_S", PATIENCE_MS / 1000)


@pytest.fixture(scope="module")
def channel() -> Says:
    by_kind = {"text": ("rug",), "image": ("lamp",), "both": ("blue-mug", "lamp")}

    def says(request: Any) -> ChannelAnswer:
        names = ("rug", "lamp") if request.query.similar_to else by_kind[request.query.kind]
        found = tuple(one for one in hits(*names) if one.product_id != "rug" or request.query.filters is None)
        return ChannelAnswer(status="ok", hits=found, index_version="products_v7", model_id="m-1")

    return Says(says)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("console")
    shutil.copy(PACKAGED, folder)
    return {"experiments": folder, "switches": folder / "switches.txt"}


@pytest.fixture(scope="module")
def url(channel: Says, environment: Environment) -> Iterator[str]:
    with serving(app_of(channel, environment=environment, products=SHELF)) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """An open console; what its scripts complain about, or ask elsewhere, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, faults, elsewhere = context.new_page(), [], []
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda fault: faults.append(fault))  # noqa: PLW0108 - it wants a function
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on("request", lambda asked: elsewhere.append(asked.url) if not asked.url.startswith(url) else None)
    page.goto(url)
    page.wait_for_selector("#tries button")
    yield page
    context.close()
    expected = ("401", "422", "404")  # what the service refuses on purpose, the browser's log calls an error
    assert [] == [fault for fault in faults if not any(code in str(fault) for code in expected)]
    assert [] == [asked for asked in elsewhere if not asked.startswith("blob:")]


def shown(page: Any, column: str, *, at_least: str) -> list[str]:
    """The products of a column, once this one is there."""
    page.wait_for_selector(f'#{column} [data-product="{at_least}"]')
    return [str(one.get_attribute("data-product")) for one in page.query_selector_all(f"#{column} .card")]


@needs_browser
def test_search_by_text_shows_both_columns_and_who_found_what(page: Any) -> None:
    """Words by keyboard alone; a title is text, whatever is in it."""
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type("mug")
    page.keyboard.press("Enter")

    assert {"red-mug", "blue-mug"} == set(shown(page, "base", at_least="red-mug"))
    assert {"red-mug", "blue-mug", "rug"} == set(shown(page, "with", at_least="rug"))
    assert ["uniecs 1"] == page.locator('#with [data-product="rug"] .badge').all_text_contents()
    assert "Red mug <b>big</b>" == page.locator('#base [data-product="red-mug"] .title').text_content()
    assert "1 of 3 are not" in page.locator("#with-about").text_content()
    assert "ms, awaited" in page.locator("#with-took").text_content()
    assert page.locator("#waits").is_visible()
    assert page.url.endswith("?q=mug")


@needs_browser
def test_what_was_asked_before_the_index_was_open_is_asked_again(browser: Any) -> None:
    """The first search after a start is the one that people judge by; "/" never begins it."""
    opened = Event()

    class Opening(Says):
        def serving(self) -> Serving:
            return (
                Serving(store=InMemoryVectorDatabase().create("v7", spec_of(HashEncoder())))
                if opened.is_set()
                else BEING_OPENED
            )

    def says(_request: Any) -> ChannelAnswer:
        if opened.is_set():
            return ChannelAnswer(status="ok", hits=hits("rug"))
        return ChannelAnswer(status=BEING_OPENED.status, reason=BEING_OPENED.reason)

    with serving(app_of(Opening(says), products=SHELF)) as url:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        page.wait_for_selector("#tries button")
        page.keyboard.type("/mug")
        page.keyboard.press("Enter")
        page.wait_for_selector("#with-about:has-text('the index is being opened')")
        page.fill("#text", "something that is being typed")
        opened.set()

        assert {"red-mug", "blue-mug", "rug"} == set(shown(page, "with", at_least="rug"))
        assert page.url.endswith("?q=mug")
        page.close()


@needs_browser
def test_search_by_image_and_by_both(page: Any, tmp_path: Path, channel: Says) -> None:
    """A photo alone, then with words beside it; Escape forgets it."""
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture())
    page.set_input_files("#file", photo)

    assert ["lamp"] == shown(page, "with", at_least="lamp")
    assert "cannot see a picture" in page.locator("#base").text_content()
    page.fill("#text", "mug")
    page.keyboard.press("Enter")
    assert "blue-mug" in shown(page, "with", at_least="red-mug")
    assert ("both", picture()) == (channel.requests[-1].query.kind, channel.requests[-1].query.image)
    page.keyboard.press("Escape")
    assert page.locator("#preview").is_hidden()


@needs_browser
def test_a_file_that_is_no_photo_is_refused_in_words(page: Any, tmp_path: Path) -> None:
    """In the service's own sentence."""
    (tmp_path / "drawing.svg").write_text("<svg/>")
    page.set_input_files("#file", tmp_path / "drawing.svg")
    page.wait_for_selector("#trouble:not([hidden])")

    assert "no whole JPEG, PNG, WEBP or GIF file" in page.locator("#trouble").text_content()


@needs_browser
def test_filters_hold_in_both_columns_and_a_product_leads_to_similar_ones(page: Any, channel: Says) -> None:
    """Enter on a product, as a mouse would click it."""
    page.fill("#text", "mug")
    page.keyboard.press("Enter")
    shown(page, "with", at_least="rug")
    page.select_option("#brand", "Acme")
    page.wait_for_selector('#base:not(:has([data-product="blue-mug"]))')
    assert ["red-mug"] == shown(page, "base", at_least="red-mug")
    assert "Acme" == channel.requests[-1].query.filters.brand
    page.select_option("#brand", "")
    shown(page, "with", at_least="rug")
    page.focus('#base [data-product="red-mug"]')
    page.keyboard.press("Enter")

    assert ["rug", "lamp"] == shown(page, "with", at_least="lamp")
    assert "red-mug" == channel.requests[-1].query.similar_to


@needs_browser
def test_where_the_filters_leave_nothing_it_says_so(page: Any) -> None:
    """A product with these words is there; it costs more."""
    page.fill("#price-max", "0.01")
    page.fill("#text", "mug")
    page.keyboard.press("Enter")
    page.wait_for_selector("#with .empty:has-text('within these filters')")

    assert ["No product has these words within these filters."] == page.locator(
        "#base li"
    ).all_text_contents()
    assert ["Nothing was found within these filters."] == page.locator("#with li").all_text_contents()
    assert "" == page.locator("#with-about").text_content()


@needs_browser
def test_the_kill_switch_and_the_ramp_need_the_token(page: Any, environment: Environment, url: str) -> None:
    """Off for everybody within a second, and on again."""
    page.wait_for_selector("#experiment .pill")
    page.click("#kill")
    page.wait_for_selector("#steered.bad")
    assert not environment["switches"].exists()
    page.fill("#token", TOKEN)
    page.click("#kill")
    page.wait_for_selector("#experiment .pill.ill")
    assert 'experiments = ["uniecs-recall"]' in environment["switches"].read_text()
    page.fill("#text", "mug")
    page.keyboard.press("Enter")
    assert {"red-mug", "blue-mug"} == set(shown(page, "with", at_least="red-mug"))
    page.click("#kill")
    page.wait_for_selector("#experiment .pill.well")
    page.focus("#traffic")
    page.keyboard.press("Home")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.click("#ramp")
    page.wait_for_selector("#steered.good:has-text('5% take part')")

    assert "traffic = 0.05" in (environment["experiments"] / PACKAGED.name).read_text()


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (768, "light"), (1440, "dark")])
def test_it_fits_narrow_and_wide_light_and_dark(browser: Any, url: str, width: int, scheme: str) -> None:
    """Nothing runs out of the window, and text can be told from its ground."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{url}?q=mug")
    page.wait_for_selector("#with .card")
    page.wait_for_selector("#channels dl")
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    cut_off = page.evaluate(LONG_CATEGORY)
    colours = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    context.close()

    assert 0 == too_wide
    assert cut_off <= 0
    assert contrast(*colours) > 7


def contrast(one: str, other: str) -> float:
    """As the WCAG reckon it."""

    def light(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_page_and_its_parts_are_served_with_a_policy() -> None:
    """Nothing from elsewhere, nothing inline; all of it is in the package."""
    with client_of(products=SHELF) as client:
        page = client.get("/")
        parts = [
            client.get(f"/{name}") for name in ("console.css", "console.js", "console_cards.js", "icon.svg")
        ]

        assert [200] * 5 == [one.status_code for one in (page, *parts)]
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert "http://" not in page.text.replace("http://www.w3.org", "")
        assert "https://" not in page.text + "".join(part.text for part in parts)
        assert 404 == client.get("/console/pictures/red-mug").status_code


def test_the_page_is_in_the_wheel() -> None:
    """It works from a checkout either way."""
    told = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert ["web/*"] == told["tool"]["setuptools"]["package-data"]["recall_plugin"]


def test_pictures_are_shown_as_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a browser shows as a photo, from the catalogue's own folder."""
    (tmp_path / "products.jsonl").write_text(
        '{"product_id": "a", "title": "Red mug", "image": "a.png"}\n'
        '{"product_id": "b", "title": "Blue mug", "image": "b.svg"}\n'
        '{"product_id": "c/ d?", "title": "Rug", "image": "../../etc/passwd"}\n'
    )
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.svg").write_text("<svg/>")
    monkeypatch.setenv("CATALOGUE", str(tmp_path))
    monkeypatch.delenv("PICTURE_ROOT", raising=False)
    window = Window()
    window.fill_from_settings()

    assert "3 products" == window.state
    assert "image/png" == window.picture("a")[1]
    for name in ("b", "c/ d?", "nothing"):
        with pytest.raises(Exception, match="picture"):
            window.picture(name)
    assert ["a", "b"] == sorted(window.search("MUG", limit=9, where=None))
    assert [] == window.search('" OR *', limit=9, where=None)
