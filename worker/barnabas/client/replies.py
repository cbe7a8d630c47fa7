"""Results on their way back: one partition of the replies topic, read from its end, shared with other clients.

Used by `client`; one of the two files that import aiokafka. A reply nobody waits for any more (a caller that was
cancelled, a second reply) is dropped and counted (F54).
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from barnabas.client.connection import Connection
from barnabas.client.errors import ClientClosed, KafkaUnreachable
from barnabas.contract.codec import decode_reply
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.contract.records import Reply

log = logging.getLogger("barnabas.client")

_FETCH_BYTES: Final = 4 << 20
_WAIT_MS: Final = 60_000  # how long one read waits; its end means nothing
_RETRY_SECONDS: Final = 0.5


class Replies:
    """The replies of one client. `start` before the first request: what was produced earlier is not read."""

    def __init__(self, connection: Connection, client_id: str, topic: str, partitions: int) -> None:
        self._connection = connection
        self._client_id = client_id
        self._key = client_id.encode()
        self._place = TopicPartition(topic, partition_of(partition_hash(self._key), partitions))
        self._consumer: Any = None  # AIOKafkaConsumer, which is untyped
        self._reading: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._expected: dict[bytes, Future[Reply]] = {}
        self.late = 0  # replies that came when nobody waited for them
        self.unreadable = 0

    async def start(self) -> None:
        """Returns when the position is known: every reply to what is produced from now on is read."""
        consumer = AIOKafkaConsumer(
            **self._connection.options(self._client_id),
            enable_auto_commit=False,
            # Only after a silence longer than the topic's retention: then everything that is left may be ours.
            auto_offset_reset="earliest",
            fetch_min_bytes=1,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        try:
            consumer.assign([self._place])
            await consumer.start()
            ends = await consumer.end_offsets([self._place])
            consumer.seek(self._place, ends[self._place])
        except KafkaError as error:
            await consumer.stop()
            raise KafkaUnreachable(f"{self._place.topic} cannot be read: {error}") from error
        except BaseException:  # cancelled while connecting
            await consumer.stop()
            raise
        self._consumer = consumer
        self._reading = asyncio.create_task(self._read(), name=f"barnabas client {self._client_id}")
        self._reading.add_done_callback(self._ended)

    def expect(self, request: bytes) -> Future[Reply]:
        """The reply to a request that is about to be produced. `forget` it in the end."""
        if self._failure is not None:
            raise ClientClosed("the client reads no more replies, open another one") from self._failure
        future: Future[Reply] = asyncio.get_running_loop().create_future()
        self._expected[request] = future
        return future

    def forget(self, request: bytes) -> None:
        """Nobody waits for this reply any more."""
        self._expected.pop(request, None)

    async def aclose(self) -> None:
        """Stop reading; who still waits gets ClientClosed."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._consumer is not None:
            await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            try:
                found = await self._consumer.getmany(timeout_ms=_WAIT_MS)
            except KafkaError as error:
                if not error.retriable:
                    self._fail(error)
                log.warning("reading replies from %s: %r", self._place.topic, error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for records in found.values():
                for record in records:
                    if record.key == self._key:
                        self._arrived(record.value)

    def _arrived(self, value: bytes | None) -> None:
        try:
            reply = decode_reply(value)
        except PoisonRecord as error:
            self.unreadable += 1
            log.warning("a reply cannot be read: %s", error)
            return
        future = self._expected.pop(reply.request, None)
        if future is None or future.done():
            self.late += 1
        else:
            future.set_result(reply)

    def _fail(self, error: BaseException) -> None:
        for future in self._expected.values():
            if not future.done():
                raised = KafkaUnreachable(f"the result cannot be read from {self._place.topic}: {error!r}")
                raised.__cause__ = error
                future.set_exception(raised)
        self._expected.clear()

    def _ended(self, reading: asyncio.Task[None]) -> None:
        error = None if reading.cancelled() else reading.exception()
        if error is not None:
            log.error("the client reads no more replies", exc_info=error)
        self._failure = error or ClientClosed("the client was closed")
        for future in self._expected.values():
            if not future.done():
                raised = ClientClosed("the client was closed before the result was there; the invocation goes on")
                raised.__cause__ = error
                future.set_exception(raised)
        self._expected.clear()
