"""Who waits for whom: the graph of waiting invocations, and the cycles in it. Pure; `deadlocks` fills it.

An edge leads from an invocation that waits for its key to the one that holds the key, and from an invocation to each
call and each attach whose result it has not got. Such an edge exists once: an invocation waits for its key once, and a
call that was answered is never open again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

KEY: Final = "key"  # held by the target
CALL: Final = "call"
ATTACH: Final = "attach"


@dataclass(frozen=True, slots=True)
class Wait:
    """One edge: what is waited for, and why."""

    how: str  # KEY, CALL or ATTACH
    target: bytes  # id of an invocation


@dataclass(frozen=True, slots=True)
class Node:
    """An invocation that is not over, as far as waiting goes."""

    id: bytes
    service: str
    handler: str
    key: str | None
    status: str
    accepted_at: int | None  # ms since the epoch; None: not known, its record is in Kafka alone
    waits: tuple[Wait, ...] = ()

    def wait_for(self, target: bytes) -> Wait | None:
        """Why this invocation waits for that one."""
        return next((wait for wait in self.waits if wait.target == target), None)


@dataclass(frozen=True, slots=True)
class Deadlock:
    """Invocations that all wait for each other: one of the shortest ways round, and who else is caught in it."""

    cycle: list[Node]  # each waits for the next, the last one for the first
    others: list[Node]  # on further cycles through the same invocations


def find_deadlocks(nodes: Mapping[bytes, Node]) -> list[Deadlock]:
    """One for each strongly connected part of the graph that has a cycle. Edges that leave `nodes` lead nowhere."""
    found = []
    for members in _connected(nodes):
        part = {id_: nodes[id_] for id_ in members}
        first = min(part.values(), key=lambda node: (node.accepted_at or 0, node.id))
        cycle = cycle_through(part, first.id)
        if cycle is not None:
            on_it = {node.id for node in cycle}
            found.append(Deadlock(cycle, [node for node in part.values() if node.id not in on_it]))
    return found


def cycle_through(nodes: Mapping[bytes, Node], start: bytes) -> list[Node] | None:
    """A shortest cycle from `start` back to it, in order of waiting; None where there is none."""
    if start not in nodes:
        return None
    came_from: dict[bytes, bytes] = {}
    frontier = deque([start])
    while frontier:
        id_ = frontier.popleft()
        for target in _targets(nodes, id_):
            if target == start:
                return _path(nodes, came_from, id_)
            if target not in came_from:
                came_from[target] = id_
                frontier.append(target)
    return None


def in_both(before: Mapping[bytes, Node], after: Mapping[bytes, Node]) -> dict[bytes, Node]:
    """The later nodes with those edges alone that the earlier ones had too: edges that were there all the time between.

    So they were there together, at the moment at which the first look ended, though neither look was a snapshot.
    """
    return {
        id_: _with_waits(node, [wait for wait in node.waits if wait in before[id_].waits])
        for id_, node in after.items()
        if id_ in before
    }


def _with_waits(node: Node, waits: Collection[Wait]) -> Node:
    return Node(node.id, node.service, node.handler, node.key, node.status, node.accepted_at, tuple(waits))


def _targets(nodes: Mapping[bytes, Node], id_: bytes) -> list[bytes]:
    return [wait.target for wait in nodes[id_].waits if wait.target in nodes]


def _path(nodes: Mapping[bytes, Node], came_from: Mapping[bytes, bytes], last: bytes) -> list[Node]:
    path = [last]
    while (before := came_from.get(path[-1])) is not None:
        path.append(before)
    return [nodes[id_] for id_ in reversed(path)]


def _connected(nodes: Mapping[bytes, Node]) -> Iterator[list[bytes]]:
    """The strongly connected parts that have an edge within: Tarjan's algorithm, without recursion for long chains."""
    index: dict[bytes, int] = {}
    low: dict[bytes, int] = {}
    stack: list[bytes] = []
    stacked: set[bytes] = set()
    visits: list[tuple[bytes, Iterator[bytes]]] = []

    def enter(id_: bytes) -> None:
        index[id_] = low[id_] = len(index)
        stack.append(id_)
        stacked.add(id_)
        visits.append((id_, iter(_targets(nodes, id_))))

    for root in nodes:
        if root not in index:
            enter(root)
        while visits:
            id_, targets = visits[-1]
            target = next(targets, None)
            if target is None:
                visits.pop()
                if visits:
                    low[visits[-1][0]] = min(low[visits[-1][0]], low[id_])
                if low[id_] == index[id_]:
                    members = _popped(stack, stacked, id_)
                    if len(members) > 1 or nodes[id_].wait_for(id_) is not None:
                        yield members
            elif target not in index:
                enter(target)
            elif target in stacked:
                low[id_] = min(low[id_], index[target])


def _popped(stack: list[bytes], stacked: set[bytes], until: bytes) -> list[bytes]:
    members = []
    while True:
        id_ = stack.pop()
        stacked.discard(id_)
        members.append(id_)
        if id_ == until:
            return members
