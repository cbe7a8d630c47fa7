"""The newest versions of the invocation, signal and reply schemas, field by field. Called by `codec` alone.

A change of `schemas/` is a change here: tests compare every byte with what fastavro makes of the schema files.
Writers raise ValueError for values that the schema cannot hold; readers are bound by the contract told in `binary`.
"""

from __future__ import annotations

from typing import Final

from barnabas.contract.binary import (
    NULL,
    SOME,
    read_array,
    read_bytes,
    read_fixed,
    read_long,
    read_map,
    read_optional,
    read_text,
    write_array,
    write_bytes,
    write_long,
    write_map,
    write_optional,
    write_text,
)
from barnabas.contract.ids import ID_BYTES
from barnabas.contract.records import Caller, Failure, Invocation, Label, Reply, ReplyTo, Signal, SignalKind

# What follows the payload of the most usual invocation: empty headers, null five times, no waiters.
_PLAIN_TAIL: Final = NULL * 7
_SIGNAL_KINDS: Final = tuple(SignalKind)
_SIGNAL_SYMBOLS: Final = {kind: write_long(index) for index, kind in enumerate(_SIGNAL_KINDS)}


def write_invocation(prefix: bytes, value: Invocation) -> bytes:
    """`prefix` and the invocation's body."""
    key = value.key
    parts = [
        prefix,
        _write_id(value.id),
        write_text(value.service),
        write_text(value.handler),
        NULL if key is None else SOME + write_text(key),
        write_bytes(value.payload),
        write_map(value.headers),
        NULL if value.caller is None else SOME + _write_caller(value.caller),
        NULL if value.reply_to is None else SOME + _write_reply_to(value.reply_to),
        NULL if value.idempotency_key is None else SOME + write_text(value.idempotency_key),
        NULL if value.due is None else SOME + write_long(value.due),
        NULL if value.label is None else SOME + _write_label(value.label),
        _write_waiters(value.waiters) if value.waiters else NULL,
    ]
    return b"".join(parts)


def read_invocation(data: bytes, position: int) -> tuple[Invocation, int]:
    id_end = position + ID_BYTES
    id = data[position:id_end]
    service, position = read_text(data, id_end)
    handler, position = read_text(data, position)
    key, position = read_optional(data, position, read_text)
    payload, position = read_bytes(data, position)
    if data[position:] == _PLAIN_TAIL:
        return Invocation(id, service, handler, key, payload), len(data)
    headers, position = read_map(data, position)
    caller, position = read_optional(data, position, _read_caller)
    reply_to, position = read_optional(data, position, _read_reply_to)
    idempotency_key, position = read_optional(data, position, read_text)
    due, position = read_optional(data, position, read_long)
    label, position = read_optional(data, position, _read_label)
    invocation = Invocation(id, service, handler, key, payload, headers, caller, reply_to, idempotency_key, due, label)
    if data[position] == 0:
        return invocation, position + 1
    invocation.waiters, position = read_array(data, position, _read_waiter)
    return invocation, position


def write_signal(prefix: bytes, value: Signal) -> bytes:
    """`prefix` and the signal's body."""
    parts = [
        prefix,
        _SIGNAL_SYMBOLS[value.kind],
        _write_id(value.invocation),
        write_optional(value.position, write_long),
        write_optional(value.call_id, _write_id),
        write_optional(value.result, write_bytes),
        write_optional(value.failure, _write_failure),
        write_optional(value.label, _write_label),
        write_optional(value.caller, _write_caller),
        write_optional(value.reply_to, _write_reply_to),
        write_optional(value.name, write_text),
    ]
    return b"".join(parts)


