"""Rows of a table as changes of products: every operation, both forms, and what goes wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from product_index.product import ProductChange
from streaming.build import change_reader
from streaming.change_log import Message
from streaming.debezium import UNAVAILABLE, change_from_row
from streaming.errors import InvalidSettings, Unreadable
from streaming.mapping import ColumnMapping, mapping_of, read_mapping
from streaming.settings import Settings

from .making import Bench, change_json

EXAMPLE = Path(__file__).parents[2] / "docs" / "schemas" / "debezium.toml"
MAPPING = read_mapping(EXAMPLE)
FLAT = MAPPING.model_copy(update={"form": "flattened"})
AT_MS = 1_790_000_000_000
ROW: dict[str, Any] = {
    "id": 7,
    "row_version": 3,
    "name": "Red mug",
    "description": "300 ml",
    "category": "kitchen",
    "brand": "Nordlys",
    "price_cents": 950,
    "stock": 4,
    "pictures": '["images/7.jpg"]',
    "colour": "red",
    "material": None,
    "warehouse_note": "not mapped",
}


def message(value: Any, *, key: bytes | None = b'{"id": 7}', at_ms: int = AT_MS + 5_000) -> Message:
    body = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
    return Message(
        topic="shop.public.products", partition=0, offset=1, key=key, value=body, timestamp_ms=at_ms
    )


def envelope(op: str = "u", *, at_ms: Any = AT_MS, before: Any = None, after: Any = ..., **more: Any) -> Any:
    row = None if op == "d" else ROW
    return {
        "op": op,
        "before": before,
        "after": row if after is ... else after,
        "source": {"ts_ms": at_ms, "lsn": 9_000, "connector": "postgresql"},
        "ts_ms": AT_MS + 4_000,
        **more,
    }


def read(value: Any, mapping: ColumnMapping = MAPPING, **options: Any) -> ProductChange | None:
    return change_from_row(message(value, **options), mapping)


def order(change: ProductChange | None) -> tuple[int, int]:
    assert change is not None
    return change.version or 0, change.occurred_at_ms


@pytest.mark.parametrize("op", ["c", "u", "r"])
def test_a_row_is_a_product_as_of_its_version(op: str) -> None:
    """Created, updated, or read by a snapshot: the same row is the same product."""
    change = read(envelope(op))

    assert change is not None
    assert ("7", 3, AT_MS) == (change.product_id, change.version, change.occurred_at_ms)
    product = change.product
    assert product is not None
    assert ("Red mug", 9.5, "EUR", True) == (product.title, product.price, product.currency, product.in_stock)
    assert ({"colour": "red"}, ("images/7.jpg",)) == (product.attributes, product.image_uris)


def test_time_starts_at_the_database_and_not_at_the_connector() -> None:
    """The outer `ts_ms` is when the connector saw it; a freshness from there would be too good."""
    assert AT_MS == order(read(envelope()))[1]


def test_a_flattened_row_is_the_same_change_as_its_envelope() -> None:
    """Both forms of one stream agree, deletes too."""
    told = {**ROW, "__op": "u", "__source_ts_ms": AT_MS}
    deleted = {**ROW, "__deleted": "true", "__source_ts_ms": AT_MS}

    assert read(envelope()) == read(told, FLAT)
    assert read(envelope("d", before=ROW)) == read(deleted, FLAT)


def test_a_schema_beside_the_payload_is_passed_over() -> None:
    """Connect's JSON converter writes it unless told otherwise; in the key, too."""
    wrapped = {"schema": {"type": "struct", "version": 2}, "payload": envelope()}
    key = json.dumps({"schema": {}, "payload": {"id": 7}}).encode()

    assert read(envelope()) == read(wrapped, key=key)


@pytest.mark.parametrize("key", [b'{"id": 7}', b'{"id": "7"}', b"7", b'"7"'])
def test_the_key_may_be_an_object_or_plain(key: bytes) -> None:
    """As the key's converter writes it."""
    assert read(envelope()) == read(envelope(), key=key)


def test_a_delete_comes_after_the_version_it_removes_and_before_the_next() -> None:
    """Within one transaction all times are equal: update, delete and second life must keep their order."""
    updated = read(envelope("u"))
    deleted = read(envelope("d", before=ROW))
    born_again = read(envelope("c", after={**ROW, "row_version": 4}))

    assert deleted is not None
    assert deleted.is_removal
    assert order(updated) < order(deleted) < order(born_again)


