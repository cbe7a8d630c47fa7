"""Reads from the store who waits for whom: the edges of single invocations, and of a whole namespace.

Everything is read, nothing is written or locked; work goes on meanwhile, so an edge may be gone by the time it is
returned. `deadlocks` looks twice where that matters. All functions raise StoreUnavailable and StoreCorrupt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller
from barnabas.introspection.graph import ATTACH, CALL, KEY, Node, Wait
from barnabas.introspection.statuses import PENDING, status_of
from barnabas.introspection.waits import call_target, open_commands
from barnabas.runtime import journal as j
from barnabas.runtime.live import QUEUED, Live, unpack_live
from barnabas.runtime.scheduling.scheduler import FAMILY
from barnabas.store import keys
from barnabas.store.port import Query, Service, Shard, Store

#: Shards whose headers are asked for together. One header has some 100 bytes.
SHARDS_A_PAGE: Final = 16
#: Invocations whose journals are asked for together; journals hold results, which may be large.
JOURNALS_A_PAGE: Final = 256

#: Shards of the scheduler that are looked at: their count stands in Kafka alone. One that is not there is empty.
DELAY_SHARDS: Final = 256
DELAYS: Final = FAMILY

T = TypeVar("T")


class Ref(NamedTuple):
    """An invocation that somebody waits for, with what that one knows of it."""

    id: bytes
    service: str
    handler: str = ""
    key: str | None = None


class Found(NamedTuple):
    """What the store has of some invocations."""

    nodes: dict[bytes, Node]
    refs: list[Ref]  # whom they wait for
    unknown: list[Ref]  # asked for, and neither live nor spilled: over, or not accepted yet


class Places:
    """Which shard an invocation belongs to."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        self._services = services

    def shards(self) -> list[Shard]:
        """All shards of all registered services."""
        return [Shard(one.name, partition) for one in self._services.values() for partition in range(one.partitions)]

    def service_of(self, id_: bytes) -> str | None:
        """Whose invocation this is; None where no registered service's name fits the id."""
        invocation = InvocationId(id_)
        return next((name for name in self._services if invocation.of_service(name)), None)

    def shard_of(self, service: str, id_: bytes) -> Shard | None:
        """The shard of this invocation; None for a service that nobody has registered."""
        known = self._services.get(service)
        return None if known is None else Shard(service, InvocationId(id_).partition(known.partitions))


async def read_nodes(store: Store, places: Places, refs: Iterable[Ref]) -> Found:
    """These invocations with their edges: one round trip, and one more where a key was not known before its header."""
    placed = [(ref, shard) for ref in refs if (shard := places.shard_of(ref.service, ref.id)) is not None]
    answers = iter(await store.read([(shard, query) for ref, shard in placed for query in _questions(ref)]))
    read = [(ref, shard, [next(answers) for _ in _questions(ref)]) for ref, shard in placed]
    found = Found({}, [], [])
    unsure: list[tuple[Shard, Live, Sequence[bytes]]] = []
    for ref, shard, (header, spilled, entries, *head) in read:
        if header is not None:
            live = unpack_live(ref.id, ref.service, header)
            if _may_wait_for_key(live) and not head:
                unsure.append((shard, live, entries))
            else:
                _add(found, places, live, head[0] if head else None, entries)
        elif spilled is not None and ref.key is not None:
            node = Node(ref.id, ref.service, ref.handler, ref.key, PENDING, None, _wait_for_key(ref.id, head[0]))
            _put(found, node, [Ref(wait.target, ref.service, "", ref.key) for wait in node.waits])
        else:
            found.unknown.append(ref)
    heads = await store.read([(shard, ("HGET", keys.HEADS, live.key)) for shard, live, _ in unsure]) if unsure else []
    for (_, live, entries), holder in zip(unsure, heads, strict=True):
        _add(found, places, live, holder, entries)
    return found


