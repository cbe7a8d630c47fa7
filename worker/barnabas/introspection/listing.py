"""Lists of invocations, page by page, for the command line and the admin API.

Pages go through the shards in order, and within one by age, so that a list that goes on while work does shows each
invocation once that was there all the time; a page itself is in order of age. Those that the scheduler holds back come
last, in order of their due time: they are many and in no hurry, and one that becomes due meanwhile is missed by a list
that has its shard behind it. All functions raise StoreUnavailable and StoreCorrupt.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from barnabas.contract.ids import InvocationId
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.introspection.delayed import Rank, queues, waiting_in
from barnabas.introspection.pictures import (
    UNKNOWN,
    Picture,
    picture_of_kept,
    picture_of_live,
    picture_of_ring,
    picture_of_waiting,
)
from barnabas.introspection.reading import SHARDS_A_PAGE, Places, pages
from barnabas.introspection.statuses import COMPLETED, PENDING
from barnabas.runtime.live import SCHEDULED, unpack_live
from barnabas.runtime.ring import unpack_ring_entry
from barnabas.runtime.spilled import unpack_spilled
from barnabas.store import keys
from barnabas.store.port import Query, Service, Shard, Store


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which invocations to list; None: any."""

    service: str | None = None
    handler: str | None = None
    key: str | None = None
    status: str | None = None  # None: all that are not completed
    begun: bool = False  # none that is scheduled


class Page(NamedTuple):
    """Some invocations, and where the next page begins; None: there is none."""

    pictures: list[Picture]
    after: str | None


_NO_PLACE: Final = "this is no place in a list: leave it out, or give what a former page says"


class MalformedCursor(ValueError):
    """What was given as the place to go on is none."""


class _Place(NamedTuple):
    """Behind which invocation a page begins."""

    delayed: bool  # with the scheduler
    service: str
    partition: int
    queue: str  # suffix of the scheduler's queue
    age: int
    name: str  # its id in hex, or what the scheduler's queue has it by


_START: Final = _Place(False, "", -1, "", -1, "")

_Found = list[tuple[_Place, Picture]]


async def list_page(
    store: Store, services: Mapping[str, Service], wanted: Wanted, limit: int, after: str | None = None
) -> Page:
    """At most `limit` invocations that fit, those behind `after` (of a former page, for the same `wanted`).

    Raises MalformedCursor.
    """
    start = _START if after is None else _parsed(after)
    found: _Found = []
    if not start.delayed:
        found = await _in_shards(store, services, wanted, limit + 1, start)
    if len(found) <= limit and wanted.status in (None, SCHEDULED) and not wanted.begun:
        found += await _in_scheduler(store, wanted, limit + 1 - len(found), start)
    shown = found[:limit]
    return Page(_by_age(shown), _written(shown[-1][0]) if len(found) > limit else None)


async def _in_shards(
    store: Store, services: Mapping[str, Service], wanted: Wanted, enough: int, start: _Place
) -> _Found:
    """Those that the services' own shards have."""
    shards = [one for one in _shards(services, wanted) if (one.service, one.partition) >= start[1:3]]
    found: _Found = []
    for page in pages(shards, SHARDS_A_PAGE):
        queries: list[tuple[Shard, Query]] = [(one, query) for one in page for query in _questions(wanted)]
        answers = iter(await store.read(queries))
        for shard in page:
            of_shard = [next(answers) for _ in _questions(wanted)]
            fitting = [one for one in _listed(shard, of_shard, wanted) if _fits(one, wanted)]
            fitting += [one for one in await _spilled(store, shard, of_shard, wanted) if _fits(one, wanted)]
            begin = _Place(False, shard.service, shard.partition, "", -1, "")
            placed = [(begin._replace(age=_age(one), name=one.id.hex()), one) for one in fitting]
            found += sorted((one for one in placed if one[0] > start), key=lambda one: one[0])
            if len(found) >= enough:
                return found
    return found


