"""Records to bytes and back: Avro's single-object encoding: `C3 01`, the schema's fingerprint (8 bytes), the body.

A reader takes every released schema version and fills what an older one lacks with the newest one's defaults. Bytes
come from anyone who may write our topics: whatever is wrong with them ends in PoisonRecord, nothing else. Encoders
raise ValueError (fastavro, for dead letters, also OverflowError) for a value that the schema cannot hold: an id of
another length than 24 bytes, text with lone surrogates, numbers beyond 64 bits. Pure; called by clients and the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final, Generic, TypeVar

from fastavro import schemaless_reader, schemaless_writer

from barnabas.contract import wire
from barnabas.contract.declarations import Schema, schemas
from barnabas.contract.errors import UNDECODABLE, UNKNOWN_SCHEMA, PoisonRecord
from barnabas.contract.records import Caller, DeadLetter, Failure, Invocation, Label, Reply, ReplyTo, Signal, SignalKind

T = TypeVar("T")

_MAGIC: Final = b"\xc3\x01"
_HEADER_BYTES: Final = 10
_Reader = Callable[[bytes, int], tuple[T, int]]


def encode_invocation(value: Invocation) -> bytes:
    return wire.write_invocation(_INVOCATION.header, value)


def decode_invocation(data: bytes | None) -> Invocation:
    """Raises PoisonRecord."""
    return _INVOCATION.decode(data)


def encode_signal(value: Signal) -> bytes:
    return wire.write_signal(_SIGNAL.header, value)


def decode_signal(data: bytes | None) -> Signal:
    """Raises PoisonRecord."""
    return _SIGNAL.decode(data)


def decode_delayed(data: bytes | None) -> Invocation | Signal:
    """A record of the delays topic, by what its header says it is. Raises PoisonRecord."""
    return _SIGNAL.decode(data) if _SIGNAL.is_for(data) else _INVOCATION.decode(data)


def encode_reply(value: Reply) -> bytes:
    return wire.write_reply(_REPLY.header, value)


def decode_reply(data: bytes | None) -> Reply:
    """Raises PoisonRecord."""
    return _REPLY.decode(data)


def encode_dead_letter(value: DeadLetter) -> bytes:
    written = BytesIO()
    written.write(_DEAD_LETTER.header)
    schemaless_writer(written, _DEAD_LETTER.newest.parsed, _dead_letter_fields(value))
    return written.getvalue()


def decode_dead_letter(data: bytes | None) -> DeadLetter:
    """Raises PoisonRecord."""
    return _DEAD_LETTER.decode(data)


class RecordReader(Generic[T]):
    """Reads one kind of record in all its released versions: the newest by `read` if given, others by fastavro."""

    def __init__(
        self, versions: tuple[Schema, ...], from_fields: Callable[[dict[str, Any]], T], read: _Reader[T] | None = None
    ) -> None:
        self.newest = versions[-1]
        self.header = _MAGIC + self.newest.fingerprint
        self._readers = {
            _MAGIC + version.fingerprint: _resolving_reader(version, self.newest, from_fields) for version in versions
        }
        if read is not None:
            self._readers[self.header] = read

    def is_for(self, data: bytes | None) -> bool:
        """Whether the header names this kind of record, in any of its versions."""
        return data is not None and data[:_HEADER_BYTES] in self._readers

    def decode(self, data: bytes | None) -> T:
        """Raises PoisonRecord."""
        if data is None:
            raise PoisonRecord(UNDECODABLE, "the record has no value")
        read = self._readers.get(data[:_HEADER_BYTES])
        if read is None:
            raise _unknown_header(data, self.newest.name)
        try:
            value, end = read(data, _HEADER_BYTES)
        except Exception as error:  # a damaged body makes fastavro raise nearly anything, MemoryError included
            raise PoisonRecord(UNDECODABLE, f"malformed {self.newest.name}: {_described(error)}") from error
        if end != len(data):
            raise PoisonRecord(UNDECODABLE, f"malformed {self.newest.name}: its {len(data)} bytes should be {end}")
        return value


def _resolving_reader(writer: Schema, newest: Schema, from_fields: Callable[[dict[str, Any]], T]) -> _Reader[T]:
    # Given the same schema twice, fastavro would still resolve one against the other, at twice the cost.
    reader_schema = None if writer is newest else newest.parsed

    def read(data: bytes, position: int) -> tuple[T, int]:
        source = BytesIO(data)
        source.seek(position)
        fields: Any = schemaless_reader(source, writer.parsed, reader_schema)
        return from_fields(fields), source.tell()

    return read


def _unknown_header(data: bytes, name: str) -> PoisonRecord:
    if not data:
        return PoisonRecord(UNDECODABLE, "the record's value is empty")
    if data[0] == 0:
        return PoisonRecord(
            UNKNOWN_SCHEMA,
            "the value names its schema by the id that a schema registry gave it, and no registry is configured",
        )
    if not data.startswith(_MAGIC):
        return PoisonRecord(UNDECODABLE, f"no {name}: the value starts with {data[:2].hex()} instead of {_MAGIC.hex()}")
    if len(data) < _HEADER_BYTES:
        return PoisonRecord(UNDECODABLE, f"no {name}: the value ends after {len(data)} bytes, inside its header")
    fingerprint = data[2:_HEADER_BYTES].hex()
    return PoisonRecord(
        UNKNOWN_SCHEMA,
        f"no known version of {name} has the schema fingerprint {fingerprint}; a newer barnabas may have written it",
    )


def _described(error: Exception) -> str:
    text = ascii(str(error))[1:-1]
    return f"{type(error).__name__} {text[:200]}" if text else type(error).__name__


def _invocation(fields: dict[str, Any]) -> Invocation:
    fields["caller"] = _optional(Caller, fields["caller"])
    fields["reply_to"] = _optional(ReplyTo, fields["reply_to"])
    fields["label"] = _optional(Label, fields["label"])
    fields["waiters"] = [_waiter(waiter) for waiter in fields["waiters"]]
    return Invocation(**fields)


def _waiter(fields: dict[str, Any]) -> Caller | ReplyTo:
    if fields["caller"] is not None:
        return Caller(**fields["caller"])
    return ReplyTo(**fields["reply_to"])


def _signal(fields: dict[str, Any]) -> Signal:
    fields["kind"] = SignalKind(fields["kind"])
    fields["failure"] = _optional(Failure, fields["failure"])
    fields["label"] = _optional(Label, fields["label"])
    fields["caller"] = _optional(Caller, fields["caller"])
    fields["reply_to"] = _optional(ReplyTo, fields["reply_to"])
    return Signal(**fields)


def _reply(fields: dict[str, Any]) -> Reply:
    fields["failure"] = _optional(Failure, fields["failure"])
    return Reply(**fields)


def _dead_letter(fields: dict[str, Any]) -> DeadLetter:
    fields["headers"] = [(header["name"], header["value"]) for header in fields["headers"]]
    return DeadLetter(**fields)


def _dead_letter_fields(value: DeadLetter) -> dict[str, Any]:
    return {
        "reason": value.reason,
        "detail": value.detail,
        "topic": value.topic,
        "partition": value.partition,
        "offset": value.offset,
        "timestamp": value.timestamp,
        "key": value.key,
        "value": value.value,
        "headers": [{"name": name, "value": content} for name, content in value.headers],
    }


def _optional(kind: Callable[..., T], fields: dict[str, Any] | None) -> T | None:
    return None if fields is None else kind(**fields)


_INVOCATION: Final = RecordReader(schemas("invocation"), _invocation, wire.read_invocation)
_SIGNAL: Final = RecordReader(schemas("signal"), _signal, wire.read_signal)
_REPLY: Final = RecordReader(schemas("reply"), _reply, wire.read_reply)
_DEAD_LETTER: Final = RecordReader(schemas("dead-letter"), _dead_letter)
