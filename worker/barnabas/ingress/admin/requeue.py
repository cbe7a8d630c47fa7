"""Puts a dead letter's record back to the topic it came from, or should have gone to, for another try.

The letter stays where it is. Put back twice, an encoded invocation is still one (its id is recognised while it is
known), a raw record is two. Called by the admin API and the command line.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

from barnabas.contract import raw
from barnabas.contract.codec import (
    decode_delayed,
    decode_invocation,
    decode_signal,
    encode_invocation,
    encode_signal,
)
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.records import DeadLetter, Invocation
from barnabas.contract.topics import TopicNames
from barnabas.introspection.dead_letters import UNREADABLE, Found
from barnabas.log.port import Admin, OutRecord

_STALE: Final = "stale-label"


class Door(Protocol):
    """The part of a `Gateway` that this needs."""

    @property
    def names(self) -> TopicNames: ...

    @property
    def admin(self) -> Admin: ...

    async def produce(self, record: OutRecord) -> None: ...


class NotRequeued(Exception):
    """It cannot be put back; the message says why."""


async def requeue(gateway: Door, found: Found) -> OutRecord:
    """Produce it again; returns the record when Kafka has it. Raises NotRequeued, GatewayError, LogUnavailableError."""
    letter = found.letter
    if letter.reason == UNREADABLE:
        raise NotRequeued(f"{found.name} is no dead letter of ours, so nobody knows where it came from")
    partitions = (await gateway.admin.partitions([letter.topic])).get(letter.topic)
    if partitions is None or not 0 <= letter.partition < partitions:
        raise NotRequeued(f"{found.name} came from {letter.topic}[{letter.partition}], which does not exist any more")
    headers = cast(list[tuple[str, bytes]], letter.headers)  # one without a value is what Kafka can do, and we do not
    value = _without_label(gateway.names, letter) if letter.reason == _STALE else letter.value
    record = OutRecord(letter.topic, letter.partition, letter.key, value, headers or None)
    await gateway.produce(record)
    return record


def _without_label(names: TopicNames, letter: DeadLetter) -> bytes | None:
    """Its label is older than what its receiver remembers, and would bring it here again; its id is still known by."""
    if raw.is_raw(letter.headers):
        return letter.value
    place = names.service_of(letter.topic)
    try:
        if letter.topic == names.delays:
            read: object = decode_delayed(letter.value)
        elif place is not None and place[1] == "signals":
            read = decode_signal(letter.value)
        else:
            read = decode_invocation(letter.value)
    except PoisonRecord:
        return letter.value
    if isinstance(read, Invocation):
        read.label = None
        return encode_invocation(read)
    read.label = None  # type: ignore[attr-defined]  # a Signal
    return encode_signal(read)  # type: ignore[arg-type]