def read_signal(data: bytes, position: int) -> tuple[Signal, int]:
    kind, position = read_long(data, position)
    if not 0 <= kind < len(_SIGNAL_KINDS):
        raise ValueError(f"there is no signal kind {kind}")
    invocation, position = _read_id(data, position)
    place, position = read_optional(data, position, read_long)
    call_id, position = read_optional(data, position, _read_id)
    result, position = read_optional(data, position, read_bytes)
    failure, position = read_optional(data, position, _read_failure)
    label, position = read_optional(data, position, _read_label)
    caller, position = read_optional(data, position, _read_caller)
    reply_to, position = read_optional(data, position, _read_reply_to)
    name, position = read_optional(data, position, read_text)
    kind_ = _SIGNAL_KINDS[kind]
    return Signal(kind_, invocation, place, call_id, result, failure, label, caller, reply_to, name), position


def write_reply(prefix: bytes, value: Reply) -> bytes:
    """`prefix` and the reply's body."""
    parts = [
        prefix,
        write_text(value.client),
        write_bytes(value.request),
        _write_id(value.invocation),
        write_optional(value.result, write_bytes),
        write_optional(value.failure, _write_failure),
    ]
    return b"".join(parts)


def read_reply(data: bytes, position: int) -> tuple[Reply, int]:
    client, position = read_text(data, position)
    request, position = read_bytes(data, position)
    invocation, position = _read_id(data, position)
    result, position = read_optional(data, position, read_bytes)
    failure, position = read_optional(data, position, _read_failure)
    return Reply(client, request, invocation, result, failure), position


def _write_id(value: bytes) -> bytes:
    if len(value) != ID_BYTES:
        raise ValueError(f"an invocation id has {ID_BYTES} bytes, this has {len(value)}")
    return value


def _read_id(data: bytes, position: int) -> tuple[bytes, int]:
    return read_fixed(data, position, ID_BYTES)


def _write_caller(value: Caller) -> bytes:
    return _write_id(value.id) + write_text(value.service) + write_text(value.key) + write_long(value.position)


def _read_caller(data: bytes, position: int) -> tuple[Caller, int]:
    id, position = _read_id(data, position)
    service, position = read_text(data, position)
    key, position = read_text(data, position)
    place, position = read_long(data, position)
    return Caller(id, service, key, place), position


def _write_reply_to(value: ReplyTo) -> bytes:
    return write_text(value.client) + write_bytes(value.request)


def _read_reply_to(data: bytes, position: int) -> tuple[ReplyTo, int]:
    client, position = read_text(data, position)
    request, position = read_bytes(data, position)
    return ReplyTo(client, request), position


def _write_waiters(waiters: list[Caller | ReplyTo]) -> bytes:
    return write_array(waiters, _write_waiter)


def _write_waiter(value: Caller | ReplyTo) -> bytes:
    if isinstance(value, Caller):
        return SOME + _write_caller(value) + NULL
    return NULL + SOME + _write_reply_to(value)


def _read_waiter(data: bytes, position: int) -> tuple[Caller | ReplyTo, int]:
    caller, position = read_optional(data, position, _read_caller)
    reply_to, position = read_optional(data, position, _read_reply_to)
    waiter = caller or reply_to
    if waiter is None:
        raise ValueError("a waiter is neither a handler nor a client")
    return waiter, position


def _write_failure(value: Failure) -> bytes:
    return write_long(value.code) + write_text(value.message) + write_map(value.metadata)


def _read_failure(data: bytes, position: int) -> tuple[Failure, int]:
    code, position = read_long(data, position)
    message, position = read_text(data, position)
    metadata, position = read_map(data, position)
    return Failure(code, message, metadata), position


def _write_label(value: Label) -> bytes:
    numbers = write_long(value.number) + write_long(value.take) + write_long(value.oldest_take)
    return write_text(value.shard) + write_bytes(value.lease) + numbers


def _read_label(data: bytes, position: int) -> tuple[Label, int]:
    shard, position = read_text(data, position)
    lease, position = read_bytes(data, position)
    number, position = read_long(data, position)
    take, position = read_long(data, position)
    oldest_take, position = read_long(data, position)
    return Label(shard, lease, number, take, oldest_take), position
