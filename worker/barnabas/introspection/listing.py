"""Lists of invocations, page by page, for the command line and the admin API.

Pages go through the shards in order, and within one by age, so that a list that goes on while work does shows each
invocation once that was there all the time; a page itself is in order of age. All functions raise StoreUnavailable and
StoreCorrupt.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from barnabas.contract.codec import decode_delayed
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.ids import InvocationId
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.contract.records import Invocation
from barnabas.introspection.pictures import Picture, picture_of_kept, picture_of_live, picture_of_ring, who_wants
from barnabas.introspection.reading import DELAY_SHARDS, DELAYS, SHARDS_A_PAGE, Places, pages
from barnabas.introspection.statuses import COMPLETED, PENDING
from barnabas.runtime.live import SCHEDULED, unpack_live
from barnabas.runtime.ring import unpack_ring_entry
from barnabas.runtime.scheduling.waiting import unpack_waiting
from barnabas.runtime.spilled import unpack_spilled
from barnabas.store import keys
from barnabas.store.port import Query, Service, Shard, Store

#: What stands for a handler that only the record in Kafka names.
UNKNOWN: Final = "?"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which invocations to list; None: any."""

    service: str | None = None
    handler: str | None = None
    key: str | None = None
    status: str | None = None  # None: all that are not completed


class Page(NamedTuple):
    """Some invocations, and where the next page begins; None: there is none."""

    pictures: list[Picture]
    after: str | None


_NO_PLACE: Final = "this is no place in a list: leave it out, or give what a former page says"


class MalformedCursor(ValueError):
    """What was given as the place to go on is none."""


class _Place(NamedTuple):
    """Behind which invocation a page begins."""

    service: str
    partition: int
    age: int
    id: str


async def list_page(
    store: Store, services: Mapping[str, Service], wanted: Wanted, limit: int, after: str | None = None
) -> Page:
    """At most `limit` invocations that fit, those behind `after` (of a former page, for the same `wanted`).

    Those that the scheduler holds back are among them only where `wanted.status` is SCHEDULED. Raises MalformedCursor.
    """
    start = _Place("", -1, -1, "") if after is None else _parsed(after)
    shards = [one for one in _shards(services, wanted) if (one.service, one.partition) >= start[:2]]
    found: list[tuple[_Place, Picture]] = []
    for page in pages(shards, SHARDS_A_PAGE):
        queries: list[tuple[Shard, Query]] = [(one, query) for one in page for query in _questions(one, wanted)]
        answers = iter(await store.read(queries))
        for shard in page:
            of_shard = [next(answers) for _ in _questions(shard, wanted)]
            fitting = [one for one in _listed(shard, of_shard, wanted) if _fits(one, wanted)]
            fitting += [one for one in await _spilled(store, shard, of_shard, wanted) if _fits(one, wanted)]
            placed = [(_Place(shard.service, shard.partition, _age(one), str(one.id)), one) for one in fitting]
            found += sorted((one for one in placed if one[0] > start), key=lambda one: one[0])
            if len(found) > limit:
                return Page(_by_age(found[:limit]), _written(found[limit - 1][0]))
    return Page(_by_age(found), None)


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
    if wanted.status == SCHEDULED:
        shards += [Shard(DELAYS, partition) for partition in range(DELAY_SHARDS)]
    return sorted(shards, key=lambda one: (one.service, one.partition))


def _questions(shard: Shard, wanted: Wanted) -> list[Query]:
    if shard.service == DELAYS:
        return [("HGETALL", keys.WAITING), ("HGETALL", keys.WAITING_INPUTS)]
    if wanted.status == COMPLETED:
        return [("LRANGE", keys.RING, 0, -1), ("HGETALL", keys.KEPT)]
    return [("HGETALL", keys.LIVE), ("HGETALL", keys.HEADS), ("HGETALL", keys.SPILL_COUNTS)]


def _listed(shard: Shard, answers: list[Any], wanted: Wanted) -> Iterator[Picture]:
    if shard.service == DELAYS:
        headers, records = answers
        for id_, header in headers.items():
            yield picture_of_waiting(id_, header, records.get(id_))
    elif wanted.status == COMPLETED:
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


def picture_of_waiting(id_: bytes, header: bytes, record: bytes | None) -> Picture:
    """One that waits in the scheduler."""
    waiting = unpack_waiting(id_, header)
    try:
        wanted = decode_delayed(record)
    except PoisonRecord:  # it is shown without what its record says
        wanted = None
    handler, key = (wanted.handler, wanted.key) if isinstance(wanted, Invocation) else (UNKNOWN, None)
    return Picture(
        InvocationId(id_),
        waiting.service,
        handler,
        key,
        SCHEDULED,
        due=waiting.due,
        input_bytes=len(wanted.payload) if isinstance(wanted, Invocation) else None,
        wanted_by=[who_wants(waiter) for waiter in waiting.waiters],
        waits_for=["its due time, in the scheduler"],
    )


async def _spilled(store: Store, shard: Shard, answers: list[Any], wanted: Wanted) -> list[Picture]:
    """Those that wait for a busy key with their input left in Kafka."""
    if shard.service == DELAYS or wanted.status not in (None, PENDING):
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
    )


def _by_age(found: list[tuple[_Place, Picture]]) -> list[Picture]:
    return sorted((picture for _, picture in found), key=lambda one: (_age(one), str(one.id)))


def _age(picture: Picture) -> int:
    return picture.accepted_at or picture.completed_at or picture.due or 0


def _written(place: _Place) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _parsed(text: str) -> _Place:
    try:
        service, partition, age, id_ = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, TypeError):
        raise MalformedCursor(_NO_PLACE) from None
    if type(service) is not str or type(partition) is not int or type(age) is not int or type(id_) is not str:
        raise MalformedCursor(_NO_PLACE)
    return _Place(service, partition, age, id_)
