"""The two logs behind one face, and ears for what they say; used by the contract tests of the log."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.kafka_consumer import AssignedConsumer, GroupConsumer
from barnabas.log.kafka_producer import ProducerSession
from barnabas.log.kafka_reader import KafkaReader
from barnabas.log.memory import MemoryAdmin, MemoryConsumer, MemoryLog, MemoryProducerSession, MemoryReader
from barnabas.log.port import Admin, Batch, Consumer, OutRecord, Producer, Reader, Record, UndeliverableError
from barnabas.log.settings import KafkaSettings

SECONDS = 20.0


class Ears:
    """Notes what happens and lets a test wait for a condition on it."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def heard(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain for: {what}; heard {vars(self)}") from None


@dataclass
class ConsumerEars(Ears):
    """What a consumer said, in order."""

    batches: list[Batch] = field(default_factory=list)
    said: list[tuple[object, ...]] = field(default_factory=list)
    assigned: set[tuple[str, int]] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)
    on_assignment: Callable[[list[tuple[str, int]]], None] = lambda _: None

    def __post_init__(self) -> None:
        super().__init__()

    def on_batches(self, batches: list[Batch]) -> None:
        self.batches += batches
        self.heard()

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        self.said.append(("assigned", *sorted(partitions)))
        self.assigned |= set(partitions)
        self.on_assignment(partitions)
        self.heard()

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        self.said.append(("lost" if lost else "revoked", *sorted(partitions)))
        self.assigned -= set(partitions)
        self.heard()

    def on_out_of_range(self, topic: str, partition: int, offset: int, low: int, high: int) -> None:
        self.said.append(("out of range", topic, partition, offset, low, high))
        self.heard()

    def on_failure(self, error: BaseException) -> None:
        self.failures.append(error)
        self.heard()

    def records(self, partition: int = 0, epoch: int | None = None, topic: str | None = None) -> list[Record]:
        wanted = [
            b
            for b in self.batches
            if b.partition == partition and epoch in (None, b.epoch) and topic in (None, b.topic)
        ]
        return [record for batch in wanted for record in batch.records]

    def offsets(self, partition: int = 0, epoch: int | None = None, topic: str | None = None) -> list[int]:
        return [record.offset for record in self.records(partition, epoch, topic)]


@dataclass
class ProducerEars(Ears):
    """What a producer session said."""

    delivered: list[object] = field(default_factory=list)
    over: list[tuple[list[tuple[object, UndeliverableError]], BaseException]] = field(default_factory=list)
    delivered_at_end: int | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def on_delivered(self, tokens: list[object]) -> None:
        self.delivered += tokens
        self.heard()

    def on_session_over(self, undeliverable: list[tuple[object, UndeliverableError]], error: BaseException) -> None:
        self.over.append((undeliverable, error))
        self.delivered_at_end = len(self.delivered)
        self.heard()


class Backend(Protocol):
    """One log, with fresh names; closes what it opened."""

    admin: Admin
    reader: Reader
    filler: tuple[Producer, ProducerEars]

    async def topic(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str: ...

    def consumer(self, ears: ConsumerEars) -> Consumer: ...

    def producer(self, ears: ProducerEars) -> Producer: ...

    async def truncate_before(self, topic: str, partition: int, offset: int) -> None: ...

    async def aclose(self) -> None: ...


async def fill(backend: Backend, topic: str, count: int, partition: int = 0, start: int = 0) -> None:
    """Put `count` records into the partition, numbered from `start`, and wait until they are there."""
    producer, ears = backend.filler
    before = len(ears.delivered)
    for number in range(start, start + count):
        assert producer.produce(numbered(topic, partition, number), number)
    await ears.until(lambda: len(ears.delivered) == before + count, f"{count} records in {topic}")


def numbered(topic: str, partition: int, number: int) -> OutRecord:
    return OutRecord(topic, partition, b"key %d" % number, b"value %d" % number, [("number", b"%d" % number)])


def fresh_name() -> str:
    return f"contract.{uuid.uuid4().hex[:10]}"


class MemoryBackend:
    def __init__(self) -> None:
        self.log = MemoryLog(lambda: time.time_ns() // 1_000_000)
        self.admin = MemoryAdmin(self.log)
        self.reader = MemoryReader(self.log)
        ears = ProducerEars()
        self.filler = self.producer(ears), ears

    async def topic(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        name = fresh_name()
        await self.admin.create(name, partitions, config or {})
        return name

    def consumer(self, ears: ConsumerEars) -> MemoryConsumer:
        return MemoryConsumer(self.log, ears, asyncio.get_running_loop(), grouped=False)

    def producer(self, ears: ProducerEars) -> MemoryProducerSession:
        return MemoryProducerSession(self.log, ears, asyncio.get_running_loop())

    async def truncate_before(self, topic: str, partition: int, offset: int) -> None:
        self.log.core.truncate_before(topic, partition, offset)

    async def aclose(self) -> None:
        pass


class KafkaBackend:
    def __init__(self, bootstrap: str) -> None:
        self.settings = KafkaSettings(bootstrap=bootstrap, batch_bytes=4_000, max_batch=200)
        self.admin = KafkaAdmin(self.settings)
        self.reader = KafkaReader(self.settings)
        self.driver = AdminClient({"bootstrap.servers": bootstrap})
        self._topics: list[str] = []
        self._open: list[Consumer | ProducerSession] = []
        ears = ProducerEars()
        self.filler = self.producer(ears), ears

    async def topic(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        name = fresh_name()
        await self.admin.create(name, partitions, config or {})
        self._topics.append(name)
        return name

    def consumer(self, ears: ConsumerEars) -> AssignedConsumer:
        consumer = AssignedConsumer(self.settings, ears, asyncio.get_running_loop())
        self._open.append(consumer)
        return consumer

    def member(
        self, ears: ConsumerEars, topics: list[str], group: str, *, gaps: bool = False, **changes: object
    ) -> GroupConsumer:
        settings = self.settings.model_copy(update={"group": group, **changes})
        consumer = GroupConsumer(settings, topics, ears, asyncio.get_running_loop(), gaps=gaps)
        self._open.append(consumer)
        return consumer

    async def delete(self, topic: str) -> None:
        self._topics.remove(topic)
        await asyncio.to_thread(self.driver.delete_topics([topic])[topic].result, SECONDS)

    def producer(self, ears: ProducerEars, *, one_by_one: bool = False, **changes: object) -> ProducerSession:
        settings = self.settings.model_copy(update=changes)
        producer = ProducerSession(settings, ears, asyncio.get_running_loop(), one_by_one=one_by_one)
        self._open.append(producer)
        return producer

    async def truncate_before(self, topic: str, partition: int, offset: int) -> None:
        for future in self.driver.delete_records([TopicPartition(topic, partition, offset)]).values():
            await asyncio.to_thread(future.result, SECONDS)

    async def aclose(self) -> None:
        for opened in self._open:
            await (opened.aclose(0) if isinstance(opened, ProducerSession) else opened.aclose())
        await self.reader.aclose()
        if self._topics:
            for future in self.driver.delete_topics(self._topics).values():
                await asyncio.to_thread(future.result, SECONDS)
