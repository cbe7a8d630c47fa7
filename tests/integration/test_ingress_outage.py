"""The gateway while its broker or its store is away; servers of its own, since others use the session's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from barnabas.contract.records import Signal, SignalKind
from barnabas.contract.topics import TopicNames
from barnabas.devstack.stack import Stack
from barnabas.ingress.errors import Unavailable
from barnabas.ingress.gateway import Gateway
from barnabas.ingress.requests import Request, request_of
from barnabas.ingress.settings import GatewaySettings
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.port import LogUnavailableError
from barnabas.log.settings import KafkaSettings
from barnabas.store.port import Service, StoreUnavailable
from barnabas.store.redis import RedisStore
from tests.integration.test_client import PARTITIONS, Responder

NAMES = TopicNames("outage")
GREETER = Service("Greeter", "service", PARTITIONS, "g", {"greet": "service"})
SECONDS = 60


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    stack.up()
    yield stack
    stack.down()


@asynccontextmanager
async def gateway(stack: Stack, **options: float) -> AsyncIterator[Gateway]:
    """One in a namespace where a stub answers calls."""
    admin = KafkaAdmin(KafkaSettings(bootstrap=stack.addresses.kafka))
    topics = [NAMES.invocations("Greeter"), NAMES.signals("Greeter"), NAMES.invocations("Plane")]
    for topic in (*topics, NAMES.replies, NAMES.delays, NAMES.dead_letters):
        await admin.create(topic, PARTITIONS, {})
    store = RedisStore(stack.addresses.redis, NAMES.namespace)
    await store.register([GREETER])
    await store.aclose()
    responder = Responder(stack.addresses.kafka, NAMES)
    answering = asyncio.create_task(responder.run())
    gateway = Gateway(settings(stack, **options))
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.aclose()
        answering.cancel()
        await asyncio.wait([answering])


def settings(stack: Stack, **options: float) -> GatewaySettings:
    addresses = stack.addresses
    return GatewaySettings(
        kafka=addresses.kafka,
        redis=SecretStr(addresses.redis),
        namespace=NAMES.namespace,
        **options,  # type: ignore[arg-type]
    )


def greeting(payload: bytes, idempotency_key: str | None = None) -> Request:
    return request_of(GREETER, "greet", None, payload, idempotency_key=idempotency_key)


@pytest.mark.timeout(240)
@pytest.mark.expects_errors("Kafka (producer|consumer): _(ALL_BROKERS_DOWN|TRANSPORT)")
async def test_calls_and_sends_go_on_when_the_broker_comes_back(stack: Stack) -> None:
    """With idempotency keys: where the producer's session ends as well, plain ones need a worker that knows of them."""
    async with gateway(stack) as door:
        assert (await door.call(greeting(b"0"))).result == b"0"
        await asyncio.to_thread(stack.broker.kill)
        calls = [asyncio.create_task(door.call(greeting(b"%d" % n, f"k{n}"))) for n in range(1, 40)]
        send = asyncio.create_task(door.send(greeting(b"s", "s")))
        await asyncio.to_thread(stack.broker.start)
        async with asyncio.timeout(SECONDS):
            replies = await asyncio.gather(*calls)
            await send
        assert [reply.result for reply in replies] == [b"%d" % n for n in range(1, 40)]
        assert (await door.call(greeting(b"after"))).result == b"after"
        assert door.waiting == 0


@pytest.mark.timeout(240)
@pytest.mark.expects_errors("Kafka (producer|consumer): _(ALL_BROKERS_DOWN|TRANSPORT)")
async def test_who_cannot_wait_for_the_broker_is_told(stack: Stack) -> None:
    async with gateway(stack, acknowledge_seconds=1.0) as door:
        await door.call(greeting(b"0"))
        await asyncio.to_thread(stack.broker.kill)
        asked = (
            door.call(greeting(b"1")),
            door.call(greeting(b"1", idempotency_key="k")),
            door.send(greeting(b"2")),
            door.signal(Signal(SignalKind.CANCEL, greeting(b"").id), wait=False),
            door.attach(greeting(b"").id),
        )
        async with asyncio.timeout(SECONDS):
            answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * 5
        assert all("acknowledged" in str(answer) for answer in answers)
        await asyncio.to_thread(stack.broker.start)
        async with asyncio.timeout(SECONDS):
            assert (await answered(door, b"3")) == b"3"


async def answered(door: Gateway, payload: bytes) -> bytes | None:
    """As a client does that is told to ask again."""
    while True:
        try:
            return (await door.call(greeting(payload, "again"))).result
        except Unavailable:
            await asyncio.sleep(0)


@pytest.mark.timeout(240)
@pytest.mark.expects_errors("Kafka (producer|consumer): _(ALL_BROKERS_DOWN|TRANSPORT)")
async def test_without_the_store_calls_go_on_and_questions_do_not(stack: Stack) -> None:
    async with gateway(stack) as door:
        await asyncio.to_thread(stack.store.kill)
        assert (await door.call(greeting(b"1"))).result == b"1"
        with pytest.raises(Unavailable, match="the store cannot be used now"):
            await door.known(greeting(b"").id)
        with pytest.raises(Unavailable, match="the store cannot be used now"):
            await door.service("Nobody")
        assert await door.service("Greeter") == GREETER
        await asyncio.to_thread(stack.store.start)
        async with asyncio.timeout(SECONDS):
            assert await known(door) is None


async def known(door: Gateway) -> object:
    while True:
        try:
            return await door.known(greeting(b"").id)
        except Unavailable:
            await asyncio.sleep(0)


@pytest.mark.timeout(240)
@pytest.mark.expects_errors("Kafka (producer|consumer): _(ALL_BROKERS_DOWN|TRANSPORT)")
async def test_a_gateway_starts_where_both_servers_answer_or_not_at_all(stack: Stack) -> None:
    await asyncio.to_thread(stack.store.kill)
    with pytest.raises(StoreUnavailable):
        await Gateway(settings(stack)).start()
    await asyncio.to_thread(stack.store.start)
    await asyncio.to_thread(stack.broker.kill)
    with pytest.raises(LogUnavailableError):
        await Gateway(settings(stack, request_seconds=1.0)).start()
