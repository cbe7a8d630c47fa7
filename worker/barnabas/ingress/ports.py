"""What a gateway stands on: the ports of store and log. `real_ports` picks the adapters, tests give others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from barnabas.ingress.settings import GatewaySettings
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.kafka_consumer import AssignedConsumer
from barnabas.log.kafka_producer import ProducerSession
from barnabas.log.kafka_reader import KafkaReader
from barnabas.log.port import Admin, Consumer, ConsumerEvents, Producer, ProducerEvents, Reader
from barnabas.store.port import Store
from barnabas.store.redis import RedisStore, check_settings


class OpenSession(Protocol):
    """Opens a producer session."""

    def __call__(self, events: ProducerEvents, *, one_by_one: bool) -> Producer: ...


class ClosableReader(Reader, Protocol):
    """A reader that is closed in the end."""

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """One of each."""

    store: Store
    admin: Admin
    reader: ClosableReader
    open_session: OpenSession
    open_consumer: Callable[[ConsumerEvents], Consumer]


def real_ports(settings: GatewaySettings) -> Ports:
    """Kafka and Redis; connects to nothing yet. Called on the event loop."""
    kafka, loop = settings.log(), asyncio.get_running_loop()

    def open_session(events: ProducerEvents, *, one_by_one: bool) -> Producer:
        return ProducerSession(kafka, events, loop, one_by_one=one_by_one)

    return Ports(
        RedisStore(settings.redis.get_secret_value(), settings.namespace),
        KafkaAdmin(kafka),
        KafkaReader(kafka),
        open_session,
        lambda events: AssignedConsumer(kafka, events, loop),
    )


async def check_store(store: Store) -> None:
    """Raises UnsafeStore for a server whose settings would lose work, StoreUnavailable if there is none."""
    if isinstance(store, RedisStore):
        check_settings(await store.settings())
