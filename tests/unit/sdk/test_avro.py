"""`AvroSerde`: what it takes and gives, which schemas it refuses, and what it says of a payload that is none."""

from __future__ import annotations

import contextlib
import datetime
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import barnabas
from barnabas.sdk.handler import decode_input, handler_of
from barnabas.serde import AvroSerde

LINE = {"type": "record", "name": "Line", "fields": [{"name": "item", "type": "string"}, {"name": "n", "type": "int"}]}
ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "lines", "type": {"type": "array", "items": LINE}},
        {"name": "last", "type": "Line"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
WHEN = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
VALUE = {"id": "a", "lines": [{"item": "pen", "n": 2}], "last": {"item": "pen", "n": 2}, "note": None, "when": WHEN}

order: AvroSerde[dict[str, Any]] = AvroSerde(ORDER)


class Line(BaseModel):
    item: str
    n: int


def test_a_value_comes_back_as_it_went() -> None:
    assert order.deserialize(order.serialize(VALUE)) == VALUE
    assert order.serialize(None) == b""
    assert order.deserialize(b"") is None


def test_a_schema_is_a_dict_a_text_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "order.avsc"
    file.write_text(json.dumps(ORDER))
    raw = order.serialize(VALUE)
    for schema in (json.dumps(ORDER), file, str(file)):
        assert AvroSerde[Any](schema).serialize(VALUE) == raw
    assert AvroSerde[int]("long").deserialize(AvroSerde[int]("long").serialize(5)) == 5
    assert AvroSerde[Any](["null", "long"]).deserialize(AvroSerde[Any](["null", "long"]).serialize(5)) == 5


def test_a_schema_that_is_changed_later_changes_nothing() -> None:
    schema = json.loads(json.dumps(LINE))
    serde: AvroSerde[Any] = AvroSerde(schema)
    schema["fields"].clear()
    assert serde.deserialize(serde.serialize({"item": "a", "n": 1})) == {"item": "a", "n": 1}


def test_with_a_model_values_are_models() -> None:
    serde: AvroSerde[Line] = AvroSerde(LINE, Line)
    assert serde.deserialize(serde.serialize(Line(item="pen", n=2))) == Line(item="pen", n=2)


NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
EMPTY = {"type": "record", "name": "Empty", "fields": [{"name": "a", "type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        (NODE, "Node contains itself"),
        ({"type": "array", "items": NODE}, "Node contains itself"),
        (
            {"type": "record", "name": "T", "fields": [{"name": "kids", "type": {"type": "map", "values": "T"}}]},
            "T contains itself",
        ),
        ({"type": "array", "items": "null"}, "array of null, which takes no bytes"),
        ({"type": "array", "items": EMPTY}, "array of Empty"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, "array of F"),
        (
            {
                "type": "record",
                "name": "R",
                "fields": [{"name": "e", "type": EMPTY}, {"name": "l", "type": {"type": "array", "items": "Empty"}}],
            },
            "array of Empty",
        ),
        ("null", "take no bytes"),
        (EMPTY, "take no bytes"),
        ("nonsense", "no Avro schema"),
        ({"type": "record"}, "no Avro schema"),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "nonsense"}]}, "no Avro schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_schemas_that_a_payload_could_use_against_us_are_refused(schema: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        AvroSerde(schema)


def test_a_type_that_is_used_twice_is_not_recursive() -> None:
    AvroSerde({"type": "map", "values": {"type": "fixed", "name": "F", "size": 0}})  # keys take bytes
    AvroSerde(ORDER)


RAW = order.serialize(VALUE)


def test_what_follows_after_the_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 bytes follow after its end"):
        order.deserialize(RAW + b"G")


NESTED: AvroSerde[Any] = AvroSerde({"type": "array", "items": {"type": "array", "items": "boolean"}})


@given(st.sampled_from([order, NESTED]), st.binary(max_size=60) | st.integers(0, len(RAW)).map(lambda n: RAW[:n]))
def test_any_bytes_are_a_value_or_a_value_error(serde: AvroSerde[Any], raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        serde.deserialize(raw)


desk = barnabas.Service("Desk")


@desk.handler(input_serde=order)
async def take(ctx: barnabas.Context, value: dict[str, Any]) -> None: ...


@desk.handler()
async def take_line(ctx: barnabas.Context, line: Annotated[Line, AvroSerde(LINE, Line)]) -> None: ...


SECRET = {**VALUE, "id": "a secret"}


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (order.serialize(SECRET)[:1], "id"),
        (order.serialize(SECRET)[:12], "lines"),
        (order.serialize(SECRET)[:18], "last.item"),
        (b"\x02\xff" + RAW[2:], "id"),
    ],
)
def test_a_payload_that_is_none_is_a_400_that_names_the_field_and_not_the_value(raw: bytes, field: str) -> None:
    with pytest.raises(barnabas.TerminalError, match=r"^Unable to parse an input argument: ") as refused:
        decode_input(handler_of(take), raw)
    assert refused.value.status_code == 400
    assert "secret" not in refused.value.message
    assert f"field '{field}'" in refused.value.message


def test_a_payload_that_the_model_refuses_names_its_field() -> None:
    raw = AvroSerde[Any](ORDER["fields"][1]["type"]["items"]).serialize({"item": "pen", "n": 2})
    assert decode_input(handler_of(take_line), raw) == Line(item="pen", n=2)

    class Strict(BaseModel):
        item: str
        n: bool

    serde: AvroSerde[Strict] = AvroSerde(LINE, Strict)
    with pytest.raises(ValueError, match="n\n"):
        serde.deserialize(raw)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({**VALUE, "id": 5}, "look at shop.Order.id"),
        ({**VALUE, "lines": [{"item": "x", "n": "secret"}]}, "look at shop.Line.n"),
        ({**VALUE, "id": "secret \ud800"}, "not UTF-8"),
        ({**VALUE, "last": {"item": "x", "n": 2**70}}, "look at shop.Line.n"),
        ({}, "look at shop.Order.id"),
        ("secret", "of type str is no Avro shop.Order"),
    ],
)
def test_a_value_that_is_none_is_a_value_error_without_it(value: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        order.serialize(value)
    assert "secret" not in str(refused.value)
