"""The client while its broker is away; a broker of its own, since others use the session's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from barnabas.client.client import Client
from barnabas.client.errors import ClientClosed, KafkaUnreachable
from barnabas.contract.topics import TopicNames
from barnabas.devstack.stack import Stack
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from tests.integration.test_client import PARTITIONS, Responder

NAMES = TopicNames("outage")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    stack.up(store=False)
    yield stack
    stack.down()


async def test_calls_and_sends_go_on_when_the_broker_comes_back(stack: Stack) -> None:
    """What was asked before and during the outage is answered after it; a client that cannot flush says so."""
    kafka = stack.addresses.kafka
    admin = KafkaAdmin(KafkaSettings(bootstrap=kafka))
    for topic in (NAMES.invocations("Greeter"), NAMES.invocations("Plane"), NAMES.replies):
        await admin.create(topic, PARTITIONS, {})
    responder = Responder(kafka, NAMES)
    answering = asyncio.create_task(responder.run())
    async with Client(kafka, NAMES.namespace) as client, Client(kafka, NAMES.namespace) as impatient:
        assert await client.generic_call("Greeter", "greet", b"0") == b"0"
        await impatient.generic_send("Greeter", "greet", b"1")
        await asyncio.to_thread(stack.broker.kill)
        call = asyncio.create_task(client.generic_call("Greeter", "greet", b"2"))
        send = asyncio.create_task(client.generic_send("Plane", "depart", b"3", key="k"))
        lost = asyncio.create_task(impatient.generic_send("Greeter", "greet", b"4"))
        with pytest.raises(TimeoutError):
            await client.generic_call("Greeter", "greet", b"5", timeout=0.2)
        with pytest.raises(KafkaUnreachable, match="not acknowledged"):
            await impatient.aclose(flush_seconds=0.2)
        with pytest.raises(ClientClosed, match="closed before Kafka had the request"):
            await lost
        await asyncio.to_thread(stack.broker.start)
        assert await asyncio.wait_for(call, 60) == b"2"
        await asyncio.wait_for(send, 60)
        assert await client.generic_call("Greeter", "greet", b"6", timeout=60) == b"6"
    answering.cancel()
    await asyncio.wait([answering])
    payloads = [invocation.payload for _, _, invocation in responder.seen]
    assert sorted(payloads) == [b"0", b"1", b"2", b"3", b"5", b"6"]
