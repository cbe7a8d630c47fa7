"""A worker in the test's own loop: the shipped driver, loader, production and steps, on a log and a store in memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

from barnabas import app
from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import DeadLetter, Invocation, ReplyTo
from barnabas.contract.topics import TopicNames
from barnabas.log.memory import MemoryConsumer, MemoryLog, MemoryProducerSession, MemoryReader
from barnabas.log.port import Batch, OutRecord, Producer, ProducerEvents
from barnabas.runtime.directory import Directory
from barnabas.runtime.intake import Intake
from barnabas.runtime.limits import Limits
from barnabas.runtime.live import Live
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.tenure import Tenure
from barnabas.store.memory import MemoryCore, MemoryStore
from barnabas.store.port import Service, Shard
from barnabas.worker.driver import Driver
from barnabas.worker.loading import Loader
from barnabas.worker.places import ServicePlaces
from barnabas.worker.pressure import Pressure

NAMES = TopicNames("t")
PLACES = ServicePlaces(NAMES)


def clock() -> int:
    return time.monotonic_ns() // 1_000_000


class Cluster:
    """Log and store, which outlive workers."""

    def __init__(self, *services: Any, partitions: int = 1, store: MemoryStore | None = None) -> None:
        self.services = app(services).services
        self.partitions = partitions
        self.log = MemoryLog(clock)
        self.store = store or MemoryStore(MemoryCore(), clock_ms=clock)
        for name in self.services:
            self.log.core.create(NAMES.invocations(name), partitions, id=name.encode().ljust(16))
            self.log.core.create(NAMES.signals(name), partitions)
        self.log.core.create(NAMES.replies, 1)
        self.log.core.create(NAMES.dead_letters, 1)

    def call(self, service: str, handler: str, arg: Any = None, key: str | None = None) -> bytes:
        """A client's call; `result` waits for its reply."""
        id_ = random_id(service, key)
        payload = b"" if arg is None else json.dumps(arg).encode()
        invocation = Invocation(id_, service, handler, key, payload, {}, None, ReplyTo("client", id_))
        partition = InvocationId(id_).partition(self.partitions)
        self.log.append(
            OutRecord(
                NAMES.invocations(service), partition, (key or "").encode(), codec.encode_invocation(invocation), None
            )
        )
        return id_

    def replies(self) -> dict[bytes, Any]:
        """Results (from JSON) or failures, by invocation id."""
        _, end = self.log.core.bounds(NAMES.replies, 0)
        found: dict[bytes, Any] = {}
        for record in self.log.core.read(NAMES.replies, 0, 0, end):
            reply = codec.decode_reply(record.value)
            found[reply.invocation] = reply.failure or (json.loads(reply.result) if reply.result else None)
        return found

    async def result(self, id_: bytes) -> Any:
        await until(lambda: id_ in self.replies(), "the reply")
        return self.replies()[id_]

    def dead_letters(self) -> list[DeadLetter]:
        _, end = self.log.core.bounds(NAMES.dead_letters, 0)
        return [codec.decode_dead_letter(one.value) for one in self.log.core.read(NAMES.dead_letters, 0, 0, end)]


class LocalWorker:
    """What `barnabas.worker.process.Worker` is, without servers. Its failure ends the test."""

    def __init__(
        self,
        cluster: Cluster,
        limits: Limits | None = None,
        max_active: int = 1000,
        max_bytes: int = 64 << 20,
        clock: Callable[[], int] = clock,
    ) -> None:
        self.cluster = cluster
        self.limits = limits or Limits()
        self.failure: BaseException | None = None
        self.sessions: list[MemoryProducerSession] = []
        loop = asyncio.get_running_loop()
        self.directory = Directory(NAMES, {name: self._registered(name) for name in cluster.services}, 1, 1)
        loader = Loader(cluster.store, MemoryReader(cluster.log), NAMES, lambda: self.directory.services)

        def open_session(events: ProducerEvents, *, one_by_one: bool) -> Producer:
            self.sessions.append(MemoryProducerSession(cluster.log, events, loop))
            return self.sessions[-1]

        self.driver = driver = Driver(cluster.store, loader, open_session, PLACES, "me", clock, 4, self._fail)
        if not driver.current_task.replaceable:
            for definition in cluster.services.values():
                for handler in definition.handlers.values():
                    handler.needs_task = True
        loader.bind(driver.spawn, driver.between_turns, driver.touch, driver.halt_engine)
        driver.signals = self.signals = MemoryConsumer(cluster.log, self, loop, grouped=False)
        driver.group = self.group = MemoryConsumer(cluster.log, self, loop, grouped=True)
        self.pressure = Pressure(driver, self.group, PLACES, max_active, max_bytes)
        driver.after_turn = self.pressure.adjust

    def _registered(self, name: str) -> Service:
        one = self.cluster.services[name]
        kinds = {handler.name: handler.kind or "service" for handler in one.handlers.values()}
        return Service(name, one.kind, self.cluster.partitions, "g", kinds)

    def places(self) -> list[tuple[str, int]]:
        return [(NAMES.invocations(name), n) for name in self.cluster.services for n in range(self.cluster.partitions)]

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error

    def engine(self, service: str, partition: int = 0) -> ShardEngine:
        engine = self.driver.tenures[Shard(service, partition)].engine
        assert engine is not None
        return engine

    def live(self, id_: bytes) -> Live:
        return next(
            t.engine.live[id_] for t in self.driver.tenures.values() if t.engine is not None and id_ in t.engine.live
        )

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        for topic, partition in partitions:
            place = NAMES.service_of(topic)
            assert place is not None
            shard = Shard(place[0], partition)
            self.driver.on_assigned(shard, partial(self._tenure, shard))

    def _tenure(self, shard: Shard) -> Tenure:
        definition = self.cluster.services[shard.service]

        def make() -> tuple[ShardEngine, Intake]:
            woken = partial(self.driver.woken_by_task, shard)
            engine = ShardEngine(shard, definition.handlers, self.directory, self.limits, woken)
            return engine, Intake(engine, shard.service.encode().ljust(16), self.cluster.partitions)

        return Tenure(shard, make, Random(3), clock())

    def on_batches(self, batches: list[Batch]) -> None:
        self.driver.on_batches(batches)

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        for topic, partition in partitions:
            place = NAMES.service_of(topic)
            assert place is not None
            self.driver.on_revoked(Shard(place[0], partition))

    def on_out_of_range(self, topic: str, partition: int, offset: int, low: int, high: int) -> None:
        raise AssertionError("not in these tests")

    def on_failure(self, error: BaseException) -> None:
        self._fail(error)

    async def aclose(self) -> None:
        await self.group.aclose()
        await self.signals.aclose()
        await self.driver.aclose()


@asynccontextmanager
async def working(cluster: Cluster, **options: Any) -> AsyncIterator[LocalWorker]:
    """A worker that owns everything. At the end it is killed, in effect: nothing is drained."""
    worker = LocalWorker(cluster, **options)
    worker.group.assign(worker.places())
    try:
        yield worker
    finally:
        await worker.aclose()
    if worker.failure is not None:
        raise AssertionError("the worker failed") from worker.failure


async def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come in {seconds:g} s")
        await asyncio.sleep(0.002)
