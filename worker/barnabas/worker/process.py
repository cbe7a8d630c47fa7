"""A worker process: connects, checks that nothing would be lost, joins the group, runs until told to stop, drains.

Used by the command line (`barnabas worker`, `barnabas dev`) and by tests that run a worker inside their own process.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import SystemRandom

from barnabas.contract.topics import TopicNames
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.kafka_consumer import AssignedConsumer, GroupConsumer
from barnabas.log.kafka_producer import ProducerSession
from barnabas.log.kafka_reader import KafkaReader
from barnabas.log.port import Batch, LogUnavailableError, Position, Producer, ProducerEvents
from barnabas.log.settings import KafkaSettings
from barnabas.runtime.directory import Directory
from barnabas.runtime.intake import Intake
from barnabas.runtime.limits import Limits
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.tenure import Tenure
from barnabas.sdk.app import App
from barnabas.store.port import Service, Shard, StoreUnavailable
from barnabas.store.redis import RedisStore, check_settings
from barnabas.worker.driver import Driver
from barnabas.worker.loading import Loader
from barnabas.worker.pressure import Pressure
from barnabas.worker.settings import Settings

log = logging.getLogger("barnabas.worker")

REFRESH_SECONDS = 2.0
CLOCK_SECONDS = 60.0
CLOCK_STEP_SECONDS = (
    5.0  # a larger step of the store's clock is followed by this much at a time, so that no timer leaps
)
ADVICE_SECONDS = 5.0


class NotReady(Exception):
    """The worker cannot start as things are; the message says what to do."""


class Worker:
    """One member of the consumer group. `run` returns when `stop` was called, or raises what ended it."""

    def __init__(self, app: App, settings: Settings, on_ready: Callable[[], None] = lambda: None) -> None:
        self._app = app
        self._settings = settings
        self._on_ready = on_ready
        self._namespace = app.namespace or settings.namespace
        self._group = app.group or settings.group or f"{self._namespace}.workers"
        self._names = TopicNames(self._namespace)
        self._random = SystemRandom()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._clock_offset = 0.0
        self._directory: Directory
        self._topic_ids: dict[str, bytes] = {}
        self._limits: dict[str, Limits] = {}
        self.driver: Driver
        self.pressure: Pressure

    def stop(self) -> None:
        """Drain and end. May be called from a signal handler of the loop, more than once."""
        self._stop.set()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            log.critical("the worker ends: %s", error, exc_info=error)
            self._failure = error
        self._stop.set()

    # -- life

    async def run(self) -> None:
        """Work until `stop`. Raises NotReady, StoreUnavailable or LogUnavailableError when it cannot start."""
        settings = self._settings
        store = RedisStore(settings.redis.get_secret_value(), self._namespace)
        kafka = self._kafka(self._group)
        admin = KafkaAdmin(kafka)
        try:
            check_settings(await store.settings())
            await self._set_clock(store)
            await self._prepare(store, admin)
            await self._work(store, kafka)
        finally:
            await store.aclose()
        if self._failure is not None:
            raise self._failure

    async def _work(self, store: RedisStore, kafka: KafkaSettings) -> None:
        loop = asyncio.get_running_loop()
        reader = KafkaReader(kafka)
        loader = Loader(store, reader, self._names)
        owner = f"{socket.gethostname()}/{os.getpid()}"

        def open_session(events: ProducerEvents, *, one_by_one: bool) -> Producer:
            return ProducerSession(kafka, events, loop, one_by_one=one_by_one)

        driver = self.driver = Driver(
            store, loader, open_session, self._names, owner, self.clock, self._settings.step_threads, self._fail
        )
        if not driver.current_task.replaceable:
            for definition in self._app.services.values():
                for handler in definition.handlers.values():
                    handler.needs_task = True
        loader.bind(driver.spawn, driver.between_turns, driver.touch, driver.halt_engine)
        topics = [self._names.invocations(name) for name in self._app.services]
        driver.signals = signals = AssignedConsumer(kafka, self, loop)
        driver.group = group = GroupConsumer(kafka, topics, self, loop)
        self.pressure = Pressure(driver, group, self._names, self._settings.max_active, self._settings.max_bytes)
        driver.after_turn = self.pressure.adjust
        keepers = [
            loop.create_task(self._every(REFRESH_SECONDS, partial(self._refresh, store))),
            loop.create_task(self._every(CLOCK_SECONDS, partial(self._set_clock, store))),
            loop.create_task(self._every(ADVICE_SECONDS, self._advise)),
        ]
        self._on_ready()
        try:
            await self._stop.wait()
            await self._drain()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await group.aclose()
            await signals.aclose()
            await driver.aclose()
            await reader.aclose()

    async def _drain(self) -> None:
        """Begin nothing new, let what runs come to its end, and leave the rest to the next owner."""
        driver = self.driver
        driver.drain()
        deadline = time.monotonic() + (0 if self._failure else self._settings.drain_seconds)
        log.info("draining, for at most %g s", self._settings.drain_seconds)
        while not driver.is_quiet() and time.monotonic() < deadline and self._failure is None:
            driver.wake()
            await asyncio.sleep(0.01)

    def _kafka(self, group: str) -> KafkaSettings:
        settings = self._settings
        return KafkaSettings(
            bootstrap=settings.kafka,
            group=group,
            instance_id=settings.instance_id,
            group_protocol=settings.group_protocol,
            session_timeout_ms=settings.session_timeout_ms,
            options=settings.kafka_options,
        )

    # -- before it starts

    async def _prepare(self, store: RedisStore, admin: KafkaAdmin) -> None:
        names, services = self._names, self._app.services
        wanted = [topic for name in services for topic in (names.invocations(name), names.signals(name))]
        counts = await admin.partitions([*wanted, names.replies, names.dead_letters])
        missing = [topic for topic in [*wanted, names.replies, names.dead_letters] if topic not in counts]
        if missing:
            raise NotReady(f"these topics do not exist: {', '.join(missing)}. Create them: barnabas topics apply APP")
        for name in services:
            invocations, signals = counts[names.invocations(name)], counts[names.signals(name)]
            if invocations != signals:
                raise NotReady(
                    f"{names.invocations(name)} has {invocations} partitions and {names.signals(name)} has {signals}; "
                    f"they must be the same. Make them anew with: barnabas topics apply APP"
                )
        self._topic_ids = await admin.topic_ids(wanted)
        configs = await admin.configs([names.invocations(name) for name in services])
        for name in services:
            retention = int(configs[names.invocations(name)].get("retention.ms", -1))
            self._limits[name] = replace(
                self._settings.limits(), keep_after_ms=retention // 2 if retention > 0 else None
            )
        registered = [
            Service(
                definition.name,
                definition.kind,
                counts[names.invocations(definition.name)],
                self._group,
                {handler.name: handler.kind or "service" for handler in definition.handlers.values()},
            )
            for definition in services.values()
        ]
        await store.register(registered)
        self._directory = Directory(names, await store.services(), counts[names.replies], counts[names.dead_letters])

    def _make_tenure(self, shard: Shard) -> Tenure:
        definition = self._app.services[shard.service]

        woken = partial(self._woken, shard)

        def make_engine() -> tuple[ShardEngine, Intake]:
            engine = ShardEngine(shard, definition.handlers, self._directory, self._limits[shard.service], woken)
            engine.draining = self.driver.stopping
            topic_id = self._topic_ids[self._names.invocations(shard.service)]
            return engine, Intake(engine, topic_id, self._directory.services[shard.service].partitions)

        return Tenure(shard, make_engine, self._random, self.clock())

    def _woken(self, shard: Shard) -> None:
        self.driver.woken_by_task(shard)

    # -- time

    def clock(self) -> int:
        """The store's time in ms, carried on by the monotonic clock since it was last read."""
        return int((time.monotonic() + self._clock_offset) * 1000)

    async def _set_clock(self, store: RedisStore) -> None:
        before = time.monotonic()
        theirs = await store.time_ms() / 1000
        offset = theirs - (before + time.monotonic()) / 2
        step = offset - self._clock_offset
        if self._clock_offset and abs(step) > CLOCK_STEP_SECONDS:
            log.warning("the store's clock has moved by %.1f s against ours; following it slowly", step)
            offset = self._clock_offset + math.copysign(CLOCK_STEP_SECONDS, step)
        self._clock_offset = offset

    async def _every(self, seconds: float, action: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                result = action()
                if asyncio.iscoroutine(result):
                    await result
            except (StoreUnavailable, LogUnavailableError) as error:
                log.warning("%s", error)
            except Exception as error:
                self._fail(error)
                return

    async def _refresh(self, store: RedisStore) -> None:
        self._directory.services.update(await store.services())

    def _advise(self) -> None:
        """Tell the group how far we are, for lag dashboards alone."""
        assert self.driver.group is not None
        self.driver.group.advise(
            [
                Position(self._names.invocations(shard.service), shard.partition, tenure.engine.next_invocation)
                for shard, tenure in self.driver.tenures.items()
                if tenure.engine is not None and tenure.engine.next_invocation is not None
            ]
        )

    # -- what the consumers tell (log.port.ConsumerEvents)

    def on_batches(self, batches: list[Batch]) -> None:
        self.driver.on_batches(batches)

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        for topic, partition in partitions:
            place = self._names.service_of(topic)
            assert place is not None
            shard = Shard(place[0], partition)
            self.driver.on_assigned(shard, partial(self._make_tenure, shard))

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        for topic, partition in partitions:
            place = self._names.service_of(topic)
            assert place is not None
            self.driver.on_revoked(Shard(place[0], partition))

    def on_out_of_range(self, topic: str, partition: int, offset: int, low: int, high: int) -> None:
        """A jump would hide a loss: the shard stops here until a person decides (R17)."""
        lost = (
            f"offsets {offset} to {low - 1} were removed before they were read"
            if offset < low
            else f"the log ends at {high}"
        )
        place = self._names.service_of(topic)
        assert place is not None
        tenure = self.driver.tenures.get(Shard(place[0], partition))
        if tenure is not None:
            self.driver.halt(tenure, f"offset {offset} is not in {topic}[{partition}]; {lost}")

    def on_failure(self, error: BaseException) -> None:
        self._fail(error)
