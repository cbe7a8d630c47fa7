"""Topics and their facts, from Kafka. Called at start-up and by the commands, never on the hot path.

librdkafka's admin requests answer through futures; waiting for those happens on threads, the loop goes on.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    TopicDescription,
)

from barnabas.log.kafka_complaints import without_value
from barnabas.log.port import LogUnavailableError
from barnabas.log.settings import KafkaSettings

_VISIBLE_POLL_SECONDS = 0.05
_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})
_REFUSED = frozenset(
    {
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
    }
)

_UNAVAILABLE = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)

T = TypeVar("T")


class KafkaAdmin:
    """Implements the port `Admin`. Raises `LogUnavailableError` when the brokers do not answer in `request_seconds`.

    Made before any other client of a process: also raises it for options that librdkafka does not take.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._seconds = settings.request_seconds
        self._shut_out = ""  # why brokers do not let us in; requests only say that they timed out
        own: dict[str, Any] = {**settings.common(), "log_level": 2, "error_cb": self._on_error}
        try:
            self._driver = AdminClient({**own, **settings.options})
        except KafkaException as error:
            raise LogUnavailableError(f"Kafka cannot be reached with these options: {without_value(error)}") from None

    async def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        found = await asyncio.to_thread(self._describe, topics)
        return {topic: len(description.partitions) for topic, description in found.items()}

    async def topic_ids(self, topics: Sequence[str]) -> dict[str, bytes]:
        found = await asyncio.to_thread(self._describe, topics)
        return {topic: _sixteen_bytes(description) for topic, description in found.items()}

    async def create(self, topic: str, partitions: int, config: Mapping[str, str], copies: int | None = None) -> None:
        """Returns once the topic is there for every client. One that exists already must have as many partitions.

        Raises `ValueError` if it has not, or if the broker will not have the topic as asked for.
        """
        await asyncio.to_thread(self._create, topic, partitions, dict(config), copies)

    async def configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        return await asyncio.to_thread(self._configs, topics)

    async def set_configs(self, topic: str, config: Mapping[str, str]) -> None:
        await asyncio.to_thread(self._set_configs, topic, config)

    async def brokers(self) -> int:
        cluster = await asyncio.to_thread(self._answer, self._driver.describe_cluster(request_timeout=self._seconds))
        return len(cluster.nodes)

    async def end_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        return await asyncio.to_thread(self._end_offsets, partitions)

    async def offsets_at(self, partitions: Sequence[tuple[str, int]], time_ms: int) -> dict[tuple[str, int], int]:
        return await asyncio.to_thread(self._offsets_at, partitions, time_ms)

    # Blocking, on threads.

    def _describe(self, topics: Sequence[str]) -> dict[str, TopicDescription]:
        if not topics:
            return {}
        futures = self._driver.describe_topics(TopicCollection(list(topics)), request_timeout=self._seconds)
        found = {}
        for topic, future in futures.items():
            try:
                found[topic] = self._answer(future)
            except KafkaException as error:
                if error.args[0].code() not in _MISSING:
                    raise
        return found

    def _create(self, topic: str, partitions: int, config: dict[str, str], copies: int | None) -> None:
        wanted = NewTopic(topic, num_partitions=partitions, replication_factor=copies or -1, config=config)
        future = self._driver.create_topics([wanted], request_timeout=self._seconds)[topic]
        try:
            self._answer(future)
        except KafkaException as error:
            code = error.args[0].code()
            if code in _REFUSED:
                raise ValueError(f"Kafka will not create the topic {topic}: {error.args[0].str()}") from error
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        self._await_leaders(topic, partitions)

    def _await_leaders(self, topic: str, partitions: int) -> None:
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            description = self._describe([topic]).get(topic)
            if description is not None:
                if len(description.partitions) != partitions:
                    raise ValueError(
                        f"the topic {topic} exists with {len(description.partitions)} partitions, not {partitions}; "
                        "a partition count cannot be changed without moving keys"
                    )
                if all(part.leader is not None and part.leader.id >= 0 for part in description.partitions):
                    return
            time.sleep(_VISIBLE_POLL_SECONDS)
        raise LogUnavailableError(f"the new topic {topic} has no leaders after {self._seconds:.0f} s")

    def _configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
        futures = self._driver.describe_configs(resources, request_timeout=self._seconds)
        found = {}
        for resource, future in futures.items():
            try:
                entries = self._answer(future)
            except KafkaException as error:
                if error.args[0].code() not in _MISSING:
                    raise
            else:
                found[resource.name] = {name: entry.value for name, entry in entries.items() if entry.value is not None}
        return found

    def _set_configs(self, topic: str, config: Mapping[str, str]) -> None:
        changes = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=changes)
        futures = self._driver.incremental_alter_configs([resource], request_timeout=self._seconds)
        try:
            self._answer(futures[resource])
        except KafkaException as error:
            if error.args[0].code() not in _REFUSED | _MISSING:
                raise
            raise ValueError(f"Kafka will not change the topic {topic}: {error.args[0].str()}") from error

    def _end_offsets(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        first = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        end = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {key: (first[key], end[key]) for key in partitions}

    def _offsets_at(self, partitions: Sequence[tuple[str, int]], time_ms: int) -> dict[tuple[str, int], int]:
        # The end first: what is appended between the two questions is not before it.
        end = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        found = self._offsets(partitions, OffsetSpec.for_timestamp(time_ms))
        return {key: end[key] if offset < 0 else offset for key, offset in found.items()}

    def _offsets(self, partitions: Sequence[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        if not partitions:
            return {}
        request = {TopicPartition(topic, partition): spec for topic, partition in partitions}
        futures = self._driver.list_offsets(request, request_timeout=self._seconds)
        return {(key.topic, key.partition): self._answer(future).offset for key, future in futures.items()}

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            self._shut_out = f": {error.str()}"

    def _answer(self, future: Future[T]) -> T:
        try:
            return future.result(self._seconds + 1)
        except TimeoutError as error:
            self._driver.poll(0)
            raise LogUnavailableError(f"Kafka did not answer in time{self._shut_out}") from error
        except KafkaException as error:
            if error.args[0].code() in _UNAVAILABLE or error.args[0].retriable():
                self._driver.poll(0)
                raise LogUnavailableError(f"Kafka cannot answer now: {error.args[0].str()}{self._shut_out}") from error
            raise


def _sixteen_bytes(description: TopicDescription) -> bytes:
    return base64.urlsafe_b64decode(str(description.topic_id) + "==")  # Kafka writes ids in base64 without padding
