"""Invocations as the store has them, for people: a list of them, and all about one. Called by the command line.

Functions raise StoreUnavailable and StoreCorrupt. Of what a handler was given or has returned only the size is shown,
of failures the message: these pictures end up in terminals and tickets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from barnabas.contract.ids import InvocationId
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.contract.records import Caller, Failure, ReplyTo
from barnabas.introspection.reading import SHARDS_A_PAGE, Places, pages
from barnabas.introspection.waits import open_commands
from barnabas.runtime import journal as j
from barnabas.runtime.kept import unpack_kept
from barnabas.runtime.live import BACKING_OFF, PAUSED, QUEUED, RUNNING, SCHEDULED, SUSPENDED, Live, unpack_live
from barnabas.runtime.ring import RingEntry, unpack_ring_entry
from barnabas.runtime.scheduling.waiting import unpack_waiting
from barnabas.store import keys
from barnabas.store.port import Query, Service, Shard, Store

COMPLETED: Final = "completed"
STATUSES: Final = (SCHEDULED, QUEUED, RUNNING, SUSPENDED, BACKING_OFF, PAUSED, COMPLETED)
#: Shards of the scheduler that are asked for an invocation with the delay bit: their count stands in Kafka alone.
_DELAY_SHARDS: Final = 256
_DELAYS: Final = "@delays"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which invocations to list; None: any."""

    service: str | None = None
    handler: str | None = None
    key: str | None = None
    status: str | None = None  # None: all that are not completed


@dataclass(slots=True)
class Picture:
    """One invocation. Times are milliseconds since the epoch; None where the store does not say."""

    id: InvocationId
    service: str
    handler: str
    key: str | None
    status: str
    accepted_at: int | None = None
    completed_at: int | None = None
    expires_at: int | None = None  # append time at which its kept outcome goes
    due: int | None = None
    retry_at: int | None = None
    failed_attempts: int = 0
    last_failure: str = ""
    ending: str = ""  # "cancel" or "kill": asked for, and on its way
    failure: Failure | None = None
    result_bytes: int | None = None
    input_bytes: int | None = None
    wanted_by: list[str] = field(default_factory=list)
    waits_for: list[str] = field(default_factory=list)
    journal: list[str] | None = None  # None: not kept


async def list_invocations(
    store: Store, services: Mapping[str, Service], wanted: Wanted, limit: int
) -> tuple[list[Picture], bool]:
    """The invocations that fit, at most `limit`, the oldest of them first; and whether there are more.

    Those that wait in the scheduler, or for a busy key with their input left in Kafka, are not among them.
    """
    found: list[Picture] = []
    for page in pages(_shards(services, wanted), SHARDS_A_PAGE):
        queries: list[tuple[Shard, Query]] = [(shard, query) for shard in page for query in _list_questions(wanted)]
        answers = iter(await store.read(queries))
        for shard in page:
            for picture in _listed(shard, [next(answers) for _ in _list_questions(wanted)], wanted):
                if len(found) == limit:
                    return _by_age(found), True
                found.append(picture)
    return _by_age(found), False


async def describe_invocation(store: Store, services: Mapping[str, Service], id_: InvocationId) -> Picture | None:
    """All that the store knows of one invocation; None: nothing."""
    places = Places(services)
    service = places.service_of(id_)
    shard = None if service is None else places.shard_of(service, id_)
    if shard is not None:
        picture = await _described(store, shard, id_)
        if picture is not None:
            return picture
    return await _delayed(store, service or "?", id_) if id_.delayed else None


# -- one invocation


async def _described(store: Store, shard: Shard, id_: InvocationId) -> Picture | None:
    header, input_, entries, kept, spilled = await store.read(
        [
            (shard, ("HGET", keys.LIVE, id_)),
            (shard, ("HGET", keys.INPUTS, id_)),
            (shard, ("LRANGE", keys.journal(id_), 0, -1)),
            (shard, ("HGET", keys.KEPT, id_)),
            (shard, ("HGET", keys.SPILL, id_)),
        ]
    )
    if header is not None:
        live = unpack_live(id_, shard.service, header)
        if input_ is not None:
            live.load_input(input_)
        holder = None
        if live.exclusive and live.status == QUEUED:
            [holder] = await store.read([(shard, ("HGET", keys.HEADS, live.key))])
        return _of_live(live, [j.unpack_entry(raw) for raw in entries], holder)
    if kept is not None:
        return _of_kept(id_, shard.service, kept)
    if spilled is not None:
        waits = [f"its key, with its input in Kafka at offset {int(spilled)}"]
        return Picture(id_, shard.service, "?", None, QUEUED, waits_for=waits)
    [ring] = await store.read([(shard, ("LRANGE", keys.RING, 0, -1))])
    finished = (entry for packed in ring if (entry := unpack_ring_entry(packed)).id == id_)
    return next((_of_ring(entry, shard.service) for entry in finished), None)


