"""Invocations that wait in the scheduler for their due time, in order of it, some at a time, or by id.

There may be a million of them, so a page costs what it shows: the scheduler's own sorted sets are gone through by rank,
an id says whether service and key may fit before anything is read of it, and records, which hold inputs, are read last.
Functions raise StoreUnavailable and StoreCorrupt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final, NamedTuple

from barnabas.contract.codec import decode_delayed
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Invocation
from barnabas.introspection.reading import DELAY_SHARDS, DELAYS
from barnabas.runtime.scheduling.waiting import Waiting, id_of_member, unpack_waiting
from barnabas.store import keys
from barnabas.store.port import Query, Shard, Store

#: Members of a sorted set that are asked for together, and bytes of records, roughly.
MEMBERS_A_TIME: Final = 1_000
RECORD_BYTES_A_TIME: Final = 4 << 20

#: Due time, and the member of the sorted set: the order in which they are released.
Rank = tuple[int, bytes]


class Queue(NamedTuple):
    """A sorted set with some of those that wait: those not due, or those due whose service nobody has registered."""

    shard: Shard
    suffix: bytes
    most: int  # it has no more members


async def queues(store: Store) -> list[Queue]:
    """All of them, in a fixed order."""
    shards = [Shard(DELAYS, partition) for partition in range(DELAY_SHARDS)]
    questions: list[Query] = [("HLEN", keys.WAITING), ("SMEMBERS", keys.STRANDED)]
    answers = iter(await store.read([(shard, question) for shard in shards for question in questions]))
    found = []
    for shard, most, stranded in zip(shards, answers, answers, strict=True):
        if most:
            suffixes = (keys.DUE, *(keys.stranded(name.decode()) for name in sorted(stranded)))
            found += [Queue(shard, suffix, most) for suffix in suffixes]
    return found


async def find_waiting(store: Store, ids: Sequence[bytes]) -> dict[bytes, tuple[Shard, Waiting]]:
    """Those of these ids that the scheduler holds back, and where. Only ids with the delay bit may be there."""
    if not ids:
        return {}
    shards = [Shard(DELAYS, partition) for partition in range(DELAY_SHARDS)]
    counts = await store.read([(shard, ("HLEN", keys.WAITING)) for shard in shards])
    asked = [shard for shard, count in zip(shards, counts, strict=True) if count]
    answers = await store.read([(shard, ("HMGET", keys.WAITING, *ids)) for shard in asked]) if asked else []
    return {
        id_: (shard, unpack_waiting(id_, header))
        for shard, headers in zip(asked, answers, strict=True)
        for id_, header in zip(ids, headers, strict=True)
        if header is not None
    }


async def waiting_in(
    store: Store, queue: Queue, after: Rank | None, may_fit: Callable[[InvocationId], bool]
) -> AsyncIterator[tuple[Rank, Waiting, Invocation | None]]:
    """Those of a queue whose ids may fit, from behind a rank on, with what they ask for where that can be read.

    Who is released meanwhile is left out.
    """
    async for ranks in _ranks(store, queue, after):
        wanted = [rank for rank in ranks if may_fit(InvocationId(id_of_member(rank[1])))]
        if not wanted:
            continue
        ids = [id_of_member(member) for _, member in wanted]
        [headers] = await store.read([(queue.shard, ("HMGET", keys.WAITING, *ids))])
        here = [
            (rank, unpack_waiting(id_, header))
            for rank, id_, header in zip(wanted, ids, headers, strict=True)
            if header is not None
        ]
        for some in _by_size(here):
            asked = ("HMGET", keys.WAITING_INPUTS, *(one.id for _, one in some))
            [records] = await store.read([(queue.shard, asked)])
            for (rank, waiting), record in zip(some, records, strict=True):
                yield rank, waiting, invocation_in(record)


def invocation_in(record: bytes | None) -> Invocation | None:
    """What a record of the scheduler asks for; None where it is gone, or cannot be read: it is shown without."""
    if record is None:
        return None
    try:
        found = decode_delayed(record)
    except PoisonRecord:
        return None
    return found if isinstance(found, Invocation) else None


async def _ranks(store: Store, queue: Queue, after: Rank | None) -> AsyncIterator[list[Rank]]:
    """The ranks behind `after`, in order, some at a time. Others leave and join meanwhile, so places are not kept."""
    place = 0 if after is None else await _place_behind(store, queue, after)
    while True:
        first = max(place - 1, 0)
        found = await _read(store, queue, first, first + MEMBERS_A_TIME)
        if place > 0 and after is not None and (not found or found[0] > after):  # those before it have moved up
            place = await _place_behind(store, queue, after)
            continue
        new = [rank for rank in found if after is None or rank > after]
        if not new:
            if len(found) <= MEMBERS_A_TIME:
                return
            place += len(found) - 1  # others have come before it
            continue
        yield new
        after, place = new[-1], first + len(found)


async def _place_behind(store: Store, queue: Queue, after: Rank) -> int:
    """How many of the queue are not behind `after`; looked for by halves, as many may be due together."""
    low, high = 0, queue.most
    while low < high:
        middle = (low + high) // 2
        found = await _read(store, queue, middle, middle)
        if found and found[0] <= after:
            low = middle + 1
        else:
            high = middle
    return low


async def _read(store: Store, queue: Queue, first: int, last: int) -> list[Rank]:
    [found] = await store.read([(queue.shard, ("ZRANGE", queue.suffix, first, last))])
    return [(int(due), member) for member, due in found]


def _by_size(found: Sequence[tuple[Rank, Waiting]]) -> Iterator[list[tuple[Rank, Waiting]]]:
    page: list[tuple[Rank, Waiting]] = []
    size = 0
    for one in found:
        if page and size + one[1].size > RECORD_BYTES_A_TIME:
            yield page
            page, size = [], 0
        page.append(one)
        size += one[1].size
    if page:
        yield page
