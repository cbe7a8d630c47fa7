"""Which topic the shards of a subscription read. Used by its process."""

from __future__ import annotations

from barnabas.runtime.subscribing.source import family_of
from barnabas.sdk.subscription import Subscription
from barnabas.store.port import Shard
from barnabas.worker.places import Place


class SubscribedPlaces:
    """The partitions of a subscribed topic, which belongs to somebody else and has no signals."""

    def __init__(self, subscription: Subscription) -> None:
        self._topic = subscription.topic
        self._family = family_of(subscription)

    def intake(self, shard: Shard) -> str:
        return self._topic

    def signals(self, shard: Shard) -> str | None:
        return None

    def of(self, topic: str, partition: int) -> Place | None:
        return Place(Shard(self._family, partition), True) if topic == self._topic else None
