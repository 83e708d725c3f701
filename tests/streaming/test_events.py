"""The door: what is a change, what is not, and what people are told."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.events.event_json import exposure_to_json, outcome_to_json
from experiments.exposure import Exposure, Outcome, ServedProduct
from product_index.product import Product, ProductChange
from streaming.change_log import Message
from streaming.errors import UnknownSchema, Unreadable
from streaming.events import change_from_json, decode_change, encode_change

from .making import NOON, change_json, full_change

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def schema(name: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def message(value: bytes | None, *, key: bytes | None = b"mug-1") -> Message:
    return Message(
        topic="product-changes", partition=0, offset=7, key=key, value=value, timestamp_ms=1_790_000_000_000
    )


@pytest.mark.parametrize(
    "change",
    [
        full_change(),
        ProductChange(
            product_id="mug-1", version=1, occurred_at=NOON, product=Product(product_id="mug-1", title="mug")
        ),
        ProductChange(product_id="mug-1", version=4, occurred_at=NOON, product=None),
    ],
    ids=["full", "sparse", "delete"],
)
def test_a_change_comes_back_as_it_was_and_keeps_the_published_schema(change: ProductChange) -> None:
    """What we write is what we read, and what the schema file says."""
    key, value = encode_change(change)

    assert change == decode_change(message(value, key=key))
    assert value is not None
    jsonschema.validate(json.loads(value), schema("product_change"))


def test_a_null_value_is_a_removal_without_a_version_at_the_time_it_was_written() -> None:
    """Compacted topics delete by null; the version is whatever is stored."""
    change = decode_change(message(None))

    assert (True, None) == (change.is_removal, change.version)
    assert 1_790_000_000_000 == change.occurred_at_ms
    assert (b"mug-1", None) == encode_change(change)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "schema unknown": ({"schema_version": 2}, "schema_version is 2"),
    "schema missing": (
        {"schema_version": ...},
        'there is no schema_version; every change needs one: write "schema_version": 1',
    ),
    "schema true": ({"schema_version": True}, "schema_version is True"),
    "schema null": ({"schema_version": None}, "there is no schema_version"),
    "op missing": ({"op": ...}, "there is no op; every change needs one: upsert or delete"),
    "op unknown": ({"op": "patch"}, "op is 'patch', must be one of upsert, delete"),
    "op of another kind": ({"op": ["upsert"]}, "op is"),
    "id missing": ({"product_id": ...}, "there is no product_id"),
    "id a number": ({"product_id": 7}, "product_id is 7, must be a string"),
    "id blank": ({"product_id": " "}, "differs from product_id"),
    "version a string": ({"version": "12"}, "version is '12', must be a whole number"),
    "version a fraction": ({"version": 1.5}, "version is 1.5, must be a whole number"),
    "version a boolean": ({"version": True}, "version is True, must be a whole number"),
    "version missing": ({"version": ...}, "there is no version"),
    "version below nought": ({"version": -1}, "version is -1, must be in"),
    "version too large": ({"version": 2**63}, "version is 9223372036854775808, must be in"),
    "time missing": ({"occurred_at": ...}, "there is no occurred_at"),
    "time without a zone": ({"occurred_at": "2026-11-20T10:00:00"}, "has no time zone; end it in Z"),
    "time unreadable": ({"occurred_at": "yesterday"}, "occurred_at is 'yesterday'"),
    "time a number": ({"occurred_at": 1790000000}, "occurred_at is 1790000000, must be"),
    "price a string": ({"price": "9,50"}, "price is '9,50', must be a number or null"),
    "price below nought": ({"price": -1}, "price is -1.0, must be"),
    "stock a string": ({"in_stock": "yes"}, "in_stock is 'yes', must be true or false"),
    "title a list": ({"title": ["mug"]}, "title is ['mug'], must be a string"),
    "attributes a list": ({"attributes": []}, "attributes is [], must be an object"),
    "attribute a number": ({"attributes": {"size": 3}}, "attribute 'size' is 3, must be a string"),
    "pictures a string": ({"image_uris": "a.jpg"}, "image_uris is 'a.jpg', must be a list"),
    "picture a number": ({"image_uris": [1]}, "image_uris holds 1, must hold strings"),
}


@pytest.mark.parametrize(("changes", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_what_breaks_the_contract_is_refused_with_value_and_rule(changes: dict[str, Any], said: str) -> None:
    """A person must be able to act on the reason alone."""
    with pytest.raises(Unreadable) as refused:
        decode_change(message(change_json(**changes)))

    assert said in str(refused.value)


def test_the_published_schema_refuses_what_the_code_refuses() -> None:
    """Two descriptions of one contract must not drift apart."""
    validator = jsonschema.Draft202012Validator(schema("product_change"))
    by_code_alone = {"id blank", "time unreadable", "schema true"}  # a format, and Python's True == 1

    accepted = {
        name
        for name, (changes, _) in BROKEN.items()
        if validator.is_valid(json.loads(change_json(**changes)))
    }

    assert set() == accepted - by_code_alone


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[1, 2]",
        b"null",
        b'{"schema_version": NaN}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        change_json(title="half a pair \ud800"),
        change_json(price=10**400),
    ],
    ids=["empty", "text", "not utf-8", "list", "null", "nan", "deep", "digits", "surrogate", "huge price"],
)
def test_no_bytes_break_the_reader(value: bytes) -> None:
    """Whatever is in a message, it is read or refused; nothing else is raised."""
    with pytest.raises(Unreadable):
        decode_change(message(value))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    """The loop must survive what nobody thought of."""
    with pytest.raises(Unreadable):
        decode_change(message(value))


@given(
    st.dictionaries(st.sampled_from(list(json.loads(change_json()))), st.none() | st.integers() | st.text())
)
def test_any_fields_are_read_or_refused(changes: dict[str, Any]) -> None:
    """A good change with any fields replaced is a change or Unreadable."""
    try:
        change = change_from_json(change_json(**changes))
    except Unreadable:
        return

    assert isinstance(change, ProductChange)


def test_an_unknown_schema_has_its_own_name() -> None:
    """Such messages are good again after an upgrade: replay them."""
    with pytest.raises(UnknownSchema, match="upgrade the consumer and replay"):
        decode_change(message(change_json(schema_version=2)))


@pytest.mark.parametrize(
    ("key", "said"),
    [(None, "has no key"), (b"cup-2", "differs from product_id"), (b"\xff", "not UTF-8")],
)
def test_the_key_must_name_the_product(key: bytes | None, said: str) -> None:
    """Another key is another partition, and the order of a product is lost."""
    with pytest.raises(Unreadable, match=said):
        decode_change(message(change_json(), key=key))


def test_a_field_nobody_knows_yet_is_passed_over() -> None:
    """Producers may grow first."""
    assert "mug-1" == change_from_json(change_json(colour_of_the_year="teal")).product_id


def test_exposures_and_outcomes_keep_their_published_schemas() -> None:
    """The archive and other languages read these files, not our code."""
    served = ServedProduct(
        product_id="mug-1", position=1, channels=("base", "uniecs"), rank_per_channel={"base": 2, "uniecs": 1}
    )
    exposure = Exposure(
        event_id="e1",
        experiment="uniecs-recall",
        variant="treatment",
        unit_id="u1",
        session_id="s1",
        query_id="q1",
        query="red mug",
        query_kind="text",
        occurred_at=datetime(2026, 11, 20, tzinfo=UTC),
        served=(served,),
        counterfactual=("cup-2",),
    )
    outcome = Outcome(
        event_id="o1",
        kind="order",
        unit_id="u1",
        product_id="mug-1",
        revenue=9.5,
        currency="EUR",
        occurred_at=datetime(2026, 11, 20, tzinfo=UTC),
    )

    for name, event, text in (
        ("exposure", exposure, exposure_to_json(exposure)),
        ("outcome", outcome, outcome_to_json(outcome)),
    ):
        fields = json.loads(text)
        jsonschema.validate(fields, schema(name))

        properties = set(schema(name)["properties"])
        assert set(fields) <= properties  # what was not noted is left out
        assert properties == set(type(event).__dataclass_fields__)