async def _in_scheduler(store: Store, wanted: Wanted, enough: int, start: _Place) -> _Found:
    """Those that it holds back."""
    hashed = None if wanted.key is None else partition_hash(wanted.key.encode())

    def may_fit(id_: InvocationId) -> bool:
        return (wanted.service is None or id_.of_service(wanted.service)) and hashed in (None, id_.key_hash)

    found: _Found = []
    for queue in await queues(store):
        place = _Place(True, queue.shard.service, queue.shard.partition, queue.suffix.decode(), -1, "")
        if place[:4] < start[:4]:
            continue
        after: Rank | None = (start.age, bytes.fromhex(start.name)) if place[:4] == start[:4] else None
        async for (due, member), waiting, asks_for in waiting_in(store, queue, after, may_fit):
            picture = picture_of_waiting(waiting, asks_for)
            if _fits(picture, wanted):
                found.append((place._replace(age=due, name=member.hex()), picture))
            if len(found) >= enough:
                return found
    return found


def _shards(services: Mapping[str, Service], wanted: Wanted) -> list[Shard]:
    chosen = {name: one for name, one in services.items() if wanted.service in (None, name)}
    if wanted.key is None:
        shards = Places(chosen).shards()
    else:
        shards = [
            Shard(name, partition_of(partition_hash(wanted.key.encode()), one.partitions))
            for name, one in chosen.items()
            if one.kind != "service"
        ]
    return sorted(shards, key=lambda one: (one.service, one.partition))


def _questions(wanted: Wanted) -> list[Query]:
    if wanted.status == COMPLETED:
        return [("LRANGE", keys.RING, 0, -1), ("HGETALL", keys.KEPT)]
    return [("HGETALL", keys.LIVE), ("HGETALL", keys.HEADS), ("HGETALL", keys.SPILL_COUNTS)]


def _listed(shard: Shard, answers: list[Any], wanted: Wanted) -> Iterator[Picture]:
    if wanted.status == COMPLETED:
        ring, kept = answers
        for packed in ring:
            yield picture_of_ring(unpack_ring_entry(packed), shard.service)
        for id_, packed in kept.items():
            yield picture_of_kept(InvocationId(id_), shard.service, packed)
    else:
        headers, heads, _ = answers
        for id_, packed in headers.items():
            live = unpack_live(id_, shard.service, packed)
            yield picture_of_live(live, heads.get((live.key or "").encode()))


async def _spilled(store: Store, shard: Shard, answers: list[Any], wanted: Wanted) -> list[Picture]:
    """Those that wait for a busy key with their input left in Kafka."""
    if wanted.status not in (None, PENDING):
        return []
    found = [key.decode() for key in answers[2] if wanted.key in (None, key.decode())]
    lists = await store.read([(shard, ("LRANGE", keys.spilled(key), 0, -1)) for key in found]) if found else []
    return [
        Picture(InvocationId(unpack_spilled(packed).id), shard.service, UNKNOWN, key, PENDING)
        for key, entries in zip(found, lists, strict=True)
        for packed in entries
    ]


def _fits(picture: Picture, wanted: Wanted) -> bool:
    return (
        wanted.service in (None, picture.service)
        and wanted.handler in (None, picture.handler)
        and wanted.key in (None, picture.key)
        and wanted.status in (None, picture.status)
        and not (wanted.begun and picture.status == SCHEDULED)
    )


def _by_age(found: list[tuple[_Place, Picture]]) -> list[Picture]:
    return sorted((picture for _, picture in found), key=lambda one: (_age(one), str(one.id)))


def _age(picture: Picture) -> int:
    return picture.accepted_at or picture.completed_at or picture.due or 0


def _written(place: _Place) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _parsed(text: str) -> _Place:
    try:
        place = _Place(*json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
        if [type(part) for part in place] != [bool, str, int, str, int, str]:
            raise ValueError("other fields")
        if place.delayed:
            bytes.fromhex(place.name)
    except (ValueError, binascii.Error, TypeError):
        raise MalformedCursor(_NO_PLACE) from None
    return place
