"""The last step of the demo: sidecar and service as a shop runs them, and what is told of their answer."""

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from demo.home import Home
from demo.processes import StackError
from demo.road import as_in_a_shop
from demo.stack import Stack
from demo.telling import Telling
from experiments.definition import load_experiments
from product_index.embedding import spec_of
from product_index.encoder import HashEncoder
from product_index.milvus import MilvusVectorDatabase
from product_index.pictures import NoPictures
from product_index.product import Product, ProductChange
from product_index.refresh import apply_changes

SAID = {
    "items": [
        {"product_id": "a", "ranks": {"base": 1}},
        {"product_id": "x", "ranks": {"uniecs": 1}},
        *({"product_id": f"b{number}", "ranks": {"base": number + 2}} for number in range(12)),
    ],
    "channels": {"uniecs": {"status": "ok", "reason": ""}},
    "latency_ms": 12.4,
}
BASE = ["a", *(f"b{number}" for number in range(12))]
PRODUCTS = {
    name: Product(product_id=name, title=title) for name, title in (("a", "Red mug"), ("x", "Item 7"))
}


def told(answer: as_in_a_shop.Answered) -> str:
    file = StringIO()
    telling = Telling(Console(file=file, width=200), steps=8)
    as_in_a_shop.tell(answer, PRODUCTS, telling, text="red mug", base=BASE, served=Path("served"))
    return file.getvalue()


def test_what_the_page_has_more_is_told_with_who_found_it() -> None:
    """The page only, although the answer goes on with all of the base."""
    answer = as_in_a_shop.answered(SAID, BASE, logged=1)

    assert [("x", {"uniecs": 1})] == answer.added
    assert "UniECS adds  Item 7: number 1 of uniecs, not among yours" in told(answer)
    assert "your search  Red mug, b0, b1, b2" in told(answer)
    assert "answered in 12 ms, the first question since their start; 1 exposure in served;" in told(answer)


def test_a_channel_that_was_too_late_is_told_as_that() -> None:
    """The page is the base; nothing is said to be added."""
    late = {"uniecs": {"status": "timeout", "reason": "the sidecar did not answer by the deadline"}}
    items = [{"product_id": name, "ranks": {"base": place}} for place, name in enumerate(BASE, 1)]

    said = told(as_in_a_shop.answered({**SAID, "items": items, "channels": late}, BASE, logged=1))

    assert "did not answer in time, so the page is your search's (uniecs: the sidecar did not" in said
    assert "UniECS adds" not in said


@pytest.mark.milvus
def test_a_real_sidecar_and_service_answer_and_are_gone(tmp_path: Path) -> None:
    """What only the index has is on the page; the exposure is logged, and nobody is left."""
    folder = tmp_path / "home"
    home = Home(folder=folder, catalogue=tmp_path, is_rendered=True, model=Path("hash"))
    (tmp_path / "products.jsonl").write_text('{"product_id": "a", "title": "Red mug"}\n')
    home.arrivals.mkdir(parents=True)
    fill(home.index)
    with Stack(folder, say=lambda _line: None) as stack:
        env = home.environment(picture_root=tmp_path, milvus_uri=str(home.index))

        answer = as_in_a_shop.ask_once(
            stack, home, env, load_experiments(None)["uniecs-recall"], text="red mug", base=BASE
        )

        assert [] == list((folder / "run").glob("*.pid")), "both were stopped, and their notes removed"
    assert [("x", {"uniecs": 1})] == answer.added
    assert ("", 1) == (answer.late, answer.logged)


def fill(index: Path) -> None:
    """An index of one product that the base does not know."""
    database, encoder = MilvusVectorDatabase(str(index)), HashEncoder()
    store = database.create("products_1", spec_of(encoder))
    product = Product(product_id="x", title="red mug")
    change = ProductChange(product_id="x", version=1, occurred_at=datetime.now(UTC), product=product)
    apply_changes([change], encoder, store, NoPictures(), now=datetime.now(UTC))
    database.switch("products", store.name)
    database.close()


def test_a_service_that_does_not_start_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    """And what was started before it is stopped."""
    home = Home(folder=tmp_path, catalogue=tmp_path, is_rendered=True, model=Path("demo/model"))
    env = {"RECALL_GRACE_MS": "no number"}
    experiment = load_experiments(None)["uniecs-recall"]
    with (
        Stack(home.folder, say=lambda _line: None) as stack,
        pytest.raises(StackError, match=r"ended with code 2 while starting[\s\S]*RECALL_GRACE_MS"),
    ):
        as_in_a_shop.ask_once(stack, home, env, experiment, text="red mug", base=BASE)

    assert [] == list((home.folder / "run").glob("*.pid"))
