"""Where a subscription stands in one partition, as fields of its shard's meta hash.

Written with the first commit and read after a take, by the process before it starts, and by `barnabas subscriptions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from barnabas.store import keys
from barnabas.store.port import Op


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store says of one partition. `next` None: nothing was read yet, and the first record comes first."""

    topic: str
    topic_id: bytes
    partitions: int  # that the topic had when the subscription first began
    round: int  # how often the subscription was set to another place
    next: int | None

    def mismatch(self, topic: str, topic_id: bytes) -> str | None:
        """Why a subscription to this topic cannot go on from here; None if it can."""
        if self.topic != topic:
            return f"it has read the topic {self.topic} so far, and is for {topic} now"
        if self.topic_id != topic_id:
            return (
                f"the topic {topic} was deleted and made again: the offsets that were read are of the former one, "
                "and nobody knows what of it was not read"
            )
        return None


def standing_of(meta: Mapping[bytes, bytes]) -> Standing | None:
    """What a shard's meta hash says; None if the subscription has never begun there."""
    if b"tid" not in meta:
        return None
    return Standing(
        meta[b"topic"].decode(),
        meta[b"tid"],
        int(meta[b"parts"]),
        int(meta[b"round"]),
        int(meta[b"inv"]) if b"inv" in meta else None,
    )


def begin(standing: Standing) -> Op:
    """The operation that writes all of it."""
    fields: list[bytes | int | str] = [
        b"topic",
        standing.topic,
        b"tid",
        standing.topic_id,
        b"parts",
        standing.partitions,
        b"round",
        standing.round,
    ]
    if standing.next is not None:
        fields += (b"inv", standing.next)
    return ("HSET", keys.META, *fields)


def remedy(name: str) -> str:
    """What a person can do about a subscription that has stopped."""
    return (
        f"See what was lost, then say where to go on: barnabas subscriptions reset APP {name} --to earliest (or "
        f"latest, or a time), and start the worker again"
    )
