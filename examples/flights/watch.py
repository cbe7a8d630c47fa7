"""How far the demo's invocations are, read from the shards' bookkeeping in the store: a few dozen small reads.

What a shard has done is what it has read from its topic, less what still lives in it. An outbox record that was
produced again after a crash is read, and dropped, once more: then a service reads more records than it has invocations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from barnabas.contract.topics import TopicNames
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.store import keys
from barnabas.store.port import Query, Shard
from barnabas.store.redis import RedisStore

_QUESTIONS: tuple[Query, ...] = (
    ("HMGET", keys.META, b"inv", b"owner"),
    ("HLEN", keys.LIVE),
    ("HLEN", keys.SPILL),
    ("HLEN", keys.OUTBOX),
)


@dataclass(slots=True)
class Standing:
    """How far one service is, over all its shards."""

    read: int = 0  # records of its invocations topic
    waiting: int = 0  # invocations among them that are not finished
    outbox: int = 0  # records that it still has to produce
    owners: set[str] = field(default_factory=set)  # of its shards; "" for one without

    @property
    def done(self) -> int:
        """Invocations that are finished, and records dropped as repetitions."""
        return self.read - self.waiting

    @property
    def is_quiet(self) -> bool:
        """Whether it has nothing left to do of what it has read."""
        return not (self.waiting or self.outbox)


class Watch:
    """Looks at the services of one namespace. Raises StoreUnavailable and LogUnavailableError."""

    def __init__(self, store: RedisStore, admin: KafkaAdmin, names: TopicNames, partitions: Mapping[str, int]) -> None:
        self._store = store
        self._admin = admin
        self._topics = {
            names.invocations(service): (service, list(range(count))) for service, count in partitions.items()
        }
        self._shards = [Shard(service, number) for service, count in partitions.items() for number in range(count)]

    async def look(self) -> dict[str, Standing]:
        """Where each service stands."""
        answers = iter(await self._store.read([(shard, query) for shard in self._shards for query in _QUESTIONS]))
        found: dict[str, Standing] = {}
        for shard in self._shards:
            (offset, owner), live, spilled, outbox = (next(answers) for _ in _QUESTIONS)
            standing = found.setdefault(shard.service, Standing())
            standing.read += int(offset or 0)
            standing.waiting += live + spilled
            standing.outbox += outbox
            standing.owners.add((owner or b"").decode())
        return found

    async def is_settled(self) -> bool:
        """Whether all that was produced is done, and nothing can be produced any more by what was.

        Called when a look has found everything quiet: then the topics' ends stand, and whoever has read up to them and
        is still quiet has nothing to come.
        """
        ends = dict.fromkeys((service for service, _ in self._topics.values()), 0)
        partitions = [(topic, number) for topic, (_, numbers) in self._topics.items() for number in numbers]
        for (topic, _), (_, end) in (await self._admin.end_offsets(partitions)).items():
            ends[self._topics[topic][0]] += end
        standings = await self.look()
        return all(one.is_quiet and one.read == ends[service] for service, one in standings.items())
