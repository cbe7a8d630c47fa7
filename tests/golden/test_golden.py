"""Bytes that released versions wrote are read for ever, and the newest version still writes the very same bytes.

`records/<schema>.v<version>.json` holds a schema version's fingerprint and some records of it: the bytes as they lie in
a topic, and what they say. A file is written once, when its version is released (`write_golden.py`), and never changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from barnabas.contract.codec import (
    decode_dead_letter,
    decode_invocation,
    decode_reply,
    decode_signal,
    encode_dead_letter,
    encode_invocation,
    encode_reply,
    encode_signal,
)
from barnabas.contract.declarations import Schema, folder, schemas

RECORDS = Path(__file__).parent / "records"
CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "invocation": (encode_invocation, decode_invocation),
    "signal": (encode_signal, decode_signal),
    "reply": (encode_reply, decode_reply),
    "dead-letter": (encode_dead_letter, decode_dead_letter),
}
RELEASED = [schema for name in CODECS for schema in schemas(name)]
every_released_version = pytest.mark.parametrize(
    "schema", RELEASED, ids=lambda schema: f"{schema.name}.v{schema.version}"
)


def described(value: Any) -> Any:
    """A record as it stands in JSON; bytes as {"hex": ...}."""
    if is_dataclass(value):
        return {field.name: described(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    return value


def golden(schema: Schema) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (RECORDS / f"{schema.name}.v{schema.version}.json").read_text(encoding="utf-8")
    )
    return content


@every_released_version
def test_a_released_schema_is_never_edited(schema: Schema) -> None:
    assert schema.fingerprint.hex() == golden(schema)["fingerprint"], "released: add a new version instead"


@every_released_version
def test_what_a_released_version_wrote_is_read(schema: Schema) -> None:
    decode = CODECS[schema.name][1]
    for record in golden(schema)["records"]:
        value = decode(bytes.fromhex(record["bytes"]))
        empty = {field.name: _default(field) for field in fields(value) if field.name not in record["value"]}
        assert described(value) == record["value"] | empty, "a later field is what it is by default"


def _default(field: Field[Any]) -> Any:
    return field.default if field.default is not MISSING else described(field.default_factory())  # type: ignore[misc]


@pytest.mark.parametrize("name", CODECS)
def test_the_newest_version_is_written_byte_for_byte(name: str) -> None:
    encode, decode = CODECS[name]
    for record in golden(schemas(name)[-1])["records"]:
        written = bytes.fromhex(record["bytes"])
        assert encode(decode(written)) == written


def test_versions_are_released_in_turn_and_none_disappears() -> None:
    released = {f"{schema.name}.v{schema.version}" for schema in RELEASED}
    assert released == {file.stem for file in folder("schemas").glob("*.avsc")}
    assert released == {file.stem for file in RECORDS.glob("*.json")}
    for name in CODECS:
        assert [schema.version for schema in schemas(name)] == list(range(1, len(schemas(name)) + 1))
