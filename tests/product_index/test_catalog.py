"""Catalogues as people have them, and what is said about their faults."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from product_index.catalog import Catalogue, Report, open_catalogue
from product_index.columns import Columns, read_row, recognise
from product_index.errors import InvalidCatalogue, ProductIndexError
from product_index.pictures import pictures_beside
from product_index.product import ProductChange

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the real catalogues of {SHARED} are not part of this repository"
)


def read(catalogue: Catalogue, report: Report | None = None) -> dict[str, ProductChange]:
    changes = [change for page in catalogue.pages(7, report=report) for change in page]
    return {change.product_id: change for change in changes}


def write_jsonl(folder: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "products.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_columns_are_known_by_their_common_names() -> None:
    """Case and separators do not matter."""
    found = recognise(
        ["Item ID", "Product-Name", "BODY_HTML", "Unit Price", "Manufacturer", "Product Type", "Availability",
         "Image URL", "more_images", "Color", "Weight"],
        mapping={},
    )  # fmt: skip

    assert {
        "product_id": "Item ID", "title": "Product-Name", "description": "BODY_HTML", "price": "Unit Price",
        "brand": "Manufacturer", "category": "Product Type", "in_stock": "Availability", "colour": "Color",
    } == found.fields  # fmt: skip
    assert ("Image URL", "more_images") == found.pictures
    assert ("Weight",) == found.attributes


def test_a_row_becomes_a_product(tmp_path: Path) -> None:
    row = {
        "sku": 17, "name": "Mug", "description": "Holds tea.", "price": "$1,299.00", "vendor": "Acme",
        "categories": ["Cups/Mugs", "Gifts"], "images": ["a.jpg", "b.jpg"], "colour": "red", "stock": 0,
        "attributes": {"material": "clay", "sizes": ["S", "M"]}, "weight": 0.3, "variants": [{"sku": "17-S"}],
        "updated_at": "2026-11-20T10:00:00Z", "version": 4,
    }  # fmt: skip
    opened = open_catalogue(write_jsonl(tmp_path, row))

    change = read(opened)["17"]

    product = change.product
    assert product is not None
    assert ("Mug", "Acme", "Cups/Mugs", 1299.0, "USD") == (
        product.title, product.brand, product.category, product.price, product.currency
    )  # fmt: skip
    assert not product.in_stock
    assert ("a.jpg", "b.jpg") == product.image_uris
    assert {
        "material": "clay",
        "sizes": "S, M",
        "weight": "0.3",
        "colour": "red",
        "more_categories": "Gifts",
    } == dict(product.attributes)
    assert (4, datetime(2026, 11, 20, 10, tzinfo=UTC)) == (change.version, change.occurred_at)
    assert ("variants",) == opened.columns.ignored


@pytest.mark.parametrize(
    ("typed", "price"),
    [("12", 12.0), ("1,299.00", 1299.0), ("1.299,00 €", 1299.0), ("£3.50", 3.5), ("12,5", 12.5),
     ("1,299", 1299.0),
     ("1 299,90", 1299.9), ("USD 7", 7.0), ("Rs. 1,00,000", 100_000.0), (".99", 0.99), (3, 3.0), ("0", 0.0),
     ("", None), (None, None), ("N/A", None), ("call us", None), ("-5", None), (-5, None),
     (float("nan"), None)],
)  # fmt: skip
def test_prices_are_read_as_people_write_them(typed: object, price: float | None) -> None:
    columns = Columns(fields={"product_id": "id", "price": "price"})

    assert price == read_row({"id": "1", "price": typed}, columns).product.price


@pytest.mark.parametrize(
    ("said", "expected"),
    [("in stock", True), ("out of stock", False), ("https://schema.org/InStock", True), ("Yes", True),
     ("0", False),
     ("12", True), (0, False), (True, True), (False, False), (None, True), ("", True), ("-3", False),
     ("Ja", True), ("nein", False), ("oui", True), ("non", False), ("sí", True), ("si\u0301", True),
     ("NO", False)],
)  # fmt: skip
def test_stock_is_read_as_people_write_it(said: object, expected: bool) -> None:
    columns = Columns(fields={"product_id": "id", "in_stock": "stock"})

    assert expected is read_row({"id": "1", "stock": said}, columns).product.in_stock


def test_bad_rows_are_counted_and_named_and_the_good_ones_go_on(tmp_path: Path) -> None:
    folder = write_jsonl(
        tmp_path,
        {"id": "a", "title": "first"},
        {"title": "without"},
        {"id": "a", "title": "twice"},
        "{broken",
        "[1]",
        {"id": "b\u0007", "title": "bell"},
        {"id": "c", "title": "last", "price": "call us", "version": 2},
        {"id": "d", "title": "later", "version": "two"},
    )
    report = Report()

    found = read(open_catalogue(folder), report)

    assert ["a", "c"] == list(found)
    assert "first" == found["a"].product.title  # type: ignore[union-attr]
    assert (8, 2, 6, 1) == (report.rows, report.usable, report.bad, report.noticed)
    said = [problem.sentence for problem in report.problems]
    for sentence, parts in zip(
        said,
        [("line 2", "id"), ("line 3", "line 1"), ("line 4", "JSON"), ("line 5", "list"),
         ("line 6", "control"),
         ("line 7", "call us"), ("line 8", "version")],
        strict=True,
    ):  # fmt: skip
        assert all(part in sentence for part in ("products.jsonl", *parts)), sentence


def test_an_empty_or_useless_catalogue_is_refused(tmp_path: Path) -> None:
    for text, pattern in (
        ("", "no readable row"),
        ('{"id": ""}\n', "no usable product"),
        ('{"name": "x"}\n', "no column holds the product id among: name"),
    ):
        (tmp_path / "products.jsonl").write_text(text)
        with pytest.raises(InvalidCatalogue, match=pattern):
            read(open_catalogue(tmp_path))


@pytest.mark.parametrize(
    ("row", "pattern"),
    [({"price": "see shop"}, r"'price' cannot be read as price in 30 of 30"),
     ({"stock": "maybe"}, r"'stock' cannot be read as in_stock in 30 of 30 .*write true or false.*; mend"),
     ({"updated_at": "yesterday"}, r"'updated_at' cannot be read .*products.jsonl, line 1: time 'yesterday'"),
     ({"version": "a1b2"}, "no usable product among 30 rows .*version")],
)  # fmt: skip
def test_a_column_that_changed_its_meaning_is_one_error(
    tmp_path: Path, row: dict[str, object], pattern: str
) -> None:
    """Not a remark per row and prices that quietly vanish: a few odd values still pass."""

    def write(count: int) -> Catalogue:
        rows = [{"id": str(number)} | (row if number < count else {}) for number in range(30)]
        return open_catalogue(write_jsonl(tmp_path, *rows))

    assert 28 <= len(read(write(2)))
    with pytest.raises(InvalidCatalogue, match=pattern):
        read(write(30))


def test_a_folder_without_products_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidCatalogue, match="does not exist"):
        open_catalogue(tmp_path / "nowhere")
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("id,title\n1,x\n")
    with pytest.raises(InvalidCatalogue, match=r"only one.csv, two.csv; .*catalogue.toml"):
        open_catalogue(tmp_path)

    assert ["1"] == list(read(open_catalogue(tmp_path / "one.csv")))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_csv_comes_in_any_delimiter_and_encoding(tmp_path: Path, delimiter: str, encoding: str) -> None:
    quoted = f'"a {delimiter} b"'
    text = (
        delimiter.join(["ID", "Title", "Notes"]) + "\r\n" + delimiter.join(["1", "Café", quoted]) + "\r\n\r\n"
    )
    (tmp_path / "products.csv").write_bytes(text.encode(encoding))

    product = read(open_catalogue(tmp_path))["1"].product

    assert product is not None
    assert ("Café", {"Notes": f"a {delimiter} b"}) == (product.title, dict(product.attributes))


def test_a_csv_row_with_too_many_or_too_few_cells_is_named(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text('id,title\n1,"two\nlines"\n2\n3,c,d\n4,e\n')
    report = Report()

    assert ["1", "4"] == list(read(open_catalogue(tmp_path), report))
    assert [4, 5] == [problem.line for problem in report.problems]


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    moment = datetime(2026, 11, 20, 10, tzinfo=UTC)
    rows = [
        {"product_id": n, "title": f"p{n}", "price": None if n % 2 else 1.5, "images": [f"{n}.jpg"],
         "attributes": {"size": "M"}, "updated_at": moment, "variants": [{"sku": "x"}]}
        for n in range(3_000)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "products.parquet")

    found = read(open_catalogue(tmp_path))

    assert 3_000 == len(found)
    product = found["2999"].product
    assert product is not None
    assert (None, ("2999.jpg",), {"size": "M"}) == (
        product.price,
        product.image_uris,
        dict(product.attributes),
    )
    assert moment == found["0"].occurred_at


def test_a_mapping_beside_the_file_goes_first(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(
        "code;article;front;back;id\n1;Mug;a.jpg;b.jpg;99\n", encoding="latin-1"
    )
    (tmp_path / "other.csv").write_text("id\n")
    (tmp_path / "photos").mkdir()
    (tmp_path / "catalogue.toml").write_text(
        'file = "shop.csv"\ndelimiter = ";"\nencoding = "latin-1"\npictures = "photos"\n'
        '[columns]\nproduct_id = "code"\ntitle = "article"\nimages = ["front", "back"]\n'
    )

    for path in (tmp_path, tmp_path / "catalogue.toml"):
        opened = open_catalogue(path)
        product = read(opened)["1"].product
        assert product is not None
        assert ("Mug", ("a.jpg", "b.jpg"), {"id": "99"}) == (
            product.title, product.image_uris, dict(product.attributes)
        )  # fmt: skip
        assert tmp_path / "photos" == opened.picture_root


@pytest.mark.parametrize(
    ("toml", "pattern"),
    [("file = ", "cannot be read"), ('fiel = "x"', "'fiel'.*there are: file"), ("file = 3", "must be a str"),
     ('file = "x.csv"', "'x.csv', which is not in"),
     ('[columns]\ntitel = "name"', "'titel', which is no field"),
     ('[columns]\ntitle = "nam"', "'nam', which is not there; the columns are: id, name"),
     ('pictures = "p.zip"', "p.zip"), ('encoding = "klingon"', "klingon")],
)  # fmt: skip
def test_a_wrong_mapping_is_said_in_one_sentence(tmp_path: Path, toml: str, pattern: str) -> None:
    (tmp_path / "products.csv").write_text("id,name\n1,x\n")
    (tmp_path / "catalogue.toml").write_text(toml)

    with pytest.raises(ProductIndexError, match=pattern):
        read(open_catalogue(tmp_path))


def test_without_a_time_of_its_own_a_row_is_as_old_as_its_file(tmp_path: Path) -> None:
    folder = write_jsonl(tmp_path, {"id": "a", "updated_at": ""}, {"id": "b", "updated_at": 1_700_000_000})
    os.utime(folder / "products.jsonl", (1_600_000_000, 1_600_000_000))

    found = read(open_catalogue(folder))

    assert (0, 1_600_000_000_000) == (found["a"].version, found["a"].occurred_at_ms)
    assert 1_700_000_000_000 == found["b"].occurred_at_ms


@needs_shared
@pytest.mark.parametrize(
    ("path", "products", "with_pictures", "with_prices"),
    [("magento_luma", 191, 191, 191), ("grocery_store", 81, 81, 0), ("abt_buy/abt.csv", 1076, 0, 416)],
)
def test_real_catalogues_are_read_whole(
    path: str, products: int, with_pictures: int, with_prices: int
) -> None:
    """By the general reader: no catalogue is a special case."""
    opened, report = open_catalogue(SHARED / path), Report()
    found = [change.product for change in read(opened, report).values() if change.product is not None]
    pictures = pictures_beside(opened.picture_root)

    assert (products, 0) == (len(found), report.bad)
    assert with_pictures == sum(1 for one in found if one.image_uris and pictures.read(one.image_uris[0]))
    assert with_prices == sum(one.price is not None for one in found)
    assert all(one.title for one in found)
