"""The demo's own namespace on the servers: its topics are made before, and all that is in it is removed afterwards.

Called by `demo`. The removal uses the drivers directly: Barnabas itself deletes no topics.
"""

from __future__ import annotations

from uuid import uuid4

from confluent_kafka.admin import AdminClient
from redis import Redis

from barnabas.cli.topic_setup import apply, compare
from barnabas.contract.topics import TopicNames
from barnabas.devstack.stack import Addresses
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from examples.flights.app import app

_SECONDS = 15.0
_KEYS_AT_ONCE = 1_000


class Namespace:
    """A namespace that nobody has used before."""

    def __init__(self, addresses: Addresses) -> None:
        self.name = f"flights-{uuid4().hex[:8]}"
        self._addresses = addresses
        self._topics: list[str] = []
        self.admin = KafkaAdmin(KafkaSettings(bootstrap=addresses.kafka))

    async def create(self) -> None:
        """Make the topics, as `barnabas topics apply` does. Raises LogUnavailableError."""
        found = await compare(self.admin, self.name, app)
        self._topics = found.topics
        await apply(self.admin, found)

    async def partitions(self) -> dict[str, int]:
        """How many partitions the topics of each service have. Raises LogUnavailableError."""
        names = TopicNames(self.name)
        counts = await self.admin.partitions(self._topics)
        return {service: counts[names.invocations(service)] for service in app.services}

    def remove(self) -> None:
        """Delete topics, consumer group and keys; the workers must have ended. Blocks for up to some seconds."""
        kafka = AdminClient({"bootstrap.servers": self._addresses.kafka, "log_level": 2})
        waits = list(kafka.delete_topics(self._topics, request_timeout=_SECONDS).values()) if self._topics else []
        waits += kafka.delete_consumer_groups([f"{self.name}.workers"], request_timeout=_SECONDS).values()
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
            wait.exception(_SECONDS + 1)  # what was never made cannot be deleted, and what stays does no harm
