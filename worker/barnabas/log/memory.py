"""The log in memory: for unit tests of whatever stands on the ports, and for the simulator.

`MemoryLogCore` is plain data and plain functions, without clock, loop or callbacks; the simulator drives it directly.
The other classes put the ports on top of one, delivering through `loop.call_soon` as the real adapters do. Group
membership is what the test says it is: `assign` and `revoke`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from barnabas.log.port import (
    BEGINNING,
    Batch,
    ConsumerEvents,
    OutRecord,
    Position,
    ProducerEvents,
    Record,
    UndeliverableError,
)

_MAX_MESSAGE_BYTES = 1_048_588  # Kafka's default
_FETCH = 500


@dataclass(slots=True)
class _Partition:
    first: int = 0
    records: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class _Topic:
    id: bytes
    config: dict[str, str]
    partitions: list[_Partition]


class MemoryLogCore:
    """Topics and their records. Offsets start at 0 and have no gaps, except at the front after `truncate_before`."""

    def __init__(self) -> None:
        self.topics: dict[str, _Topic] = {}

    def create(
        self, topic: str, partitions: int, config: Mapping[str, str] | None = None, id: bytes | None = None
    ) -> None:
        """One that exists must have as many partitions, else `ValueError`. `id`: for runs that must be repeatable."""
        existing = self.topics.get(topic)
        if existing is None:
            parts = [_Partition() for _ in range(partitions)]
            self.topics[topic] = _Topic(id or os.urandom(16), dict(config or {}), parts)
        elif len(existing.partitions) != partitions:
            raise ValueError(f"the topic {topic} exists with {len(existing.partitions)} partitions, not {partitions}")

    def delete(self, topic: str) -> None:
        del self.topics[topic]

    def append(self, record: OutRecord, timestamp: int) -> int:
        """The offset of the record. Raises `UndeliverableError` where Kafka would refuse it for good."""
        target = self.topics.get(record.topic)
        if target is None or not 0 <= record.partition < len(target.partitions):
            raise UndeliverableError(f"there is no partition {record.partition} of {record.topic}")
        size = len(record.key or b"") + len(record.value or b"")
        if size > int(target.config.get("max.message.bytes", _MAX_MESSAGE_BYTES)):
            raise UndeliverableError(f"a record of {size} bytes is too large for {record.topic}")
        partition = target.partitions[record.partition]
        offset = partition.first + len(partition.records)
        headers: list[tuple[str, bytes | None]] | None = [*record.headers] if record.headers else None
        partition.records.append(Record(offset, timestamp, record.key, record.value, headers))
        return offset

    def read(self, topic: str, partition: int, offset: int, count: int) -> list[Record]:
        """Up to `count` records from `offset` on, which must lie inside the log (`bounds`)."""
        part = self.topics[topic].partitions[partition]
        start = offset - part.first
        if not 0 <= start <= len(part.records):
            raise IndexError(f"offset {offset} of {topic}[{partition}] is outside {self.bounds(topic, partition)}")
        return part.records[start : start + count]

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """(first offset, end offset)"""
        part = self.topics[topic].partitions[partition]
        return part.first, part.first + len(part.records)

    def truncate_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does: records below `offset` are gone."""
        part = self.topics[topic].partitions[partition]
        gone = min(max(0, offset - part.first), len(part.records))
        del part.records[:gone]
        part.first += gone


class MemoryLog:
    """A core with a clock, and everybody who reads from it."""

    def __init__(self, clock: Callable[[], int], core: MemoryLogCore | None = None) -> None:
        """`clock`: append time in ms."""
        self.core = core or MemoryLogCore()
        self._clock = clock
        self._consumers: list[MemoryConsumer] = []

    def append(self, record: OutRecord) -> int:
        offset = self.core.append(record, self._clock())
        for consumer in self._consumers:
            consumer.wake()
        return offset

    def join(self, consumer: MemoryConsumer) -> None:
        self._consumers.append(consumer)

    def leave(self, consumer: MemoryConsumer) -> None:
        self._consumers.remove(consumer)


@dataclass(slots=True)
class _Reading:
    epoch: int | None = None
    offset: int = 0
    paused: bool = False


