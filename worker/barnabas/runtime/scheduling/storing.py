"""A scheduler's shard in the store: the questions after a take, what the answers make, and the body of a commit.

Nothing is written for what came and went since the last commit but its release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from barnabas.runtime.scheduling.ended import KEPT
from barnabas.store import keys
from barnabas.store.port import Op, Query

if TYPE_CHECKING:
    from barnabas.runtime.scheduling.scheduler import Scheduler

#: Everything of a shard that its owner holds in memory, but the window, which is read page by page.
QUESTIONS: Final[list[Query]] = [
    ("HGETALL", keys.META),
    ("LRANGE", keys.RING, 0, -1),
    ("HGETALL", keys.OUTBOX),
    ("HGETALL", keys.DEFERRED),
    ("HGETALL", keys.MARKS),
    ("SMEMBERS", keys.STRANDED),
]


def restore(engine: Scheduler, answers: list[Any], now: int) -> None:
    """Fill a new engine with what the store has."""
    meta, ended, outbox, deferred, marks, stranded = answers
    engine.now = now
    engine.number = int(meta.get(b"number", 0))
    engine.next_commit = engine.number + 1
    engine.next_invocation = int(meta[b"inv"]) if b"inv" in meta else None
    engine.ended.restore(ended)
    engine.outbox.restore(int(meta.get(b"out", 0)), outbox)
    engine.sender.deferred.restore(deferred)
    engine.marks.restore(marks)
    engine.stranded.restore(stranded)


def is_due(engine: Scheduler) -> bool:
    """Whether something waits for the next commit."""
    return bool(
        engine.touched
        or engine.over
        or engine.ended.news
        or engine.outbox.news
        or engine.stranded.changed
        or engine.sender.deferred.changed
    )


def seal(engine: Scheduler) -> tuple[list[Op], list[int]]:
    """The operations of the next commit, and the outbox entries that it promises. The changes count as sealed."""
    ops: list[Op] = []
    _over(engine, ops)
    _waiting(engine, ops)
    ops += engine.sender.deferred.seal()
    if ended := engine.ended.seal():
        ops += (("RPUSH", keys.RING, *ended), ("LTRIM", keys.RING, -KEPT, -1))
    put, gone = engine.stranded.seal()
    ops += _unless_empty("SADD", keys.STRANDED, put) + _unless_empty("SREM", keys.STRANDED, gone)
    promised, added, left = engine.outbox.seal()
    ops += _unless_empty("HSET", keys.OUTBOX, added) + _unless_empty("HDEL", keys.OUTBOX, left)
    marks, dropped = engine.marks.changes()
    ops += _unless_empty("HSET", keys.MARKS, marks) + _unless_empty("HDEL", keys.MARKS, dropped)
    meta: list[Any] = []
    if promised:
        meta += (b"out", engine.outbox.last)
    if engine.offsets_moved:
        engine.offsets_moved = False
        meta += (b"inv", engine.next_invocation)
    ops += _unless_empty("HSET", keys.META, meta)
    engine.next_commit += 1
    return ops, promised


def _waiting(engine: Scheduler, ops: list[Op]) -> None:
    headers: list[bytes] = []
    records: list[bytes] = []
    to: dict[bytes, list[bytes | int]] = {}
    away: dict[bytes, list[bytes]] = {}
    for waiting in engine.touched:
        headers += (waiting.id, waiting.header())
        if waiting.place is None:
            assert waiting.record is not None, "a new one has its record until a commit has taken it"
            records += (waiting.id, waiting.record)
        if waiting.place != waiting.wanted_place:
            if waiting.place is not None:
                away.setdefault(waiting.place, []).append(waiting.member)
            waiting.place = waiting.wanted_place
            to.setdefault(waiting.place, []).extend((waiting.due, waiting.member))
    engine.touched = {}
    ops += _unless_empty("HSET", keys.WAITING, headers) + _unless_empty("HSET", keys.WAITING_INPUTS, records)
    ops += [("ZREM", place, *members) for place, members in away.items()]
    ops += [("ZADD", place, *members) for place, members in to.items()]


def _over(engine: Scheduler, ops: list[Op]) -> None:
    if not engine.over:
        return
    ids = [waiting.id for waiting in engine.over]
    members: dict[bytes, list[bytes]] = {}
    for waiting in engine.over:
        assert waiting.place is not None
        members.setdefault(waiting.place, []).append(waiting.member)
    engine.over = []
    ops += (("HDEL", keys.WAITING, *ids), ("HDEL", keys.WAITING_INPUTS, *ids))
    ops += [("ZREM", place, *of_place) for place, of_place in members.items()]


def _unless_empty(verb: str, suffix: bytes, arguments: list[Any]) -> list[Op]:
    return [(verb, suffix, *arguments)] if arguments else []
