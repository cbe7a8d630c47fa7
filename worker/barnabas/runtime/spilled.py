"""Work that waits in the store alone, as it lies there (R11): entries of a key's list, and its standing as a whole.

Written by the intake; read by whoever loads it again (`worker/loading.py`) or shows it to people.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from barnabas.log.port import Record
from barnabas.runtime.lanes import Lane
from barnabas.store import keys
from barnabas.store.port import Op

pack = msgpack.Packer(autoreset=True).pack


class Spilled(NamedTuple):
    """An invocation that waits in the store alone: where its record is in Kafka, and the record, if it is at hand."""

    id: bytes
    offset: int
    record: Record | None
    stored: bool  # whether the store had the record


def pack_spilled(id_: bytes, record: Record, *, stored: bool) -> bytes:
    """An entry, with its record or with the offset where Kafka has it."""
    packed: bytes = pack((id_, record.offset, tuple(record) if stored else None))
    return packed


def unpack_spilled(packed: bytes) -> Spilled:
    """An entry as it lies in the store."""
    id_, offset, fields = msgpack.unpackb(packed)
    if fields is None:
        return Spilled(id_, offset, None, False)
    return Spilled(id_, offset, _record(fields), True)


def pack_record(record: Record) -> bytes:
    """A record by itself."""
    packed: bytes = pack(tuple(record))
    return packed


def unpack_record(packed: bytes) -> Record:
    """The inverse of `pack_record`."""
    return _record(msgpack.unpackb(packed))


def standing(lane: Lane) -> Op:
    """What the store is to know of a lane's spilled work as a whole."""
    if not lane.spilled:
        return ("HDEL", keys.SPILL_COUNTS, lane.key)
    return ("HSET", keys.SPILL_COUNTS, lane.key, pack((lane.spilled, lane.elsewhere_since)))


def unpack_standing(packed: bytes) -> tuple[int, int]:
    """How many wait in the store, and the append time of the oldest record that Kafka alone has."""
    spilled, elsewhere_since = msgpack.unpackb(packed)
    return spilled, elsewhere_since


def _record(fields: list[Any]) -> Record:
    offset, timestamp, key, value, headers = fields
    pairs = None if headers is None else [(name, text) for name, text in headers]
    return Record(offset, timestamp, key, value, pairs)
