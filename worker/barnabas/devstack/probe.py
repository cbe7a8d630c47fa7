"""Questions to a running broker and store: do they take writes, how are they set? The one file here with drivers.

Used by `broker` and `store` to see when they are ready, and by `doctor`. Drivers are imported when a question is asked,
since `pytest_plugin` is imported in every pytest run and must stay cheap.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from barnabas.devstack.errors import ServerUnreachableError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

READY_TOPIC = "__barnabas_ready"
ANSWER_SECONDS = 10.0
NO_OPTIONS: Mapping[str, str | int | float | bool] = MappingProxyType({})


def accepts_connections(port: int) -> bool:
    """Whether something listens on that port of the loopback interface."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def broker_acknowledges(address: str, seconds: float) -> bool:
    """Whether an idempotent produce is acknowledged within that time.

    A broker whose port is open refuses idempotent producers for about another second (PITFALLS 20c).
    """
    from confluent_kafka import Producer

    deadline = time.monotonic() + seconds
    settings = {
        "bootstrap.servers": address,
        "enable.idempotence": True,
        "linger.ms": 0,
        "message.timeout.ms": int(seconds * 1000) + 1,
        "log_level": 0,
    }
    # A fresh broker answers the first request for a producer id with "loading", and librdkafka asks again only after
    # half a second. This producer, a little ahead of the other, takes that answer.
    first = Producer(settings)
    if not _make_ready_topic(address, seconds):
        return False
    delivered: list[bool] = []
    producer = Producer(settings)
    producer.produce(READY_TOPIC, b"ready", on_delivery=lambda error, _message: delivered.append(error is None))
    while not delivered and time.monotonic() < deadline:
        producer.poll(0.05)
    if not delivered:
        producer.purge()
        producer.flush(1)
    first.flush(0)
    return any(delivered)


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the brokers describe it; `settings` are those in force, inherited ones included."""

    partitions: int
    replicas: int  # of the partition that has fewest
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """A cluster as one of its brokers describes it; `settings` are that broker's."""

    brokers: int
    settings: dict[str, str]
    topics: dict[str, TopicFacts]  # only those of the prefix that was asked for


def broker_facts(
    address: str,
    prefix: str,
    seconds: float = ANSWER_SECONDS,
    options: Mapping[str, str | int | float | bool] = NO_OPTIONS,
) -> BrokerFacts:
    """What the cluster at that address says of itself and of the topics whose names start with `prefix`.

    `options` are librdkafka's, for clusters that take TLS or SASL.

    Raises ServerUnreachableError where it does not answer in time, or refuses to describe itself.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]  # re-exported without saying so

    from barnabas.log.kafka_complaints import without_value

    try:
        client = _admin(address, options)
    except KafkaException as error:
        what = without_value(error)
        raise ServerUnreachableError(f"The broker cannot be reached with these Kafka options: {what}") from None
    try:
        metadata = client.list_topics(timeout=seconds)
        names = sorted(name for name in metadata.topics if name.startswith(prefix))
        broker = ConfigResource(ConfigResource.Type.BROKER, str(min(metadata.brokers)))
        topics = {name: ConfigResource(ConfigResource.Type.TOPIC, name) for name in names}
        answers = client.describe_configs([broker, *topics.values()], request_timeout=seconds)
        settings = {
            resource: {name: str(entry.value) for name, entry in answer.result(timeout=seconds).items()}
            for resource, answer in answers.items()
        }
    except (KafkaException, TimeoutError) as error:
        raise ServerUnreachableError(f"The broker at {address} does not say how it is set: {error}") from error
    described = {
        name: TopicFacts(
            partitions=len(metadata.topics[name].partitions),
            replicas=min(len(partition.replicas) for partition in metadata.topics[name].partitions.values()),
            settings=settings[resource],
        )
        for name, resource in topics.items()
    }
    return BrokerFacts(len(metadata.brokers), settings[broker], described)


def _admin(address: str, options: Mapping[str, str | int | float | bool] = NO_OPTIONS) -> AdminClient:
    """An admin client that keeps quiet while a broker is not there yet."""
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.ms": 50, **options})


def _make_ready_topic(address: str, seconds: float) -> bool:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.cimpl import NewTopic

    topic = NewTopic(READY_TOPIC, num_partitions=1, replication_factor=1, config={"retention.ms": "60000"})
    client = _admin(address)  # must live until its answer has come
    [made] = client.create_topics([topic], request_timeout=seconds).values()
    try:
        made.result(timeout=seconds)
    except KafkaException as error:
        return bool(error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS)
    except TimeoutError:
        return False
    return True


def store_answers(address: str) -> bool:
    """Whether the store at that URL takes commands (it refuses them while it reads its files)."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    with Redis.from_url(address, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)) as store:
        try:
            return bool(store.ping())
        except (RedisError, OSError):
            return False
