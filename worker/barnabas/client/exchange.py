"""Requests that have an answer: each waits for the reply with its number. Used by `client` and `control`."""

# ruff: noqa: ASYNC109 - what `timeout` does is asyncio.timeout

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import TypeVar

from barnabas.client.connection import Connection
from barnabas.client.errors import UnknownNamespace
from barnabas.client.producer import InvocationProducer, Outgoing
from barnabas.client.replies import Replies
from barnabas.contract.records import Reply, ReplyTo
from barnabas.contract.topics import TopicNames
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.serde import Serde

T = TypeVar("T")


class Exchange:
    """The waiting requests of one client. Reads replies from the first one on."""

    def __init__(self, connection: Connection, client_id: str, names: TopicNames, producer: InvocationProducer) -> None:
        self._connection = connection
        self._client_id = client_id
        self._names = names
        self._producer = producer
        self._replies: Replies | None = None
        self._opening = asyncio.Lock()
        self._numbers = count(1)

    @property
    def late(self) -> int:
        """Replies that came when nobody waited for them."""
        return 0 if self._replies is None else self._replies.late

    async def ask(
        self, make: Callable[[ReplyTo], Awaitable[Outgoing]], serde: Serde[T], timeout: float | None
    ) -> T | None:
        """The answer to the record that `make` makes. Raises its TerminalError; TimeoutError after so many seconds."""
        if timeout is None:
            return _outcome(await self._ask(make), serde)
        async with asyncio.timeout(timeout):
            reply = await self._ask(make)
        return _outcome(reply, serde)

    async def _ask(self, make: Callable[[ReplyTo], Awaitable[Outgoing]]) -> Reply:
        replies = self._replies or await self._open()
        number = next(self._numbers).to_bytes(8, "big")
        expected = replies.expect(number)
        try:
            record = await make(ReplyTo(self._client_id, number))
            await self._producer.produce_later(record, partial(_fail, expected))
            return await expected
        finally:
            replies.forget(number)

    async def _open(self) -> Replies:
        """Read replies from here on. Clients that only send never get here."""
        async with self._opening:
            if self._replies is None:
                topic = self._names.replies
                partitions = await self._producer.partitions(topic)
                if partitions is None:
                    raise UnknownNamespace(topic, self._names.namespace)
                replies = Replies(self._connection, self._client_id, topic, partitions)
                await replies.start()
                self._replies = replies
            return self._replies

    async def aclose(self) -> None:
        """Stop reading; who still waits gets ClientClosed."""
        if self._replies is not None:
            await self._replies.aclose()


def _outcome(reply: Reply, serde: Serde[T]) -> T | None:
    failure = reply.failure
    if failure is not None:
        raise TerminalError(failure.message, failure.code, failure.metadata or None)
    return serde.deserialize(reply.result or b"")


def _fail(expected: asyncio.Future[Reply], error: BaseException) -> None:
    if not expected.done():
        expected.set_exception(error)
