"""From the records of a subscribed topic to invocations and dead letters, one for each, in order."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Final

from barnabas.contract.errors import PoisonRecord
from barnabas.contract.ids import InvocationId, subscribed_id, workflow_id
from barnabas.contract.records import Invocation
from barnabas.log.port import Gap, Record
from barnabas.runtime.directory import UnknownTarget
from barnabas.runtime.limits import Limits
from barnabas.runtime.sender import letter_of
from barnabas.runtime.subscribing.keys import key_of
from barnabas.runtime.subscribing.subscriber import Subscriber
from barnabas.sdk.subscription import SourceRecord

TOO_LARGE: Final = "too-large"
_TRACEPARENT: Final = "traceparent"
_LONGEST_KEY: Final = 1_000  # in a header, bytes


class SubscriptionIntake:
    """What a subscription's shard does with the records of its topic."""

    def __init__(self, engine: Subscriber, value_bytes: int = Limits().value_bytes) -> None:
        """`value_bytes`: of the largest payload."""
        self._engine = engine
        self._source = engine.source
        self._subscription = engine.source.subscription
        self._value_bytes = value_bytes

    # -- what must be there before a batch can be taken

    def obstacle(self) -> str | None:
        """Why no record can become an invocation now, while others may put that right; None if they can."""
        subscription, directory = self._subscription, self._engine.directory
        service = directory.services.get(subscription.service)
        keyed = service is not None and service.kind != "service"
        try:
            directory.check(subscription.service, subscription.handler, keyed)
        except UnknownTarget as unknown:
            return str(unknown)
        assert service is not None
        if not service.public or not service.is_public(subscription.handler):
            return private(subscription.service, subscription.handler)
        return None

    def schemas_wanted(self, records: Sequence[Record]) -> Iterator[int]:
        """Ids of schemas that must be known before these records are taken."""
        for record in records:
            if record.value is not None and (id_ := self._source.format.wanted(record.value)) is not None:
                yield id_

    # -- records

    def on_signals(self, records: Sequence[Record]) -> None:
        """There is no second topic."""
        raise AssertionError("a subscription's shard has no signals topic")

    def on_records(self, records: Sequence[Record]) -> None:
        """Take a batch. There is no `obstacle`, and no schema is wanted."""
        engine = self._engine
        for record in records:
            if isinstance(record, Gap):  # retention may remove it, and nothing is lost then
                engine.read_up_to(record.offset + 1)
                continue
            try:
                invocation = self._invocation(record)
            except PoisonRecord as poison:
                place = self._subscription.topic, engine.shard.partition
                engine.dead_letter(letter_of(record, *place, poison.reason, poison.detail))
            else:
                engine.invoke(invocation)
            engine.read_up_to(record.offset + 1)

    def _invocation(self, record: Record) -> Invocation:
        """What a record asks for. Raises PoisonRecord."""
        subscription = self._subscription
        payload, content = b"", None
        if record.value is not None:
            payload, content = self._source.format.read(record.value)
        service = self._engine.directory.services[subscription.service]
        key = None
        if service.kind != "service":
            key = key_of(subscription.key, self._seen(record, content))
        self._check_size(len(payload), 0 if key is None else len(key.encode()))
        id_ = self._id(record, key, is_run=service.handlers[subscription.handler] == "workflow")
        return Invocation(id_, subscription.service, subscription.handler, key, payload, self._headers(record))

    def _check_size(self, payload: int, key: int) -> None:
        """What would not fit into a record would end the producer's session. Raises PoisonRecord."""
        if payload + 2 * key > self._value_bytes:  # the key lies in the record twice
            detail = f"the payload has {payload} bytes and the key {key}, more than {self._value_bytes} together"
            raise PoisonRecord(TOO_LARGE, detail)

    def _id(self, record: Record, key: str | None, *, is_run: bool) -> InvocationId:
        subscription, source = self._subscription, self._source
        if is_run and key is not None:
            return workflow_id(subscription.service, key)
        place = source.topic_id, self._engine.shard.partition, record.offset
        return subscribed_id(subscription.service, key, subscription.name, self._engine.round, *place)

    def _seen(self, record: Record, content: object) -> SourceRecord:
        return SourceRecord(
            self._subscription.topic,
            self._engine.shard.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            record.headers or [],
            content,
        )

    def _headers(self, record: Record) -> dict[str, str]:
        headers = {
            "kafka.topic": self._subscription.topic,
            "kafka.partition": str(self._engine.shard.partition),
            "kafka.offset": str(record.offset),
            "kafka.timestamp": str(record.timestamp),
        }
        if record.key is not None and len(record.key) <= _LONGEST_KEY:
            try:
                headers["kafka.key"] = record.key.decode()
            except UnicodeDecodeError:
                headers["kafka.key-base64"] = b64encode(record.key).decode()
        traceparent = next((value for name, value in record.headers or () if name == _TRACEPARENT), None)
        if traceparent is not None and traceparent.isascii():
            headers[_TRACEPARENT] = traceparent.decode()
        return headers


def private(service: str, handler: str) -> str:
    """Why a handler cannot be reached, for people."""
    return (
        f"{service}/{handler} is private (ingress_private), and a subscription comes from outside; make it public, or "
        f"subscribe a public handler that calls it"
    )
