"""Invocations from any Kafka client: envelopes of `barnabas.Client`, raw records, and records nobody can read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import barnabas
from barnabas.contract.codec import decode_dead_letter
from barnabas.contract.records import DeadLetter
from barnabas.contract.topics import TopicNames
from tests.scenario.greeting_app import add, app, greet, read, refuse, tour
from tests.scenario.live_worker import Servers, worker

PARTITIONS = 4
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Installation:
    """One namespace with a worker in it, and a client."""

    def __init__(self, servers: Servers, namespace: str, client: barnabas.Client) -> None:
        self.servers = servers
        self.names = TopicNames(namespace)
        self.client = client
        self.producer = Producer({"bootstrap.servers": servers.kafka})

    def raw(self, service: str, key: str | None, value: bytes, headers: dict[str, str]) -> None:
        """What kcat does: librdkafka's own partitioner, which is not ours."""
        pairs = [(name, text.encode()) for name, text in headers.items()]
        self.producer.produce(self.names.invocations(service), value, key, headers=pairs)
        assert self.producer.flush(10) == 0

    async def counted(self, key: str, value: int) -> None:
        """Wait until the key's count has this value."""
        deadline = time.monotonic() + 20
        while (found := await self.client.object_call(read, key=key, arg=None, timeout=20)) != value:
            assert time.monotonic() < deadline, f"{key} is {found}, not {value}"
            await asyncio.sleep(0.02)

    async def dead_letters(self, count: int) -> list[DeadLetter]:
        """The first `count` dead letters of the namespace."""
        consumer = Consumer({"bootstrap.servers": self.servers.kafka, "group.id": "unused"})
        partitions = consumer.list_topics(self.names.dead_letters).topics[self.names.dead_letters].partitions
        consumer.assign([TopicPartition(self.names.dead_letters, p, 0) for p in partitions])
        letters: list[DeadLetter] = []
        deadline = time.monotonic() + 20
        while len(letters) < count and time.monotonic() < deadline:
            message = await asyncio.to_thread(consumer.poll, 0.2)
            if message is not None and message.error() is None:
                letters.append(decode_dead_letter(message.value()))
        consumer.close()
        return letters


@pytest.fixture
async def installation(barnabas_stack: Servers) -> AsyncIterator[Installation]:
    namespace = f"rec-{uuid4().hex[:8]}"
    async with (
        worker(barnabas_stack, namespace, "tests.scenario.greeting_app:app", app, PARTITIONS),
        barnabas.Client(barnabas_stack.kafka, namespace) as client,
    ):
        yield Installation(barnabas_stack, namespace, client)


async def test_a_client_calls_services_and_objects_and_gets_results_and_terminal_errors(
    installation: Installation,
) -> None:
    client = installation.client
    assert await client.service_call(greet, arg="Ada", timeout=20) == "Hello Ada"
    assert await client.object_call(add, key="a/b ü", arg=4, timeout=20) == 4
    assert await client.object_call(read, key="a/b ü", arg=None, timeout=20) == 4
    with pytest.raises(barnabas.TerminalError) as caught:
        await client.service_call(refuse, arg=418, timeout=20)
    assert (caught.value.status_code, caught.value.message, caught.value.metadata) == (418, "no", {"why": "asked to"})


async def test_a_handler_calls_steps_sleeps_and_sends(installation: Installation) -> None:
    assert await installation.client.service_call(tour, arg="Eve", timeout=20) == ["Hello Eve", "stepped", "2"]
    await installation.counted("Eve", 5)


async def test_raw_records_run_handlers_wherever_the_producer_put_them(installation: Installation) -> None:
    """Forty keys over four partitions: three in four lie in the wrong one and are sent on, once each."""
    for i in range(40):
        installation.raw("Counter", f"raw{i}", b"1", {"barnabas-handler": "add"})
    for i in range(40):
        await installation.counted(f"raw{i}", 1)


async def test_a_raw_record_may_carry_a_trace_and_a_service_needs_no_key(installation: Installation) -> None:
    installation.raw("Greeter", None, b'"nobody waits for this"', {"barnabas-handler": "greet", "traceparent": TRACE})
    installation.raw("Greeter", None, b'"x"', {"barnabas-handler": "tour"})
    await installation.counted("x", 5)


async def test_what_nobody_can_read_becomes_a_dead_letter_and_its_neighbours_run(installation: Installation) -> None:
    """F21, F22: random bytes, a tombstone, no key, a key that is no text, a handler header twice."""
    topic = installation.names.invocations("Counter")
    bad: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (b"k", b"\x00\x01garbage", []),
        (b"k", b"", []),
        (b"k", None, []),
        (None, b"1", [("barnabas-handler", b"add")]),
        (b"\xff\xfe", b"1", [("barnabas-handler", b"add")]),
        (b"k", b"1", [("barnabas-handler", b"add"), ("barnabas-handler", b"read")]),
    ]
    for key, value, headers in bad:
        installation.producer.produce(topic, value, key, headers=headers)
    installation.raw("Counter", "good", b"1", {"barnabas-handler": "add"})
    await installation.counted("good", 1)
    letters = await installation.dead_letters(len(bad))
    assert len(letters) == len(bad)
    assert {letter.topic for letter in letters} == {topic}
    assert all(letter.offset >= 0 and letter.reason and letter.detail for letter in letters)


async def test_input_that_does_not_fit_the_handler_is_the_callers_error(installation: Installation) -> None:
    with pytest.raises(barnabas.TerminalError, match="Unable to parse an input argument") as caught:
        await installation.client.generic_call("Counter", "add", b'"secret"', key="k", timeout=20)
    assert caught.value.status_code == 400
    assert "secret" not in str(caught.value)