class MemoryConsumer:
    """Implements the port `Consumer`; `grouped` ones get their partitions from `assign`."""

    def __init__(
        self, log: MemoryLog, events: ConsumerEvents, loop: asyncio.AbstractEventLoop, *, grouped: bool
    ) -> None:
        self._log = log
        self._events = events
        self._loop = loop
        self._grouped = grouped
        self._partitions: dict[tuple[str, int], _Reading] = {}
        self._pump: asyncio.Handle | None = None
        self._closed = False
        self.advised: dict[tuple[str, int], int] = {}
        log.join(self)

    # What the group does to a member; for tests.

    def assign(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._partitions.update((key, _Reading()) for key in partitions)
        self._events.on_assigned(list(partitions))

    def revoke(self, partitions: Sequence[tuple[str, int]], *, lost: bool = False) -> None:
        for key in partitions:
            del self._partitions[key]
        self._events.on_revoked(list(partitions), lost=lost)

    # The port.

    def read_from(self, position: Position, epoch: int) -> None:
        key = (position.topic, position.partition)
        if key in self._partitions or not self._grouped:
            self._partitions[key] = _Reading(epoch, position.offset)
            self.wake()

    def stop_reading(self, topic: str, partition: int) -> None:
        if (topic, partition) in self._partitions:
            self._partitions[topic, partition] = _Reading()

    def pause(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._set_paused(partitions, True)

    def resume(self, partitions: Sequence[tuple[str, int]]) -> None:
        self._set_paused(partitions, False)
        self.wake()

    def advise(self, offsets: Sequence[Position]) -> None:
        self.advised.update({(p.topic, p.partition): p.offset for p in offsets})

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._log.leave(self)

    def wake(self) -> None:
        """Look for records in the loop's next round."""
        if self._pump is None and not self._closed:
            self._pump = self._loop.call_soon(self._deliver)

    def _set_paused(self, partitions: Sequence[tuple[str, int]], paused: bool) -> None:
        for key in partitions:
            if key in self._partitions:
                self._partitions[key].paused = paused

    def _deliver(self) -> None:
        self._pump = None
        if self._closed:
            return
        batches = [batch for key in list(self._partitions) if (batch := self._fetch(key)) is not None]
        if batches:
            self._events.on_batches(batches)
            self.wake()

    def _fetch(self, key: tuple[str, int]) -> Batch | None:
        state = self._partitions[key]
        if state.epoch is None or state.paused or key[0] not in self._log.core.topics:
            return None
        low, high = self._log.core.bounds(*key)
        if state.offset == BEGINNING:
            state.offset = low
        if not low <= state.offset <= high:
            self._partitions[key] = _Reading()
            self._events.on_out_of_range(*key, state.offset, low, high)
            return None
        records = self._log.core.read(*key, state.offset, _FETCH)
        state.offset += len(records)
        return Batch(*key, state.epoch, records) if records else None


class MemoryProducerSession:
    """Implements the port `Producer`: appends at once and reports in the loop's next round."""

    def __init__(self, log: MemoryLog, events: ProducerEvents, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._events = events
        self._loop = loop
        self._delivered: list[object] = []
        self._failure: tuple[object, UndeliverableError] | None = None
        self._over = False

    def produce(self, record: OutRecord, token: object) -> bool:
        if self._over or self._failure is not None:
            return False
        if not self._delivered:
            self._loop.call_soon(self._report)
        try:
            self._log.append(record)
        except UndeliverableError as error:
            self._failure = (token, error)
        else:
            self._delivered.append(token)
        return True

    async def aclose(self, flush_seconds: float) -> None:
        self._report()
        self._over = True

    def fail(self, error: BaseException) -> None:
        """End the session as a broken connection would; for tests."""
        if not self._over:
            self._over = True
            self._events.on_session_over([], error)

    def _report(self) -> None:
        if self._over:
            return
        delivered, self._delivered = self._delivered, []
        if delivered:
            self._events.on_delivered(delivered)
        if self._failure is not None:
            self._over = True
            self._events.on_session_over([self._failure], self._failure[1])


class MemoryAdmin:
    """Implements the port `Admin`."""

    def __init__(self, log: MemoryLog) -> None:
        self._core = log.core

    async def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        return {name: len(topic.partitions) for name, topic in self._existing(topics)}

    async def topic_ids(self, topics: Sequence[str]) -> dict[str, bytes]:
        return {name: topic.id for name, topic in self._existing(topics)}

    async def create(self, topic: str, partitions: int, config: Mapping[str, str], copies: int | None = None) -> None:
        self._core.create(topic, partitions, config)

    async def configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        return {name: dict(topic.config) for name, topic in self._existing(topics)}

    async def set_configs(self, topic: str, config: Mapping[str, str]) -> None:
        self._core.topics[topic].config.update(config)

    async def brokers(self) -> int:
        return 1

    async def end_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        return {key: self._core.bounds(*key) for key in partitions}

    async def offsets_at(self, partitions: Sequence[tuple[str, int]], time_ms: int) -> dict[tuple[str, int], int]:
        found = {}
        for key in partitions:
            first, end = self._core.bounds(*key)
            records = self._core.read(*key, first, end - first)
            found[key] = next((record.offset for record in records if record.timestamp >= time_ms), end)
        return found

    def _existing(self, topics: Sequence[str]) -> list[tuple[str, _Topic]]:
        return [(name, self._core.topics[name]) for name in topics if name in self._core.topics]


class MemoryReader:
    """Implements the port `Reader`."""

    def __init__(self, log: MemoryLog) -> None:
        self._core = log.core

    async def read(self, topic: str, partition: int, offsets: Sequence[int]) -> dict[int, Record]:
        low, high = self._core.bounds(topic, partition)
        return {offset: self._core.read(topic, partition, offset, 1)[0] for offset in offsets if low <= offset < high}

    async def end(self, topic: str, partition: int) -> int:
        return self._core.bounds(topic, partition)[1]
