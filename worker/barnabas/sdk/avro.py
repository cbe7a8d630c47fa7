"""`AvroSerde`: values as bare Avro binary of a schema that both sides have. The one file of the SDK with fastavro.

Payloads come from anyone who may call us, and fastavro trusts the schema with them: a recursive schema lets 5 KB of
payload end the process (PITFALLS 43), an array of items that take no bytes lets 5 bytes make 10 million of them (44).
Such schemas are refused when the serde is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeVar

import pydantic
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form
from fastavro.validation import ValidationError, validate

from barnabas.sdk.annotations import with_portable_dicts
from barnabas.sdk.input_errors import PayloadError
from barnabas.sdk.serde import Serde

I = TypeVar("I")  # noqa: E741

_RECORDS: Final = ("record", "error")
_MAX_FIELDS: Final = 5


class AvroSerde(Serde[I]):
    """Avro binary, without a header: both sides have the schema.

    `schema` is a dict, a list (a union), JSON text or the path of a file with it. Values are what fastavro gives:
    dicts for records. With a `model` (a pydantic model, a dataclass, any type that pydantic knows) they are values of
    that type. None is the empty payload. Raises ValueError for a schema that is none, or that a payload could use
    against the process: one that contains itself, or repeats what takes no bytes.
    """

    def __init__(self, schema: Mapping[str, Any] | Sequence[Any] | str | Path, model: Any = None) -> None:
        declared = _declared(schema)
        named: dict[str, Any] = {}
        try:
            self._schema: Any = parse_schema(declared, named)
        except Exception as error:  # fastavro raises nearly anything for what is no schema
            raise ValueError(f"this is no Avro schema: {error}") from error
        if _check(self._schema, {}, ()):
            raise ValueError(f"values of the Avro schema {_name(self._schema)} take no bytes: there is nothing to send")
        self.schema = declared
        self.model = model
        self._named = named
        self._adapter = None if model is None else pydantic.TypeAdapter[Any](with_portable_dicts(model))

    @property
    def fingerprint(self) -> bytes:
        """What a value in Avro's single-object encoding names the schema by: CRC-64-AVRO, 8 bytes as on the wire."""
        return bytes.fromhex(fingerprint(to_parsing_canonical_form(self._schema), "CRC-64-AVRO"))

    def deserialize(self, buf: bytes) -> I | None:
        """Raises ValueError, which names the field and never the value."""
        if not buf:
            return None
        source = BytesIO(buf)
        try:
            value: Any = schemaless_reader(source, self._schema, None)
        except Exception as error:  # EOFError, IndexError, UnicodeDecodeError, MemoryError, ... (PITFALLS 45)
            place = self._broken_field(BytesIO(buf), self._schema)
            raise PayloadError(_line(place, f"it is no Avro {_name(self._schema)} ({_kind(error)})")) from None
        if source.tell() != len(buf):
            raise PayloadError(
                f"it is no Avro {_name(self._schema)}: {len(buf) - source.tell()} bytes follow after its end"
            )
        if self._adapter is not None:
            value = self._adapter.validate_python(value, by_alias=True, by_name=True)  # written with names
        return value  # type: ignore[no-any-return]

    def serialize(self, obj: I | None) -> bytes:
        """Raises ValueError, which names the fields and never a value."""
        if obj is None:
            return b""
        value: Any = obj if self._adapter is None else self._adapter.dump_python(obj, warnings="error")
        written = BytesIO()
        try:
            schemaless_writer(written, self._schema, value)
        except Exception as error:  # as reading does
            what = f"a value of type {type(obj).__qualname__} is no Avro {_name(self._schema)}"
            raise ValueError(f"{what}: {self._unfit(value, error)}") from None
        return written.getvalue()

    def _broken_field(self, source: BytesIO, schema: Any) -> str:
        """The way to the field at which `source` cannot be read any more; empty if that cannot be told."""
        if not isinstance(schema, dict) or schema.get("type") not in _RECORDS:
            return ""
        for field in schema["fields"]:
            kind = self._resolved(field["type"])
            start = source.tell()
            try:
                schemaless_reader(source, kind, None)
            except Exception:  # the field that is looked for
                source.seek(start)
                inner = self._broken_field(source, kind)
                return f"{field['name']}.{inner}" if inner else str(field["name"])
        return ""

    def _resolved(self, kind: Any) -> Any:
        """A field's type as a schema of its own, which knows the types that were named elsewhere."""
        if isinstance(kind, str):
            kind = self._named.get(kind, {"type": kind})
        if isinstance(kind, dict):
            return {**kind, "__fastavro_parsed__": True, "__named_schemas": self._named}
        return kind

    def _unfit(self, value: Any, error: Exception) -> str:
        try:
            validate(value, self._schema, raise_errors=True)
        except ValidationError as found:
            fields = dict.fromkeys(str(one.field) for one in found.errors if one.field)
            if fields:
                return f"look at {', '.join(list(fields)[:_MAX_FIELDS])}"
        except Exception:  # it does not get as far as saying where
            return _kind(error)
        return _kind(error)


def _declared(schema: Mapping[str, Any] | Sequence[Any] | str | Path) -> Any:
    if isinstance(schema, Path) or (isinstance(schema, str) and schema.endswith((".avsc", ".json"))):
        schema = Path(schema).read_text(encoding="utf-8")
    if not isinstance(schema, str):
        return json.loads(json.dumps(schema))  # a copy, which nobody changes later on
    try:
        found = json.loads(schema)
    except ValueError:
        found = None
    return found if isinstance(found, (dict, list, str)) else schema.strip()  # else the bare name of a primitive type


def _check(schema: Any, known: dict[str, bool], open_: tuple[str, ...]) -> bool:
    """Whether values of the schema take no bytes. Raises ValueError for what the class refuses."""
    if isinstance(schema, list):
        for branch in schema:
            _check(branch, known, open_)
        return False  # the number of the branch is written
    if isinstance(schema, str):
        if schema in open_:
            raise ValueError(
                f"the Avro schema {schema} contains itself: a small payload could nest deeply enough to end the "
                f"process, so it is refused; send such values as JSON"
            )
        return known.get(schema, schema == "null")
    kind = schema["type"]
    if kind in _RECORDS:
        name = schema["name"]
        empty = [_check(field["type"], known, (*open_, name)) for field in schema["fields"]]  # looks at all of them
        known[name] = all(empty)
        return known[name]
    if kind in ("array", "map"):
        content = schema["items" if kind == "array" else "values"]
        if _check(content, known, open_) and kind == "array":
            raise ValueError(
                f"the Avro schema has an array of {_name(content)}, which takes no bytes: a payload of 5 bytes could "
                f"ask for millions of items, so it is refused"
            )
        return False
    if kind == "fixed":
        known[schema["name"]] = schema["size"] == 0
        return known[schema["name"]]
    if kind == "enum":
        known[schema["name"]] = False
        return False
    return _check(kind, known, open_)


def _name(schema: Any) -> str:
    """What to call a schema in a message."""
    if isinstance(schema, list):
        return "union"
    if isinstance(schema, str):
        return schema
    return str(schema.get("name") or schema["type"])


def _line(place: str, reason: str) -> str:
    return f"field '{place}': {reason}" if place else reason


def _kind(error: Exception) -> str:
    """An error without its message, which may repeat the value."""
    if isinstance(error, EOFError):
        return "it ends too early"
    if isinstance(error, UnicodeError):
        return "text that is not UTF-8"
    return type(error).__name__
