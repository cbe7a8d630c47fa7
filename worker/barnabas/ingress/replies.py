"""Replies on their way back: one partition of the replies topic, read from its end on.

Part of the gateway. The consumer goes on where it was after an outage. Only where the log no longer has that place are
replies lost; the gateway is told, and asks again for everything that it waits for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from typing import Final

from barnabas.contract.codec import decode_reply
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.contract.records import Reply
from barnabas.log.port import BEGINNING, Batch, Consumer, ConsumerEvents, Position

log = logging.getLogger("barnabas.ingress")

_RESTART_SECONDS: Final = 1.0


class Waiting:
    """Someone who waits for a reply. `number` tells replies to this process apart.

    `for_outcome`: of the invocation, so that whoever attaches to it gets the same. Else it is the answer to a signal.
    """

    __slots__ = ("acknowledged", "for_outcome", "future", "invocation", "number", "reply_lost")

    def __init__(self, number: bytes, invocation: bytes, future: asyncio.Future[Reply], for_outcome: bool) -> None:
        self.number = number
        self.invocation = invocation
        self.future = future
        self.for_outcome = for_outcome
        self.acknowledged = False  # Kafka has what asks for it
        self.reply_lost = False  # it may have been among replies that are gone


class Replies:
    """The replies of one client id. `start` before the first request: what is produced earlier is not read."""

    def __init__(
        self,
        open_consumer: Callable[[ConsumerEvents], Consumer],
        topic: str,
        partitions: int,
        client: str,
        on_lost: Callable[[], None],
    ) -> None:
        self._open = open_consumer
        self._loop = asyncio.get_running_loop()
        self.client = client
        self._key = client.encode()
        self.topic, self.partition = topic, partition_of(partition_hash(self._key), partitions)
        self._on_lost = on_lost
        self._numbers = count(1)
        self._waiting: dict[bytes, Waiting] = {}
        self._consumer: Consumer | None = None
        self._epoch = 0
        self._next = 0  # offset to read
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        self.late = 0  # replies that came when nobody waited for them
        self.unreadable = 0

    def start(self, end: int) -> None:
        """Read from `end` on, the offset of the next reply that anybody writes."""
        self._consumer = self._open(self)
        self._read_from(end)

    def _read_from(self, offset: int) -> None:
        assert self._consumer is not None
        self._epoch += 1
        self._next = offset
        self._consumer.read_from(Position(self.topic, self.partition, offset), self._epoch)

    def expect(self, invocation: bytes, *, for_outcome: bool) -> Waiting:
        """Wait for a reply about this invocation; `forget` it in the end."""
        number = next(self._numbers).to_bytes(8, "big")
        waiting = self._waiting[number] = Waiting(number, invocation, self._loop.create_future(), for_outcome)
        return waiting

    def forget(self, waiting: Waiting) -> None:
        """Nobody waits for this reply any more."""
        self._waiting.pop(waiting.number, None)

    def waiting(self) -> list[Waiting]:
        """All who wait now."""
        return list(self._waiting.values())

    async def aclose(self) -> None:
        """Stop reading."""
        self._closed = True
        if self._consumer is not None:
            await self._consumer.aclose()
        await asyncio.gather(*self._closing)

    # -- what the consumer tells (log.port.ConsumerEvents)

    def on_batches(self, batches: list[Batch]) -> None:
        waiting, own = self._waiting, self._key
        for batch in batches:
            self._next = batch.records[-1].offset + 1
            for record in batch.records:
                if record.key != own:
                    continue
                try:
                    reply = decode_reply(record.value)
                except PoisonRecord as error:
                    self.unreadable += 1
                    log.warning("a reply cannot be read: %s", error)
                    continue
                found = waiting.pop(reply.request, None)
                if found is None or found.future.done():
                    self.late += 1
                else:
                    found.future.set_result(reply)

    def on_out_of_range(self, topic: str, partition: int, offset: int, low: int, high: int) -> None:
        """What was there is gone: read what there is, and have the rest asked for again."""
        log.warning("replies up to offset %d of %s[%d] are gone, asking for them again", low, topic, partition)
        self._read_from(low if offset < low else BEGINNING)
        self._on_lost()

    def on_failure(self, error: BaseException) -> None:
        """Another consumer goes on at the same place."""
        log.warning("the reader of replies has ended, starting another: %s", error)
        self._loop.call_later(_RESTART_SECONDS, self._restart)

    def _restart(self) -> None:
        over = self._consumer
        if self._closed or over is None:
            return
        task = self._loop.create_task(over.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self.start(self._next)

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        """There is no group."""

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        """There is no group."""
