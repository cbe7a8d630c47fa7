"""What values become: JSON, Avro by file, Avro by the ids of a registry as confluent-kafka writes them, raw bytes."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barnabas import Subscription
from barnabas.contract.errors import PoisonRecord
from barnabas.runtime.subscribing.formats import Format, format_of
from barnabas.runtime.subscribing.schemas import MOST_REFUSED, Schemas
from barnabas.serde import AvroSerde
from tests.unit.subscriptions.mock_registry import MockRegistry, mock_registry

ORDER: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "when", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}},
        {"name": "code", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "picture", "type": "bytes"},
        {"name": "weight", "type": "double"},
        {"name": "note", "type": ["null", "string"]},
    ],
}
VALUE = {
    "id": "o1",
    "when": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "price": decimal.Decimal("12.50"),
    "code": uuid.UUID(int=7),
    "picture": b"\xff\x00",
    "weight": float("nan"),
    "note": None,
}
AS_JSON = {
    "id": "o1",
    "when": "2026-01-02T00:00:00Z",
    "price": "12.50",
    "code": str(uuid.UUID(int=7)),
    "picture": "_wA=",
    "weight": "NaN",
    "note": None,
}
BARE = AvroSerde[Any](ORDER).serialize(VALUE)


def format_for(schemas: Schemas | None = None, **arguments: Any) -> Format:
    return format_of(Subscription("t", "Shop/place", **arguments), schemas or Schemas())


def why_not(format: Format, value: bytes) -> str:
    with pytest.raises(PoisonRecord) as poison:
        format.read(value)
    return str(poison.value)


@pytest.fixture
def registry() -> Iterator[MockRegistry]:
    with mock_registry() as registry:
        yield registry


# -- JSON and raw


@pytest.mark.parametrize("value", [b"{}", b' {"a": [1, null]} ', b"17", b"null", '"ü"'.encode(), b'"\\u0000"'])
def test_json_is_passed_on_as_it_is(value: bytes) -> None:
    assert format_for().read(value) == (value, json.loads(value))


@pytest.mark.parametrize(
    "value", [b"", b"{", b"{} {}", b"NaN", b"\xff", b'"\xff"', b'"\\ud800"', b"\xef\xbb\xbf{}", b"[" * 5000]
)
def test_what_is_no_json_is_poison(value: bytes) -> None:
    assert why_not(format_for(), value).startswith("undecodable: the value is no JSON")


def test_the_frame_of_a_json_serializer_is_taken_off() -> None:
    assert format_for().read(b"\x00\x00\x00\x00\x01[1]") == (b"[1]", [1])


@given(st.binary())
def test_raw_values_are_not_looked_at(value: bytes) -> None:
    assert format_for(format="raw").read(value) == (value, None)


# -- Avro by file


def test_avro_becomes_json() -> None:
    payload, content = format_for(format="avro", schema=ORDER).read(BARE)
    assert json.loads(payload) == AS_JSON
    assert content["price"] == decimal.Decimal("12.50")


def test_the_header_of_single_objects_is_taken_off() -> None:
    header = b"\xc3\x01" + AvroSerde[Any](ORDER).fingerprint
    assert json.loads(format_for(format="avro", schema=ORDER).read(header + BARE)[0]) == AS_JSON


def test_a_schema_reads_framed_values_where_it_is_told_so() -> None:
    framed = format_for(format="avro", schema=ORDER, framing="confluent")
    assert json.loads(framed.read(b"\x00\x00\x00\x00\x63" + BARE)[0]) == AS_JSON
    assert "does not begin with a zero" in why_not(framed, BARE)


@pytest.mark.parametrize("value", [b"", BARE[:-1], BARE + b"x", b"\xff" * 40])
def test_damaged_avro_is_poison(value: bytes) -> None:
    assert why_not(format_for(format="avro", schema=ORDER), value).startswith("undecodable")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_payload_or_poison(value: bytes) -> None:
    for format in (format_for(), format_for(format="avro", schema=ORDER), format_for(format="avro")):
        try:
            payload, _ = format.read(value)
        except PoisonRecord:
            continue
        json.loads(payload)


# -- Avro by a registry


def test_values_of_confluents_serializer_are_read(registry: MockRegistry) -> None:
    value = registry.serializer(ORDER)(VALUE)
    schemas = Schemas()
    format = format_for(schemas, format="avro")
    id_ = format.wanted(value)
    assert id_ == int.from_bytes(value[1:5], "big")
    schemas.add(id_, registry.client.get_schema(id_).schema_str)
    assert format.wanted(value) is None
    assert json.loads(format.read(value)[0]) == AS_JSON


def test_a_refused_schema_is_poison_until_it_is_asked_for_again() -> None:
    schemas = Schemas()
    format, value = format_for(schemas, format="avro"), b"\x00\x00\x00\x00\x05abc"
    schemas.refuse(5, "the registry has no schema with the id 5")
    assert format.wanted(value) is None
    assert why_not(format, value) == "unknown-schema: the registry has no schema with the id 5"
    schemas.ask_again(5)
    assert format.wanted(value) == 5


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x01\x00\x00\x00\x01ab", b"{}"])
def test_a_value_without_the_frame_wants_no_schema_and_is_poison(value: bytes) -> None:
    format = format_for(format="avro")
    assert format.wanted(value) is None
    assert why_not(format, value).startswith("unknown-schema")


def test_a_frame_with_nothing_behind_it_is_poison() -> None:
    schemas = Schemas()
    schemas.add(1, '{"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]}')
    assert "ends where its Avro should begin" in why_not(format_for(schemas, format="avro"), b"\x00\x00\x00\x00\x01")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "T", "fields": [{"name": "t", "type": ["null", "T"]}]},
        {"type": "array", "items": "null"},
        {"type": "nonsense"},
    ],
)
def test_schemas_that_values_could_use_against_the_process_are_refused(schema: Any) -> None:
    """PITFALLS 43 and 44."""
    with pytest.raises(ValueError, match="schema"):
        Schemas().add(1, json.dumps(schema))
    with pytest.raises(ValueError, match="schema"):
        Subscription("t", "Shop/place", format="avro", schema=schema)


def test_made_up_ids_do_not_fill_the_memory() -> None:
    schemas = Schemas()
    for id_ in range(MOST_REFUSED + 5):
        schemas.refuse(id_, "no")
    assert 0 not in schemas
    assert MOST_REFUSED + 4 in schemas
    assert len(schemas._refused) == MOST_REFUSED
