"""Finds invocations that wait for each other, through the store: all of them for the command line, or the one cycle
that a call has closed for a worker whose service fails such calls.

No look at the store is a snapshot, so a cycle that was found is read once more, and stands only if each of its edges
was there both times. An edge exists once (`graph`), so these were all there at the moment between the two looks: what
is reported was a cycle. Whether it stays one the handlers know: an open call counts as waited for, and a handler that
does not await it, or awaits it beside a timer, will go on some day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from barnabas.contract.ids import InvocationId
from barnabas.introspection.graph import Deadlock, Node, cycle_through, in_both
from barnabas.introspection.graph import find_deadlocks as deadlocks_in
from barnabas.introspection.reading import JOURNALS_A_PAGE, Places, Ref, pages, read_namespace, read_nodes
from barnabas.store.port import Service, Store

#: Invocations that a worker looks at for one question. What lies behind more of them is not found.
MOST_NODES: Final = 1_000
_NAMED: Final = 12
_KEY_CHARACTERS: Final = 60


async def find_deadlocks(store: Store, services: Mapping[str, Service]) -> list[Deadlock]:
    """All deadlocks of the namespace. Raises StoreUnavailable, StoreCorrupt."""
    places = Places(services)
    nodes = await read_namespace(store, places)
    caught = [node for one in deadlocks_in(nodes) for node in (*one.cycle, *one.others)]
    return deadlocks_in(await _again(store, places, caught))


class Cycles(NamedTuple):
    """What a look for cycles found, by the id that was asked for."""

    found: dict[bytes, list[Node]]
    unsettled: bool  # a call was met whose invocation is on its way: a later look may find more


async def find_cycle(
    store: Store, services: Mapping[str, Service], start: Ref, most: int = MOST_NODES
) -> list[Node] | None:
    """The cycle that this invocation is on, as `find_cycles` finds it; None where there is none."""
    return (await find_cycles(store, services, [start], most)).found.get(start.id)


async def find_cycles(
    store: Store, services: Mapping[str, Service], starts: Sequence[Ref], most: int = MOST_NODES
) -> Cycles:
    """A shortest cycle through each of these invocations that is on one: itself first, each waiting for the next.

    Follows the edges breadth first for all of them together, one round trip a level, and gives up behind `most`
    invocations. Asked after the commit that queued an invocation, this finds every deadlock through it whose other
    edges are in the store. Of calls that close a cycle together, on whatever shards, at least the last one sees it:

    - A cycle has at least one invocation that waits for its key, since what follows calls alone gets to invocations
      that are ever younger. (Calls with an idempotency key that join a running invocation, and attach, can lead back
      to an older one; the cycle that such a one closes is found by the command line, not by this question.)
    - Between two that wait for a key lies a path: the holder of the first key, its open call, that one's open call, ...
      until the second. The holder had its key before it made its call, and each call was committed to its caller's
      journal before its record was produced, so before what it called was accepted. So when the second one is
      committed as queued, the whole path before it is in the store, up to the first one's edge to its holder.
    - Hence the last commit that completes the cycle is one that queues one of those that wait for a key, and the look
      after that commit finds all edges. Until somebody acts on it, none of them goes away.

    Two that are queued at the same moment may both come last in the eyes of their shards; then both see the cycle and
    either or both fail. `unsettled` is for services of which some do not ask: the call that is on its way may be queued
    where nobody looks, so whoever asks may look again.
    """
    places = Places(services)
    nodes: dict[bytes, Node] = {}
    unsettled = False
    seen = {ref.id for ref in starts}
    frontier = list(starts)
    while frontier:
        refs: list[Ref] = []
        for page in pages(frontier, JOURNALS_A_PAGE):
            found = await read_nodes(store, places, page)
            nodes |= found.nodes
            unsettled = unsettled or bool(found.unknown)
            refs += found.refs
        fresh = {ref.id: ref for ref in refs if ref.id not in seen}
        frontier = list(fresh.values())[: max(0, most - len(seen))]
        seen.update(ref.id for ref in frontier)
    candidates = {ref.id: cycle for ref in starts if (cycle := cycle_through(nodes, ref.id)) is not None}
    sure = await _again(store, places, [node for cycle in candidates.values() for node in cycle], nodes)
    return Cycles({id_: cycle for id_, cycle in candidates.items() if _still(cycle, sure)}, unsettled)


def describe_cycle(cycle: Sequence[Node]) -> str:
    """The cycle in one line, with its first member at the end again; of a long one the beginning."""
    names = [name_of(node) for node in cycle[:_NAMED]]
    if len(cycle) > _NAMED:
        names.append(f"{len(cycle) - _NAMED} more")
    return " -> ".join([*names, name_of(cycle[0])])


def name_of(node: Node) -> str:
    """`Account/a/transfer (inv_...)`."""
    return f"{target_of(node.service, node.key, node.handler)} ({InvocationId(node.id)})"


def target_of(service: str, key: str | None, handler: str) -> str:
    """`Account/a/transfer`; a long key is shortened."""
    if key is not None and len(key) > _KEY_CHARACTERS:
        key = key[:_KEY_CHARACTERS] + "..."
    return "/".join(part for part in (service, key, handler) if part is not None)


async def _again(
    store: Store, places: Places, caught: Sequence[Node], before: Mapping[bytes, Node] | None = None
) -> dict[bytes, Node]:
    """These invocations as they are now, with the edges that they have had since they were read first."""
    members = {node.id: node for node in caught}
    after: dict[bytes, Node] = {}
    for page in pages(members.values(), JOURNALS_A_PAGE):
        refs = [Ref(node.id, node.service, node.handler, node.key) for node in page]
        after |= (await read_nodes(store, places, refs)).nodes
    return in_both(before or members, after)


def _still(cycle: Sequence[Node], sure: Mapping[bytes, Node]) -> bool:
    return all(
        (now := sure.get(one.id)) is not None and now.wait_for(another.id) is not None
        for one, another in pairwise([*cycle, cycle[0]])
    )