async def read_namespace(store: Store, places: Places) -> dict[bytes, Node]:
    """All invocations that wait for another one and may be waited for themselves, with their edges.

    Who waits is known from the headers of those that are waited for, so that a journal is read only of an invocation
    that holds a key which others want, or whose result another handler wants. 100,000 that only wait for others cost
    their headers.
    """
    nodes: dict[bytes, Node] = {}
    holders: list[Ref] = []
    for page in pages(places.shards(), SHARDS_A_PAGE):
        queries: list[tuple[Shard, Query]] = []
        for shard in page:
            queries += ((shard, ("HGETALL", keys.LIVE)), (shard, ("HGETALL", keys.HEADS)))
        answers = await store.read(queries)
        for shard, live, heads in zip(page, answers[::2], answers[1::2], strict=True):
            holders += _sort_headers(shard, live, heads, nodes)
    spilled: dict[bytes, Ref] = {}
    for some in pages(holders, JOURNALS_A_PAGE):
        found = await read_nodes(store, places, some)
        nodes |= found.nodes
        spilled |= {ref.id: ref for ref in found.refs if ref.id not in nodes}
    for others in pages(spilled.values(), JOURNALS_A_PAGE):  # not in LIVE: over, not accepted, or its input is in Kafka
        nodes |= (await read_nodes(store, places, others)).nodes
    return nodes


def pages(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def _sort_headers(
    shard: Shard, live: Mapping[bytes, bytes], heads: Mapping[bytes, bytes], nodes: dict[bytes, Node]
) -> list[Ref]:
    """Put those that wait for their key into `nodes`; return those whose journals matter."""
    holders = []
    wanted = set(heads.values())
    for id_, packed in live.items():
        one = unpack_live(id_, shard.service, packed)
        waits = _wait_for_key(id_, heads.get((one.key or "").encode())) if _may_wait_for_key(one) else ()
        if waits:
            nodes[id_] = _node(one, waits)
        elif id_ in wanted or any(isinstance(waiter, Caller) for waiter in one.waiters):
            holders.append(Ref(id_, one.service, one.handler, one.key))
    return holders


def _questions(ref: Ref) -> list[Query]:
    queries: list[Query] = [
        ("HGET", keys.LIVE, ref.id),
        ("HGET", keys.SPILL, ref.id),
        ("LRANGE", keys.journal(ref.id), 0, -1),
    ]
    if ref.key is not None:
        queries.append(("HGET", keys.HEADS, ref.key))
    return queries


def _may_wait_for_key(live: Live) -> bool:
    return live.exclusive and live.status == QUEUED


def _wait_for_key(id_: bytes, holder: bytes | None) -> tuple[Wait, ...]:
    return () if holder is None or holder == id_ else (Wait(KEY, holder),)


def _add(found: Found, places: Places, live: Live, holder: bytes | None, entries: Sequence[bytes]) -> None:
    waits = _wait_for_key(live.id, holder) if _may_wait_for_key(live) else ()
    if waits:
        _put(found, _node(live, waits), [Ref(holder or b"", live.service, "", live.key)])
        return
    # One that is about to be cancelled or killed will not wait much longer.
    refs = [] if live.ending else open_refs(places, [j.unpack_entry(raw) for raw in entries])
    _put(found, _node(live, tuple(wait for wait, _ in refs)), [ref for _, ref in refs])


def open_refs(places: Places, journal: Sequence[j.Entry]) -> list[tuple[Wait, Ref]]:
    """The invocations whose results a journal waits for.

    A call from before a cancellation is left out: a cancel follows it, and ends whatever waits in its turn.
    """
    found = []
    for one in open_commands(journal):
        if one.entry[0] == j.CALL and not one.cancelled:
            target = call_target(one.entry)
            found.append((Wait(CALL, target.id), Ref(target.id, target.service, target.handler, target.key)))
        elif one.entry[0] == j.ATTACH:
            service = places.service_of(one.entry[2])
            if service is not None:
                found.append((Wait(ATTACH, one.entry[2]), Ref(one.entry[2], service)))
    return found


def _put(found: Found, node: Node, refs: list[Ref]) -> None:
    found.nodes[node.id] = node
    found.refs.extend(refs)


def _node(live: Live, waits: tuple[Wait, ...]) -> Node:
    status = status_of(live, next((wait.target for wait in waits if wait.how == KEY), None))
    return Node(live.id, live.service, live.handler, live.key, status, live.accepted_at, waits)
