"""The log's consumers on librdkafka. Built by the worker and the scheduler; each has one `PollingThread`.

This side lives on the event loop. It knows which epoch is wanted of each partition, so whatever the thread handed over
before a `read_from` took effect is dropped here (R17): after `read_from` returns, the owner sees records from that
offset on and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from zlib import crc32

from barnabas.log.kafka_polling import PollingThread
from barnabas.log.port import Batch, ConsumerEvents, Position
from barnabas.log.settings import KafkaSettings

logger = logging.getLogger("barnabas.log")

_CLOSE_SECONDS = 5.0
_NO_GROUP = "barnabas-no-group"  # librdkafka wants a name even of a consumer that joins nothing


class _ThreadedConsumer:
    """What both consumers share; implements the port `Consumer` and the thread's `Reports`."""

    def __init__(
        self,
        settings: KafkaSettings,
        config: dict[str, object],
        topics: Sequence[str],
        events: ConsumerEvents,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._events = events
        self._wanted: dict[tuple[str, int], int] = {}
        self._closed = False
        self._thread = PollingThread(config, topics, settings.max_batch, self, loop)

    @property
    def failed_advice(self) -> int:
        """How many `advise` calls the group's coordinator did not take."""
        return self._thread.failed_advice

    def read_from(self, position: Position, epoch: int) -> None:
        self._wanted[position.topic, position.partition] = epoch
        self._thread.submit(partial(self._thread.read_from, position, epoch))

    def stop_reading(self, topic: str, partition: int) -> None:
        self._wanted.pop((topic, partition), None)
        self._thread.submit(partial(self._thread.stop_reading, (topic, partition)))

    def pause(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._thread.submit(partial(self._thread.pause, list(partitions)))

    def resume(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._thread.submit(partial(self._thread.resume, list(partitions)))

    def advise(self, offsets: Sequence[Position]) -> None:
        self._thread.submit(partial(self._thread.advise, list(offsets)))

    async def aclose(self) -> None:
        """Leave the group and end the thread. From this call on the owner is told nothing more."""
        self._closed = True
        self._thread.stop()
        if not await asyncio.to_thread(self._thread.join, _CLOSE_SECONDS):
            logger.warning("the consumer did not close within %.0f s; left to the end of the process", _CLOSE_SECONDS)

    # Reports of the thread.

    def batches(self, batches: list[Batch]) -> None:
        try:
            wanted = [batch for batch in batches if self._wanted.get((batch.topic, batch.partition)) == batch.epoch]
            if wanted and not self._closed:
                self._events.on_batches(wanted)
        finally:
            self._thread.took()

    def assigned(self, partitions: list[tuple[str, int]]) -> None:
        if not self._closed:
            self._events.on_assigned(partitions)

    def revoked(self, partitions: list[tuple[str, int]], lost: bool) -> None:
        for key in partitions:
            self._wanted.pop(key, None)
        if not self._closed:
            self._events.on_revoked(partitions, lost=lost)

    def out_of_range(self, position: Position, epoch: int, low: int, high: int) -> None:
        key = (position.topic, position.partition)
        if not self._closed and self._wanted.get(key) == epoch:
            self._events.on_out_of_range(*key, position.offset, low, high)

    def failed(self, error: BaseException) -> None:
        if not self._closed:
            self._events.on_failure(error)


class GroupConsumer(_ThreadedConsumer):
    """A member of the consumer group `settings.group`, subscribed to `topics`.

    `gaps`: tell of what at the end of a partition is no record. Only others write transactions into their topics.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        events: ConsumerEvents,
        loop: asyncio.AbstractEventLoop,
        *,
        gaps: bool = False,
    ) -> None:
        if settings.group is None or not topics:
            raise ValueError("a member of a consumer group needs `group` in its settings and at least one topic")
        config = {**_fetching(settings), **_membership(settings, topics), "enable.partition.eof": gaps}
        super().__init__(settings, config, topics, events, loop)


class AssignedConsumer(_ThreadedConsumer):
    """Reads the partitions that `read_from` names and belongs to no group; `advise` does nothing."""

    def __init__(self, settings: KafkaSettings, events: ConsumerEvents, loop: asyncio.AbstractEventLoop) -> None:
        # Where ACLs guard group names, the group's own name is one that may be used; nothing joins or commits under it.
        super().__init__(settings, {**_fetching(settings), **_no_membership(settings)}, (), events, loop)

    def advise(self, offsets: Sequence[Position]) -> None:
        """There is no group to advise."""


def _fetching(settings: KafkaSettings) -> dict[str, object]:
    return {
        **settings.common(),
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": False,
        "queued.max.messages.kbytes": 16_384,
        "queued.min.messages": 10_000,
        "fetch.message.max.bytes": 1_048_576,
        "fetch.wait.max.ms": 50,  # a partition that is added waits for the fetch that is on its way
        "fetch.queue.backoff.ms": 5,
        "fetch.error.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
        **settings.options,
    }


def _no_membership(settings: KafkaSettings) -> dict[str, object]:
    config: dict[str, object] = {"group.id": settings.group or _NO_GROUP}
    if settings.group_protocol == "classic":  # unused, but `max.poll.interval.ms` must not be less than its default
        config["session.timeout.ms"] = settings.session_timeout_ms
    return config


def _membership(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, object]:
    config: dict[str, object] = {"group.id": settings.group, "group.protocol": settings.group_protocol}
    if settings.instance_id is not None:
        # A static member that comes back is given what it had, without a look at what it subscribes to now: a topic
        # that a deployment adds would be nobody's. With other topics it is another member.
        config["group.instance.id"] = f"{settings.instance_id}-{crc32(' '.join(sorted(topics)).encode()):08x}"
    if settings.group_protocol == "classic":  # with KIP-848 the broker decides all three, and naming them is an error
        config["partition.assignment.strategy"] = "cooperative-sticky"
        config["session.timeout.ms"] = settings.session_timeout_ms
        config["heartbeat.interval.ms"] = max(300, settings.session_timeout_ms // 6)
    return config
