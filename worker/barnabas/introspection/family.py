"""Who called an invocation, and what it has called and sent, level by level: for people who look at one.

Read from the store while work goes on, without a lock: who is over by the time of the look has no status any more.
Raises StoreUnavailable and StoreCorrupt. Called by `invocations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, ReplyTo
from barnabas.introspection.delayed import find_waiting
from barnabas.introspection.journals import target_text
from barnabas.introspection.reading import Places
from barnabas.introspection.statuses import COMPLETED, status_of
from barnabas.introspection.waits import call_target, open_commands
from barnabas.runtime import journal as j
from barnabas.runtime.kept import unpack_kept
from barnabas.runtime.live import SCHEDULED, Live, unpack_live
from barnabas.store import keys
from barnabas.store.port import Query, Store

CALLED: Final = "called"
SENT: Final = "sent"
#: How far up and down is looked, and how many are shown below one.
MOST_LEVELS: Final = 8
MOST_BELOW: Final = 200


@dataclass(slots=True)
class Relative:
    """A caller or a callee. `status` None: the store does not have it, it is over or not accepted yet."""

    id: InvocationId
    target: str
    how: str  # CALLED or SENT, by whoever stands above it
    position: int | None  # in the journal of whoever stands above it
    status: str | None = None
    answered: bool | None = None  # of a call: whether its result is with the caller
    below: list[Relative] = field(default_factory=list)


class _Ref(NamedTuple):
    relative: Relative
    service: str
    key: str | None


async def callers_of(store: Store, places: Places, waiters: Sequence[Caller | ReplyTo]) -> list[Relative]:
    """The handlers that wait for it, each waiting for the next: the outermost first. Of several callers, the first."""
    found: list[Relative] = []
    seen: set[bytes] = set()
    while len(found) < MOST_LEVELS:
        caller = next((one for one in waiters if isinstance(one, Caller) and one.id not in seen), None)
        shard = None if caller is None else places.shard_of(caller.service, caller.id)
        if caller is None or shard is None:
            break
        seen.add(caller.id)
        [header] = await store.read([(shard, ("HGET", keys.LIVE, caller.id))])
        id_ = InvocationId(caller.id)
        if header is None:
            found.append(Relative(id_, caller.service, CALLED, caller.position))
            break
        live = unpack_live(caller.id, caller.service, header)
        target = target_text(live.service, live.key, live.handler)
        found.append(Relative(id_, target, CALLED, caller.position, live.status))
        waiters = live.waiters
    return found[::-1]


async def callees_of(store: Store, places: Places, journal: Sequence[j.Entry]) -> list[Relative]:
    """What a journal has called and sent, and what those have, as far as they are not over."""
    top, frontier = _children(journal)
    count = len(top)
    unseen: dict[bytes, Relative] = {}
    for _ in range(MOST_LEVELS):
        placed = [(ref, shard) for ref in frontier if (shard := places.shard_of(ref.service, ref.relative.id))]
        if not placed:
            break
        answers = iter(await store.read([(shard, query) for ref, shard in placed for query in _questions(ref)]))
        frontier = []
        for ref, _ in placed:
            below, refs = _children(_look(ref, [next(answers) for _ in _questions(ref)]))
            if ref.relative.status is None and ref.relative.id.delayed:
                unseen[ref.relative.id] = ref.relative
            if count + len(below) <= MOST_BELOW:
                ref.relative.below = below
                count += len(below)
                frontier += refs
    for id_ in await find_waiting(store, list(unseen)):
        unseen[id_].status = SCHEDULED
    return top


def _questions(ref: _Ref) -> list[Query]:
    id_ = ref.relative.id
    queries: list[Query] = [
        ("HGET", keys.LIVE, id_),
        ("HGET", keys.KEPT, id_),
        ("HGET", keys.SPILL, id_),
        ("LRANGE", keys.journal(id_), 0, -1),
    ]
    return queries if ref.key is None else [*queries, ("HGET", keys.HEADS, ref.key)]


def _look(ref: _Ref, answers: list[Any]) -> list[j.Entry]:
    """Set the status of one; its journal as far as it is not over."""
    header, kept, spilled, entries, *head = answers
    relative = ref.relative
    if header is not None:
        live: Live = unpack_live(relative.id, ref.service, header)
        relative.status = status_of(live, head[0] if head else None)
    elif kept is not None:
        failure = unpack_kept(kept).failure
        relative.status = COMPLETED if failure is None else f"failed ({failure.code})"
    elif spilled is not None:
        relative.status = "pending"
    elif relative.answered:
        relative.status = COMPLETED
    return [j.unpack_entry(raw) for raw in entries]


def _children(journal: Sequence[j.Entry]) -> tuple[list[Relative], list[_Ref]]:
    still_open = {one.position for one in open_commands(journal)}
    found, refs = [], []
    commands = (entry for entry in journal if entry[0] < j.FIRST_NOTIFICATION)
    for position, entry in enumerate(commands, 1):
        if entry[0] in (j.CALL, j.SEND):
            to = call_target(entry)
            is_call = entry[0] == j.CALL
            relative = Relative(
                InvocationId(to.id),
                target_text(to.service, to.key, to.handler),
                CALLED if is_call else SENT,
                position,
                answered=position not in still_open if is_call else None,
            )
            found.append(relative)
            refs.append(_Ref(relative, to.service, to.key))
    return found[:MOST_BELOW], refs[:MOST_BELOW]
