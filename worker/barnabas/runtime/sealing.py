"""What has changed in a shard since the last commit, as store operations: the body of the next group commit.

Nothing is written that the outcome has made unnecessary: an invocation that began and ended since the last commit
leaves its ring entry alone, of many writes to one state value the last one, of a sleep that is over nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from barnabas.runtime import journal as j
from barnabas.store import keys
from barnabas.store.port import Op

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine


def is_due(engine: ShardEngine) -> bool:
    """Whether something waits for the next commit."""
    return bool(
        engine.touched
        or engine.ended
        or engine.ops
        or engine.states.changed
        or engine.outbox.news
        or engine.ring.news
        or engine.kept.changed
        or engine.parked.changed
        or engine.sender.deferred.changed
    )


def gathered(engine: ShardEngine) -> int:
    """How much the next commit would hold, roughly: invocations begun, ended and sent."""
    return len(engine.touched) + len(engine.ended) + engine.ring.news + engine.outbox.news


def is_worthwhile(engine: ShardEngine) -> bool:
    """Whether there is anything that nobody waits for: acknowledged outbox entries, offsets of dropped records."""
    return engine.offsets_moved or engine.outbox.has_gone


def seal(engine: ShardEngine) -> tuple[list[Op], list[int]]:
    """The operations of the next commit, and the outbox entries that it promises.

    The changes count as sealed from now on.
    """
    ops: list[Op] = []
    _live(engine, ops)
    _ended(engine, ops)
    ops += engine.states.seal()
    meta: list[Any] = []
    if engine.ops:
        ops += engine.ops
        engine.ops = []
        meta += (b"spb", engine.spilled_bytes)
    for part in (engine.kept, engine.parked, engine.sender.deferred, engine.lanes):
        ops += part.seal()
    if engine.ring.news:
        entries, kept = engine.ring.seal()
        if entries:
            ops.append(("RPUSH", keys.RING, *entries))
        ops.append(("LTRIM", keys.RING, -kept, -1) if kept else ("DEL", keys.RING))
    promised = _outbox(engine, ops)
    _timers_and_marks(engine, ops)
    if promised:
        meta += (b"out", engine.outbox.last)
    if engine.offsets_moved:
        engine.offsets_moved = False
        if engine.next_invocation is not None:
            meta += (b"inv", engine.next_invocation, b"read", engine.keeping.read_time)
        if engine.next_signal is not None:
            meta += (b"sig", engine.next_signal)
    if meta:
        ops.append(("HSET", keys.META, *meta))
    engine.next_commit += 1
    return ops, promised


def _live(engine: ShardEngine, ops: list[Op]) -> None:
    headers: list[bytes] = []
    inputs: list[bytes] = []
    for live in engine.touched:
        if not live.sealed:
            live.sealed = True
            headers += (live.id, live.header())
            inputs += (live.id, live.input())
        elif live.header_changed:
            headers += (live.id, live.header())
        live.header_changed = False
        if len(live.journal) > live.journal_sealed:
            new = live.journal[live.journal_sealed :]
            live.journal_sealed = len(live.journal)
            ops.append(("RPUSH", keys.journal(live.id), *map(j.pack_entry, new)))
    engine.touched = {}
    if headers:
        ops.append(("HSET", keys.LIVE, *headers))
    if inputs:
        ops.append(("HSET", keys.INPUTS, *inputs))


def _ended(engine: ShardEngine, ops: list[Op]) -> None:
    if engine.ended:
        ids = [live.id for live in engine.ended]
        ops.append(("HDEL", keys.LIVE, *ids))
        ops.append(("HDEL", keys.INPUTS, *ids))
        ops += [("DEL", keys.journal(live.id)) for live in engine.ended]
        engine.ended = []


def _outbox(engine: ShardEngine, ops: list[Op]) -> list[int]:
    promised, put, gone = engine.outbox.seal()
    if put:
        ops.append(("HSET", keys.OUTBOX, *put))
    if gone:
        ops.append(("HDEL", keys.OUTBOX, *gone))
    return promised


def _timers_and_marks(engine: ShardEngine, ops: list[Op]) -> None:
    put, gone = engine.timers.seal()
    if put:
        ops.append(("ZADD", keys.TIMERS, *put))
    if gone:
        ops.append(("ZREM", keys.TIMERS, *gone))
    marks, dropped = engine.marks.changes()
    if marks:
        ops.append(("HSET", keys.MARKS, *marks))
    if dropped:
        ops.append(("HDEL", keys.MARKS, *dropped))
