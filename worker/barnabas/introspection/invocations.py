"""All that the store knows of one invocation, for people. Called by the command line and the admin API.

Functions raise StoreUnavailable and StoreCorrupt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, ReplyTo
from barnabas.introspection.delayed import find_waiting, invocation_in
from barnabas.introspection.family import callees_of, callers_of
from barnabas.introspection.pictures import (
    UNKNOWN,
    Picture,
    detailed,
    picture_of_kept,
    picture_of_ring,
    picture_of_waiting,
)
from barnabas.introspection.reading import Places
from barnabas.introspection.statuses import PENDING
from barnabas.runtime import journal as j
from barnabas.runtime.kept import unpack_kept
from barnabas.runtime.live import QUEUED, unpack_live
from barnabas.runtime.ring import unpack_ring_entry
from barnabas.store import keys
from barnabas.store.port import Service, Shard, Store

_NOBODY: Final[Sequence[Caller | ReplyTo]] = ()


async def describe_invocation(store: Store, services: Mapping[str, Service], id_: InvocationId) -> Picture | None:
    """All that the store knows of one invocation; None: nothing."""
    places = Places(services)
    service = places.service_of(id_)
    shard = None if service is None else places.shard_of(service, id_)
    if shard is not None:
        picture = await _described(store, places, shard, id_)
        if picture is not None:
            return picture
    return await _delayed(store, id_) if id_.delayed else None


async def _described(store: Store, places: Places, shard: Shard, id_: InvocationId) -> Picture | None:
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
        journal = [j.unpack_entry(raw) for raw in entries]
        return await _with_family(store, places, detailed(live, journal, holder), journal, live.waiters)
    if kept is not None:
        outcome = unpack_kept(kept)
        done = unpack_ring_entry(outcome.entry).journal or []
        picture = picture_of_kept(id_, shard.service, kept)
        return await _with_family(store, places, picture, done, outcome.waiters)
    if spilled is not None:
        waits = [f"its key, with its input in Kafka at offset {int(spilled)}"]
        return Picture(id_, shard.service, UNKNOWN, None, PENDING, waits_for=waits)
    [ring] = await store.read([(shard, ("LRANGE", keys.RING, 0, -1))])
    for packed in ring:
        if id_ in packed and (entry := unpack_ring_entry(packed)).id == id_:
            picture = picture_of_ring(entry, shard.service)
            return await _with_family(store, places, picture, entry.journal or [], _NOBODY)
    return None


async def _with_family(
    store: Store, places: Places, picture: Picture, journal: list[j.Entry], waiters: Sequence[Caller | ReplyTo]
) -> Picture:
    picture.callers = await callers_of(store, places, waiters)
    picture.callees = await callees_of(store, places, journal)
    return picture


async def _delayed(store: Store, id_: InvocationId) -> Picture | None:
    found = (await find_waiting(store, [id_])).get(id_)
    if found is None:
        return None
    shard, waiting = found
    [record] = await store.read([(shard, ("HGET", keys.WAITING_INPUTS, id_))])
    return picture_of_waiting(waiting, invocation_in(record))
