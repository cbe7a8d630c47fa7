"""The demo's own namespace on the servers: its topics are made before, and all that is in it is removed afterwards.

Called by `demo`. The removal uses the drivers directly: Barnabas itself deletes no topics.
"""

from __future__ import annotations

from uuid import uuid4

from barnabas.contract.topics import Create, plan
from barnabas.devstack.stack import Addresses
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from confluent_kafka.admin import AdminClient
from examples.flights.app import app
from redis import Redis

_SECONDS = 15.0
_KEYS_AT_ONCE = 1_000


class Namespace:
    """A namespace that nobody has used before."""

    def __init__(self, addresses: Addresses) -> None:
        self.name = f"flights-{uuid4().hex[:8]}"
        self._addresses = addresses
        self._creations = [
            step for step in plan(self.name, dict.fromkeys(app.services), {}) if isinstance(step, Create)
        ]
        self.admin = KafkaAdmin(KafkaSettings(bootstrap=addresses.kafka))

    async def create(self) -> None:
        """Make the topics. Raises LogUnavailableError."""
        for step in self._creations:
            await self.admin.create(step.topic, step.partitions, step.config)

    def partitions(self, topic: str) -> int:
        """How many partitions one of the namespace's topics has."""
        return next(step.partitions for step in self._creations if step.topic == topic)

    def remove(self) -> None:
        """Delete topics, consumer group and keys; the workers must have ended. Blocks for up to some seconds."""
        kafka = AdminClient({"bootstrap.servers": self._addresses.kafka, "log_level": 2})
        topics = [step.topic for step in self._creations]
        waits = list(kafka.delete_topics(topics, operation_timeout=_SECONDS).values())
        waits += kafka.delete_consumer_groups([f"{self.name}.workers"]).values()
        with Redis.from_url(self._addresses.redis) as store:
            batch: list[bytes] = []
            # The braces are those of the hash tags that all keys of a namespace begin with.
            for key in store.scan_iter(f"{{{self.name}[/}}]*", count=_KEYS_AT_ONCE):
                batch.append(key)
                if len(batch) == _KEYS_AT_ONCE:
                    store.unlink(*batch)
                    batch.clear()
            if batch:
                store.unlink(*batch)
        for wait in waits:
            wait.exception(_SECONDS)  # what was never made cannot be deleted, and what stays does no harm
