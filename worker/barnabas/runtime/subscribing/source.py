"""What the shards of one subscription have in common. Made by its process, read by the engine."""

from __future__ import annotations

from dataclasses import dataclass

from barnabas.runtime.subscribing.formats import Format
from barnabas.sdk.subscription import Subscription

#: Before the name of a subscription, where other shards have that of a service; no service can have it.
FAMILY = "@subscription."


@dataclass(frozen=True, slots=True)
class Source:
    """A subscription, and its topic as it was found."""

    subscription: Subscription
    topic_id: bytes  # 16 bytes; a topic that is deleted and made again has another
    partitions: int
    format: Format
    starts: dict[int, int]  # where to begin, by partition, if the store does not say; others begin at the first record

    @property
    def family(self) -> str:
        """What its shards are called."""
        return family_of(self.subscription)


def family_of(subscription: Subscription) -> str:
    """What the shards of a subscription are called where others have the name of a service."""
    return FAMILY + subscription.name
