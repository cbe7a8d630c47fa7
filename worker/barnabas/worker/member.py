"""A member of a consumer group that works shards: what a worker and a scheduler have in common.

Connects, keeps the clock, joins the group, feeds the driver, tells it what the group says, drains and ends. What the
shards are is the business of the subclasses: `Worker` (process.py), `SchedulerProcess` (scheduler/process.py).
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from random import SystemRandom
from typing import ClassVar

from barnabas.contract.topics import TopicNames
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.kafka_consumer import AssignedConsumer, GroupConsumer
from barnabas.log.kafka_producer import ProducerSession
from barnabas.log.port import Admin, Batch, LogUnavailableError, Position, Producer, ProducerEvents
from barnabas.log.settings import KafkaSettings
from barnabas.runtime.directory import Directory
from barnabas.runtime.tenure import Tenure
from barnabas.store.port import Shard, Store, StoreUnavailable
from barnabas.store.redis import RedisStore, check_settings
from barnabas.worker.driver import Driver
from barnabas.worker.places import Places
from barnabas.worker.pressure import Pressure
from barnabas.worker.reads import Reads
from barnabas.worker.settings import Settings

log = logging.getLogger("barnabas.worker")

REFRESH_SECONDS = 2.0
CLOCK_SECONDS = 60.0
CLOCK_STEP_SECONDS = (
    5.0  # a larger step of the store's clock is followed by this much at a time, so that no timer leaps
)
CLOCK_QUESTIONS = 5
ADVICE_SECONDS = 5.0


class NotReady(Exception):
    """The process cannot start as things are; the message says what to do."""


class Member(ABC):
    """One member of a consumer group. `run` returns when `stop` was called, or raises what ended it."""

    def __init__(
        self, settings: Settings, names: TopicNames, group: str, places: Places, on_ready: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._names = names
        self._group = group
        self._places = places
        self._on_ready = on_ready
        self._random = SystemRandom()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._clock_offset = 0.0
        self._directory: Directory
        self.driver: Driver
        self.pressure: Pressure

    def stop(self) -> None:
        """Drain and end. May be called from a signal handler of the loop, more than once."""
        self._stop.set()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            log.critical("the process ends: %s", error, exc_info=error)
            self._failure = error
        self._stop.set()

    # -- what a subclass is

    #: Its topics may end in what is no record: somebody else's transactions.
    _has_gaps: ClassVar[bool] = False

    @abstractmethod
    async def _prepare(self, store: Store, admin: KafkaAdmin) -> None:
        """Check that nothing would be lost, and set `_directory`. Raises NotReady."""

    @abstractmethod
    def _topics(self) -> list[str]:
        """The topics of the group."""

    @abstractmethod
    def _make_tenure(self, shard: Shard) -> Tenure:
        """A tenure of a shard that the group has given us."""

    @abstractmethod
    def _make_loader(self, store: Store, kafka: KafkaSettings, stack: AsyncExitStack) -> Reads:
        """The loader for these shards; what it needs closed goes on the stack."""

    @abstractmethod
    def _before_joining(self) -> None:
        """The driver is made, and has nothing to do yet."""

    # -- life

    async def run(self) -> None:
        """Work until `stop`. Raises NotReady, StoreUnavailable or LogUnavailableError when it cannot start."""
        settings = self._settings
        store = RedisStore(settings.redis.get_secret_value(), self._names.namespace)
        kafka = self._kafka(self._group)
        admin = KafkaAdmin(kafka)
        try:
            check_settings(await store.settings())
            await self._set_clock(store)
            await self._prepare(store, admin)
            async with AsyncExitStack() as stack:
                await self._work(store, kafka, stack)
        finally:
            await store.aclose()
        if self._failure is not None:
            raise self._failure

    async def _work(self, store: Store, kafka: KafkaSettings, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        loader = self._make_loader(store, kafka, stack)
        owner = f"{socket.gethostname()}/{os.getpid()}"

        def open_session(events: ProducerEvents, *, one_by_one: bool) -> Producer:
            return ProducerSession(kafka, events, loop, one_by_one=one_by_one)

        driver = self.driver = Driver(
            store, loader, open_session, self._places, owner, self.clock, self._settings.step_threads, self._fail
        )
        self._before_joining()
        loader.bind(driver.spawn, driver.between_turns, driver.touch, driver.halt_engine)
        driver.signals = signals = AssignedConsumer(kafka, self, loop)
        driver.group = group = GroupConsumer(kafka, self._topics(), self, loop, gaps=self._has_gaps)
        self.pressure = Pressure(driver, group, self._places, self._settings.max_active, self._settings.max_bytes)
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

    # -- time

    def clock(self) -> int:
        """The store's time in ms, carried on by the monotonic clock since it was last read."""
        return int((time.monotonic() + self._clock_offset) * 1000)

    async def _set_clock(self, store: Store) -> None:
        """Ask the store for its time; where the answers leave room for what we have, keep it.

        An answer that was long on its way says little, and a clock ahead of the store's would fire timers early: so of
        what is possible it is the earliest time that counts.
        """
        least, most = -math.inf, math.inf
        for _ in range(CLOCK_QUESTIONS):
            before = time.monotonic()
            theirs = await store.time_ms() / 1000
            least = max(least, theirs - time.monotonic())
            most = min(most, theirs + 0.001 - before)  # it gives whole milliseconds
        if self._clock_offset and least <= self._clock_offset <= most:
            return
        offset = least
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

    async def _refresh(self, store: Store) -> None:
        self._directory.services.update(await store.services())

    def _advise(self) -> None:
        """Tell the group how far we are, for lag dashboards alone."""
        assert self.driver.group is not None
        self.driver.group.advise(
            [
                Position(self._places.intake(shard), shard.partition, tenure.engine.next_invocation)
                for shard, tenure in self.driver.tenures.items()
                if tenure.engine is not None and tenure.engine.next_invocation is not None
            ]
        )

    # -- what the consumers tell (log.port.ConsumerEvents)

    def on_batches(self, batches: list[Batch]) -> None:
        self.driver.on_batches(batches)

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        for topic, partition in partitions:
            shard = self._shard(topic, partition)
            self.driver.on_assigned(shard, partial(self._make_tenure, shard))

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        for topic, partition in partitions:
            self.driver.on_revoked(self._shard(topic, partition))

    def on_out_of_range(self, topic: str, partition: int, offset: int, low: int, high: int) -> None:
        """A jump would hide a loss: the shard stops here until a person decides (R17)."""
        lost = (
            f"offsets {offset} to {low - 1} were removed before they were read"
            if offset < low
            else f"the log ends at {high}"
        )
        tenure = self.driver.tenures.get(self._shard(topic, partition))
        if tenure is not None:
            self.driver.halt(tenure, f"offset {offset} is not in {topic}[{partition}]; {lost}")

    def on_failure(self, error: BaseException) -> None:
        self._fail(error)

    def _shard(self, topic: str, partition: int) -> Shard:
        place = self._places.of(topic, partition)
        assert place is not None
        return place.shard


async def require_topics(admin: Admin, topics: list[str], remedy: str) -> dict[str, int]:
    """The partition counts of topics that have to be there. Raises NotReady, which names the missing ones."""
    counts = await admin.partitions(topics)
    missing = [topic for topic in topics if topic not in counts]
    if missing:
        raise NotReady(f"these topics do not exist: {', '.join(missing)}. Create them: {remedy}")
    return counts
