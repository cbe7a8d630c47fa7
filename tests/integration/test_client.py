"""The asyncio client against a real Kafka; a stub that answers stands in for the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import BaseModel

import barnabas
from barnabas.client.client import Client
from barnabas.client.errors import ClientClosed, KafkaUnreachable, RequestTooLarge, UnknownNamespace, UnknownService
from barnabas.contract.codec import decode_invocation, encode_reply
from barnabas.contract.ids import InvocationId
from barnabas.contract.partitioning import murmur2, partition_hash, partition_of
from barnabas.contract.records import Failure, Invocation, Reply
from barnabas.contract.topics import TopicNames
from barnabas.devstack.stack import Addresses
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings

PARTITIONS = 3
Answer = Callable[[Invocation], Awaitable[list[Reply]]]


class Flight(BaseModel):
    tail: str


class Totals(BaseModel):
    flights: int


greeter = barnabas.Service("Greeter")
plane = barnabas.VirtualObject("Plane")


@greeter.handler()
async def greet(ctx: barnabas.Context, name: str) -> str:
    raise AssertionError("the stub answers")


@plane.handler()
async def depart(ctx: barnabas.ObjectContext, flight: Flight) -> Totals:
    raise AssertionError("the stub answers")


class Responder:
    """Reads what is produced, keeps it, and answers as it is told."""

    def __init__(self, kafka: str, names: TopicNames) -> None:
        self._kafka = kafka
        self._names = names
        self.seen: list[tuple[int, bytes, Invocation]] = []  # partition, record key, invocation
        self.changed = asyncio.Condition()
        self.answer: Answer = self.echo

    async def run(self) -> None:
        topics = [self._names.invocations(service) for service in ("Greeter", "Plane")]
        places = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka, auto_offset_reset="earliest", enable_auto_commit=False
        )
        producer = AIOKafkaProducer(bootstrap_servers=self._kafka)
        consumer.assign(places)
        async with consumer, producer:
            while True:
                for records in (await consumer.getmany(timeout_ms=60_000)).values():
                    for record in records:
                        invocation = decode_invocation(record.value)
                        self.seen.append((record.partition, record.key, invocation))
                        for reply in await self.answer(invocation):
                            await producer.send(
                                self._names.replies,
                                encode_reply(reply),
                                reply.client.encode(),
                                partition_of(partition_hash(reply.client.encode()), PARTITIONS),
                            )
                async with self.changed:
                    self.changed.notify_all()

    async def echo(self, invocation: Invocation) -> list[Reply]:
        return [] if invocation.reply_to is None else [reply_to(invocation, invocation.payload)]

    async def saw(self, number: int) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: len(self.seen) >= number)


def reply_to(invocation: Invocation, result: bytes | None = None, failure: Failure | None = None) -> Reply:
    assert invocation.reply_to is not None
    return Reply(invocation.reply_to.client, invocation.reply_to.request, invocation.id, result, failure)


@pytest.fixture
async def names(barnabas_stack: Addresses) -> TopicNames:
    names = TopicNames(f"client-{uuid4().hex[:8]}")
    admin = KafkaAdmin(KafkaSettings(bootstrap=barnabas_stack.kafka))
    for topic in (names.invocations("Greeter"), names.invocations("Plane"), names.replies):
        await admin.create(topic, PARTITIONS, {})
    return names


@pytest.fixture
async def responder(barnabas_stack: Addresses, names: TopicNames) -> AsyncIterator[Responder]:
    responder = Responder(barnabas_stack.kafka, names)
    running = asyncio.create_task(responder.run())
    yield responder
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.fixture
async def client(barnabas_stack: Addresses, names: TopicNames) -> AsyncIterator[Client]:
    async with Client(barnabas_stack.kafka, names.namespace) as client:
        yield client


async def test_a_call_returns_the_typed_result(client: Client, responder: Responder) -> None:
    assert await client.service_call(greet, "Ada", headers={"a": "b"}) == "Ada"
    (partition, key, invocation) = responder.seen[0]
    assert (invocation.service, invocation.handler, invocation.key) == ("Greeter", "greet", None)
    assert invocation.headers == {"a": "b"}
    assert invocation.label is None
    assert key == invocation.id[8:].hex().encode()
    assert partition == (murmur2(key) & 0x7FFFFFFF) % PARTITIONS


async def test_an_object_call_is_keyed_by_the_objects_key(client: Client, responder: Responder) -> None:
    async def totals(invocation: Invocation) -> list[Reply]:
        assert Flight.model_validate_json(invocation.payload).tail == "N1"
        return [reply_to(invocation, b'{"flights":7}')]

    responder.answer = totals
    assert await client.object_call(depart, "a/b ü", Flight(tail="N1")) == Totals(flights=7)
    partition, key, invocation = responder.seen[0]
    assert key == "a/b ü".encode()
    assert invocation.key == "a/b ü"
    assert partition == (murmur2(key) & 0x7FFFFFFF) % PARTITIONS


async def test_a_terminal_error_reaches_the_caller_with_code_message_and_metadata(
    client: Client, responder: Responder
) -> None:
    async def fail(invocation: Invocation) -> list[Reply]:
        return [reply_to(invocation, failure=Failure(418, "no tea", {"pot": "blue"}))]

    responder.answer = fail
    with pytest.raises(barnabas.TerminalError, match="no tea") as caught:
        await client.service_call(greet, "Ada")
    assert (caught.value.status_code, caught.value.metadata) == (418, {"pot": "blue"})


async def test_bytes_go_through_a_generic_call(client: Client, responder: Responder) -> None:
    assert await client.generic_call("Plane", "depart", b"\x00\xff", key="k") == b"\x00\xff"


async def test_a_send_waits_for_no_result_and_knows_its_id(client: Client, responder: Responder) -> None:
    sent = await client.object_send(depart, "k", Flight(tail="N2"))
    await responder.saw(1)
    _, _, invocation = responder.seen[0]
    assert sent.invocation_id == str(InvocationId(invocation.id))
    assert invocation.reply_to is None


async def test_gathered_sends_to_one_key_keep_their_order(client: Client, responder: Responder) -> None:
    number = 3_000  # more than one batch holds
    payloads = [b"%d " % i + b"x" * 1_000 for i in range(number)]
    await asyncio.gather(*(client.generic_send("Plane", "depart", payload, key="k") for payload in payloads))
    await responder.saw(number)
    assert [invocation.payload for _, _, invocation in responder.seen] == payloads


async def test_ten_thousand_calls_at_once_each_get_their_own_result(client: Client, responder: Responder) -> None:
    results = await asyncio.gather(*(client.service_call(greet, f"n{i}") for i in range(10_000)))
    assert results == [f"n{i}" for i in range(10_000)]
    assert client.late_replies == 0


async def test_clients_that_share_a_partition_get_only_their_own_results(
    barnabas_stack: Addresses, names: TopicNames, responder: Responder
) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(Client(barnabas_stack.kafka, names.namespace))
            for _ in range(PARTITIONS + 1)
        ]
        for round_ in range(5):
            calls = [client.service_call(greet, f"{round_}/{i}") for i, client in enumerate(clients)]
            assert await asyncio.gather(*calls) == [f"{round_}/{i}" for i in range(len(clients))]
        assert [client.late_replies for client in clients] == [0] * len(clients)


async def test_late_and_second_replies_are_dropped_and_counted(client: Client, responder: Responder) -> None:
    """F54: the caller has gone when the reply comes; a reply comes twice."""
    held: list[Reply] = []

    async def hold_then_say_twice(invocation: Invocation) -> list[Reply]:
        if invocation.payload == b'"late"':
            held.append(reply_to(invocation, b"1"))
            return []
        return [*held, reply_to(invocation, b'"first"'), reply_to(invocation, b'"second"')]

    responder.answer = hold_then_say_twice
    cancelled = asyncio.create_task(client.service_call(greet, "late"))
    await responder.saw(1)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await client.service_call(greet, "now") == "first"
    # The second reply lies behind the first in the same partition: the next call's result comes after it.
    held.clear()
    assert await client.service_call(greet, "again") == "first"
    assert client.late_replies >= 2


async def test_a_call_times_out_and_is_forgotten(client: Client, responder: Responder) -> None:
    async def nothing(invocation: Invocation) -> list[Reply]:
        return []

    await client.service_call(greet, "the connections are there")
    responder.answer = nothing
    with pytest.raises(TimeoutError):
        await client.service_call(greet, "Ada", timeout=0.05)
    assert client._exchange._replies is not None
    assert client._exchange._replies._expected == {}
    responder.answer = responder.echo
    assert await client.service_call(greet, "Bob", timeout=30) == "Bob"


async def test_closing_ends_calls_in_flight(barnabas_stack: Addresses, names: TopicNames, responder: Responder) -> None:
    async def nothing(invocation: Invocation) -> list[Reply]:
        return []

    responder.answer = nothing
    async with Client(barnabas_stack.kafka, names.namespace) as client:
        call = asyncio.create_task(client.service_call(greet, "Ada"))
        await responder.saw(1)
    with pytest.raises(ClientClosed, match="goes on"):
        await call
    with pytest.raises(ClientClosed):
        await client.service_send(greet, "Ada")


async def test_a_service_without_topics_is_named(client: Client) -> None:
    with pytest.raises(UnknownService, match=r"no service 'Greter'.*barnabas topics apply") as caught:
        await client.generic_send("Greter", "greet", b"")
    assert caught.value.status_code == 404


async def test_a_namespace_without_topics_is_named(barnabas_stack: Addresses) -> None:
    async with Client(barnabas_stack.kafka, "nowhere") as client:
        with pytest.raises(UnknownNamespace, match="'nowhere' is not set up"):
            await client.service_call(greet, "Ada")


async def test_a_request_that_is_too_large_is_refused_here(client: Client) -> None:
    with pytest.raises(RequestTooLarge, match="too large for Kafka: 20000"):
        await client.generic_send("Greeter", "greet", b"x" * 2_000_000)


async def test_one_refused_record_does_not_end_the_client(barnabas_stack: Addresses, names: TopicNames) -> None:
    """A topic with a lower limit than ours refuses a batch; aiokafka's producer could send nothing more there."""
    admin = KafkaAdmin(KafkaSettings(bootstrap=barnabas_stack.kafka))
    await admin.create(names.invocations("Small"), 1, {"max.message.bytes": "10000"})
    async with Client(barnabas_stack.kafka, names.namespace) as client:
        for _ in range(2):
            with pytest.raises(RequestTooLarge):
                await client.generic_send("Small", "take", b"x" * 20_000)
            await client.generic_send("Small", "take", b"y")
        with pytest.raises(RequestTooLarge):
            await client.generic_call("Small", "take", b"x" * 20_000)


async def test_a_broker_that_is_not_there_is_named() -> None:
    with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:9"):
        async with Client("127.0.0.1:9"):
            pass
