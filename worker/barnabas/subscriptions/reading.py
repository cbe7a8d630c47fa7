"""Where subscriptions stand, in the store and in the log, and how they are set to another place.

Called by the process of a subscription before it starts, and by `barnabas subscriptions`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from barnabas.log.port import Admin
from barnabas.runtime.subscribing.source import family_of
from barnabas.runtime.subscribing.standing import Standing, begin, standing_of
from barnabas.runtime.tenure import LEASE_BYTES
from barnabas.sdk.subscription import Start, Subscription
from barnabas.store import keys
from barnabas.store.port import Applied, Commit, Shard, Store, StoreUnavailable

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Lag:
    """One partition of a subscription."""

    partition: int
    next: int | None  # offset to be read next; None: it has not begun
    first: int  # of the log
    end: int
    outbox: int  # read, and not yet delivered to the handler's topic
    owner: str | None

    @property
    def behind(self) -> int:
        """Records that are there and were not read."""
        return self.end - max(self.first, self.first if self.next is None else self.next)


class NotReset(Exception):
    """A partition could not be set to another place; the message says why and what to do."""


async def standings(store: Store, subscription: Subscription, partitions: int) -> dict[int, Standing]:
    """What the store knows of the subscription, by partition. Raises StoreUnavailable."""
    metas = await store.read([(shard, ("HGETALL", keys.META)) for shard in _shards(subscription, partitions)])
    found = {partition: standing_of(meta) for partition, meta in enumerate(metas)}
    return {partition: standing for partition, standing in found.items() if standing is not None}


async def offsets_of(admin: Admin, topic: str, partitions: Sequence[int], start: Start | datetime) -> dict[int, int]:
    """The offsets that `start` means now. Raises LogUnavailableError."""
    places = [(topic, partition) for partition in partitions]
    if isinstance(start, datetime):
        found = await admin.offsets_at(places, round(start.timestamp() * 1000))
    else:
        bounds = await admin.end_offsets(places)
        found = {place: bounds[place][0 if start == "earliest" else 1] for place in places}
    return {partition: offset for (_, partition), offset in found.items()}


async def lag_of(store: Store, admin: Admin, subscription: Subscription, partitions: int) -> list[Lag]:
    """How far it is, partition by partition. Raises StoreUnavailable or LogUnavailableError."""
    shards = _shards(subscription, partitions)
    bounds = await admin.end_offsets([(subscription.topic, shard.partition) for shard in shards])
    metas = await store.read([(shard, ("HGETALL", keys.META)) for shard in shards])
    outboxes = await store.read([(shard, ("HLEN", keys.OUTBOX)) for shard in shards])
    found = []
    for shard, meta, outbox in zip(shards, metas, outboxes, strict=True):
        first, end = bounds[subscription.topic, shard.partition]
        standing = standing_of(meta)
        owner = meta.get(b"owner")
        next_ = None if standing is None else standing.next
        found.append(Lag(shard.partition, next_, first, end, outbox, None if owner is None else owner.decode()))
    return found


async def reset(
    store: Store, admin: Admin, subscription: Subscription, partitions: int, start: Start | datetime
) -> dict[int, int]:
    """Set all partitions to the offsets that `start` means now, and return those.

    What lies from there on becomes new invocations, also where it was read before. An owner that works on a partition
    meanwhile loses it, takes it again and goes on from the new place; one that has halted has to be started again.
    Raises NotReset, StoreUnavailable or LogUnavailableError; done in part, it can be repeated.
    """
    topic = subscription.topic
    topic_id = (await admin.topic_ids([topic]))[topic]
    offsets = await offsets_of(admin, topic, range(partitions), start)
    known = await standings(store, subscription, partitions)
    round_ = 1 + max((standing.round for standing in known.values()), default=-1)
    for shard in _shards(subscription, partitions):
        standing = Standing(topic, topic_id, partitions, round_, offsets[shard.partition])
        await _write(store, shard, standing)
    return offsets


async def _write(store: Store, shard: Shard, standing: Standing) -> None:
    for _ in range(_TRIES):
        lease = os.urandom(LEASE_BYTES)
        taken = await store.take(shard, lease, "barnabas subscriptions reset")
        [outcome] = await store.commit([Commit(shard, lease, taken.number + 1, [begin(standing)])])
        if isinstance(outcome, Applied):
            return
        if isinstance(outcome, StoreUnavailable):
            raise outcome
    raise NotReset(f"somebody else takes {shard} again and again: stop the workers, then try once more")


def _shards(subscription: Subscription, partitions: int) -> list[Shard]:
    family = family_of(subscription)
    return [Shard(family, partition) for partition in range(partitions)]
