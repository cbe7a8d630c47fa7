"""The scheduler's loader under the shipped driver, on a log and a store in memory: pages, look-ups, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from random import Random
from typing import Any

import pytest

from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Failure, Invocation, ReplyTo, Signal, SignalKind
from barnabas.log.memory import MemoryConsumer, MemoryLog, MemoryProducerSession
from barnabas.log.port import Batch, OutRecord, Producer, ProducerEvents
from barnabas.runtime.directory import Directory
from barnabas.runtime.scheduling.intake import DelayIntake
from barnabas.runtime.scheduling.scheduler import FAMILY, Scheduler
from barnabas.runtime.scheduling.storing import QUESTIONS
from barnabas.runtime.tenure import Tenure
from barnabas.scheduler.loading import DelayLoader
from barnabas.scheduler.places import DelayPlaces
from barnabas.store import keys
from barnabas.store.memory import MemoryStore
from barnabas.store.port import Query, Service, Shard, StoreUnavailable
from barnabas.worker.driver import Driver
from barnabas.worker.pressure import Pressure
from tests.unit.worker.harness import NAMES, clock, until

PARTITIONS = 2
WINDOW = 8


class Store(MemoryStore):
    """Its reads can be made to fail, and to take their time."""

    def __init__(self) -> None:
        super().__init__(clock_ms=clock)
        self.failing = 0

    async def read(self, questions: Sequence[tuple[Shard, Query]]) -> list[Any]:
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable("down, says the test")
        answers = await super().read(questions)
        await asyncio.sleep(0.001)
        return answers


class LocalScheduler:
    """What `SchedulerProcess` is, without servers. Its failure ends the test."""

    def __init__(self, log: MemoryLog, store: Store) -> None:
        self.log = log
        self.store = store
        self.failure: BaseException | None = None
        loop = asyncio.get_running_loop()
        self.places = DelayPlaces(NAMES)
        self.directory = Directory(
            NAMES, {"Bell": Service("Bell", "object", 1, "g", {"ring": "exclusive"})}, 1, 1, PARTITIONS
        )
        loader = DelayLoader(store)

        def open_session(events: ProducerEvents, *, one_by_one: bool) -> Producer:
            return MemoryProducerSession(log, events, loop)

        self.driver = driver = Driver(store, loader, open_session, self.places, "me", clock, 1, self._fail)
        loader.bind(driver.spawn, driver.between_turns, driver.touch, driver.halt_engine)
        driver.group = self.group = MemoryConsumer(log, self, loop, grouped=True)
        driver.after_turn = Pressure(driver, self.group, self.places, 1_000, 64 << 20).adjust
        self.group.assign([(NAMES.delays, n) for n in range(PARTITIONS)])

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        for _, partition in partitions:
            shard = Shard(FAMILY, partition)
            self.driver.on_assigned(shard, partial(self._tenure, shard))

    def _tenure(self, shard: Shard) -> Tenure:
        def make() -> tuple[Scheduler, DelayIntake]:
            engine = Scheduler(shard, self.directory, PARTITIONS, WINDOW)
            return engine, DelayIntake(engine)

        return Tenure(shard, make, Random(3), clock(), QUESTIONS)

    def on_batches(self, batches: list[Batch]) -> None:
        self.driver.on_batches(batches)

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        raise AssertionError("not in these tests")

    def on_out_of_range(self, topic: str, partition: int, offset: int, low: int, high: int) -> None:
        raise AssertionError("not in these tests")

    def on_failure(self, error: BaseException) -> None:
        self._fail(error)

    async def aclose(self) -> None:
        await self.group.aclose()
        await self.driver.aclose()
        if self.failure is not None:
            raise AssertionError("the scheduler failed") from self.failure


class World:
    """Log and store, and one scheduler after the other."""

    def __init__(self) -> None:
        self.log = MemoryLog(clock)
        self.store = Store()
        self.log.core.create(NAMES.delays, PARTITIONS)
        for topic in (NAMES.invocations("Bell"), NAMES.signals("Bell"), NAMES.replies, NAMES.dead_letters):
            self.log.core.create(topic, 1)
        self.scheduler = LocalScheduler(self.log, self.store)

    async def start_again(self) -> None:
        await self.scheduler.aclose()
        self.scheduler = LocalScheduler(self.log, self.store)

    def send(self, in_ms: int) -> InvocationId:
        id_ = random_id("Bell", f"key {in_ms}", delayed=True)
        due = clock() + in_ms
        reply_to = ReplyTo("client", id_)
        self.write(id_, codec.encode_invocation(Invocation(id_, "Bell", "ring", "k", b"", {}, None, reply_to, due=due)))
        return id_

    def signal(self, kind: SignalKind, id_: InvocationId) -> None:
        self.write(id_, codec.encode_signal(Signal(kind, id_)))

    def write(self, id_: InvocationId, value: bytes) -> None:
        self.log.append(OutRecord(NAMES.delays, id_.partition(PARTITIONS), b"", value, None))

    def read(self, topic: str) -> list[bytes]:
        _, end = self.log.core.bounds(topic, 0)
        return [record.value or b"" for record in self.log.core.read(topic, 0, 0, end)]

    def released(self) -> list[bytes]:
        return [codec.decode_invocation(value).id for value in self.read(NAMES.invocations("Bell"))]

    def told(self) -> dict[bytes, Failure | None]:
        replies = [codec.decode_reply(value) for value in self.read(NAMES.replies)]
        return {reply.invocation: reply.failure for reply in replies}

    def waiting(self) -> int:
        return sum(self.store.core.read(Shard(FAMILY, n), ("HLEN", keys.WAITING)) for n in range(PARTITIONS))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.scheduler.aclose()


async def test_pages_records_and_lookups_by_the_shipped_loader(world: World) -> None:
    soon = [world.send(300 + n) for n in range(100)]
    late = [world.send(60_000 + n) for n in range(100)]
    await until(lambda: world.waiting() == 200, "all stored")
    await world.start_again()
    for id_ in late:
        world.signal(SignalKind.CANCEL, id_)
    await until(lambda: set(world.told()) == set(late), "all cancelled")
    assert all(failure == Failure(409, "cancelled") for failure in world.told().values())
    await until(lambda: len(world.released()) == 100, "all released")
    assert sorted(world.released()) == sorted(soon)
    await until(lambda: world.waiting() == 0, "nothing left")


async def test_reads_that_fail_are_asked_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    ids = [world.send(50 + n) for n in range(40)]
    await until(lambda: world.waiting() == 40, "all stored")
    await world.start_again()
    await until(lambda: all(t.engine is not None for t in world.scheduler.driver.tenures.values()), "loaded")
    world.store.failing = 3
    await until(lambda: len(world.released()) == 40, "all released")
    assert sorted(world.released()) == sorted(ids)
    assert "cannot read what waits" in caplog.text
