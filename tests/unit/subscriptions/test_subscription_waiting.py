"""What keeps records waiting, and lets them go on: the shipped driver and loader, on a log and a store in memory."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import pytest

from barnabas import Subscription
from barnabas.contract import codec
from barnabas.contract.topics import TopicNames
from barnabas.log.memory import MemoryConsumer, MemoryLog, MemoryProducerSession
from barnabas.log.port import Batch, OutRecord, Producer, ProducerEvents
from barnabas.runtime.directory import Directory
from barnabas.runtime.subscribing.formats import format_of
from barnabas.runtime.subscribing.intake import SubscriptionIntake
from barnabas.runtime.subscribing.schemas import Schemas
from barnabas.runtime.subscribing.source import Source, family_of
from barnabas.runtime.subscribing.subscriber import QUESTIONS, Subscriber
from barnabas.runtime.tenure import State, Tenure
from barnabas.store.memory import MemoryCore, MemoryStore
from barnabas.store.port import Service, Shard
from barnabas.subscriptions import loading
from barnabas.subscriptions.loading import SubscriptionLoader
from barnabas.subscriptions.places import SubscribedPlaces
from barnabas.subscriptions.registry import RegistryUnavailable, SchemaNotUsable
from barnabas.worker.driver import Driver
from barnabas.worker.pressure import Pressure
from tests.unit.worker.harness import clock, until

NAMES = TopicNames("t")
TOPIC_ID = b"orders".ljust(16)
SCHEMA = '{"type": "record", "name": "A", "fields": [{"name": "n", "type": "int"}]}'
SHOP = Service("Shop", "object", 1, "g", {"place": "exclusive"})


class FakeRegistry:
    """A registry that answers as the test says."""

    def __init__(self) -> None:
        self.answers: dict[int, str] = {}
        self.is_up = True
        self.asked: list[int] = []

    async def schema(self, id_: int) -> str:
        self.asked.append(id_)
        await asyncio.sleep(0)
        if not self.is_up:
            raise RegistryUnavailable("nobody is there")
        if id_ not in self.answers:
            raise SchemaNotUsable(f"no schema {id_}")
        return self.answers[id_]


class HeldSession(MemoryProducerSession):
    """Reports nothing before it is let go."""

    held = False

    def _report(self) -> None:
        if not self.held:
            super()._report()


class LocalSubscription:
    """What `SubscriptionProcess` is, without servers."""

    def __init__(self, subscription: Subscription, *, outbox: int = 100, max_bytes: int = 1 << 20) -> None:
        self.log = MemoryLog(clock)
        for topic in ("orders", NAMES.invocations("Shop"), NAMES.dead_letters):
            self.log.core.create(topic, 1)
        self.store = MemoryStore(MemoryCore(), clock_ms=clock)
        self.registry = FakeRegistry()
        self.directory = Directory(NAMES, {"Shop": SHOP}, 1, 1)
        self.failure: BaseException | None = None
        schemas = Schemas()
        self.source = Source(subscription, TOPIC_ID, 1, format_of(subscription, schemas), {})
        self.shard = Shard(family_of(subscription), 0)
        places = SubscribedPlaces(subscription)
        loop = asyncio.get_running_loop()
        self.sessions: list[HeldSession] = []
        self.loader = SubscriptionLoader(schemas, self.registry, outbox)  # type: ignore[arg-type]

        def open_session(events: ProducerEvents, *, one_by_one: bool) -> Producer:
            self.sessions.append(HeldSession(self.log, events, loop))
            return self.sessions[-1]

        self.driver = driver = Driver(self.store, self.loader, open_session, places, "me", clock, 1, self._fail)
        self.loader.bind(driver.spawn, driver.between_turns, driver.touch, driver.halt_engine)
        driver.group = self.group = MemoryConsumer(self.log, self, loop, grouped=True)
        self.pressure = Pressure(driver, self.group, places, 1_000, max_bytes)
        driver.after_turn = self.pressure.adjust

    def _fail(self, error: BaseException) -> None:
        self.failure = self.failure or error

    def _tenure(self) -> Tenure:
        def make() -> tuple[Subscriber, SubscriptionIntake]:
            engine = Subscriber(self.shard, self.directory, self.source)
            return engine, SubscriptionIntake(engine)

        return Tenure(self.shard, make, Random(3), clock(), QUESTIONS)

    @property
    def engine(self) -> Subscriber:
        engine = self.driver.tenures[self.shard].engine
        assert isinstance(engine, Subscriber)
        return engine

    def put(self, *values: Any) -> None:
        for value in values:
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.log.append(OutRecord("orders", 0, b"k", raw, None))

    def payloads(self) -> list[Any]:
        return [json.loads(codec.decode_invocation(value).payload) for value in self._values(NAMES.invocations("Shop"))]

    def letters(self) -> list[str]:
        return [codec.decode_dead_letter(value).reason for value in self._values(NAMES.dead_letters)]

    def _values(self, topic: str) -> list[bytes | None]:
        first, end = self.log.core.bounds(topic, 0)
        return [one.value for one in self.log.core.read(topic, 0, first, end - first)]

    # What the consumer tells.

    def on_assigned(self, partitions: list[tuple[str, int]]) -> None:
        self.driver.on_assigned(self.shard, self._tenure)

    def on_batches(self, batches: list[Batch]) -> None:
        self.driver.on_batches(batches)

    def on_revoked(self, partitions: list[tuple[str, int]], *, lost: bool) -> None:
        self.driver.on_revoked(self.shard)

    def on_out_of_range(self, *place: Any) -> None:
        raise AssertionError(place)

    def on_failure(self, error: BaseException) -> None:
        self._fail(error)


@asynccontextmanager
async def working(subscription: Subscription, **options: Any) -> AsyncIterator[LocalSubscription]:
    local = LocalSubscription(subscription, **options)
    local.group.assign([("orders", 0)])
    try:
        yield local
    finally:
        await local.group.aclose()
        await local.driver.aclose()
    if local.failure is not None:
        raise AssertionError("it failed") from local.failure


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "AGAIN_SECONDS", 0.01)


def avro(id_: int, n: int) -> bytes:
    return b"\x00" + id_.to_bytes(4, "big") + bytes([2 * n])


JSON = partial(Subscription, "orders", "Shop/place")
AVRO = partial(Subscription, "orders", "Shop/place", format="avro")


async def test_records_go_through() -> None:
    async with working(JSON()) as local:
        local.put(*range(1500))
        await until(lambda: len(local.payloads()) == 1500, "all of them")
        assert local.payloads() == list(range(1500))


@pytest.mark.expects_errors("waits, nothing is lost: no service 'Shop' is registered")
async def test_records_wait_for_their_handler(caplog: pytest.LogCaptureFixture) -> None:
    async with working(JSON()) as local:
        local.directory.services = {}
        local.put(1, 2)
        await until(lambda: "no service 'Shop' is registered" in caplog.text, "the complaint")
        local.put(3)
        await asyncio.sleep(0.05)
        assert local.payloads() == []
        assert local.loader.waiting_bytes > 0
        assert local.engine.next_invocation is None, "the place must not move"
        local.directory.services = {"Shop": SHOP}
        await until(lambda: local.payloads() == [1, 2, 3], "all in order")
        assert local.loader.waiting_bytes == 0
        assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1, "not once a try"


async def test_a_registry_that_is_down_holds_records_back() -> None:
    async with working(AVRO()) as local:
        local.registry.is_up = False
        local.registry.answers[7] = SCHEMA
        local.put(avro(7, 1), avro(7, 2))
        await until(lambda: len(local.registry.asked) > 3, "several tries")
        local.put(avro(7, 3))
        assert local.payloads() == local.letters() == []
        local.registry.is_up = True
        await until(lambda: local.payloads() == [{"n": 1}, {"n": 2}, {"n": 3}], "all in order")
        asked = len(local.registry.asked)
        local.put(avro(7, 4))
        await until(lambda: len(local.payloads()) == 4, "the next one")
        assert len(local.registry.asked) == asked, "the schema is known"


async def test_a_schema_that_is_not_there_is_poison_and_the_others_go_on() -> None:
    async with working(AVRO()) as local:
        local.registry.answers[7] = SCHEMA
        local.registry.answers[8] = '{"type": "array", "items": "null"}'
        local.put(avro(7, 1), avro(9, 1), avro(8, 1), b"{}", avro(7, 2))
        await until(lambda: local.payloads() == [{"n": 1}, {"n": 2}], "those that can be read")
        await until(lambda: len(local.letters()) == 3, "the others")
        assert set(local.letters()) == {"unknown-schema"}


async def test_a_refused_schema_is_asked_for_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "REFUSED_SECONDS", 0.05)
    async with working(AVRO()) as local:
        local.put(avro(7, 1))
        await until(lambda: len(local.letters()) == 1, "the dead letter")
        local.registry.answers[7] = SCHEMA
        await until(lambda: 7 not in local.loader._schemas, "the time")
        local.put(avro(7, 2))
        await until(lambda: local.payloads() == [{"n": 2}], "the next one")


async def test_no_more_is_read_than_the_outbox_takes() -> None:
    async with working(JSON(), outbox=100, max_bytes=400_000) as local:
        await until(lambda: local.driver.tenures[local.shard].state is State.ACTIVE, "the shard")
        local.sessions[0].held = True
        local.put(*range(6_000))
        await until(lambda: local.pressure.pauses > 0, "intake pauses")
        assert len(local.engine.outbox) < 100 + 500, "the outbox and one batch"
        assert local.loader.waiting_bytes < 2 * 400_000
        local.sessions[0].held = False
        local.sessions[0]._report()
        await until(lambda: local.log.core.bounds(NAMES.invocations("Shop"), 0)[1] == 6_000, "the rest", 30)
        assert local.payloads() == list(range(6_000))


async def test_what_waits_is_dropped_with_the_shard_and_read_again() -> None:
    async with working(AVRO()) as local:
        local.registry.is_up = False
        local.registry.answers[7] = SCHEMA
        local.put(avro(7, 1))
        await until(lambda: len(local.registry.asked) > 1, "a try")
        local.group.revoke([("orders", 0)])
        await until(lambda: not local.loader._waiting, "nobody waits")
        assert local.loader.waiting_bytes == 0
        local.group.assign([("orders", 0)])
        local.registry.is_up = True
        await until(lambda: local.payloads() == [{"n": 1}], "the record")


@pytest.mark.expects_errors("deleted and made again")
async def test_a_topic_made_again_stops_the_shard_loudly(caplog: pytest.LogCaptureFixture) -> None:
    async with working(JSON()) as local:
        local.put(1)
        await until(lambda: local.payloads() == [1], "the first one")
        local.group.revoke([("orders", 0)])
        subscription = local.source.subscription
        local.source = Source(subscription, b"other".ljust(16), 1, local.source.format, {})
        local.group.assign([("orders", 0)])
        local.put(2)
        await until(lambda: local.driver.tenures[local.shard].state is State.HALTED, "the halt")
        assert "barnabas subscriptions reset" in caplog.text
        await asyncio.sleep(0.02)
        assert set(local.payloads()) == {1}  # with its label, which tells a copy
