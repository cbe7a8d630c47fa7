"""Invocations on their way to Kafka: durable when acknowledged, in the order of handing over, for as long as it takes.

Used by `client`; one of the two files that import aiokafka. aiokafka's idempotent producer tries a record again for
ever, but numbers batches when it first sends them: after a batch that failed for good the broker refuses everything
that follows in that partition. So a producer that had a failure is replaced, and what was not refused for its content
goes through the new one. That may write a record twice; its invocation id is the same, and the receiving shard knows it
(rule R10).
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownProducerId,
)

from barnabas.client.connection import Connection
from barnabas.client.errors import ClientClosed, KafkaUnreachable, RequestTooLarge

log = logging.getLogger("barnabas.client")

#: Below the 1 MiB that topics take (`max.message.bytes`), with room for a batch's own bytes.
_MAX_RECORD_BYTES: Final = 1_000_000
_MAX_BATCH_BYTES: Final = 500_000
#: A topic that was just created is not at once visible at every broker.
_NEW_TOPIC_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.1
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
#: What a producer without a gap would not have met: the record itself is in order.
_SESSION_ERRORS: Final = (OutOfOrderSequenceNumber, InvalidProducerEpoch, ProducerFenced, UnknownProducerId)


class Outgoing(NamedTuple):
    """A record to produce."""

    topic: str
    partition: int
    key: bytes
    value: bytes


class InvocationProducer:
    """Produces with acks=all, one aiokafka producer at a time."""

    def __init__(self, connection: Connection, client_id: str) -> None:
        self._connection = connection
        self._client_id = client_id
        self._session: Any = None  # AIOKafkaProducer, which is untyped
        self._renewal = asyncio.Lock()
        self._topics = asyncio.Lock()
        self._gates: dict[tuple[str, int], asyncio.Lock] = {}
        self._retired: set[asyncio.Task[None]] = set()  # sessions that deliver their rest
        self._retries: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect. Raises KafkaUnreachable."""
        self._session = await self._open()

    async def partitions(self, topic: str) -> int | None:
        """The topic's partition count; None if there is no such topic. Waits a second for one just created."""
        known = _known_partitions(self._opened(), topic)
        if known is not None:
            return known
        async with self._topics:  # whoever waits is served in the order of asking
            known = _known_partitions(self._opened(), topic)
            return await self._look_up(topic) if known is None else known

    def known_topics(self) -> Iterable[str]:
        """The topics that this client has heard of."""
        found: Iterable[str] = self._opened().client.cluster.topics()
        return found

    async def topics(self) -> Iterable[str]:
        """The topics that the cluster has now. Waits while Kafka is away."""
        while True:
            try:
                cluster = await self._opened().client.fetch_all_metadata()
            except KafkaError as error:
                log.info("no broker says which topics there are: %s", error)
                await asyncio.sleep(_POLL_SECONDS)
            else:
                found: Iterable[str] = cluster.topics()
                return found

    async def produce(self, record: Outgoing) -> None:
        """Returns when Kafka has the record. Waits while Kafka is away. Raises RequestTooLarge, KafkaUnreachable."""
        while True:
            session, acknowledged = await self._hand_over(record)
            try:
                await acknowledged
            except KafkaError as error:
                await self._recover(session, record, error)
            else:
                return

    async def produce_later(self, record: Outgoing, failed: Callable[[BaseException], None]) -> None:
        """Returns when the record is in the batch that goes next. `failed` is told if Kafka can never have it."""
        session, acknowledged = await self._hand_over(record)
        acknowledged.add_done_callback(partial(self._answered, session, record, failed))

    def _answered(
        self, session: Any, record: Outgoing, failed: Callable[[BaseException], None], acknowledged: Future[Any]
    ) -> None:
        if acknowledged.cancelled():
            return
        error = acknowledged.exception()
        if error is not None:
            retry = asyncio.ensure_future(self._produce_again(session, record, failed, error))
            self._retries.add(retry)
            retry.add_done_callback(self._retries.discard)

    async def _produce_again(
        self, session: Any, record: Outgoing, failed: Callable[[BaseException], None], error: BaseException
    ) -> None:
        try:
            if not isinstance(error, KafkaError):
                raise error
            await self._recover(session, record, error)
            await self.produce(record)
        except Exception as final:  # whatever it is, the caller who waits for the result is told
            failed(final)

    async def _hand_over(self, record: Outgoing) -> tuple[Any, Future[Any]]:
        """Put a record into the batch that goes next; returns the session that has it, and its acknowledgement."""
        session = self._opened()
        # aiokafka wakes all who wait for room in a full batch at once, only for most of them to wait again, and a
        # newcomer may overtake them; here they queue. (50,000 sends gathered: 15,000 a second instead of 8,000.)
        place = (record.topic, record.partition)
        gate = self._gates.get(place)
        if gate is None:
            gate = self._gates[place] = asyncio.Lock()
        async with gate:
            try:
                acknowledged = await session.send(record.topic, record.value, record.key, record.partition)
            except _TOO_LARGE as error:
                raise RequestTooLarge(record.topic, len(record.value)) from error
        return session, acknowledged

    async def _recover(self, session: Any, record: Outgoing, error: KafkaError) -> None:
        """Replace a session in which `record` failed; returns if the record is to be handed over again."""
        await self._renew(session, error)
        if isinstance(error, _TOO_LARGE):
            raise RequestTooLarge(record.topic, len(record.value)) from error
        if isinstance(error, TopicAuthorizationFailedError):
            raise PermissionError(f"Kafka's ACLs do not let this client write to {record.topic}") from error
        if not (error.retriable or isinstance(error, _SESSION_ERRORS)):
            raise KafkaUnreachable(f"Kafka did not take the request for {record.topic}: {error}") from error

    async def aclose(self, flush_seconds: float) -> None:
        """Deliver what was handed over, then disconnect. Raises KafkaUnreachable if `flush_seconds` are not enough."""
        if self._session is None:
            return
        session = self._session
        try:
            async with asyncio.timeout(flush_seconds):
                await session.flush()
                while under_way := self._retired | self._retries:
                    await asyncio.wait(under_way)
        except TimeoutError as error:
            raise KafkaUnreachable(
                f"Kafka has not acknowledged everything within {flush_seconds:g} s: sends and calls that were not "
                f"acknowledged may be lost"
            ) from error
        finally:
            session, self._session = self._session, None
            for task in self._retired | self._retries:
                task.cancel()
            await _end(session)

    def _opened(self) -> Any:
        if self._session is None:
            raise ClientClosed("the client is not open: use it within `async with barnabas.Client(...) as client:`")
        return self._session

    async def _open(self) -> Any:
        session = AIOKafkaProducer(
            **self._connection.options(self._client_id),
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=_MAX_BATCH_BYTES,
            max_request_size=_MAX_RECORD_BYTES,
        )
        try:
            await session.start()
        except KafkaError as error:
            await session.stop()
            raise KafkaUnreachable(f"no Kafka broker answers at {self._connection.bootstrap}: {error}") from error
        except BaseException:  # cancelled while connecting
            await session.stop()
            raise
        return session

    async def _renew(self, failed: Any, error: KafkaError) -> None:
        async with self._renewal:
            if self._session is not failed:
                return  # closed, or replaced for another record that failed with this one
            log.warning("a producer is replaced after a failure: %r", error)
            self._session = await self._open()
            closing = asyncio.create_task(failed.stop())  # delivers what other partitions still have
            self._retired.add(closing)
            closing.add_done_callback(self._retired.discard)

    async def _look_up(self, topic: str) -> int | None:
        """Asks for all topics: asking for one would create it, on brokers that create topics by themselves."""
        asked = 0.0  # when a broker said for the first time that there is no such topic
        while True:
            session = self._opened()
            try:
                cluster = await session.client.fetch_all_metadata()
            except KafkaError as error:  # Kafka is away, and comes back
                log.info("no broker says which topics there are: %s", error)
            else:
                if topic in cluster.topics():
                    return len(await session.partitions_for(topic))
                asked = asked or time.monotonic()
                if time.monotonic() - asked > _NEW_TOPIC_SECONDS:
                    return None
            await asyncio.sleep(_POLL_SECONDS)


def _known_partitions(session: Any, topic: str) -> int | None:
    found = session.client.cluster.partitions_for_topic(topic)
    return len(found) if found else None


async def _end(session: Any) -> None:
    """Disconnect a producer that has nothing left to deliver, or was given up; what is left fails with ClientClosed.

    `stop` alone would wait for brokers that are away, for as long as anything is left: hence aiokafka's inner parts.
    """
    await session._sender.close()
    accumulator = session._message_accumulator
    queued = [batch for batches in accumulator._batches.values() for batch in batches]
    accumulator._pending_batches.update(queued)  # where a batch that was to be tried again is looked for at its end
    accumulator.fail_all(ClientClosed("the client was closed before Kafka had the request"))
    for batch in queued:
        batch._drain_waiter.exception()  # nobody waits for room any more; asyncio would complain about that
    await session.stop()