def test_an_update_a_delete_and_a_second_life_in_one_transaction_end_alive_however_often_delivered() -> None:
    """At least once means: the whole transaction again, batch by batch."""
    bench = Bench()
    values = [
        envelope("c"),
        envelope("d", before=ROW),
        None,
        envelope("c", after={**ROW, "row_version": 4, "name": "Blue mug"}),
    ]
    for value in values * 2:
        change = read(value)
        if change is not None:
            bench.apply([change])

    assert (1, 4) == (bench.store.count(), bench.version_of("7"))
    bench.apply([read(envelope("d", before={**ROW, "row_version": 4}))])
    bench.apply([read(envelope("u"))])
    assert 0 == bench.store.count()


def test_a_delete_without_its_row_follows_whatever_is_stored() -> None:
    """REPLICA IDENTITY DEFAULT tells the key alone."""
    bench = Bench()
    bench.apply([read(envelope("u"))])
    deleted = read(envelope("d", before={"id": 7}))

    assert deleted is not None
    assert (None, AT_MS) == (deleted.version, deleted.occurred_at_ms)
    bench.apply([deleted])
    assert 0 == bench.store.count()


def test_a_null_value_is_skipped_or_a_removal_as_the_mapping_says() -> None:
    """After op=d it says nothing new; where it is the only sign, it counts."""
    only_sign = MAPPING.model_copy(update={"tombstones": "remove"})

    assert read(None) is None
    removal = read(None, only_sign)
    assert removal is not None
    assert ("7", None, AT_MS + 5_000) == (removal.product_id, removal.version, removal.occurred_at_ms)


def test_our_own_form_is_read_from_the_same_topic() -> None:
    """Repairs and replays are published as ProductChange."""
    change = read(change_json("7", version=9), key=b"7")

    assert change is not None
    assert 9 == change.version


def test_a_column_that_is_renamed_is_read_by_both_names_and_new_ones_are_passed_over() -> None:
    """The table's schema evolves while the stream runs."""
    renamed = {("title" if name == "name" else name): value for name, value in ROW.items()} | {"new": 1}

    assert read(envelope()) == read(envelope(after=renamed))


def test_a_large_column_that_was_not_touched_is_taken_from_before_or_refused() -> None:
    """Its placeholder must never be embedded."""
    after = {**ROW, "description": UNAVAILABLE}

    assert read(envelope()) == read(envelope(before=ROW, after=after))
    with pytest.raises(Unreadable, match="set REPLICA IDENTITY FULL"):
        read(envelope(after=after))


@pytest.mark.parametrize(
    ("value", "scale", "price"),
    [(9.5, None, 9.5), ("9.50", None, 9.5), (950, 2, 9.5), ("A7Y=", 2, 9.5), (None, 2, None)],
    ids=["number", "text", "cents", "bytes", "null"],
)
def test_decimals_come_in_every_way_a_connector_writes_them(value: Any, scale: Any, price: Any) -> None:
    """`decimal.handling.mode` has three values, and shops keep cents."""
    columns = MAPPING.columns.model_copy(update={"price_scale": scale})
    change = read(
        envelope(after={**ROW, "price_cents": value}), MAPPING.model_copy(update={"columns": columns})
    )

    assert change is not None
    assert change.product is not None
    assert price == change.product.price


def test_attributes_may_be_a_column_of_json() -> None:
    """Numbers and flags become words."""
    columns = MAPPING.columns.model_copy(update={"attributes": ("extra",)})
    mapping = MAPPING.model_copy(update={"columns": columns})
    change = read(envelope(after={**ROW, "extra": '{"size": 3, "new": true, "gone": null}'}), mapping)

    assert change is not None
    assert change.product is not None
    assert {"size": "3", "new": "true"} == change.product.attributes


