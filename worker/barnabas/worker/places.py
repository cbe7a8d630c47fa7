"""Which topics a shard reads: the driver and what is around it know shards by these, whatever kind they are of."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from barnabas.contract.topics import TopicNames
from barnabas.store.port import Shard


class Place(NamedTuple):
    """A partition of a topic as its shard sees it."""

    shard: Shard
    is_intake: bool  # the topic that is held back under pressure; else signals


class Places(Protocol):
    """The topics of one kind of shards."""

    def intake(self, shard: Shard) -> str:
        """The topic with new work, which the group assigns by."""

    def signals(self, shard: Shard) -> str | None:
        """The topic that is never held back, if there is one."""

    def of(self, topic: str, partition: int) -> Place | None:
        """What a partition is; None if it is none of these shards'."""


class ServicePlaces:
    """The shards of services: invocations and signals."""

    def __init__(self, names: TopicNames) -> None:
        self._names = names

    def intake(self, shard: Shard) -> str:
        return self._names.invocations(shard.service)

    def signals(self, shard: Shard) -> str | None:
        return self._names.signals(shard.service)

    def of(self, topic: str, partition: int) -> Place | None:
        place = self._names.service_of(topic)
        return None if place is None else Place(Shard(place[0], partition), place[1] == "invocations")
