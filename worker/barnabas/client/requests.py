"""From what a caller asks for to the record that asks for it: ids, due times, topics. No I/O but the topics' sizes.

Used by `client`. Which id a request gets, and where it goes, is in docs/design/communication.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from barnabas.client.errors import UnknownNamespace, UnknownService
from barnabas.client.producer import InvocationProducer, Outgoing
from barnabas.contract.codec import encode_invocation
from barnabas.contract.ids import InvocationId, idempotent_id, random_id, workflow_id
from barnabas.contract.records import LATEST_DUE, Invocation, ReplyTo
from barnabas.contract.topics import TopicNames


class Target(NamedTuple):
    """A handler, and the key if its service has keys. `run`: it is a workflow's main handler."""

    service: str
    handler: str
    key: str | None
    run: bool = False


class Wish(NamedTuple):
    """What a caller wants besides the handler's answer to `payload`. `due`: ms since the epoch."""

    payload: bytes
    headers: Mapping[str, str] | None = None
    idempotency_key: str | None = None
    due: int | None = None


def due_after(delay: timedelta | None) -> int | None:
    """When a message with this delay is due, in ms, by this machine's clock; None if at once.

    Raises TypeError for a delay of another type: a number could be seconds or milliseconds.
    """
    if delay is None:
        return None
    if not isinstance(delay, timedelta):
        raise TypeError(f"a delay is a datetime.timedelta, not a {type(delay).__name__}: timedelta(seconds=10)")
    if delay <= timedelta(0):
        return None
    return min(LATEST_DUE, round(time.time() * 1000 + delay.total_seconds() * 1000))


def check(target: Target, idempotency_key: str | None) -> None:
    """Raises TypeError or ValueError for a key or an idempotency key that is none."""
    if target.key is not None and not isinstance(target.key, str):
        raise TypeError(f"the key of {target.service} is text, not a {type(target.key).__name__}")
    if target.run and target.key is None:
        raise ValueError(f"{target.service} is a workflow: which one is meant is said by a key")
    if idempotency_key is None:
        return
    if not isinstance(idempotency_key, str):
        raise TypeError(f"an idempotency key is text, not a {type(idempotency_key).__name__}")
    if not idempotency_key:
        raise ValueError("an idempotency key cannot be empty: leave it out for a plain request")


def id_of(target: Target, idempotency_key: str | None, delayed: bool = False) -> InvocationId:
    """The id of a request. Raises as `check` does."""
    check(target, idempotency_key)
    service, handler, key, run = target
    if run:
        assert key is not None
        return workflow_id(service, key)
    if idempotency_key is not None:
        return idempotent_id(service, handler, key, idempotency_key)
    return random_id(service, key, delayed=delayed)


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"the header {name!r} is not text with a text for its value: {type(value).__name__}")
    return dict(headers)


class Requests:
    """Makes the records of one client's requests."""

    def __init__(self, names: TopicNames, producer: InvocationProducer) -> None:
        self._names = names
        self._producer = producer

    async def record(self, target: Target, wish: Wish, reply_to: ReplyTo | None) -> tuple[Outgoing, InvocationId]:
        """The record, and the id of the invocation. Raises UnknownService, UnknownNamespace, TypeError, ValueError."""
        service, handler, key, _ = target
        payload, headers, idempotency_key, due = wish
        id_ = id_of(target, idempotency_key, due is not None)
        topic, partitions = await self._place(service, id_.delayed)
        invocation = Invocation(
            id_,
            service,
            handler,
            key,
            payload,
            _checked(headers or {}),
            reply_to=reply_to,
            idempotency_key=idempotency_key,
            due=due,
        )
        record_key = id_.service_partition_key if key is None else key
        return Outgoing(topic, id_.partition(partitions), record_key.encode(), encode_invocation(invocation)), id_

    async def _place(self, service: str, delayed: bool) -> tuple[str, int]:
        topic = self._names.invocations(service)
        partitions = await self._producer.partitions(topic)
        if partitions is None:
            raise UnknownService(topic, service)
        if not delayed:
            return topic, partitions
        partitions = await self._producer.partitions(self._names.delays)
        if partitions is None:
            raise UnknownNamespace(self._names.delays, self._names.namespace)
        return self._names.delays, partitions