REFUSED: dict[str, tuple[Any, str]] = {
    "truncate": (envelope("t", after=None), "reconcile the index by its DAG"),
    "no envelope": (ROW, "set form = 'flattened'"),
    "no time": (envelope(at_ms=None), "source.ts_ms is None, must be milliseconds"),
    "nothing after": (envelope(after=None), "nothing tells which product"),
    "after a list": (envelope(after=[1]), "after is [1], must be an object or null"),
    "version text": (envelope(after={**ROW, "row_version": "3"}), "version is '3', must be a whole number"),
    "version null": (envelope(after={**ROW, "row_version": None}), "version (column row_version) is null"),
    "column gone": (
        envelope(after={k: ROW[k] for k in ROW if k != "name"}),
        "the row has no column 'name' or 'title'",
    ),
    "price words": (envelope(after={**ROW, "price_cents": "9,50"}), "price is '9,50'"),
    "price empty": (envelope(after={**ROW, "price_cents": ""}), "price is ''"),
    "price beyond": (envelope(after={**ROW, "price_cents": 10**400}), "decimal.handling.mode"),
    "pictures broken": (envelope(after={**ROW, "pictures": '["a'}), "image_uris is"),
    "attribute object": (envelope(after={**ROW, "colour": {"a": 1}}), "attribute 'colour' is {'a': 1}"),
    "stock words": (envelope(after={**ROW, "stock": "yes"}), "in_stock is 'yes'"),
    "payload list": ({"schema": {}, "payload": []}, "payload is [], must be an object"),
}


@pytest.mark.parametrize(("value", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_row_is_refused_with_value_and_next_step(value: Any, said: str) -> None:
    """A person must be able to act on the reason alone."""
    with pytest.raises(Unreadable) as refused:
        read(value)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, "give the table a primary key"),
        (b"\xff", "not UTF-8"),
        (b'{"shop": 1}', "has no column id"),
        (b'{"id": 8}', "differs from product_id"),
    ],
)
def test_the_key_must_name_the_row(key: bytes | None, said: str) -> None:
    """Another key is another partition, and the order of a product is lost."""
    with pytest.raises(Unreadable, match=said):
        read(envelope(), key=key)


def test_flattened_rows_say_which_setting_is_missing() -> None:
    """Without its time a change has no order."""
    with pytest.raises(Unreadable, match=r"add\.fields=op,source\.ts_ms"):
        read(ROW, FLAT)
    with pytest.raises(Unreadable, match="set form = 'envelope'"):
        read(envelope(), FLAT)


@pytest.mark.parametrize("name", ["lsn", "__source_lsn", "SCN", "gtid", "ts_ms"])
def test_a_log_position_is_never_a_version(name: str) -> None:
    """Positions interleave between rows: the smaller one may be the newer change."""
    told = {"form": "flattened", "columns": {"product_id": "id", "version": name}}

    with pytest.raises(InvalidSettings, match="does not rise per product"):
        mapping_of(told)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("form = ", "is not TOML"),
        ("form = 'row'\n[columns]\nproduct_id = 'id'\nversion = 'v'", "form: Input should be 'envelope' or"),
        ("form = 'envelope'\n[columns]\nproduct_id = 'id'", "columns.version: Field required"),
        (
            "form = 'envelope'\n[columns]\nproduct_id = 'id'\nversion = 'v'\ntitles = 't'",
            "columns.titles: Extra",
        ),
    ],
)
def test_a_mapping_that_is_wrong_says_where(tmp_path: Path, text: str, said: str) -> None:
    """Found at the start, not in the ten-thousandth dead letter."""
    file = tmp_path / "mapping.toml"
    file.write_text(text)

    with pytest.raises(InvalidSettings) as wrong:
        read_mapping(file)

    assert said in str(wrong.value)
    assert str(file) in str(wrong.value)


def test_the_consumer_reads_by_the_mapping_of_its_settings() -> None:
    """One variable of the environment switches it."""
    reader = change_reader(Settings(changes_mapping=EXAMPLE))

    assert read(envelope()) == reader(message(envelope()))
    with pytest.raises(InvalidSettings, match="No such file or directory; name a TOML file"):
        change_reader(Settings(changes_mapping=Path("nowhere.toml")))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*ROW, "title"]), json_values),
    st.sampled_from(["c", "u", "r", "d"]),
    st.booleans(),
)
def test_any_row_is_read_or_refused(changes: dict[str, Any], op: str, flattened: bool) -> None:
    """The loop must survive what nobody thought of."""
    row = {**ROW, **changes}
    told = {**row, "__op": op, "__source_ts_ms": AT_MS} if flattened else envelope(op, before=row, after=row)
    try:
        change = read(told, FLAT if flattened else MAPPING)
    except Unreadable:
        return

    assert isinstance(change, ProductChange)