async def _delayed(store: Store, service: str, id_: InvocationId) -> Picture | None:
    shards = [Shard(_DELAYS, partition) for partition in range(_DELAY_SHARDS)]
    headers = await store.read([(shard, ("HGET", keys.WAITING, id_)) for shard in shards])
    waiting = next((unpack_waiting(id_, header) for header in headers if header is not None), None)
    if waiting is None:
        return None
    return Picture(
        id_, waiting.service, "?", None, SCHEDULED,
        due=waiting.due,
        input_bytes=waiting.size,
        wanted_by=[_waiter(waiter) for waiter in waiting.waiters],
        waits_for=["its due time, in the scheduler"],
    )  # fmt: skip


def _of_live(live: Live, journal: list[j.Entry], holder: bytes | None) -> Picture:
    picture = _summary(live)
    picture.input_bytes = len(live.payload)
    picture.journal = _lines(journal)
    if live.status == SCHEDULED:
        picture.waits_for.append("its due time")
    if holder is not None and holder != live.id:
        picture.waits_for.append(f"its key, which {InvocationId(holder)} holds")
    picture.waits_for += [f"{_words(one.entry)} (position {one.position})" for one in open_commands(journal)]
    return picture


def _of_ring(entry: RingEntry, service: str) -> Picture:
    return Picture(
        InvocationId(entry.id), service, entry.handler, entry.key, COMPLETED,
        accepted_at=entry.accepted_at,
        completed_at=entry.completed_at,
        failed_attempts=entry.attempts,
        failure=entry.failure,
        result_bytes=None if entry.result is None else len(entry.result),
        input_bytes=len(entry.payload),
        journal=None if entry.journal is None else _lines(entry.journal),
    )  # fmt: skip


def _of_kept(id_: InvocationId, service: str, packed: bytes) -> Picture:
    kept = unpack_kept(packed)
    return Picture(
        id_, service, kept.handler, kept.key, COMPLETED,
        completed_at=kept.completed_at,
        expires_at=kept.expires_at,
        failure=kept.failure,
        result_bytes=None if kept.result is None else len(kept.result),
    )  # fmt: skip


def _lines(journal: list[j.Entry]) -> list[str]:
    lines = []
    position = 0
    for entry in journal:
        if entry[0] < j.FIRST_NOTIFICATION:
            position += 1
            lines.append(f"{position}. {_words(entry)}")
        elif entry[0] == j.CANCELLED:
            lines.append("   cancelled")
        elif entry[0] == j.FAILURE:
            lines.append(f"   {j.describe(entry)}: [{entry[3]}] {entry[4]}")
        else:
            lines.append(f"   {j.describe(entry)}")
    return lines


def _words(entry: j.Entry) -> str:
    """A command, with the id of the invocation that it is about."""
    about = {j.CALL: 3, j.SEND: 3, j.ATTACH: 2, j.CANCEL: 2}.get(entry[0])
    return j.describe(entry) + (f" {InvocationId(entry[about])}" if about is not None else "")


def _waiter(waiter: Caller | ReplyTo) -> str:
    if isinstance(waiter, ReplyTo):
        return f"client {waiter.client}"
    return f"{waiter.service} {InvocationId(waiter.id)} (position {waiter.position})"


# -- lists


def _shards(services: Mapping[str, Service], wanted: Wanted) -> list[Shard]:
    chosen = {name: one for name, one in services.items() if wanted.service in (None, name)}
    if wanted.key is None:
        return Places(chosen).shards()
    return [
        Shard(name, partition_of(partition_hash(wanted.key.encode()), one.partitions))
        for name, one in chosen.items()
        if one.kind != "service"
    ]


def _list_questions(wanted: Wanted) -> list[Query]:
    if wanted.status == COMPLETED:
        return [("LRANGE", keys.RING, 0, -1), ("HGETALL", keys.KEPT)]
    return [("HGETALL", keys.LIVE)]


def _listed(shard: Shard, answers: list[Any], wanted: Wanted) -> Iterator[Picture]:
    if wanted.status == COMPLETED:
        ring, kept = answers
        found = [_of_ring(unpack_ring_entry(packed), shard.service) for packed in ring]
        found += [_of_kept(InvocationId(id_), shard.service, packed) for id_, packed in kept.items()]
    else:
        found = [_summary(unpack_live(id_, shard.service, packed)) for id_, packed in answers[0].items()]
    for picture in found:
        if (
            wanted.handler in (None, picture.handler)
            and wanted.key in (None, picture.key)
            and wanted.status in (None, picture.status)
        ):
            yield picture


def _summary(live: Live) -> Picture:
    return Picture(
        InvocationId(live.id), live.service, live.handler, live.key, live.status,
        accepted_at=live.accepted_at,
        due=live.due or None,
        retry_at=live.retry_at if live.status == BACKING_OFF else None,
        failed_attempts=live.attempts,
        last_failure=live.last_failure,
        ending=live.ending,
        wanted_by=[_waiter(waiter) for waiter in live.waiters],
    )  # fmt: skip


def _by_age(found: list[Picture]) -> list[Picture]:
    return sorted(found, key=lambda one: (one.accepted_at or one.completed_at or 0, one.id))
