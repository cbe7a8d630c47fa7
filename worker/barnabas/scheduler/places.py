"""Which topic the scheduler's shards read. Used by its process."""

from __future__ import annotations

from barnabas.contract.topics import TopicNames
from barnabas.runtime.scheduling.scheduler import FAMILY
from barnabas.store.port import Shard
from barnabas.worker.places import Place


class DelayPlaces:
    """The partitions of `delays`, where invocations and signals lie together."""

    def __init__(self, names: TopicNames) -> None:
        self._delays = names.delays

    def intake(self, shard: Shard) -> str:
        return self._delays

    def signals(self, shard: Shard) -> str | None:
        return None

    def of(self, topic: str, partition: int) -> Place | None:
        return Place(Shard(FAMILY, partition), True) if topic == self._delays else None
