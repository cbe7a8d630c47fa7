"""From the value of a record to the payload of an invocation, and to what key rules look at.

Values come from anyone who may write the topic: whatever is wrong with them ends in PoisonRecord. Called by `intake`.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from pydantic_core import PydanticSerializationError, from_json, to_json

from barnabas.contract.errors import UNDECODABLE, UNKNOWN_SCHEMA, PoisonRecord
from barnabas.runtime.subscribing.schemas import Schemas
from barnabas.sdk.avro import AvroSerde
from barnabas.sdk.input_errors import PayloadError
from barnabas.sdk.subscription import Subscription

_FRAME: Final = 5  # a zero, and the schema's id in four bytes
_SINGLE_OBJECT: Final = b"\xc3\x01"

Contents = tuple[bytes, Any]


class Format(Protocol):
    """How the values of one topic are written."""

    def wanted(self, value: bytes) -> int | None:
        """The id of the schema that must be known before `read`; None if there is none."""

    def read(self, value: bytes) -> Contents:
        """The payload, and what it says. Raises PoisonRecord."""


def format_of(subscription: Subscription, schemas: Schemas) -> Format:
    """How this subscription's values are written."""
    if subscription.format == "raw":
        return RawFormat()
    if subscription.format == "json":
        return JsonFormat()
    if subscription.serde is None:
        return RegistryFormat(schemas)
    return FileFormat(subscription.serde, framed=subscription.framing == "confluent")


class RawFormat:
    """Bytes, which nobody looks at."""

    def wanted(self, value: bytes) -> int | None:
        return None

    def read(self, value: bytes) -> Contents:
        return value, None


class JsonFormat:
    """JSON, passed on as it is. The frame of a registry's JSON serializer is taken off: no JSON begins with a zero."""

    def wanted(self, value: bytes) -> int | None:
        return None

    def read(self, value: bytes) -> Contents:
        if value[:1] == b"\x00":
            value = value[_FRAME:]
        try:
            return value, from_json(value, allow_inf_nan=False)
        except ValueError as error:  # its message has a place, and never the value
            raise PoisonRecord(UNDECODABLE, f"the value is no JSON: {error}") from None


class FileFormat:
    """Avro of one schema: bare, behind the header of Avro's single-object encoding, or (`framed`) behind any id."""

    def __init__(self, serde: AvroSerde[Any], *, framed: bool) -> None:
        self._serde = serde
        self._framed = framed
        self._header = _SINGLE_OBJECT + serde.fingerprint

    def wanted(self, value: bytes) -> int | None:
        return None

    def read(self, value: bytes) -> Contents:
        if self._framed:
            _schema_id(value)
            value = value[_FRAME:]
        elif value.startswith(self._header):
            value = value[len(self._header) :]
        return _as_json(self._serde, value)


class RegistryFormat:
    """Avro behind the id of its schema in a registry (Confluent's wire format)."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def wanted(self, value: bytes) -> int | None:
        try:
            id_ = _schema_id(value)
        except PoisonRecord:
            return None
        return None if id_ in self._schemas else id_

    def read(self, value: bytes) -> Contents:
        return _as_json(self._schemas.get(_schema_id(value)), value[_FRAME:])


def _schema_id(value: bytes) -> int:
    if len(value) < _FRAME or value[0] != 0:
        raise PoisonRecord(
            UNKNOWN_SCHEMA,
            f"the value does not begin with a zero and a schema's id, but with {value[:_FRAME].hex() or 'nothing'}; "
            f"for Avro without them give the subscription a schema",
        )
    return int.from_bytes(value[1:_FRAME], "big")


def _as_json(serde: AvroSerde[Any], body: bytes) -> Contents:
    if not body:
        raise PoisonRecord(UNDECODABLE, "the value ends where its Avro should begin")
    try:
        content: Any = serde.deserialize(body)
        return to_json(content, bytes_mode="base64", inf_nan_mode="strings"), content
    except PayloadError as error:
        raise PoisonRecord(UNDECODABLE, str(error)) from None
    except (PydanticSerializationError, ValueError) as error:  # of a logical type, such as a date far out
        raise PoisonRecord(UNDECODABLE, f"the value cannot be written as JSON ({type(error).__name__})") from None
